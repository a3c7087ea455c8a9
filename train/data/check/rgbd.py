"""Is an RGB-D folder fit to train and evaluate with? Opens every file; problems become findings, never exceptions."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

from mutualformer.runtime.prediction import sheet
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.depth import read_stored_depth
from mutualformer.runtime.sources.folders.file_frames import turned
from mutualformer.runtime.sources.folders.survey import MUST, SHOULD, Remark, Survey
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.masks import Mask, read_mask
from mutualformer.runtime.sources.names import DEPTH_NAMES, MASK_NAMES, RGB_NAMES, find_folder, frames_in
from mutualformer.runtime.sources.pictures import COLOUR_SUFFIXES, DEPTH_SUFFIXES, read_colour
from mutualformer.runtime.sources.playing import collected
from mutualformer.train.data.check.findings import Report
from mutualformer.train.data.check.telling import strip, told


def _listed(folder: Path, suffixes: tuple[str, ...], report: Report) -> dict[str, Path]:
    """Frame → file; files that share a frame, and files of unread kinds, become findings."""
    try:
        listing = frames_in(folder, suffixes)
    except DataError as error:
        report.findings.append(Remark(MUST, "folder", str(error), "check its permissions"))
        return {}
    twice = [f"{out.name} beside {kept.name}" for out, kept in listing.twice]
    report.add(MUST, "names", twice, f"two files for one frame in {folder}", "keep one of them")
    odd = [str(path) for path in listing.other]
    report.add(SHOULD, "kind", odd, "files of a kind that is not read", f"make them {', '.join(suffixes[:3])}")
    return listing.files


class _Frames:
    """Checks frame after frame and keeps the names of the frames with each problem."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.wrong: dict[str, list[str]] = {}
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.survey = Survey()

    def note(self, kind: str, name: str) -> None:
        self.wrong.setdefault(kind, []).append(name)

    def _read(self, reader: Any, path: Path | None) -> Any:
        """What ``reader(path)`` returns; None where there is no file, or an unreadable one, which is noted."""
        if path is None:
            return None
        try:
            return reader(path)
        except (OSError, ValueError) as error:
            self.note("unreadable", str(error))
        except Exception as error:  # on corrupt files a decoder may raise any class; that is a finding too
            self.note("unreadable", f"{path}: {type(error).__name__}: {error}")
        return None

    def add(self, place: str, rgb_path: Path, depth_path: Path | None, mask_path: Path | None, draw: bool) -> None:
        """Open the files of one frame. ``draw``: keep its strip for the contact sheet."""
        rgb = self._read(read_colour, rgb_path)
        depth = self._read(read_stored_depth, depth_path)
        mask: Mask | None = self._read(read_mask, mask_path)
        if rgb is None:
            return
        self.sizes[rgb.shape[:2]] += 1
        if draw and self.report.strips is not None:
            self.report.strips.append((rgb_path.stem, strip(rgb, mask, depth)))
        self.report.print_of(rgb_path, place)
        self.survey.turned += turned([path for path in (rgb_path, depth_path, mask_path) if path is not None])
        sizes = [(depth_path, depth.shape if depth is not None else None)]
        sizes.append((mask_path, mask.pixels.shape if mask is not None else None))
        for path, size in sizes:
            if size is not None and size != rgb.shape[:2]:
                self.note("size", f"{path} is {size[1]}×{size[0]}, {rgb.shape[1]}×{rgb.shape[0]} wanted")
        self.survey.add(depth, mask, rgb_path.name)
        if depth is not None and depth.min() == depth.max():
            self.note("flat", str(depth_path))
        if mask is not None and mask.covered == 1:
            self.note("full", str(mask_path))


