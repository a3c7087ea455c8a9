"""What a dataset holds, in sentences and as a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images import rendering
from mutualformer.runtime.prediction.sheet import cell
from mutualformer.runtime.sources.masks import Mask

COLUMNS = ("mask", "depth as stored")


def sentences(place: str, facts: Mapping[str, Any]) -> list[str]:
    """``facts`` of :func:`check_rgbd` or :func:`check_reid`, for people."""
    return _reid(place, facts) if facts["kind"] == "reid" else _rgbd(place, facts)


def _rgbd(place: str, facts: Mapping[str, Any]) -> list[str]:
    masks, pairs, sizes = facts["masks"], facts["pairs"], facts["sizes"]
    lines = [f"{place}: {facts['pictures']} pictures, {masks or 'none'} with a mask, {pairs or 'none'} with depth."]
    if sizes["most"]:
        several = f"{sizes['different']} sizes, mostly " if sizes["different"] > 1 else "All are "
        lines.append(f"{several}{', '.join(sizes['most'])}.")
    if masks and (values := [text for text in facts["mask_values"] if text != "0, 255"]):
        lines.append(f"Masks hold the values {'; or '.join(values)}; more than half of the largest counts as object.")
    for bits, count in facts["depth_bits"].items():
        lines.append(f"{count} depth maps have {bits} bits." if bits.isdigit() else f"{count} depth maps are {bits}.")
    if "depth_m" in facts:
        near, middle, far = facts["depth_m"].values()
        lines.append(f"Depth reads as {near:g} to {far:g} m, half of it nearer than {middle:g} m.")
    elif pairs:
        told = {"near_bright": "is bright where it is near", "near_dark": "is dark where it is near"}
        words = told.get(facts["polarity"], "does not show which side is near")
        lines.append(f"Depth without a unit {words} ({facts['polarity_evidence']}).")
    return lines


def _reid(place: str, facts: Mapping[str, Any]) -> list[str]:
    parts = {name: part for name, part in facts.items() if name != "kind"}
    return [
        f"{place}, {name}: {part['pictures']} pictures of {part['identities']} identities by {part['cameras']} cameras."
        for name, part in parts.items()
    ]


def strip(rgb: NDArray[np.uint8], mask: Mask | None, depth: NDArray[Any] | None) -> bytes:
    """The picture, the object in it, and depth from black (small) to white (large); JPEG."""
    fits = mask is not None and mask.pixels.shape == rgb.shape[:2]
    pictures = [rgb, rendering.overlay(rgb, mask.pixels) if mask is not None and fits else np.zeros_like(rgb)]
    grey = np.zeros(rgb.shape[:2] if depth is None else depth.shape, np.float32)
    if depth is not None and (known := np.isfinite(depth) & (depth > 0)).any():
        low, high = np.percentile(depth[known], (2, 98))
        grey = np.where(known, (depth - low) / max(float(high - low), 1e-6), 0).clip(0, 1)
    pictures.append(np.repeat(rendering.grey(np.asarray(grey, np.float32))[..., None], 3, axis=2))
    return rendering.jpeg(np.hstack([cell(picture) for picture in pictures]))
