"""Where the token comes from: a file, the environment, or made here and printed once. Never from a log."""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from mutualformer.runtime.web.addresses import SHORTEST_TOKEN, AddressError

VARIABLE = "MUTUALFORMER_TOKEN"
_BYTES = 12  # 16 characters, 96 bits: short enough to type, too many to guess


@dataclass(frozen=True)
class Token:
    """``text``: the secret, None where visitors need none. ``new``: invented just now, so nobody knows it yet.

    ``warning``: one sentence about how it was handed over, or empty.
    """

    text: str | None = None
    new: bool = False
    warning: str = ""


def token(needed: bool, *, file: Path | None = None, argument: str | None = None) -> Token:
    """The token of this run. ``needed``: an address is open to other machines, so one is made where none is given.

    ``file``: read, or written (mode 600) where it does not exist. ``argument``: as given on the command line, which
    every user of the machine can read. Raises AddressError.
    """
    if file is not None:
        return _from_file(file)
    secret = os.environ.get(VARIABLE) or None
    warning = ""
    if secret is None and argument is not None:
        secret = argument
        warning = f"--token can be read in the list of processes; use --token-file FILE or set {VARIABLE} instead"
    if secret is not None:
        return Token(_checked(secret, VARIABLE if not warning else "--token"), warning=warning)
    return Token(secrets.token_urlsafe(_BYTES), new=True) if needed else Token()


def _from_file(file: Path) -> Token:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        text = secrets.token_urlsafe(_BYTES)
        file.parent.mkdir(parents=True, exist_ok=True)
        # Private from its first byte on; "exclusive": two streams that start together must not share half a file.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(text + "\n")
        return Token(text, new=True)
    except UnicodeDecodeError as error:
        raise AddressError(f"--token-file {file} is not text in UTF-8") from error
    open_to_others = file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    warning = f"--token-file {file} can be read by other users: chmod 600 {file}" if open_to_others else ""
    return Token(_checked(text, f"--token-file {file}"), warning=warning)


def _checked(text: str, source: str) -> str:
    if len(text) < SHORTEST_TOKEN:
        raise AddressError(f"{source} has {len(text)} characters, expected at least {SHORTEST_TOKEN}")
    if not text.isprintable():
        raise AddressError(f"{source} holds control characters; choose one line of letters and digits")
    return text