WITHOUT = {
    "depth": "name it depth/ if there is one; RGB sets have none",
    "mask": "name it GT/; without it nothing trains or is scored",
}
PROBLEMS = {
    "unreadable": (MUST, "cannot be used", "replace the file or remove the frame"),
    "size": (MUST, "another size than its colour picture", "resize it, or find the right file"),
    "flat": (SHOULD, "depth is the same everywhere", "remove the frame if the sensor failed"),
    "full": (SHOULD, "the mask is full", "remove the frame if it is not what is meant"),
}


def check_rgbd(folder: Path, report: Report) -> None:
    """Add sentences, findings and prints of one folder to ``report``."""
    places = [find_folder(folder, names) for names in (RGB_NAMES, DEPTH_NAMES, MASK_NAMES)]
    rgb, depth, mask = (
        _listed(place, suffixes, report) if place is not None else {}
        for place, suffixes in zip(places, (COLOUR_SUFFIXES, DEPTH_SUFFIXES, COLOUR_SUFFIXES), strict=True)
    )
    for place, files, what in zip(places[1:], (depth, mask), ("depth", "mask"), strict=True):
        if place is None:
            report.add(SHOULD, "folder", [str(folder)], f"no {what} folder", WITHOUT[what])
            continue
        lacking = [str(path) for name, path in rgb.items() if name not in files]
        report.add(MUST, "partner", lacking, f"no {what} of the same name", "add it or remove the picture")
        alone = [str(path) for name, path in files.items() if name not in rgb]
        report.add(SHOULD, "partner", alone, "no colour picture of the same name", "add it or remove the file")
    if not rgb:
        report.add(MUST, "folder", [str(folder)], "no colour picture", f"expected {', '.join(COLOUR_SUFFIXES)}")
    frames = _Frames(report)
    with contextlib.suppress(DataError), collected():  # the rule by which all others read this folder's depth
        frames.survey.rule = getattr(opening.frames(str(folder)), "rule", frames.survey.rule)
    step = sheet.every(len(rgb))
    for index, name in enumerate(progress(list(rgb), f"checking {folder}")):
        frames.add(str(folder), rgb[name], depth.get(name), mask.get(name), index % step == 0)
    for kind, names in frames.wrong.items():
        report.add(PROBLEMS[kind][0], kind, names, *PROBLEMS[kind][1:])
    survey = frames.survey
    report.findings += [r._replace(what=f"{folder}: {r.what}") for r in survey.remarks()]
    counts = len(rgb), len(rgb.keys() & depth.keys()), len(rgb.keys() & mask.keys())
    report.lines += told(str(folder), *counts, frames.sizes, survey)


def check_frames(address: str, report: Report) -> None:
    """Add sentences and findings of the frames of any other address, which need no folders of a data set: photographs,
    TUM folders, recordings, videos. Raises DataError where it holds none."""
    with collected() as notes:
        frames = opening.frames(address)
    survey = getattr(frames, "survey", None) or Survey()
    sizes: Counter[tuple[int, int]] = Counter()
    pairs, masks, unreadable = 0, 0, list[str]()
    for index in progress(range(len(frames)), f"checking {address}"):
        try:
            item = frames[index]
        except DataError as error:
            unreadable.append(str(error))
            continue
        sizes[item.rgb.shape[:2]] += 1
        pairs, masks = pairs + bool(item.depth.any()), masks + (item.mask is not None)
        if item.depth.any() and not hasattr(frames, "survey"):
            survey.add(item.depth, None, item.name)  # in metres: the unit was the source's to know
    remarks = survey.remarks()
    report.findings += [one._replace(what=f"{address}: {one.what}") for one in remarks]
    report.findings += [
        Remark(SHOULD, "note", one, "see docs/data.md") for one in notes if not any(r.what in one for r in remarks)
    ]
    report.add(PROBLEMS["unreadable"][0], "unreadable", unreadable, *PROBLEMS["unreadable"][1:])
    if not masks:
        report.add(SHOULD, "folder", [address], "no frame has a mask", WITHOUT["mask"])
    report.lines += told(address, len(frames), pairs, masks, sizes, survey)
