"""JSON that every reader accepts: a number that is not finite becomes null."""

from __future__ import annotations

import json
import math


def finite(value: object) -> object:
    """``value`` with each NaN and infinity, however deep inside, replaced by None; tuples become lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def finite_json(value: object) -> str:
    """One line of JSON in ASCII; JSON itself escapes control characters in untrusted names."""
    return json.dumps(finite(value), allow_nan=False)
