"""Options in a source address (``?seed=3&fps=15``): typed by a dataclass per source; unknown keys are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.describe import MAX_PIXELS
from mutualformer.runtime.sources.frame import DataError

T = TypeVar("T")

SIZE = re.compile(r"(?P<width>[0-9]{1,5})x(?P<height>[0-9]{1,5})", re.IGNORECASE)
NOUNS = {int: "a whole number", float: "a number", bool: "1 or 0", str: "text"}
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def _convert(kind: type, text: Any) -> Any:
    if kind is bool and isinstance(text, str):
        return {**dict.fromkeys(TRUE, True), **dict.fromkeys(FALSE, False)}[text.lower()]
    return kind(text)


def _renamed(key: str, text: Any) -> str:
    """The new spelling of ``scale``, which version 0.1 counted in units per metre; "" for other options."""
    try:
        return f"; write depth_scale={1 / float(text):g}" if key == "scale" else ""
    except (ValueError, ZeroDivisionError):
        return ""


def parse(cls: type[T], query: Mapping[str, Any], source: str) -> T:
    """Build the options dataclass ``cls``; each value takes the type of that field's default. Raises CameraError."""
    defaults = {f.name: f.default for f in fields(cls) if f.default is not MISSING}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, text in query.items():
        if key not in defaults:
            accepted = ", ".join(sorted(defaults)) or "none"
            raise CameraError(f"source {source!r} has no option {key!r}; it accepts: {accepted}{_renamed(key, text)}")
        kind = type(defaults[key])
        try:
            values[key] = _convert(kind, text)
        except (KeyError, TypeError, ValueError):
            raise CameraError(f"option {key}={text!r} of {source!r} is not {NOUNS[kind]}") from None
    try:
        return cls(**values)
    except DataError as error:
        raise CameraError(f"{source}: {error}") from None


def size(text: str, source: str) -> tuple[int, int]:
    """``640x480`` → (height, width) = (480, 640). Raises CameraError."""
    match = SIZE.fullmatch(text)
    width, height = (int(match["width"]), int(match["height"])) if match else (0, 0)
    if not 0 < width * height <= MAX_PIXELS:
        raise CameraError(f"size={text!r} of {source!r} is not WIDTHxHEIGHT, for example 640x480")
    return height, width
