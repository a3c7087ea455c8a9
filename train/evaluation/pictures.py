"""Evaluation as pictures: precision-recall curves and a grid of inputs, truth and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.files import write_bytes
from mutualformer.runtime.images.colours import depth_colours
from mutualformer.runtime.images.rendering import png
from mutualformer.runtime.reporting import charts
from mutualformer.runtime.sources.frame import Item
from mutualformer.runtime.untrusted.printable import printable

CELL = 160  # pixels


def precision_recall(curves: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """One curve for each entry of ``curves``: name → {"precision", "recall"} over thresholds."""
    figure, (axes,) = charts.panels(1, 5, 4)
    for name, values in curves.items():
        axes.plot(values["recall"], values["precision"], label=f"{printable(name)}  max F {values['max_f']:.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    charts.save(figure, path)


def grid_indices(count: int, most: int = 8) -> list[int]:
    """Frames to show, spread over a dataset of ``count``."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))]


def qualitative_grid(examples: Sequence[tuple[Item, NDArray[np.uint8]]], path: Path) -> None:
    """Rows of colour, depth, truth and prediction; ``examples``: frames with their maps, uint8 (H, W)."""
    rows = []
    for item, predicted in examples:
        truth = item.mask if item.mask is not None else np.zeros(item.rgb.shape[:2], np.uint8)
        cells = [item.rgb, depth_colours(item.depth)]
        cells += [cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB) for grey in (truth, predicted)]
        rows.append(np.hstack([cv2.resize(cell, (CELL, CELL), interpolation=cv2.INTER_AREA) for cell in cells]))
    write_bytes(path, png(np.vstack(rows)))
