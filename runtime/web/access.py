"""Who may see the page: this machine freely, any other only with the token; and what browsers are told to forbid."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from mutualformer.runtime.web.addresses import is_local
from mutualformer.runtime.web.server_thread import ServerThread
from mutualformer.runtime.web.visitors import Guesses, Sessions, network, same

COOKIE = "mutualformer_session"
# What somebody without the token may fetch: the form that asks for it.
OPEN_PATHS = ("/login", "/login.js", "/login.css", "/session")
WRONG = "token missing or wrong"

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


class Gate:
    """The middleware: 400 for requests that make no sense, 401 without the token, 403 for foreign pages.

    ``token``: None lets this machine in and nobody else. ``port``: gives the port, which the cookie's name carries:
    browsers share cookies between the ports of a host. ``secure``: served over TLS. ``form``: gives the HTML that
    asks for the token, ``landing`` the HTML that leads on to the page.
    """

    def __init__(
        self,
        token: str | None,
        port: Callable[[], int],
        *,
        secure: bool = False,
        form: Callable[[], bytes] = lambda: b"",
        landing: Callable[[], bytes] = lambda: b"",
    ) -> None:
        self._token, self._port, self._secure = token, port, secure
        self._form, self._landing = form, landing
        self._guesses, self._sessions = Guesses(), Sessions()

    @property
    def cookie(self) -> str:
        """The cookie's name, with the port in it: browsers share cookies between the ports of a host."""
        return f"{COOKIE}_{self._port()}"

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let the request through to ``handler``, answer it, or raise the refusal."""
        host = hostname(request)
        if self._token is None:
            if not is_local(host):
                raise web.HTTPForbidden(text=f"host {host!r} is not this machine\n")
        elif request.path not in OPEN_PATHS:
            answer = await self._admit(request)
            if answer is not None:
                return answer
        if request.method == "POST":
            self._check_origin(request)
        return await handler(request)

    async def _admit(self, request: web.Request) -> web.StreamResponse | None:
        """None for a visitor who may pass, an answer for one who may soon. Raises HTTPUnauthorized."""
        if self._sessions.valid(request.cookies.get(self.cookie, "")):
            return None
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        query = request.query.get("token", "")
        guess = bearer if scheme == "Bearer" and bearer else query
        if guess and await self._guess(request, guess):
            if guess is query and request.method == "GET" and request.path == "/":
                # The secret moves from the address bar, where others read it, into a session scripts cannot see. A
                # page that leads on, no redirect: after a link from another site browsers keep a strict cookie back.
                response = web.Response(body=self._landing(), content_type="text/html", charset="utf-8")
                return self._with_session(response)
            return None
        if request.method == "GET" and request.path == "/":
            return web.Response(status=401, body=self._form(), content_type="text/html", charset="utf-8")
        raise web.HTTPUnauthorized(text=f"{WRONG}: open this page as /?token=YOUR_TOKEN\n")

    async def _guess(self, request: web.Request, guess: str) -> bool:
        assert self._token is not None
        visitor = network(request.remote or "")
        await self._guesses.turn(visitor)
        if same(guess, self._token):
            self._guesses.right(visitor)
            return True
        self._guesses.wrong(visitor)
        return False

    def _with_session(self, response: web.Response) -> web.Response:
        # Without a path the browser takes the folder it sees, which behind a proxy is the prefix.
        response.set_cookie(
            self.cookie, self._sessions.open(), httponly=True, samesite="Strict", secure=self._secure, path=""
        )
        return response

    def _check_origin(self, request: web.Request) -> None:
        """A foreign page cannot send our header: it would have to ask first, and is never answered."""
        ours = request.headers.get("X-Requested-With") == "mutualformer"
        origin = request.headers.get("Origin")
        if ours and origin is not None and self._token is None:
            # A proxy may have set Host to our own address; what the browser saw then stands beside it.
            hosts = (request.host, request.headers.get("X-Forwarded-Host", request.host))
            ours = netloc(origin) in hosts or request.headers.get("Sec-Fetch-Site") == "same-origin"
        if not ours:
            raise web.HTTPForbidden(text="this request did not come from the preview page\n")

    async def login(self, request: web.Request) -> web.StreamResponse:
        """``POST /login`` with ``{"token": …}``: a session, or 401 after a while."""
        try:
            guess = (await request.json())["token"]
        except (ValueError, LookupError, TypeError, RecursionError):
            guess = None
        if not isinstance(guess, str):
            raise web.HTTPBadRequest(text='expected {"token": "…"}\n')
        if self._token is None:
            return web.Response(status=204)
        if not await self._guess(request, guess.strip()):
            raise web.HTTPUnauthorized(text=WRONG + "\n")
        return self._with_session(web.Response(status=204))

    async def session(self, request: web.Request) -> web.StreamResponse:
        """``GET /session``: 204 for a visitor with a session; the form asks after a link from another site."""
        if self._token is None or self._sessions.valid(request.cookies.get(self.cookie, "")):
            return web.Response(status=204)
        raise web.HTTPUnauthorized(text=WRONG + "\n")


def hostname(request: web.Request) -> str:
    """The host a request names. Raises HTTPBadRequest for one that is no host."""
    try:
        parts = urlsplit(f"//{request.host}")
        _ = parts.port
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or not request.host.isascii() or not request.host.isprintable():
        raise web.HTTPBadRequest(text="the Host header is not a host\n")
    return host


def netloc(origin: str) -> str:
    """Host and port of an Origin header; empty where it has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """On every answer, streams and errors included."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


async def through(server: ServerThread, gate: Gate, request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every request: its body within the time that its connection has, then the gate, then the answer."""
    door = server.door(request)

    async def admitted(inner: web.Request) -> web.StreamResponse:
        if door is not None:
            door.admitted = True
        return await handler(inner)

    try:
        if request.can_read_body:
            await request.read()  # kept by aiohttp: handlers read it again
        if door is not None:
            door.request_complete()
        return await gate(request, admitted)
    except UnicodeError as error:  # bytes that are no text, in a header or a path
        raise web.HTTPBadRequest(text="the request is not text\n") from error
    finally:
        if door is not None:
            door.request_over()
