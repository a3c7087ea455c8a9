"""What a source's child process and its parent say to each other: a tag, facts in JSON, arrays as they are."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.describe import MAX_PIXELS

MOST_HEADER = 1 << 20
# tag, bytes of JSON; then the arrays the JSON names
LEAD = struct.Struct("<4sI")
ARRAYS: dict[str, tuple[type[np.generic], int]] = {"rgb": (np.uint8, 3), "depth": (np.float32, 1), "nir": (np.uint8, 3)}


def send(stream: IO[bytes], tag: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """One message; ``arrays`` named as in :data:`ARRAYS`. Depth that was never measured travels as its shape alone."""
    shapes = {name: array.shape for name, array in arrays.items()}
    empty = [name for name, array in arrays.items() if not array.any()]
    head = json.dumps({**facts, "shapes": shapes, "empty": empty}).encode()
    stream.write(LEAD.pack(tag.encode(), len(head)) + head)
    for name, array in arrays.items():
        if name not in empty:
            stream.write(np.ascontiguousarray(array).data.cast("B"))
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[str, dict[str, Any]] | None:
    """The next message with its arrays among the facts; None at the end. Raises ValueError where it makes no sense."""
    lead = _exactly(stream, LEAD.size)
    if lead is None:
        return None
    tag, length = LEAD.unpack(lead)
    head = _exactly(stream, length) if length <= MOST_HEADER else None
    if head is None:
        raise ValueError("broke off in the middle")
    facts: dict[str, Any] = json.loads(head)
    empty = facts.pop("empty")
    for name, shape in facts.pop("shapes").items():
        dtype, channels = ARRAYS[name]
        if math.prod(shape[:2]) > MAX_PIXELS or (channels == 3) != (len(shape) == 3):
            raise ValueError(f"sent {name} of {shape}")
        array = np.zeros(shape, dtype)
        if name not in empty and not _fill(stream, array.data.cast("B")):
            raise ValueError("broke off in the middle of a frame")
        facts[name] = array
    return tag.decode(), facts


def _exactly(stream: IO[bytes], size: int) -> bytes | None:
    data = stream.read(size)
    return data if len(data) == size else None


def _fill(stream: IO[bytes], target: memoryview) -> bool:
    at = 0
    while at < len(target):
        count = stream.readinto(target[at:])  # type: ignore[attr-defined]
        if not count:
            return False
        at += count
    return True
