"""Links people can open, tokens that stay out of logs and process lists."""

from __future__ import annotations

import ipaddress
import stat
from pathlib import Path

import pytest

from mutualformer.runtime.preview.addresses import (
    VARIABLE,
    AddressError,
    is_local,
    parse_address,
    reachable,
    token,
)
from mutualformer.runtime.preview.server import Server

TOKEN = "open sesame please"


@pytest.mark.parametrize(
    ("text", "token", "expected"),
    [
        ("127.0.0.1:8080", None, ("127.0.0.1", 8080)),
        (":9000", None, ("127.0.0.1", 9000)),
        ("8080", None, ("127.0.0.1", 8080)),
        ("localhost:1", None, ("localhost", 1)),
        ("[::1]:8080", None, ("::1", 8080)),
        ("0.0.0.0:8080", TOKEN, ("0.0.0.0", 8080)),
    ],
)
def test_addresses(text: str, token: str | None, expected: tuple[str, int]) -> None:
    assert parse_address(text, token) == expected


@pytest.mark.parametrize(
    ("text", "token", "message"),
    [
        ("0.0.0.0:8080", None, "add --token"),
        ("jetson.lan:8080", None, "add --token"),
        ("[::]:8080", None, "add --token"),
        ("127.0.0.1", None, "HOST:PORT"),
        ("127.0.0.1:http", None, "HOST:PORT"),
        ("127.0.0.1:70000", None, "HOST:PORT"),
        ("", None, "HOST:PORT"),
    ],
)
def test_refused_addresses_say_why(text: str, token: str | None, message: str) -> None:
    with pytest.raises(AddressError, match=message):
        parse_address(text, token)


def test_local_names() -> None:
    assert all(map(is_local, ("localhost", "127.0.0.1", "127.8.8.8", "::1")))
    assert not any(map(is_local, ("0.0.0.0", "192.168.1.5", "localhost.evil.org", "::", "")))


def test_the_printed_address_opens_from_elsewhere() -> None:
    assert reachable("192.168.1.5") == "192.168.1.5"
    assert reachable("jetson.lan") == "jetson.lan"
    own = reachable("0.0.0.0")
    try:
        assert not ipaddress.ip_address(own).is_unspecified
    except ValueError:
        assert own, "no network here: the machine's name"
    server = Server("192.168.1.5:8080", "a b&c")
    assert server.url(secret=True) == "http://192.168.1.5:8080/?token=a%20b%26c"
    assert server.url("foxglove") == "ws://192.168.1.5:8080/foxglove?token=…"
    assert Server("[::1]:80", None).url() == "http://[::1]:80/"


def test_ports_are_ascii_digits() -> None:
    for text in ("127.0.0.1:²", "127.0.0.1:٣", "127.0.0.1:-1", "127.0.0.1: 80"):
        with pytest.raises(AddressError, match="HOST:PORT"):
            parse_address(text, None)


def test_a_token_is_made_where_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert token(False).text is None
    first, second = token(True), token(True)
    assert first.new
    assert first.text != second.text
    assert first.text is not None
    assert len(first.text) >= 16
    assert first.text.isascii()


def test_a_token_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "from the environment")
    assert token(True, argument="from the command line").text == "from the environment"
    file = tmp_path / "folder" / "token"
    fresh = token(True, file=file)
    assert fresh.new
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = token(True, file=file)
    assert (again.text, again.new, again.warning) == (fresh.text, False, "")
    file.chmod(0o644)
    assert "chmod 600" in token(True, file=file).warning
    monkeypatch.delenv(VARIABLE)
    assert "list of processes" in token(True, argument="from the command line").warning


@pytest.mark.parametrize("text", ["short", "with\x1b[31mcolour", "schlüsselwort", ""])
def test_bad_tokens_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(AddressError):
        token(True, file=file)
    file.write_bytes(b"\xff\xfe" * 10)
    with pytest.raises(AddressError, match="UTF-8"):
        token(True, file=file)
