"""What a dataset holds, in sentences and as a contact sheet."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images import rendering
from mutualformer.runtime.prediction.sheet import cell
from mutualformer.runtime.sources.folders.survey import Survey
from mutualformer.runtime.sources.masks import Mask

COLUMNS = ("mask", "depth as stored")


def told(
    place: str, pictures: int, pairs: int, masks: int, sizes: Counter[tuple[int, int]], survey: Survey
) -> list[str]:
    """How many pictures there are, with depth (``pairs``) and with masks; their sizes (height, width); what the survey
    of their depth and masks found."""
    lines = [f"{place}: {pictures} pictures, {masks or 'none'} with a mask, {pairs or 'none'} with depth."]
    if sizes:
        most = ", ".join(f"{width}×{height}" for (height, width), _ in sizes.most_common(3))
        lines.append(f"{len(sizes)} sizes, mostly {most}." if len(sizes) > 1 else f"All are {most}.")
    if values := [text for text, _ in survey.mask_values.most_common(4) if text != "0, 255"]:
        lines.append(f"Masks hold the values {'; or '.join(values)}; more than half of the largest counts as object.")
    for kind, count in sorted(survey.kinds.items()):
        lines.append(f"{count} depth maps have {kind}s." if kind.endswith("bit") else f"{count} depth maps are {kind}.")
    if survey.range_m is not None:
        near, middle, far = survey.range_m[:3]
        lines.append(f"Depth reads as {near:.3g} to {far:.3g} m, half of it nearer than {middle:.3g} m.")
    elif pairs:
        polarities = {"near_bright": "is bright where it is near", "near_dark": "is dark where it is near"}
        words = polarities.get(survey.polarity, "does not show which side is near")
        lines.append(f"Depth without a unit {words} ({survey.evidence}).")
    return lines


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
