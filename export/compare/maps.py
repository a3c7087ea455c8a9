"""Parity of two saliency models: maps value by value, SOD metrics of both, and the frames that differ most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.export.compare import report
from mutualformer.export.compare.result import Parity, Shown, check_same_model, judge
from mutualformer.export.criteria.tensors import difference
from mutualformer.export.errors import ExportError
from mutualformer.runtime.images.colours import depth_colours
from mutualformer.runtime.images.objects import THRESHOLD
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.session import Session
from mutualformer.train.evaluation.maps import sod_metrics

Image = NDArray[np.uint8]
Map = NDArray[np.float32]
TASK_KEYS = ("mae", "s_measure", "max_f", "max_e")


def compare_sod(reference: Session, candidate: Session, frames: Iterable[Any], show: int = 6) -> Parity:
    """Run both on the same prepared inputs and compare saliency maps; ``frames`` have rgb, depth, mask, name.

    Frames without a mask take the reference's own map, binarised at THRESHOLD, as ground truth.
    """
    check_same_model(reference, candidate)
    maps: tuple[list[Any], list[Any]] = ([], [])
    examples: list[tuple[bool, float, Shown]] = []
    for item in frames:
        inputs = prepare(reference.contract, item.rgb, item.depth)
        r, c = (session.run_unchecked(**inputs)["saliency"][0] for session in (reference, candidate))
        worst = float(np.nan_to_num(np.abs(r - c), nan=np.inf).max())
        truth = item.mask
        if truth is not None and truth.shape != r.shape:
            truth = np.asarray(cv2.resize(truth, r.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
        mask = np.where(r >= THRESHOLD, 255, 0).astype(np.uint8) if truth is None else truth
        for kept, output in zip(maps, (r, c), strict=True):
            kept.append((output, mask))
        real = item.name.rpartition("/")[2].startswith("motorcycle")
        if real or len(examples) < show or (examples and worst > examples[-1][1]):
            examples.append((real, worst, shown(item.name, worst, inputs, truth, r, c)))
            examples.sort(key=lambda one: (not one[0], -one[1]))
            del examples[show:]
    if not maps[0]:
        raise ExportError("the data holds no frame to compare")
    found = difference((r, c) for (r, _), (c, _) in zip(*maps, strict=True))
    both = [sod_metrics((np.nan_to_num(output), mask) for output, mask in pairs) for pairs in maps]
    scores = [{key: metrics[key] for key in TASK_KEYS} for metrics in both]
    bounded = {"mae": ("mae", 1.0), "s_measure": ("s_measure", 1.0)}
    result = judge(reference, candidate, found, scores, bounded, len(maps[0]))
    examples.sort(key=lambda one: (not one[0], one[1]))  # the real pair first, the worst last
    result.shown = [one for _, _, one in examples]
    return result


def shown(
    name: str, worst: float, inputs: Mapping[str, Any], truth: Image | None, reference: Map, candidate: Map
) -> Shown:
    """Colour, depth, ground truth, both maps (h, w) in [0, 1], and their difference scaled to its maximum."""
    apart = np.abs(np.nan_to_num(reference - candidate))
    pictures = [
        ("colour", inputs["rgb"][0]),
        ("depth, near is red", depth_colours(inputs["depth"][0])),
        *([] if truth is None else [("ground truth", report.grey(truth / 255))]),
        ("reference", report.grey(reference)),
        ("candidate", report.grey(candidate)),
        ("difference, stretched", report.grey(apart / max(float(apart.max()), 1e-9))),
    ]
    bare = "" if truth is not None else "; no ground truth"
    return Shown(f"{name}: largest difference {worst:.2e}{bare}", pictures)
