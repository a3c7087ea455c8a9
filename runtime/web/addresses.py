"""HOST:PORT of a server: read, checked against the token rule, and written as links that others can open."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import quote

from mutualformer.errors import InputError

SHORTEST_TOKEN = 8
LARGEST_PORT = 65535


class AddressError(InputError):
    """HOST:PORT cannot be served: malformed, or open to others without a token."""


def parse_address(text: str, token: str | None, option: str = "--preview") -> tuple[str, int]:
    """``127.0.0.1:8080``, ``[::1]:8080`` or ``:8080`` (this machine) → (host, port). Raises AddressError.

    ``option``: the option the address was given to, for the sentence.
    """
    host, port = split_address(text, option)
    if token is None and not is_local(host):
        raise AddressError(
            f"{option} {text} can be reached from other machines: choose a secret and add --token-file FILE "
            "(or set MUTUALFORMER_TOKEN, or add --token), or use 127.0.0.1"
        )
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise AddressError(f"--token has {len(token)} characters, expected at least {SHORTEST_TOKEN}")
    return host, port


def split_address(text: str, option: str = "--preview") -> tuple[str, int]:
    """HOST:PORT without the token rule. Raises AddressError."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > LARGEST_PORT:
        raise AddressError(f"{option} is {text!r}, expected HOST:PORT, for example 127.0.0.1:8080")
    return host, int(port)


def is_local(host: str) -> bool:
    """True for names and addresses only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable(host: str) -> str:
    """The host others can open: for ``0.0.0.0`` and ``::`` the address this machine has in its network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    # Connecting a datagram socket sends nothing; it only asks the system which of its addresses leads out.
    family, outside = (socket.AF_INET, "192.0.2.1") if address.version == 4 else (socket.AF_INET6, "2001:db8::1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


def link(host: str, port: int, token: str | None = None, *, scheme: str = "http") -> str:
    """``http://192.168.1.5:8080/?token=…``: short and plain enough for a QR code."""
    name = f"[{host}]" if ":" in host else host
    query = f"?token={quote(token, safe='')}" if token is not None else ""
    return f"{scheme}://{name}:{port}/{query}"
