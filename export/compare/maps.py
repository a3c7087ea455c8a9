"""Parity of two saliency models: maps value by value, SOD metrics of both, and the frames that differ most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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

TASK_KEYS = ("mae", "s_measure", "max_f", "max_e")


@dataclass
class ComparedFrame:
    """One compared frame, kept only while it is among the frames to show. Maps (h, w) in [0, 1]; depth in metres.

    ``truth``: uint8 (h, w), None where there is none. ``real``: the pair of ``sample:``, always shown.
    """

    name: str
    worst: float
    real: bool
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    truth: NDArray[np.uint8] | None
    reference: NDArray[np.float32]
    candidate: NDArray[np.float32]


def compare_sod(reference: Session, candidate: Session, frames: Iterable[Any], show: int = 6) -> Parity:
    """Run both on the same prepared inputs and compare saliency maps; ``frames`` have rgb, depth, mask, name.

    Frames without a mask take the reference's own map, binarised at THRESHOLD, as ground truth.
    """
    check_same_model(reference, candidate)
    maps: tuple[list[Any], list[Any]] = ([], [])
    examples: list[ComparedFrame] = []
    for item in frames:
        inputs = prepare(reference.contract, item.rgb, item.depth)
        r, c = (session.run_unchecked(**inputs)["saliency"][0] for session in (reference, candidate))
        worst = float(np.nan_to_num(np.abs(r - c), nan=np.inf).max())
        truth = item.mask
        if truth is not None and truth.shape != r.shape:
            truth = report.resize_mask(truth, r.shape)
        mask = np.where(r >= THRESHOLD, 255, 0).astype(np.uint8) if truth is None else truth
        for kept, output in zip(maps, (r, c), strict=True):
            kept.append((output, mask))
        real = item.name.rpartition("/")[2].startswith("motorcycle")
        examples.append(ComparedFrame(item.name, worst, real, inputs["rgb"][0], inputs["depth"][0], truth, r, c))
        examples.sort(key=lambda frame: (not frame.real, -frame.worst))
        del examples[show:]
    if not maps[0]:
        raise ExportError("the data holds no frame to compare")
    found = difference((r, c) for (r, _), (c, _) in zip(*maps, strict=True))
    both = [sod_metrics((np.nan_to_num(output), mask) for output, mask in pairs) for pairs in maps]
    scores = [{key: metrics[key] for key in TASK_KEYS} for metrics in both]
    bounded = {"mae": ("mae", 1.0), "s_measure": ("s_measure", 1.0)}
    result = judge(reference, candidate, found, scores, bounded, len(maps[0]))
    examples.sort(key=lambda frame: (not frame.real, frame.worst))  # the real pair first, the worst last
    result.shown = [Shown(caption(frame), pictures(frame)) for frame in examples]
    return result


def pictures(frame: ComparedFrame) -> list[tuple[str, NDArray[np.uint8]]]:
    """(heading, picture): colour, depth, ground truth, both maps, and their difference scaled to its maximum."""
    difference = np.abs(np.nan_to_num(frame.reference - frame.candidate))
    truth = [] if frame.truth is None else [("ground truth", report.grey(frame.truth / 255))]
    return [
        ("colour", frame.rgb),
        ("depth, near is red", depth_colours(frame.depth)),
        *truth,
        ("reference", report.grey(frame.reference)),
        ("candidate", report.grey(frame.candidate)),
        ("difference, stretched", report.grey(difference / max(float(difference.max()), 1e-9))),
    ]


def caption(frame: ComparedFrame) -> str:
    """The frame's name, the largest difference of the maps, and a note where there is no ground truth."""
    bare = "" if frame.truth is not None else "; no ground truth"
    return f"{frame.name}: largest difference {frame.worst:.2e}{bare}"
