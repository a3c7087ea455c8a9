"""Is a ReID folder fit to train and evaluate with? Names, identities across splits, cameras, answers to queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.sources.folders.reid_folder import SPLITS, count_spectra, find_root, list_part, read_spectra
from mutualformer.runtime.sources.folders.survey import MUST, SHOULD, Remark
from mutualformer.runtime.sources.frame import DataError
from mutualformer.train.data.check.findings import Fingerprint, fingerprint, grouped

Entry = tuple[Path, int, int]  # file, identity, camera


def _entries(folder: Path, findings: list[Remark]) -> list[Entry]:
    try:
        entries, odd, listing = list_part(folder)
    except DataError as error:
        findings.append(Remark(MUST, "folder", str(error), "check its permissions"))
        return []
    names = [str(path) for path in odd]
    findings += grouped(MUST, "names", names, "the name does not hold identity and camera", "rename it 0001_c2_….jpg")
    if not listing.files:
        findings.append(Remark(MUST, "folder", f"{folder}: holds no picture", "expected files like 0001_c2_….jpg"))
    return entries


def query_in_gallery(here: str, there: str) -> bool:
    """Whether two places are query and gallery of one set: protocols such as RGBNT201's ask with pictures of the
    gallery; answers by their own camera do not count."""
    (one, part), (other, other_part) = here.rsplit("/", 1), there.rsplit("/", 1)
    return one == other and {part, other_part} == {"query", "gallery"}


def check_reid(folder: Path, label: str) -> tuple[dict[str, Any], list[Remark], list[Fingerprint]]:
    """Facts, findings and fingerprints of one set; ``label`` names it in the findings."""
    root, findings = find_root(folder), []  # type: tuple[Path, list[Remark]]
    parts: dict[str, list[Entry]] = {}
    for part, name in SPLITS.items():
        if (root / name).is_dir():
            parts[part] = _entries(root / name, findings)
        else:
            remedy = "training needs bounding_box_train, evaluation query and bounding_box_test"
            findings.append(Remark(SHOULD, "folder", f"{root / name}: no such folder", remedy))
    everything = [(part, entry) for part, entries in parts.items() for entry in entries]
    prints, unreadable = [], []
    count = _spectra(root, everything, findings)
    for part, (path, *_) in progress(everything, f"checking {label}"):
        try:
            read_spectra(path, count)
            prints.append(fingerprint(path, f"{label}/{part}"))
        except (DataError, OSError, ValueError) as error:
            unreadable.append(str(error))
    findings += grouped(MUST, "unreadable", unreadable, "cannot be used", "replace the file or remove it")
    findings += _protocol(parts)
    facts: dict[str, Any] = {"kind": "reid"}
    for part, entries in parts.items():
        facts[part] = {
            "pictures": len(entries),
            "identities": len({identity for _, identity, _ in entries}),
            "cameras": len({camera for *_, camera in entries}),
        }
    return facts, findings, prints


def _seen_by(entries: Sequence[Entry]) -> dict[int, set[int]]:
    """Identity → cameras that see it."""
    cameras: dict[int, set[int]] = {}
    for _, identity, camera in entries:
        cameras.setdefault(identity, set()).add(camera)
    return cameras


def _spectra(root: Path, everything: list[tuple[str, Entry]], findings: list[Remark]) -> int:
    """How many pictures lie side by side in a file; a finding where the files do not show it."""
    try:
        return count_spectra([path for _, (path, *_) in everything])
    except DataError as error:
        findings.append(Remark(MUST, "spectra", f"{root}: {error}", "DATA needs ?spectra=2 or ?spectra=3"))
        return 1  # then a whole file is one picture: enough to find corrupt files and duplicates


def _protocol(parts: dict[str, list[Entry]]) -> list[Remark]:
    """What breaks training or the query/gallery protocol."""
    findings: list[Remark] = []
    who = {part: {identity for _, identity, _ in entries} for part, entries in parts.items()}
    both = sorted(who.get("train", set()) & (who.get("query", set()) | who.get("gallery", set())))
    findings += grouped(
        MUST, "leak", [f"identity {i}" for i in both], "is in training and in test", "move it to one of them"
    )
    answers = _seen_by(parts.get("gallery", []))
    if "query" in parts and "gallery" in parts:
        lost = [str(p) for p, identity, camera in parts["query"] if not answers.get(identity, set()) - {camera}]
        level = MUST if len(lost) == len(parts["query"]) else SHOULD
        findings += grouped(
            level, "answer", lost, "no answer from another camera", "it is not counted in mAP; remove it"
        )
    seen_by = _seen_by(parts.get("train", []))
    single = [f"identity {identity}" for identity, cameras in sorted(seen_by.items()) if len(cameras) == 1]
    findings += grouped(
        SHOULD, "cameras", single, "is seen by one camera in training", "it teaches nothing across cameras"
    )
    return findings
