"""Parity of two saliency models: maps value by value, SOD metrics of both, and the frames that differ most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.export.compare import report
from mutualformer.export.compare.result import Parity, check_same_model, judge
from mutualformer.export.compare.tensors import TensorComparison
from mutualformer.export.errors import ExportError
from mutualformer.runtime.images.colours import depth_colours
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.session import Session
from mutualformer.train.evaluation.sod import sod_metrics

TASK_KEYS = ("mae", "s_measure", "max_f", "max_e")


@dataclass
class Frame:
    """One compared frame, kept only while it is among those to show. Maps (h, w) in [0, 1]; depth in metres."""

    name: str
    worst: float
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    reference: NDArray[np.float32]
    candidate: NDArray[np.float32]


def compare_sod(reference: Session, candidate: Session, frames: Iterable[Any], show: int = 6) -> Parity:
    """Run both on the same prepared inputs and compare saliency maps; ``frames`` have rgb, depth, mask, name.

    Frames without a mask take the reference's own map, binarised at 0.5, as ground truth.
    """
    check_same_model(reference, candidate)
    tensors = TensorComparison()
    maps: tuple[list[Any], list[Any]] = ([], [])
    shown: list[Frame] = []
    for item in frames:
        inputs = prepare(reference.contract, item.rgb, item.depth)
        r, c = (session.run_unchecked(**inputs)["saliency"][0] for session in (reference, candidate))
        worst = tensors.add(r, c)
        mask = item.mask
        if mask is None:
            mask = np.where(r >= 0.5, 255, 0).astype(np.uint8)
        elif mask.shape != r.shape:
            mask = report.resize_mask(mask, r.shape)
        for kept, output in zip(maps, (r, c), strict=True):
            kept.append((np.nan_to_num(output), mask))
        shown.append(Frame(item.name, worst, inputs["rgb"][0], inputs["depth"][0], r, c))
        shown.sort(key=lambda frame: -frame.worst)
        del shown[show:]
    if not maps[0]:
        raise ExportError("the data holds no frame to compare")
    both = [sod_metrics(pairs) for pairs in maps]
    scores = [{key: metrics[key] for key in TASK_KEYS} for metrics in both]
    bounded = {"mae": ("mae", 1.0), "s_measure": ("s_measure", 1.0)}
    result = judge(reference, candidate, tensors, scores, bounded, len(maps[0]))
    result.pictures = [(frame_strip(frame), frame_caption(frame)) for frame in shown]
    result.pictures_title = "Frames that differ most: colour, depth, reference, candidate, difference"
    return result


def frame_strip(frame: Frame) -> NDArray[np.uint8]:
    """Colour, depth, reference map, candidate map, difference stretched to its own maximum."""
    difference = np.abs(np.nan_to_num(frame.reference - frame.candidate))
    stretched = difference / max(float(difference.max()), 1e-9)
    maps = [report.grey(image) for image in (frame.reference, frame.candidate, stretched)]
    return report.strip([frame.rgb, depth_colours(frame.depth), *maps])


def frame_caption(frame: Frame) -> str:
    """What stands under one frame's pictures."""
    return f"{frame.name}: largest difference {frame.worst:.2e} (last picture is stretched to it)"
