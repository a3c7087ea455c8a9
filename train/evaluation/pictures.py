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
from mutualformer.runtime.reporting import charts
from mutualformer.runtime.sources.frame import Item
from mutualformer.runtime.untrusted.printable import printable

CELL = 160  # pixels


def precision_recall(curves: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """One curve per entry of ``found``: name → {"precision", "recall"} over thresholds."""
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
        cells = [item.rgb[..., ::-1], depth_colours(item.depth, tail=1.0)[..., ::-1]]
        cells += [cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR) for grey in (truth, predicted)]
        rows.append(np.hstack([cv2.resize(cell, (CELL, CELL), interpolation=cv2.INTER_AREA) for cell in cells]))
    write_picture(path, np.vstack(rows))


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """(H, W) or (H, W, 3) BGR uint8 as PNG, a whole file or none."""
    done, data = cv2.imencode(".png", image)
    if not done:
        raise ValueError(f"{path}: cannot encode a picture of shape {image.shape}")
    write_bytes(path, data.tobytes())


def spread_chart(
    groups: Mapping[str, Mapping[str, Sequence[float]]], titles: Mapping[str, str], path: Path, heading: str
) -> None:
    """One panel a metric: every run a dot, mean and standard deviation beside; ``groups``: arm → metric → values."""
    figure, panels = charts.panels(len(titles), 2.9 * len(titles), 3.6)
    figure.suptitle(heading, fontsize=10)
    for axes, (metric, title) in zip(panels, titles.items(), strict=True):
        for place, values in enumerate(group[metric] for group in groups.values()):
            axes.plot([place - 0.12] * len(values), values, "o", ms=4, alpha=0.55)
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            axes.errorbar(place + 0.12, float(np.mean(values)), yerr=spread, fmt="_", ms=14, capsize=4, color="black")
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(groups)), [name.replace("+", "\n+ ") for name in groups], fontsize=7, rotation=20)
        axes.grid(axis="y", alpha=0.3)
        axes.margins(x=0.2)
    charts.save(figure, path)
