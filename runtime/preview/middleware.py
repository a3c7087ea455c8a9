"""Access control: this machine gets in freely, other machines with the token; and headers that restrict browsers."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from mutualformer.errors import InputError
from mutualformer.runtime.preview.addresses import is_local
from mutualformer.runtime.preview.connections import Connections
from mutualformer.runtime.untrusted.typed_json import Fields, parse_json

PAGE = Path(__file__).parent / "page"
COOKIE = "mutualformer_session"
# Files for clients without the token: the form that asks for it.
FORM_FILES = ("/login.js", "/login.css")
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
# The one request with a large body, of the drop page. Its body is read after the check, so that only clients with
# the token can make this process keep megabytes, and it has longer than other requests to arrive and be answered.
UPLOAD, UPLOAD_SECONDS = "/predict", 120.0
# Headers with which a proxy says that it forwards somebody else's request.
FORWARDING = ("forwarded", "via", "x-real-ip")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class RequestError(InputError):
    """A request's body, or a client's message, is not what was expected; the answer is 400, or a status message."""


async def body(request: web.Request) -> Fields:
    """The JSON object of a request. Raises RequestError."""
    where = "the request"
    try:
        text = await request.text()
    except (UnicodeError, LookupError) as error:  # not text, or in a charset that does not exist
        raise RequestError(f"{where}: not text") from error
    return Fields(parse_json(text, where, RequestError), where, RequestError)


class Guesses:
    """Delays the answers to wrong tokens, each twice as long as the one before, one after the other (seconds).

    Right tokens are never delayed: they are compared first.
    """

    first_s, most_s, longest_s, forget_s = 0.25, 4.0, 4.5, 60.0

    def __init__(self) -> None:
        self._count, self._due = 0, 0.0

    async def wrong(self) -> None:
        """Wait for this guess's turn. Raises HTTPTooManyRequests if that would take longer than ``longest_s``."""
        now = time.monotonic()
        if now - self._due > self.forget_s:
            self._count = 0
        due = max(now, self._due) + min(self.first_s * 2.0 ** min(self._count, 16), self.most_s)
        if due - now > self.longest_s:
            raise web.HTTPTooManyRequests(text="too many wrong tokens, wait a moment\n", headers={"Retry-After": "10"})
        self._count, self._due = self._count + 1, due
        await asyncio.sleep(due - now)


class Access:
    """The check in front of every route: 401 without the token, 403 for foreign pages and hosts, 400 if malformed.

    ``token``: None lets only this machine in.
    """

    def __init__(self, token: str | None, connections: Connections) -> None:
        self._token, self._connections = token, connections
        self._guesses = Guesses()
        # The value of the session cookie. Browsers store it instead of the token.
        self._session = secrets.token_urlsafe(24)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Read the whole request within the connection's timeout, check it, then answer it."""
        connection = self._connections.of(request)
        if connection is None:
            raise web.HTTPServiceUnavailable(text="this connection was closed\n")
        try:
            if request.can_read_body and request.path != UPLOAD:
                await request.read()  # aiohttp keeps it for the handler
            connection.received()
            if request.path in FORM_FILES:
                return file(request.path[1:])
            answer = await self._check(request)
            if request.path == UPLOAD:
                connection.wait(UPLOAD_SECONDS)
            connection.busy = answer is None
            return await handler(request) if answer is None else answer
        except RequestError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        except UnicodeError as error:  # a header or the path is not text
            raise web.HTTPBadRequest(text="the request is not text\n") from error
        finally:
            connection.wait()

    async def _check(self, request: web.Request) -> web.Response | None:
        """None if the request may pass, else its answer. Raises HTTPException."""
        host = hostname(request)
        answer = None
        if self._token is not None:
            answer = await self._authorise(request, self._token)
        elif not is_local(host):
            raise web.HTTPForbidden(text=f"host {host!r} is not this machine\n")
        elif forwarded(request):
            raise web.HTTPForbidden(text="behind a proxy the page needs a token: start it with --token-file FILE\n")
        if answer is None and request.method == "POST":
            self._check_origin(request)
        return answer

    async def _authorise(self, request: web.Request, token: str) -> web.Response | None:
        # Browsers share cookies between the ports of a host, so the name carries the port.
        cookie = f"{COOKIE}_{request.transport.get_extra_info('sockname')[1] if request.transport else 0}"
        if same(request.cookies.get(cookie, ""), self._session):
            return None
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        query = request.query.get("token", "")
        guess = bearer if scheme == "Bearer" and bearer else query
        start = request.method == "GET" and request.path == "/"
        if guess and same(guess, token):  # compared first: guesses of others must not delay clients with the token
            if guess is not query or not start:
                return None
            # Exchange the ?token= for an HttpOnly cookie. We answer with a page that leads on, not with a redirect: a
            # browser that followed a link from another site sends no strict cookie with the redirected request.
            response = file("landing.html")
            secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
            # Without a path the cookie is for the folder that the browser sees: behind a proxy, the prefix.
            response.set_cookie(cookie, self._session, httponly=True, samesite="Strict", secure=secure, path="")
            return response
        if guess:
            await self._guesses.wrong()
        if start:
            return file("login.html", 401)
        raise web.HTTPUnauthorized(text="token missing or wrong: add ?token=YOUR_TOKEN to the address\n")

    def _check_origin(self, request: web.Request) -> None:
        """Refuse foreign pages: they can send our header only after a preflight request, which we never grant."""
        ours = request.headers.get("X-Requested-With") == "mutualformer"
        origin = request.headers.get("Origin")
        if origin is not None and self._token is None:  # with a token, requests of other sites lack the strict cookie
            ours = ours and origin.partition("://")[2] == request.host
        if not ours:
            raise web.HTTPForbidden(text="this request did not come from the preview page\n")


def file(name: str, status: int = 200) -> web.Response:
    """A file of the page, read anew each time: a developer sees a change at once."""
    path = PAGE / name
    return web.Response(status=status, body=path.read_bytes(), content_type=KINDS[path.suffix], charset="utf-8")


def static(*names: str) -> list[web.RouteDef]:
    """Routes to files of the page. All addresses in them are relative, for proxies with a prefix."""

    async def answer(request: web.Request) -> web.Response:
        return file(request.path[1:])

    return [web.get(f"/{name}", answer) for name in names]


def same(attempt: str, secret: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(attempt.encode(errors="surrogateescape"), secret.encode(errors="surrogateescape"))


def forwarded(request: web.Request) -> bool:
    """Whether a proxy says that it forwards somebody else's request."""
    return any(name.lower() in FORWARDING or name.lower().startswith("x-forwarded-") for name in request.headers)


def hostname(request: web.Request) -> str:
    """The host in the Host header. Raises HTTPBadRequest if it is malformed."""
    try:
        parts = urlsplit(f"//{request.host}")
        _ = parts.port
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or not request.host.isascii() or not request.host.isprintable():
        raise web.HTTPBadRequest(text="the Host header is not a host\n")
    return host


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add :data:`HEADERS` to every answer, streams and errors included."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
