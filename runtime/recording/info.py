"""What a recording says about itself: written three times over, sealed, and read from whichever copy is whole.

It stands in MCAP's metadata for tools, as the first message of every part (inside a chunk with a checksum, where
tools that copy messages keep it), and its ``depth_scale`` with every frame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mutualformer.runtime.sources.frame import Intrinsics
from mutualformer.runtime.untrusted.seal import seal_of
from mutualformer.runtime.untrusted.typed_json import Fields, parse_json

NAME = "mutualformer"
FORMAT_VERSION = "1"
SEAL = "sha256"


class InfoError(ValueError):
    """A recording's description is damaged, or of a format this program does not know."""


@dataclass(frozen=True)
class RecordingInfo:
    """``depth_scale``: metres per unit of the camera, None for float depth. ``recording``: one id for all parts."""

    source: str
    model: str
    depth_scale: float | None
    intrinsics: Intrinsics | None
    recording: str = ""

    def to_metadata(self) -> dict[str, str]:
        """Strings for MCAP's metadata record, the last of them a seal over the others."""
        lens = self.intrinsics.to_json() if self.intrinsics is not None else None
        values = {
            "format": FORMAT_VERSION,
            "source": _printable(self.source),
            "model": _printable(self.model),
            "depth_scale": json.dumps(self.depth_scale),
            "intrinsics": json.dumps(lens),
            "recording": self.recording,
        }
        return {**values, SEAL: seal_of(values, SEAL)}

    @classmethod
    def from_metadata(cls, values: Mapping[str, Any], where: str) -> RecordingInfo:
        """Of :meth:`to_metadata`; recordings of earlier versions have no seal. Raises InfoError."""
        fields = Fields(values, where, InfoError)
        version = fields.text("format")
        if version != FORMAT_VERSION:
            raise InfoError(f"{where}: recording format is {version!r}, this program reads format {FORMAT_VERSION!r}")
        if SEAL in values and values[SEAL] != seal_of(values, SEAL):
            raise InfoError(f"{where}: its seal does not fit, it was changed or damaged")
        scale = parse_json(fields.text("depth_scale"), f"{where}, depth_scale", InfoError)
        lens = parse_json(fields.text("intrinsics"), f"{where}, intrinsics", InfoError)
        try:
            intrinsics = None if lens is None else Intrinsics.from_json(lens)
        except ValueError as error:
            raise InfoError(f"{where}: {error}") from error
        return cls(
            source=fields.text("source", ""),
            model=fields.text("model", "none"),
            depth_scale=None if scale is None else checked_scale(scale, where),
            intrinsics=intrinsics,
            recording=fields.text("recording", ""),
        )


def checked_scale(value: Any, where: str) -> float:
    """Metres per unit: a number above 0, at most 1. Raises InfoError."""
    return Fields({"depth_scale": value}, where, InfoError).number("depth_scale", 1e-9, 1.0)


def _printable(text: str) -> str:
    """Names of files need not be UTF-8; MCAP's strings must be."""
    return text.encode("utf-8", "backslashreplace").decode()
