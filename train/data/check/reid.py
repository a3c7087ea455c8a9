"""Is a ReID folder fit to train and evaluate with? Opens every picture of both splits, and compares who is in them."""

from __future__ import annotations

from pathlib import Path

from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.folders.reid_folder import SPLITS, find_root
from mutualformer.runtime.sources.folders.survey import MUST, SHOULD, Remark
from mutualformer.runtime.sources.frame import DataError
from mutualformer.train.data.check.findings import Report

# Split → the parts that it is made of.
_PARTS = {"train": ("train",), "test": ("query", "gallery")}


def check_reid(folder: Path, report: Report) -> None:
    """Add sentences and findings of one set to ``report``."""
    unreadable = list[str]()
    who: dict[str, set[int]] = {}
    for split, parts in _PARTS.items():
        places = [find_root(folder) / SPLITS[part] for part in parts]
        if absent := [str(place) for place in places if not place.is_dir()]:
            report.add(SHOULD, "folder", absent, "no such folder", f"it is needed for the {split} split")
            continue
        try:
            data = opening.identities(str(folder), split=split)
        except DataError as error:
            what = f"nothing of the {split} split can be used until then"
            report.findings.append(Remark(MUST, "files", str(error), what))
            continue
        who[split] = set(data.identities.tolist())
        shown = f"{len(who[split])} identities by {len(set(data.cameras.tolist()))} cameras"
        report.lines.append(f"{folder}, {split}: {len(data)} pictures of {shown}.")
        for index in progress(range(len(data)), f"checking {folder}"):
            try:
                data[index]
            except (DataError, OSError, ValueError) as error:
                unreadable.append(str(error))
    report.add(MUST, "unreadable", unreadable, "cannot be used", "replace the file or remove it")
    both = [f"identity {identity}" for identity in sorted(who.get("train", set()) & who.get("test", set()))]
    report.add(MUST, "leak", both, "is in training and in test", "move it to one of them")
