"""Resize a camera frame to the graph's inputs, check inputs, and resize the answer back.

The graph itself does normalisation, hole handling and depth encoding, so a program around the model does no more than
this. OpenCV is imported only where it resizes: an engine session does not need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError as InputError
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.tasks import TensorSpec


class Runner(Protocol):
    """The part of ``mutualformer.runtime.session.Session`` that one frame after another needs."""

    @property
    def contract(self) -> Contract:
        """What the model takes and answers."""

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """One call."""


def resize_colour(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 → (height, width, 3) uint8; area averaging when shrinking, bilinear when growing."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"colour image is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    if image.shape[:2] == size:
        return image
    import cv2

    shrinking = image.shape[0] * image.shape[1] > size[0] * size[1]
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=how), dtype=np.uint8)


def resize_depth(depth: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) metres → (height, width) metres; nearest neighbour, since averaging across an edge invents surfaces."""
    if depth.ndim != 2 or depth.dtype != np.float32:
        raise InputError(f"depth map is {depth.dtype} {depth.shape}, expected float32 metres (H, W)")
    if depth.shape == size:
        return depth
    import cv2

    return np.asarray(cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST), dtype=np.float32)


def restore(saliency: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) map in [0, 1] → (height, width) of the camera's frame, bilinear."""
    import cv2

    return np.asarray(cv2.resize(saliency, size[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def prepare(contract: Contract, rgb: NDArray[np.uint8], second: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """One camera frame → the graph's inputs with batch 1.

    ``rgb``: (H, W, 3) uint8 in RGB order. ``second``: SOD depth (H, W) float32 metres aligned to ``rgb``;
    ReID the NIR image (H, W, 3) uint8. Raises InputError.
    """
    if contract.task == "sod":
        if rgb.shape[:2] != second.shape[:2]:
            raise InputError(f"colour is {rgb.shape[:2]} and depth {second.shape[:2]}, expected one size for both")
        pair: dict[str, NDArray[Any]] = {"rgb": resize_colour(rgb, contract.input_size)}
        pair["depth"] = resize_depth(second, contract.input_size)
    else:
        pair = {"rgb": resize_colour(rgb, contract.input_size), "nir": resize_colour(second, contract.input_size)}
    return {name: np.ascontiguousarray(value)[None] for name, value in pair.items()}


def together(frames: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Inputs of several frames, at least one, as :func:`prepare` gives them → one batch."""
    return {name: np.concatenate([one[name] for one in frames]) for name in frames[0]}


def answer(session: Runner, rgb: NDArray[np.uint8], second: NDArray[Any]) -> NDArray[np.float32]:
    """The model's answer to one frame: saliency (h, w) or feature (F,). Raises InputError, ModelOutputError."""
    outputs = session.run(**prepare(session.contract, rgb, second))
    return np.array(outputs[session.contract.outputs[0].name][0], np.float32)


def check(spec: TensorSpec, value: NDArray[Any]) -> None:
    """Raise InputError unless ``value`` has the dtype and shape of ``spec`` and, for depth, holds finite metres."""
    fits = value.ndim == len(spec.shape) and all(
        expected in (-1, actual) for expected, actual in zip(spec.shape, value.shape, strict=True)
    )
    if str(value.dtype) != spec.dtype or not fits:
        shape = tuple("B" if i == 0 and n == -1 else n for i, n in enumerate(spec.shape))
        raise InputError(f"input {spec.name!r} is {value.dtype} {value.shape}, expected {spec.dtype} {shape}")
    if value.shape[0] < 1:
        raise InputError(f"input {spec.name!r} has an empty batch, expected at least one frame")
    if spec.name == "depth":
        lowest, highest = float(value.min()), float(value.max())
        if not (lowest >= 0 and highest < np.inf):
            what = f"input 'depth' holds values from {lowest:g} to {highest:g}"
            raise InputError(f"{what}, expected finite metres ≥ 0, and 0 where nothing was measured")
