"""What every run on photographs is scored on, frame by frame, and the scores kept beside its weights.

Nothing is chosen by these frames: the runs keep the weights of their last step, and `fit` validates on others.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lab.photographs.kind  # noqa: F401 (registers photo:)
from lab.ablation.photo_spread import BARE, DRAWN
from lab.photographs.sets import PhotoRoot
from lab.results import change_card
from mutualformer.runtime.files import sha256, write_json
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import Frames
from mutualformer.runtime.sources.grammar import parse
from mutualformer.runtime.untrusted.typed_json import read_json
from mutualformer.train import checkpoint
from mutualformer.train.evaluation import corrupt
from mutualformer.train.evaluation.maps import predict_maps, sod_metrics
from mutualformer.train.evaluation.session import ModuleSession
from mutualformer.train.fitting.config import FitError
from mutualformer.train.fitting.preparation.ready import file_list

SCORES = "scores.json"
COMPOSITES = "composites"
SPOILT = ("depth=zero", "depth=shuffle")  # what depth contributes, and what a wrong one costs
FRAMES = 150


@dataclass(frozen=True)
class HeldOut:
    """``data``: photo:ROOT. ``frames``: how many a set at most. ``extra``: DATA scored on too, None = none."""

    data: str
    frames: int = FRAMES
    extra: str | None = None

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise FitError(f"--frames is {self.frames}, expected at least 2")

    def sets(self) -> dict[str, Frames]:
        """Name → frames with masks. Raises DataError."""
        return dict(_opened(self))

    def facts(self) -> dict[str, Any]:
        """What the frames are, in JSON types."""
        photo = _root(self.data)
        return {
            **asdict(self),
            "photographs_sha256": file_list(photo.validation or ()),
            "sensor_frames_sha256": file_list(photo.sensor or ()),
        }


def _root(data: str) -> PhotoRoot:
    address = parse(data)
    body, options = address.target, address.options
    return PhotoRoot(body, options.get("teacher"))


@functools.lru_cache(maxsize=1)
def _opened(held_out: HeldOut) -> dict[str, Frames]:
    sets: dict[str, Frames] = dict(_root(held_out.data).unseen_sets(held_out.frames))
    for one in opening.expand(held_out.extra) if held_out.extra else ():
        if one.short in sets:
            raise FitError(f"--validate {one}: there is a set {one.short} already")
        sets[one.short] = opening.frames(one)
    return sets


def conditions_of(sets: Mapping[str, Frames]) -> dict[str, tuple[str, str]]:
    """Key of the scores → (set, corruption): every set as it is; composites and sets of real depth spoilt too."""
    keys = {}
    for name, frames in sets.items():
        keys[name] = (name, "")
        measured = name == COMPOSITES or (name not in (BARE, DRAWN) and frames.has_depth)
        keys |= {f"{name} {how}": (name, how) for how in SPOILT if measured}
    return keys


def _of(weights: Path, held_out: HeldOut) -> dict[str, Any]:
    return {"weights_sha256": sha256(weights), **held_out.facts()}


def is_scored(weights: Path, held_out: HeldOut) -> bool:
    """Whether the scores of these weights on these frames are there."""
    return bool(_kept(weights.with_name(SCORES)).get("of") == _of(weights, held_out))


def scores_of(weights: Path, held_out: HeldOut) -> dict[str, Any]:
    """Condition → metrics and values frame by frame ("frames") of a checkpoint; computed once, kept in its folder.

    The card of ``weights`` gets the metrics. Raises DataError, CheckpointError, ScoreError.
    """
    path = weights.with_name(SCORES)
    if is_scored(weights, held_out):
        return dict(_kept(path)["scores"])
    sets = held_out.sets()
    session = ModuleSession(checkpoint.load(weights))
    scores = {}
    for key, (name, how) in conditions_of(sets).items():
        frames = corrupt.CorruptFrames(sets[name], corrupt.parse(how)) if how else sets[name]
        scores[key] = sod_metrics(_pairs(session, frames), frames=True)
    brief = {key: {k: v for k, v in metrics.items() if k != "frames"} for key, metrics in scores.items()}
    change_card(weights, metrics={"sets": brief})
    write_json(path, {"of": _of(weights, held_out), "scores": scores})
    return scores


def _pairs(session: ModuleSession, frames: Frames) -> Any:
    for item, saliency in predict_maps(session, frames):
        if item.mask is None:
            raise FitError(f"frame {item.name} has no ground truth, expected masks to score on")
        yield saliency, item.mask


def _kept(path: Path) -> dict[str, Any]:
    """Scores of before; {} where there are none that can be read."""
    if not path.is_file():
        return {}
    try:
        return dict(read_json(path, ValueError, "scores of a run"))
    except ValueError:
        return {}
