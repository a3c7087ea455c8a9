"""A card's hash, kept in the card itself: it detects any altered value, however the JSON is formatted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mutualformer.plugins import record
from mutualformer.plugins.files import plain

SEAL = "card_sha256"


def seal_of(data: Mapping[str, Any], key: str = SEAL) -> str:
    """sha256 of everything in ``data`` but the seal itself, keys in order."""
    return record.seal(data, key)


def sealed(data: Mapping[str, Any], key: str = SEAL) -> dict[str, Any]:
    """``data`` in plain JSON types with its seal."""
    content = plain({name: value for name, value in data.items() if name != key})
    return {**content, key: seal_of(content, key)}
