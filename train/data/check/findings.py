"""What a check of a dataset finds: one line each, with what to do about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.extras import install
from mutualformer.runtime.sources.folders.survey import MUST, SHOULD

NEAR_BITS = 4  # of 64: perceptual hashes at most so far apart are the same picture, re-encoded or resized
NEAR_GREY = 6.0  # and their 16 × 16 thumbnails at most so many of 255 grey levels apart on average


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
    """Of one picture: ``content`` of the file's bytes, ``bits`` 64-bit perceptual hash, ``small`` 16 × 16 grey.

    ``bits`` is None where the package imagehash is not installed.
    """

    name: str
    place: str
    content: str
    bits: int | None
    small: NDArray[np.float32]


def fingerprint(path: Path, place: str, image: NDArray[np.uint8]) -> Fingerprint:
    """``image``: the decoded picture (H, W, 3); ``place``: which split or folder it is of."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    bits = _perceptual_hash(grey)
    small = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
    return Fingerprint(path.name, place, hashlib.sha256(path.read_bytes()).hexdigest(), bits, small)


def _perceptual_hash(grey: NDArray[np.uint8]) -> int | None:
    try:
        import imagehash
        from PIL import Image
    except ImportError:
        return None
    # imagehash scales with Pillow; handing it a small picture already averaged keeps that quick for large photographs.
    side = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_AREA)
    return int(str(imagehash.phash(Image.fromarray(side))), 16)


def _candidates(prints: Sequence[Fingerprint]) -> Iterable[tuple[int, int]]:
    """Pairs whose hashes share one of five bands: with at most four bits changed one band is untouched."""
    yielded: set[tuple[int, int]] = set()
    for band in range(NEAR_BITS + 1):
        low = 64 * band // (NEAR_BITS + 1)
        width = 64 * (band + 1) // (NEAR_BITS + 1) - low
        buckets: dict[int, list[int]] = {}
        for index, one in enumerate(prints):
            if one.bits is not None:
                buckets.setdefault(one.bits >> low & ((1 << width) - 1), []).append(index)
        for bucket in buckets.values():
            for position, first in enumerate(bucket[:400]):  # a bucket of flat pictures is no reason to take hours
                for second in bucket[position + 1 : 400]:
                    if (first, second) not in yielded:
                        yielded.add((first, second))
                        yield first, second


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
    for i, j in _candidates(prints) if near else ():
        a, b = prints[i], prints[j]
        assert a.bits is not None, "candidates have hashes"
        assert b.bits is not None, "candidates have hashes"
        if a.content != b.content and (a.bits ^ b.bits).bit_count() <= NEAR_BITS:
            if float(np.abs(a.small - b.small).mean()) <= NEAR_GREY:
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


def as_json(facts: Mapping[str, Any], findings: Sequence[Finding]) -> dict[str, Any]:
    """Everything in plain JSON types; ``ok``: nothing must be fixed."""
    return {
        "ok": not any(finding.level == MUST for finding in findings),
        "folders": dict(facts),
        "findings": [finding._asdict() for finding in findings],
    }
