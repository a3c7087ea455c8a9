"""A recording's description of itself, with a hash over its content.

It is written into MCAP's metadata, where tools look for it, and with every frame, where tools that copy messages keep
it; a reader takes whichever copy is valid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mutualformer.errors import DataError
from mutualformer.runtime.sources.frame import Intrinsics
from mutualformer.runtime.untrusted.seal import seal_of
from mutualformer.runtime.untrusted.typed_json import Fields, parse_json

NAME = "mutualformer"
FORMAT_VERSION = "1"
SEAL = "sha256"


class InfoError(DataError):
    """A recording's description is corrupt, or of a format this program does not know."""


@dataclass(frozen=True)
class RecordingInfo:
    """``depth_scale``: metres per unit of the camera, None for float depth. ``recording``: one id for all parts."""

    source: str
    model: str
    depth_scale: float | None
    intrinsics: Intrinsics | None
    recording: str = ""

    def to_metadata(self) -> dict[str, str]:
        """Strings for MCAP's metadata record; the last one is a hash over the others."""
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
        """Inverse of :meth:`to_metadata`; recordings of earlier versions have no hash. Raises InfoError."""
        fields = Fields(values, where, InfoError)
        version = fields.text("format")
        if version != FORMAT_VERSION:
            raise InfoError(f"{where}: recording format is {version!r}, this program reads format {FORMAT_VERSION!r}")
        if SEAL in values and values[SEAL] != seal_of(values, SEAL):
            raise InfoError(f"{where}: its hash does not match, it was changed or is corrupt")
        keys = ("depth_scale", "intrinsics")
        inner = Fields(
            {key: parse_json(fields.text(key), f"{where}, {key}", InfoError) for key in keys}, where, InfoError
        )
        try:
            intrinsics = None if inner["intrinsics"] is None else Intrinsics.from_json(inner["intrinsics"])
        except ValueError as error:
            raise InfoError(f"{where}: {error}") from error
        return cls(
            source=fields.text("source", ""),
            model=fields.text("model", "none"),
            depth_scale=None if inner["depth_scale"] is None else inner.number("depth_scale", 1e-9, 1.0),
            intrinsics=intrinsics,
            recording=fields.text("recording", ""),
        )


def _printable(text: str) -> str:
    """``text`` with invalid bytes escaped: names of files need not be UTF-8, MCAP's strings must be."""
    return text.encode("utf-8", "backslashreplace").decode()
