"""Who may see the page: this machine freely, any other only with the token; and what browsers are told to forbid."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

COOKIE = "mutualformer_token"
SHORTEST_TOKEN = 8

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


class AddressError(ValueError):
    """HOST:PORT cannot be served: malformed, or open to others without a token."""


def parse_address(text: str, token: str | None) -> tuple[str, int]:
    """``127.0.0.1:8080``, ``[::1]:8080`` or ``:8080`` (this machine) → (host, port). Raises AddressError."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not colon or not port.isdigit() or int(port) > 65535:
        raise AddressError(f"--preview is {text!r}, expected HOST:PORT, for example 127.0.0.1:8080")
    if token is None and not is_local(host):
        raise AddressError(
            f"--preview {text} can be reached from other machines: choose a secret and add --token, or use 127.0.0.1"
        )
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise AddressError(f"--token has {len(token)} characters, expected at least {SHORTEST_TOKEN}")
    return host, int(port)


def is_local(host: str) -> bool:
    """True for names and addresses only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def same(given: str, token: str) -> bool:
    """Compares in time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode(), token.encode())


def shown(request: web.Request) -> str:
    """The token a visitor shows: header, cookie or query, in that order."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Bearer" and bearer:
        return bearer
    return request.cookies.get(COOKIE, "") or request.query.get("token", "")


def guard(token: str | None) -> Middleware:
    """Middleware: 401 without the token, 403 for a foreign Host (DNS rebinding) and for posts from foreign pages."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = urlsplit(f"//{request.host}").hostname or ""
        if token is None and not is_local(host):
            raise web.HTTPForbidden(text=f"host {host!r} is not this machine\n")
        if token is not None:
            query = request.query.get("token", "")
            if request.method == "GET" and request.path == "/" and query and same(query, token):
                # The secret moves from the address bar, where others read it, into a cookie scripts cannot see.
                response = web.HTTPFound("/")
                response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", path="/")
                raise response
            if not same(shown(request), token):
                raise web.HTTPUnauthorized(text="token missing or wrong: open this page as /?token=YOUR_TOKEN\n")
        if request.method == "POST":
            origin = request.headers.get("Origin")
            if request.headers.get("X-Requested-With") != "mutualformer" or (
                origin is not None and urlsplit(origin).netloc != request.host
            ):
                raise web.HTTPForbidden(text="this request did not come from the preview page\n")
        return await handler(request)

    return middleware


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """On every answer, streams and errors included."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
