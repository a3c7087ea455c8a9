"""Training data before the first step: open it, check its masks, hold some frames out to score the model with."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.sources.folders.file_frames import FileFrames
from mutualformer.runtime.sources.folders.reid_folder import SPLITS, find_root
from mutualformer.runtime.sources.frame import DataError, Frames, Item, Joined, files_of
from mutualformer.runtime.sources.grammar import PATH, parse
from mutualformer.runtime.sources.names import find_list
from mutualformer.runtime.sources.opening import expand
from mutualformer.runtime.sources.walk import spread_over
from mutualformer.train.evaluation.seen import prints
from mutualformer.train.fitting.batches.sod_batches import leave_out
from mutualformer.train.fitting.config import FitConfig, FitError
from mutualformer.train.fitting.kinds import KINDS, TrainingData
from mutualformer.train.fitting.validation import Validation
from mutualformer.train.registry import ModelSpec
from mutualformer.train.tasks import TASKS, load

HELD_OUT_SHARE, HELD_OUT_MOST = 0.1, 200  # share of the frames that is held out, and at most how many
HELD_OUT_LEAST = 10  # frames; a smaller set has none to spare
HELD_OUT_SEED = 7  # not the training's seed, so that runs of several seeds hold the same frames out
WATCHED = 40  # held-out frames that are scored while the model trains; all of them are scored at the end
LEAST_VALIDATIONS = 5  # even of a run shorter than --validate-every
MASKS = 1000  # masks that are opened before the first step, spread over the set
SYNTHETIC_HELD_OUT, SYNTHETIC_SEED = 60, 900_000  # number of scenes, and a seed that is no training seed


class Subset:
    """The frames of ``frames`` at ``indices``."""

    def __init__(self, frames: Frames, indices: list[int]) -> None:
        self.frames, self.indices = frames, indices

    @property
    def has_depth(self) -> bool:
        """Whether the whole set has depth."""
        return self.frames.has_depth

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self.indices):
            raise IndexError(index)
        return self.frames[self.indices[index]]

    def files(self, index: int) -> tuple[Path, ...]:
        """The files that frame ``index`` is read from."""
        return files_of(self.frames, self.indices[index])


def open_training_data(config: FitConfig, spec: ModelSpec, rank: int = 0) -> TrainingData:
    """DATA as training batches. Raises DataError, also for frames without masks, and FitError.

    Process ``rank`` 0 also gets the frames that are scored while the model trains.
    """
    height, width = spec.input_size
    facts: dict[str, Any] = {"train": config.data, "seed": config.seed}
    if config.overrides.get("pretrained") and not config.init:
        facts["pretrained"] = "the backbones started from ImageNet weights"
    kind = parse(config.data).kind
    if kind in KINDS:
        return KINDS[kind](config, facts)
    largest = max((stage[-1] for stage in config.recipe.stages), default=height)
    size = (largest, max(32, round(largest * width / height / 32) * 32))
    task = TASKS[spec.task]
    samples, held_out, validation = task.open(config.data, size, True, "train"), None, None
    if spec.task == "sod":
        check_masks(samples, config.data)
        if sha256 := file_list(samples):
            facts["files_sha256"] = sha256
        if config.hold_out:
            samples, held_out = split_off(samples)
            held_out = readable(held_out)
            facts["held_out"] = len(held_out)
            if config.validate_every and rank == 0 and len(held_out):
                validation = _watching(held_out, config)
    elif config.hold_out:
        raise FitError(f"{config.data}: identities cannot be held out; give --validate DATA or --validate none")
    facts["samples"] = len(samples)
    source = load(task.batches)(samples, spec, config.recipe, config.seed)
    return TrainingData(source, facts, held_out, validation, prints(samples))


def _watching(held_out: Subset, config: FitConfig) -> Validation:
    """Scores some held-out frames with their depth and without it while the model trains."""
    few = [held_out[index] for index in range(min(len(held_out), WATCHED))]
    bare = [item._replace(depth=np.zeros_like(item.depth)) for item in few]
    every = min(config.validate_every, max(config.recipe.steps // LEAST_VALIDATIONS, 1))
    return Validation({"held_out": few, "held_out_no_depth": bare}, config.out, every)


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
    """The part of ``frames`` whose files can be read, so that scoring does not fail when the training is over."""
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
    """What to score a run on ``data`` with by default: (DATA or None, whether to hold a part of ``data`` out).

    Synthetic data: scenes of another seed. A set with a test split: that split. Other frames: a held-out part. A
    registered kind validates by itself; a ReID folder without query and gallery has nothing to score with.
    """
    singles = expand(data, "train")
    kind, body, options = singles[0].kind, singles[0].target, singles[0].options
    if kind in KINDS:
        return None, False
    if len(singles) == 1 and kind == "synthetic":
        seed = options.get("seed", "0")
        return f"synthetic:{SYNTHETIC_HELD_OUT}?seed={SYNTHETIC_SEED + int(seed if seed.isdecimal() else 0)}", False
    if task == "reid":
        root = find_root(Path(body)) if kind == PATH else Path()
        whole = kind == "reid" or all((root / SPLITS[part]).is_dir() for part in ("query", "gallery"))
        return (data if whole else None), False
    if len(singles) == 1 and kind == PATH and Path(body).is_dir() and "split" not in options:
        if all(find_list(Path(body), split) is not None for split in ("train", "test")):
            return data, False
    return None, True


def mask_covers(frames: Frames, index: int) -> float | None:
    """Share of frame ``index`` that is object, None without ground truth; of a folder only the mask is opened."""
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


def file_list(frames: Any) -> str:
    """sha256 over names and sizes of the files that ``frames`` reads; "" where it reads none (rendered scenes)."""
    lines = [
        f"{path.parent.name}/{path.name} {path.stat().st_size}\n"
        for index in range(len(frames))
        for path in files_of(frames, index)
    ]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest() if lines else ""
