"""Which frames of an evaluation the model was trained on: prints of both, compared.

The print of a picture is forty bits of its file's hash: it recognises a copy under another name, and a card of 7,000
frames stays small. A rendered scene's print is a hash of its seed and number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from mutualformer.runtime.card import parents
from mutualformer.runtime.sources.pictures import read_bytes

_LENGTH = 10  # hexadecimal digits
MOST_FRAMES = 20_000  # of larger sets no prints are kept: the card travels in every file that is exported


def prints(frames: Any) -> str:
    """The prints of ``frames`` in a row; "" for frames without such prints, or too many of them.

    Attributes tell the kinds of frames apart: pictures have ``files``, scenes a ``seed``, and sets made of other sets
    ``frames`` and ``indices``, ``parts`` or ``scenes``.
    """
    if len(frames) > MOST_FRAMES:
        return ""
    return "".join(hashlib.sha256(one).hexdigest()[:_LENGTH] for one in _contents(frames))


def _contents(frames: Any) -> Iterator[bytes]:
    if hasattr(frames, "indices"):
        whole = list(_contents(frames.frames))
        yield from (whole[index] for index in frames.indices if whole)
    elif hasattr(frames, "parts"):
        for _, inner in frames.parts:
            yield from _contents(inner)
    elif hasattr(frames, "scenes"):
        yield from _contents(frames.scenes)
    elif hasattr(frames, "seed"):
        yield from (f"{frames.KIND} {frames.VERSION} {frames.seed} {index}".encode() for index in range(len(frames)))
    elif hasattr(frames, "files"):
        yield from (read_bytes(frames.files(index)[0]) for index in range(len(frames)))


def trained_on(card: Mapping[str, Any], frames: Any) -> int:
    """How many of ``frames`` the model of ``card``, or one that it was made of, was trained on, as far as is known."""
    known = {one for made in (card, *parents(card)) for one in _split(str(made.get("prints", "")))}
    return sum(one in known for one in _split(prints(frames))) if known else 0


def _split(text: str) -> list[str]:
    return [text[at : at + _LENGTH] for at in range(0, len(text), _LENGTH)]
