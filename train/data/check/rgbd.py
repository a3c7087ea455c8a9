"""Is an RGB-D folder fit to train and evaluate with? Every file is opened; nothing found is an exception."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from mutualformer.runtime.data.folder import (
    DEPTH_NAMES,
    MASK_NAMES,
    RGB_NAMES,
    SUFFIXES,
    find_folder,
    read_image,
    read_mask,
    read_raw_depth,
    read_rgb,
    stem_of,
)
from mutualformer.runtime.data.item import DataError
from mutualformer.runtime.data.polarity import Evidence
from mutualformer.runtime.progress import progress
from mutualformer.train.data.check.findings import MUST, SHOULD, Finding, Fingerprint, fingerprint, grouped

GREY_SHARE = 0.01  # of a mask's pixels neither black nor white: JPEG's edges stay below


def _listed(folder: Path, findings: list[Finding]) -> dict[str, Path]:
    """Stem → file; files that share a stem become a finding."""
    files: dict[str, Path] = {}
    twice = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            if files.setdefault(stem_of(path), path) is not path:
                twice.append(f"{path.name} beside {files[stem_of(path)].name}")
    findings += grouped(MUST, "names", twice, f"two files for one frame in {folder}", "keep one of them")
    return files


class _Frames:
    """Checks frame after frame and remembers what was wrong with which."""

    def __init__(self) -> None:
        self.wrong: dict[str, list[str]] = {}
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.bits: Counter[int] = Counter()
        self.evidence = Evidence()
        self.prints: list[Fingerprint] = []

    def note(self, kind: str, name: str) -> None:
        self.wrong.setdefault(kind, []).append(name)

    def _read(self, reader: Any, path: Path) -> Any:
        try:
            return reader(path)
        except (DataError, OSError, ValueError) as error:
            self.note("unreadable", str(error))
        except Exception as error:  # a decoder may raise whatever it likes on garbage: still a finding
            self.note("unreadable", f"{path}: {type(error).__name__}: {error}")
        return None

    def add(self, place: str, rgb_path: Path, depth_path: Path | None, mask_path: Path | None) -> None:
        """Open the files of one frame."""
        rgb = self._read(read_rgb, rgb_path)
        depth = self._read(read_raw_depth, depth_path) if depth_path else None
        mask = self._read(read_mask, mask_path) if mask_path else None
        if rgb is None:
            return
        self.sizes[rgb.shape[:2]] += 1
        self.prints.append(fingerprint(rgb_path, place, rgb))
        for path, image in ((depth_path, depth), (mask_path, mask)):
            if path is not None and image is not None and image.shape != rgb.shape[:2]:
                self.note("size", f"{path} is {image.shape[1]}×{image.shape[0]}, {rgb.shape[1]}×{rgb.shape[0]} wanted")
        if depth is not None:
            self.bits[8 * depth.dtype.itemsize] += 1
            if depth.min() == depth.max():
                self.note("flat", str(depth_path))
            fits = mask is not None and mask.shape == depth.shape
            self.evidence.add(depth, mask if fits else None)
        if mask is not None and mask_path is not None:
            share = float((mask > 0).mean())
            if share in (0.0, 1.0):
                self.note("empty" if share == 0 else "full", str(mask_path))
            grey = self._read(lambda path: read_image(path, 0), mask_path)
            if grey is not None and float(((grey > 16) & (grey < 239)).mean()) > GREY_SHARE:
                self.note("grey", str(mask_path))


PROBLEMS = {
    "unreadable": (MUST, "cannot be used", "replace the file or remove the frame"),
    "size": (MUST, "another size than its colour picture", "resize it, or find the right file"),
    "flat": (SHOULD, "depth is the same everywhere", "remove the frame if the sensor failed"),
    "empty": (SHOULD, "the mask is empty", "remove the frame: metrics are not defined without an object"),
    "full": (SHOULD, "the mask is full", "remove the frame if it is not what is meant"),
    "grey": (SHOULD, "the mask is not black and white", "binarise it; the loader cuts at half"),
}


def check_rgbd(folder: Path, label: str) -> tuple[dict[str, Any], list[Finding], list[Fingerprint]]:
    """Facts, findings and fingerprints of one folder; ``label`` names it in what is said."""
    findings: list[Finding] = []
    places = [find_folder(folder, names) for names in (RGB_NAMES, DEPTH_NAMES, MASK_NAMES)]
    rgb, depth, mask = (_listed(place, findings) if place is not None else {} for place in places)
    for place, files, what in zip(places[1:], (depth, mask), ("depth", "mask"), strict=True):
        if place is None:
            level = MUST if what == "depth" else SHOULD
            findings.append(Finding(level, "folder", f"{folder}: no {what} folder", f"name it {what}/"))
            continue
        lacking = [str(path) for name, path in rgb.items() if name not in files]
        findings += grouped(MUST, "partner", lacking, f"no {what} of the same name", "add it or remove the picture")
        alone = [str(path) for name, path in files.items() if name not in rgb]
        findings += grouped(SHOULD, "partner", alone, "no colour picture of the same name", "add it or remove the file")
    if not rgb:
        findings.append(Finding(MUST, "folder", f"{folder}: no colour picture", "expected .jpg, .png, .bmp or .tif"))
    frames = _Frames()
    for name in progress(sorted(rgb), f"checking {label}"):
        frames.add(label, rgb[name], depth.get(name), mask.get(name))
    for kind, names in frames.wrong.items():
        findings += grouped(PROBLEMS[kind][0], kind, names, *PROBLEMS[kind][1:])
    findings += _depth_findings(folder, frames)
    sizes = [f"{w}×{h}" for (h, w), _ in frames.sizes.most_common(3)]
    facts = {
        "kind": "rgbd",
        "pairs": len(rgb.keys() & depth.keys()),
        "masks": len(rgb.keys() & mask.keys()),
        "sizes": {"different": len(frames.sizes), "most": sizes},
        "depth_bits": dict(sorted((str(bits), count) for bits, count in frames.bits.items())),
        "polarity": frames.evidence.polarity or "unsure",
        "polarity_evidence": str(frames.evidence),
    }
    return facts, findings, frames.prints


def _depth_findings(folder: Path, frames: _Frames) -> list[Finding]:
    """Bit depth and polarity, as the loader would take them."""
    found: list[Finding] = []
    polarity, told = frames.evidence.polarity, str(frames.evidence)
    if len(frames.bits) > 1:
        kinds = ", ".join(f"{count} of {bits} bit" for bits, count in sorted(frames.bits.items()))
        found.append(Finding(MUST, "bits", f"{folder}: depth is {kinds}", "convert all to one kind", len(frames.bits)))
    elif frames.bits and 16 in frames.bits:
        if polarity == "near_bright":
            remedy = "16-bit depth is read as millimetres from the camera; store it so"
            found.append(Finding(MUST, "polarity", f"{folder}: 16-bit depth grows towards the camera ({told})", remedy))
    elif frames.bits and not polarity:
        remedy = "look at some and append ?polarity=near_bright or near_dark to DATA"
        found.append(Finding(SHOULD, "polarity", f"{folder}: near bright or dark is unsure ({told})", remedy))
    elif polarity == "near_dark":
        remedy = "append ?polarity=near_dark to DATA"
        found.append(Finding(SHOULD, "polarity", f"{folder}: near is dark ({told})", remedy))
    return found
