"""Is a ReID folder fit to train and evaluate with? Names, identities across splits, cameras, answers to queries."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from mutualformer.runtime.data.folder import SUFFIXES
from mutualformer.runtime.data.item import DataError
from mutualformer.runtime.data.reid_folder import FILE_NAME, SPLITS, find_root, read_spectra
from mutualformer.runtime.progress import progress
from mutualformer.train.data.check.findings import MUST, SHOULD, Finding, Fingerprint, fingerprint, grouped

Entry = tuple[Path, int, int]  # file, identity, camera


def _entries(folder: Path, findings: list[Finding]) -> list[Entry]:
    listed: list[Entry] = []
    odd = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        match = FILE_NAME.match(path.name)
        if match is None:
            odd.append(str(path))
        elif int(match["identity"]) >= 0:  # -1 is junk by convention
            listed.append((path, int(match["identity"]), int(match["camera"])))
    findings += grouped(MUST, "names", odd, "the name does not tell identity and camera", "rename it 0001_c2_….jpg")
    if not listed:
        findings.append(Finding(MUST, "folder", f"{folder}: holds no picture", "expected files like 0001_c2_….jpg"))
    return listed


def check_reid(folder: Path, label: str) -> tuple[dict[str, Any], list[Finding], list[Fingerprint]]:
    """Facts, findings and fingerprints of one set; ``label`` names it in what is said."""
    root, findings = find_root(folder), []  # type: tuple[Path, list[Finding]]
    parts: dict[str, list[Entry]] = {}
    for part, name in SPLITS.items():
        if (root / name).is_dir():
            parts[part] = _entries(root / name, findings)
        else:
            remedy = "training needs bounding_box_train, evaluation query and bounding_box_test"
            findings.append(Finding(SHOULD, "folder", f"{root / name}: no such folder", remedy))
    everything = [(part, entry) for part, entries in parts.items() for entry in entries]
    prints, unreadable = [], []
    for part, (path, *_) in progress(everything, f"checking {label}"):
        try:
            rgb, _ = read_spectra(path)
            prints.append(fingerprint(path, f"{label}/{part}", rgb))
        except (DataError, OSError, ValueError) as error:
            unreadable.append(str(error))
    findings += grouped(MUST, "unreadable", unreadable, "cannot be used", "replace the file or remove it")
    findings += _protocol(parts)
    facts: dict[str, Any] = {"kind": "reid"}
    for part, entries in parts.items():
        cameras: dict[int, set[int]] = {}
        for _, identity, camera in entries:
            cameras.setdefault(identity, set()).add(camera)
        facts[part] = {
            "pictures": len(entries),
            "identities": len(cameras),
            "cameras": len({camera for *_, camera in entries}),
            "identities_by_number_of_cameras": dict(sorted(Counter(map(len, cameras.values())).items())),
        }
    return facts, findings, prints


def _protocol(parts: dict[str, list[Entry]]) -> list[Finding]:
    """What breaks training or the query/gallery protocol."""
    found: list[Finding] = []
    who = {part: {identity for _, identity, _ in entries} for part, entries in parts.items()}
    both = sorted(who.get("train", set()) & (who.get("query", set()) | who.get("gallery", set())))
    found += grouped(
        MUST, "leak", [f"identity {i}" for i in both], "is in training and in test", "move it to one of them"
    )
    answers: dict[int, set[int]] = {}
    for _, identity, camera in parts.get("gallery", []):
        answers.setdefault(identity, set()).add(camera)
    if "query" in parts and "gallery" in parts:
        lost = [str(p) for p, identity, camera in parts["query"] if not answers.get(identity, set()) - {camera}]
        level = MUST if len(lost) == len(parts["query"]) else SHOULD
        found += grouped(level, "answer", lost, "no answer from another camera", "it is not counted in mAP; remove it")
    seen: dict[int, set[int]] = {}
    for _, identity, camera in parts.get("train", []):
        seen.setdefault(identity, set()).add(camera)
    single = [f"identity {identity}" for identity, cameras in sorted(seen.items()) if len(cameras) == 1]
    found += grouped(
        SHOULD, "cameras", single, "is seen by one camera in training", "it teaches nothing across cameras"
    )
    return found
