"""Visitors: who is one, how fast they may guess, and the sessions of those who knew the token."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict

from aiohttp import web

SESSION_SECONDS = 7 * 24 * 3600.0
MOST_SESSIONS = 256


def same(attempt: str, token: str) -> bool:
    """Compares in time that does not depend on where they differ."""
    return hmac.compare_digest(attempt.encode(errors="surrogateescape"), token.encode(errors="surrogateescape"))


def network(address: str) -> str:
    """What counts as one visitor: an IPv4 address, or the /64 an IPv6 host may choose its addresses from."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class Guesses:
    """Makes guessing slow: after a wrong token the next one from that address waits, twice as long each time.

    The wait comes before the comparison, so that a right token answers no faster than a wrong one would.
    """

    first_s, most_s, forget_s, most_addresses = 0.25, 4.0, 60.0, 1024

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def turn(self, address: str) -> None:
        """Wait for this address's turn. Raises HTTPTooManyRequests where the queue is longer than ``most_s``."""
        now = time.monotonic()
        count, due = self._failures.get(address, (0, 0.0))
        if now - due > self.forget_s:
            self._failures.pop(address, None)
            return
        wait = max(0.0, due - now)
        if wait > self.most_s:
            raise web.HTTPTooManyRequests(text="too many wrong tokens, wait a moment\n", headers={"Retry-After": "10"})
        # Guesses sent side by side queue up behind each other.
        self._failures[address] = (count, max(now, due) + self._delay(count))
        await asyncio.sleep(wait)

    def wrong(self, address: str) -> None:
        """Remember a wrong guess."""
        count, due = self._failures.pop(address, (0, 0.0))
        self._failures[address] = (count + 1, max(due, time.monotonic() + self._delay(count + 1)))
        while len(self._failures) > self.most_addresses:
            self._failures.popitem(last=False)

    def right(self, address: str) -> None:
        """Forget the failures of ``address``: it showed the token."""
        self._failures.pop(address, None)

    def _delay(self, count: int) -> float:
        return float(min(self.first_s * 2.0 ** max(0, count - 1), self.most_s)) if count else 0.0


class Sessions:
    """Random names for visitors who showed the token; the cookie holds one of them, never the token."""

    def __init__(self) -> None:
        self._ends: OrderedDict[str, float] = OrderedDict()

    def open(self) -> str:
        """A new session's random name, valid for SESSION_SECONDS; the oldest gives way to too many."""
        name = secrets.token_urlsafe(24)
        self._ends[name] = time.monotonic() + SESSION_SECONDS
        while len(self._ends) > MOST_SESSIONS:
            self._ends.popitem(last=False)
        return name

    def valid(self, name: str) -> bool:
        """Whether ``name`` is a session that has not ended."""
        return self._ends.get(name, 0.0) > time.monotonic()
