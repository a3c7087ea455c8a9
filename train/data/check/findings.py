"""The findings of a check of a dataset: one line each, with what to do about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.extras import install
from mutualformer.runtime.sources.folders.survey import MUST, SHOULD
from mutualformer.runtime.sources.pictures import read_bytes

# Two files hold the same picture, re-encoded or resized, where at most NEAR_BITS of the BITS of their perceptual hashes
# differ, and their 16 × 16 thumbnails by at most NEAR_GREY of 255 grey levels on average.
BITS, NEAR_BITS, NEAR_GREY = 64, 4, 6.0
MOST_PARTNERS = 400  # looked at of one picture: a folder of flat pictures must not take hours


class Finding(NamedTuple):
    """``level``: "fix" or "look"; ``count``: how many files it is about, the first of which ``what`` names."""

    level: str
    kind: str
    what: str
    remedy: str
    count: int = 1  # type: ignore[assignment]  # hides tuple.count

    def line(self) -> str:
        """``fix: WHAT: REMEDY``, for people."""
        return f"{self.level}: {self.what}: {self.remedy}"


def grouped(level: str, kind: str, names: Sequence[str], problem: str, remedy: str) -> list[Finding]:
    """One finding for all files with the same problem, naming the first; none for no files."""
    if not names:
        return []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return [Finding(level, kind, f"{names[0]}{more}: {problem}", remedy, len(names))]


@dataclass(frozen=True)
class Fingerprint:
    """One picture: sha256 of its file, 64-bit perceptual hash as ±1, 16 × 16 grey thumbnail.

    ``bits`` is None where the package imagehash is not installed.
    """

    name: str
    place: str
    content: str
    bits: NDArray[np.float32] | None
    small: NDArray[np.float32]


def fingerprint(path: Path, place: str, image: NDArray[np.uint8]) -> Fingerprint:
    """``image``: the decoded picture (H, W, 3); ``place``: which split or folder it is of."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    bits = _perceptual_hash(grey)
    small = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
    return Fingerprint(path.name, place, hashlib.sha256(read_bytes(path)).hexdigest(), bits, small)


def _perceptual_hash(grey: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    try:
        import imagehash
        from PIL import Image
    except ImportError:
        return None
    # imagehash scales with Pillow; handing it a small picture already averaged keeps that quick for large photographs.
    side = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_AREA)
    return np.where(imagehash.phash(Image.fromarray(side)).hash.ravel(), np.float32(1), np.float32(-1))


def _alike(prints: Sequence[Fingerprint]) -> Iterator[tuple[Fingerprint, Fingerprint]]:
    """Pairs of different files whose hashes and thumbnails nearly agree."""
    hashed = [one for one in prints if one.bits is not None]
    signs = np.array([one.bits for one in hashed])
    for index, one in enumerate(hashed):
        near = np.flatnonzero(signs[index + 1 :] @ signs[index] >= BITS - 2 * NEAR_BITS)
        for other in (hashed[index + 1 + int(at)] for at in near[:MOST_PARTNERS]):
            if one.content != other.content and float(np.abs(one.small - other.small).mean()) <= NEAR_GREY:
                yield one, other


def duplicates(
    prints: Sequence[Fingerprint], near: bool = True, shared: Callable[[str, str], bool] = lambda *_: False
) -> list[Finding]:
    """Equal and, with ``near``, nearly equal pictures: between places must be fixed, within one be looked at.

    ``shared``: whether two places may hold the same pictures (query and gallery of one ReID set).
    """
    equal: dict[tuple[str, str], list[str]] = {}
    alike: dict[tuple[str, str], list[str]] = {}
    first_of: dict[str, Fingerprint] = {}
    for one in prints:
        before = first_of.setdefault(one.content, one)
        if before is not one:
            equal.setdefault((before.place, one.place), []).append(f"{before.name} = {one.name}")
    for a, b in _alike(prints) if near else ():
        alike.setdefault((a.place, b.place), []).append(f"{a.name} ≈ {b.name}")
    findings: list[Finding] = []
    if near and any(one.bits is None for one in prints):
        what = "pictures that are nearly equal were not looked for: the Python package imagehash is missing"
        findings.append(Finding(SHOULD, "near-duplicate", what, install("train"), len(prints)))
    for kind, pairs in (("duplicate", equal), ("near-duplicate", alike)):
        for (here, there), names in pairs.items():
            if shared(here, there):
                continue
            where = f"in {here}" if here == there else f"in {here} and {there}"
            level = SHOULD if here == there else MUST
            remedy = "remove one of each pair" if here == there else "a split must not hold what another one has"
            findings += grouped(level, kind, names, f"{kind} pictures {where}", remedy)
    return findings
