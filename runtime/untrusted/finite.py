"""JSON that every reader accepts: a number that is not finite becomes null."""

from __future__ import annotations

import json


def finite_json(value: object, indent: int | None = None) -> str:
    """JSON in ASCII, on one line without ``indent``; JSON itself escapes control characters in untrusted names."""
    text = json.dumps(value)  # in which a number that is not finite is a word of its own: NaN, Infinity
    return json.dumps(json.loads(text, parse_constant=lambda _: None), indent=indent)  # noqa: TID251 - our own text
