"""The standard sets: what each holds, where it comes from, how its folders are spelled, what the paper reports on it.

``rgbd:ROOT/NAME+NAME`` looks them up below ROOT. Polarity of depth is no property of a set: collections that repack
them invert some maps, so the files decide it (``polarity.py``) unless ``?polarity=`` states it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mutualformer.runtime.reporting.tables import aligned
from mutualformer.runtime.sources.folders.reid_folder import is_reid
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import is_rgbd
from mutualformer.runtime.sources.pictures import hidden
from mutualformer.runtime.tasks import SOD

PAPER = "Wang et al., MutualFormer, IJCV 2024, table 1 as published in github.com/SissiW/MutualFormer"
# S-measure, maximum F, maximum E, MAE of the paper's network.
PAPER_KEYS = SOD.names


@dataclass(frozen=True)
class StandardSet:
    """``names``: spellings of the folder, letters and digits only. ``frames``: split → expected number of pairs.

    ``whole``: a folder without "train" or "test" in its path is the test split (sets nobody trains on).
    ``paper``: the paper's metrics on the test split; empty where no source could be read.
    """

    name: str
    task: str
    names: tuple[str, ...]
    frames: Mapping[str, int]
    source: str
    whole: bool = False
    paper: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def _paper(*values: float) -> dict[str, float]:
    return dict(zip(PAPER_KEYS, values, strict=True))


_BENCHMARK = "http://dpfan.net/d3netbenchmark/ (links: github.com/DengPingFan/D3NetBenchmark)"
_VEHICLES = "github.com/ttaalle/multi-modal-vehicle-Re-ID (AAAI 2020)"

SETS = {
    known.name: known
    for known in (
        StandardSet(
            "nju2k",
            "sod",
            ("nju2k", "njud", "nju2000", "njud2000"),
            {"train": 1485, "test": 500},
            _BENCHMARK,
            paper=_paper(0.922, 0.923, 0.954, 0.032),
        ),
        StandardSet(
            "nlpr",
            "sod",
            ("nlpr",),
            {"train": 700, "test": 300},
            _BENCHMARK,
            paper=_paper(0.932, 0.925, 0.965, 0.021),
        ),
        StandardSet(
            "dut-rgbd",
            "sod",
            ("dutrgbd", "dutlfd", "dut"),
            {"train": 800, "test": 400},
            "github.com/jiwei0921/DMRA (ICCV 2019)",
            paper=_paper(0.936, 0.946, 0.966, 0.024),
            note="the training split is optional: papers train on nju2k+nlpr or on nju2k+nlpr+dut-rgbd",
        ),
        StandardSet(
            "sip", "sod", ("sip",), {"test": 929}, _BENCHMARK, whole=True, paper=_paper(0.894, 0.902, 0.932, 0.043)
        ),
        StandardSet(
            "stere",
            "sod",
            ("stere", "stereo", "stere1000", "stereo1000"),
            {"test": 1000},
            _BENCHMARK,
            whole=True,
            paper=_paper(0.908, 0.908, 0.947, 0.038),
            note="an older collection of 797 frames is around too",
        ),
        StandardSet(
            "lfsd", "sod", ("lfsd",), {"test": 100}, _BENCHMARK, whole=True, paper=_paper(0.872, 0.879, 0.911, 0.062)
        ),
        StandardSet(
            "rgbn300",
            "reid",
            ("rgbn300",),
            {},
            _VEHICLES,
            note="300 vehicles, 8 cameras, 50125 RGB-NIR pairs; how they are split is up to the download's folders",
        ),
        StandardSet(
            "rgbnt100", "reid", ("rgbnt100",), {}, _VEHICLES, note="100 of those vehicles, with TIR as a third"
        ),
    )
}

# The sets that "standard" stands for: what the papers train on, and what they report.
STANDARD = {"train": ["nju2k", "nlpr"], "test": ["nju2k", "nlpr", "dut-rgbd", "sip", "stere", "lfsd"]}
# A folder's name without separators: a split, the set, a split, and words that mean nothing: trainset, NJU2KTrain,
# train_NJU2K_full, testingdata.
SPELLING = re.compile(r"(train|test)?(?:ing)?(?:set|data)?(.*?)(train|tr|test|te|val)?(?:ing)?(?:full|data|set)*")


def members(name: str, split: str) -> list[str]:
    """A set's name, or "standard" → names of known sets. Raises DataError listing them."""
    name = name.strip().lower()
    if name != "standard" and name not in SETS:
        raise DataError(f"set {name!r} is unknown, expected one of {', '.join(SETS)} or standard")
    return STANDARD[split] if name == "standard" else [name]


def _kind(relative: Path, standard: StandardSet) -> tuple[bool, str]:
    """Whether a folder's path names ``standard``, and which split it names ("" = none)."""
    ours, split = False, ""
    for part in relative.parts:
        before, name, after = SPELLING.fullmatch(re.sub(r"[^a-z0-9]", "", part.lower())).groups()  # type: ignore[union-attr]
        ours = ours or name in standard.names
        if (before or after) and name in ("", *standard.names):
            split = "train" if (after or before).startswith("tr") else "test"
    return ours, split


def locate(root: Path, name: str, split: str) -> tuple[Path, str]:
    """The folder of set ``name``, split ``split`` below ``root``, at most three levels deep, however it is spelled.

    Returns it and which split its path names: "" means that a list of names must name the frames. Raises DataError.
    """
    standard = SETS[name]
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected one that holds {name}")
    if standard.frames and split not in standard.frames:
        raise DataError(f"{name} has no {split} split, only {', '.join(standard.frames)}")
    whole: list[Path] = []
    for folder in data_folders(root, standard.task):
        # The root's own name counts only where the root is the set itself: rgbd:/data/LFSD/lfsd.
        ours, named_split = _kind(folder.relative_to(root) if folder != root else Path(root.name), standard)
        if ours and named_split == split:
            return folder, split
        if ours and not named_split:
            whole.append(folder)
    if whole:
        return whole[0], split if standard.whole or standard.task == "reid" else ""
    raise DataError(
        f"{root}: holds no {split} split of {name}, expected a folder such as {name.upper()}_{split.upper()} or "
        f"{name.upper()}/{split}; it comes from {standard.source}"
    )


def data_folders(root: Path, task: str, depth: int = 3) -> list[Path]:
    """Folders below ``root``, itself included, that hold a dataset of ``task``."""
    is_set = is_rgbd if task == "sod" else is_reid
    listed: list[Path] = []
    level = [root]
    for _ in range(depth + 1):
        below: list[Path] = []
        for folder in level:
            if is_set(folder):
                listed.append(folder)
            else:
                below += sorted(path for path in folder.iterdir() if path.is_dir() and not hidden(path))
        level = below
    return listed


def listing() -> str:
    """The sets as a table for people."""
    rows: list[tuple[str, ...]] = [("name", "task", "train", "test", "source")]
    for one in SETS.values():
        rows.append((one.name, one.task, *(str(one.frames.get(s, "–")) for s in STANDARD), one.source))
    notes = [f"{one.name}: {one.note}" for one in SETS.values() if one.note]
    group = f"standard = {'+'.join(STANDARD['train'])} to train on, {'+'.join(STANDARD['test'])} to test on"
    return "\n".join([aligned(rows), "", *notes, group, "use: rgbd:ROOT/NAME+NAME, with ROOT the folder they lie in"])
