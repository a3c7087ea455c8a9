"""Evaluation as pictures: precision-recall curves and a grid of inputs, truth and prediction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.item import Frames

CELL = 160  # pixels


def precision_recall(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """One curve per entry of ``found``: name → {"precision", "recall"} over thresholds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, values in found.items():
        axes.plot(values["recall"], values["precision"], label=f"{name}  max F {values['max_f']:.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def depth_colours(metres: NDArray[Any], tail: float = 2.0) -> NDArray[np.uint8]:
    """(H, W) metres → (H, W, 3) uint8 RGB: near warm, far cold, holes black.

    Scaled to the frame's own inverse depth, less ``tail`` percent at either end.
    """
    valid = metres > 0
    if not valid.any():
        return np.zeros((*metres.shape, 3), np.uint8)
    inverse = np.where(valid, 1.0 / np.maximum(metres, 1e-3), 0.0)
    low, high = np.percentile(inverse[valid], (tail, 100 - tail))
    unit = np.clip((inverse - low) / max(high - low, 1e-6), 0, 1)
    colours = cv2.applyColorMap((unit * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(valid[..., None], colours, 0).astype(np.uint8)


def qualitative_grid(frames: Frames, maps: Path, path: Path, count: int = 8) -> None:
    """Rows of colour, depth, truth and prediction (``maps/NAME.png``) for frames spread over the dataset."""
    rows = []
    for index in np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int)):
        item = frames[int(index)]
        predicted = cv2.imread(str(maps / f"{item.name}.png"), cv2.IMREAD_GRAYSCALE)
        truth = item.mask if item.mask is not None else np.zeros(item.rgb.shape[:2], np.uint8)
        cells = [item.rgb[..., ::-1], depth_colours(item.depth, tail=1.0)[..., ::-1]]
        cells += [cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR) for grey in (truth, predicted)]
        rows.append(np.hstack([cv2.resize(cell, (CELL, CELL), interpolation=cv2.INTER_AREA) for cell in cells]))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(rows))
