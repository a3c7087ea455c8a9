"""Before the first step: are there masks to learn from, and which frames are kept out to score the model with."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np

from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.sources.folders.file_frames import FileFrames
from mutualformer.runtime.sources.folders.reid_folder import SPLITS, find_root
from mutualformer.runtime.sources.frame import DataError, Frames, Item, Joined
from mutualformer.runtime.sources.grammar import PATH
from mutualformer.runtime.sources.names import find_list
from mutualformer.runtime.sources.opening import expand
from mutualformer.runtime.sources.walk import spread_over
from mutualformer.train.fitting.batches.sod_batches import leave_out

HELD_OUT_SHARE, HELD_OUT_MOST, HELD_OUT_LEAST = 0.1, 200, 10  # of the frames; at most; a set smaller than that has none
HELD_OUT_SEED = 7  # the same frames whatever the training's seed, so that runs compare
MASKS = 1000  # looked at before the first step, spread over the set
SYNTHETIC_HELD_OUT, SYNTHETIC_SEED = 60, 900_000  # scenes of a seed nobody trains with


class Subset:
    """The frames of ``frames`` at ``indices``."""

    def __init__(self, frames: Frames, indices: list[int]) -> None:
        self.frames, self.indices = frames, indices

    @property
    def has_depth(self) -> bool:
        """Whether the frames it is taken from have depth."""
        return self.frames.has_depth

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self.indices):
            raise IndexError(index)
        return self.frames[self.indices[index]]


def split_off(frames: Frames) -> tuple[Subset, Subset]:
    """(to train on, held out): a tenth at random, the same in every run. Raises DataError for a small set."""
    if len(frames) < HELD_OUT_LEAST:
        raise DataError(
            f"{len(frames)} frames are too few to hold some out; give --validate DATA, or --validate none to train on "
            "all of them and score nothing"
        )
    count = min(HELD_OUT_MOST, max(1, round(HELD_OUT_SHARE * len(frames))))
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(frames))
    held_out, rest = sorted(order[:count].tolist()), sorted(order[count:].tolist())
    return Subset(frames, rest), Subset(frames, held_out)


def readable(frames: Subset) -> Subset:
    """Those of ``frames`` whose files can be read: they are scored when the training is over."""
    kept = []
    for place, index in enumerate(frames.indices):
        try:
            frames[place]
        except DataError as error:
            leave_out(str(error))
        else:
            kept.append(index)
    return Subset(frames.frames, kept)


def validation_of(data: str, task: str) -> tuple[str | None, bool]:
    """What a run on ``data`` is scored on when nobody said: (DATA or None, whether a part must be held out).

    Synthetic data: scenes of another seed. A set with a test split: that. Other frames: a part held out. ``photo:``
    validates by itself; a ReID folder without query and gallery has nothing.
    """
    singles = expand(data, "train")
    kind, body, options = singles[0].kind, singles[0].target, singles[0].options
    if kind == "photo":
        return None, False
    if len(singles) == 1 and kind == "synthetic":
        seed = options.get("seed", "0")
        return f"synthetic:{SYNTHETIC_HELD_OUT}?seed={SYNTHETIC_SEED + int(seed if seed.isdecimal() else 0)}", False
    if task == "reid":
        root = find_root(Path(body)) if kind == PATH else Path()
        whole = kind == "reid" or all((root / SPLITS[part]).is_dir() for part in ("query", "gallery"))
        return (data if whole else None), False
    both = len(singles) == 1 and kind == PATH and Path(body).is_dir() and "split" not in options
    if both and all(find_list(Path(body), split) is not None for split in ("train", "test")):
        return data, False
    return None, True


def mask_covers(frames: Frames, index: int) -> float | None:
    """Share of frame ``index`` that is object, None without ground truth; of a folder only the mask is opened."""
    if isinstance(frames, Subset):
        return mask_covers(frames.frames, frames.indices[index])
    if isinstance(frames, Joined):
        _, inner, at = frames.locate(index)
        return mask_covers(inner, at)
    if isinstance(frames, FileFrames):
        return frames.covered(index)
    mask = frames[index].mask
    return None if mask is None else float(np.count_nonzero(mask)) / mask.size


def check_masks(frames: Frames, data: str) -> None:
    """Refuse a set that teaches nothing, before hours are spent on it. Raises DataError naming a file or ``data``."""
    empty = full = unread = 0
    indices = spread_over(len(frames), MASKS)
    for index in progress(indices, "checking masks"):
        try:
            covered = mask_covers(frames, index)
        except DataError as error:
            unread += 1
            if unread == len(indices):
                raise
            leave_out(str(error))
            continue
        if covered is None:
            raise DataError(f"{data}: has no ground truth, expected a folder GT/ with a mask for every picture")
        empty += covered == 0.0
        full += covered == 1.0
    if empty + full == len(indices) - unread:
        kind = "empty" if empty == len(indices) else "full" if full == len(indices) else "empty or full"
        raise DataError(f"{data}: all {len(indices)} masks looked at are {kind}: there is nothing to learn")
    if empty + full > len(indices) // 2:
        logging.getLogger("mutualformer").warning(
            "%s: %d of %d masks are empty and %d full; mutualformer data check names them",
            data,
            empty,
            len(indices),
            full,
        )


def file_list(frames: object) -> str:
    """sha256 over names and sizes of the files that ``frames`` reads; "" where it reads none (rendered scenes)."""
    digest, count = hashlib.sha256(), 0
    for path in _files(frames):
        digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
        count += 1
    return digest.hexdigest() if count else ""


def _files(frames: object) -> list[Path]:
    if isinstance(frames, Subset):
        inner = frames.frames
        if isinstance(inner, FileFrames):
            return [path for index in frames.indices for path in inner.files(index)]
        return _files(inner)
    if isinstance(frames, Joined):
        return [path for _, inner in frames.parts for path in _files(inner)]
    if isinstance(frames, FileFrames):
        return [path for index in range(len(frames)) for path in frames.files(index)]
    listed = [getattr(frames, name, None) for name in ("rgb", "depth", "masks")]
    return [path for files in listed if isinstance(files, dict) for path in files.values()]
