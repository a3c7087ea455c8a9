"""HOST:PORT of the server and its token: read, checked, and written as links that others can open."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from mutualformer.errors import InputError
from mutualformer.runtime.files import TooLarge, read_regular

VARIABLE = "MUTUALFORMER_TOKEN"
SHORTEST_TOKEN = 8
NEW_TOKEN_BYTES = 12  # 16 characters, 96 bits: short enough to type, too many to guess
LARGEST_PORT = 65535
LONGEST_TOKEN_FILE = 1 << 16  # bytes


class AddressError(InputError):
    """HOST:PORT cannot be served: it is malformed, or other machines reach it and there is no token."""


def split_address(text: str, option: str = "--preview") -> tuple[str, int]:
    """``8080``, ``:8080``, ``127.0.0.1:8080`` or ``[::1]:8080`` → (host, port); without a host it is this machine.

    ``option``: the option the address was given to, for the error. Raises AddressError.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()) or int(port) > LARGEST_PORT:
        raise AddressError(f"{option} is {text!r}, expected PORT or HOST:PORT, for example 127.0.0.1:8080")
    return host.strip("[]") or "127.0.0.1", int(port)


def parse_address(text: str, token: str | None, option: str = "--preview") -> tuple[str, int]:
    """As :func:`split_address`; also raises AddressError if other machines reach the host and there is no token."""
    host, port = split_address(text, option)
    if token is None and not is_local(host):
        raise AddressError(
            f"{option} {text} can be reached from other machines: choose a secret and add --token-file FILE "
            f"(or set {VARIABLE}, or add --token), or use 127.0.0.1"
        )
    return host, port


def is_local(host: str) -> bool:
    """True for names and addresses only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable(host: str) -> str:
    """The host that other machines can open: for ``0.0.0.0`` and ``::`` the address this machine has in its network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    # Connecting a datagram socket sends nothing; the system only chooses the address it would send from.
    family, outside = (socket.AF_INET, "192.0.2.1") if address.version == 4 else (socket.AF_INET6, "2001:db8::1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


def bracketed(host: str) -> str:
    """An IPv6 address as links and ``ssh -L`` want it."""
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True)
class Token:
    """``text``: the secret, None where clients need none. ``new``: made just now, so nobody knows it yet.

    ``warning``: one sentence about how it was handed over, or empty.
    """

    text: str | None = None
    new: bool = False
    warning: str = ""


def token(needed: bool, *, file: Path | None = None, argument: str | None = None) -> Token:
    """The token of this run. ``needed``: other machines reach the address, so a token is made if none is given.

    ``file`` is read, or written (mode 600) if it does not exist. ``argument`` comes from the command line, which every
    user of the machine can read. Raises AddressError.
    """
    if file is not None:
        return _from_file(file)
    secret = os.environ.get(VARIABLE)
    if secret:
        return Token(_checked(secret, VARIABLE))
    if argument is not None:
        warning = f"--token can be read in the list of processes; use --token-file FILE or set {VARIABLE} instead"
        return Token(_checked(argument, "--token"), warning=warning)
    return Token(secrets.token_urlsafe(NEW_TOKEN_BYTES), new=True) if needed else Token()


def _from_file(file: Path) -> Token:
    try:
        text = read_regular(file, LONGEST_TOKEN_FILE).decode().strip()
    except FileNotFoundError:
        text = secrets.token_urlsafe(NEW_TOKEN_BYTES)
        file.parent.mkdir(parents=True, exist_ok=True)
        # The mode makes the file private from its first byte; O_EXCL keeps a second process from reading half of it.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(text + "\n")
        return Token(text, new=True)
    except (TooLarge, UnicodeDecodeError) as error:
        raise AddressError(f"--token-file {file} is not one line of text in UTF-8") from error
    open_to_others = file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    warning = f"--token-file {file} can be read by other users: chmod 600 {file}" if open_to_others else ""
    return Token(_checked(text, f"--token-file {file}"), warning=warning)


def _checked(text: str, source: str) -> str:
    if len(text) < SHORTEST_TOKEN:
        raise AddressError(f"{source} has {len(text)} characters, expected at least {SHORTEST_TOKEN}")
    if not (text.isascii() and text.isprintable()):
        raise AddressError(f"{source} holds more than ASCII characters; choose one line of letters and digits")
    return text
