"""Charts of the quantisation reports as pictures: bars with a line beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mutualformer.export.compare.report import Image
from mutualformer.runtime.reporting.charts import panels

_BLUE, _GREY = "#2f6fb7", "#57606a"


PANEL_WIDTH = 6.2  # inches


def _bars(panel: Any, bars: Sequence[tuple[str, float]], title: str, digits: int) -> None:
    names, values = [name for name, _ in bars], [value for _, value in bars]
    drawn = panel.barh(range(len(bars)), values, color=_BLUE)
    panel.bar_label(drawn, [f"{value:.{digits}g}" for value in values], padding=3, fontsize=7, color=_GREY)
    panel.set_yticks(range(len(bars)), names, fontsize=7)
    panel.invert_yaxis()
    panel.margins(x=0.15)
    panel.set_title(title, fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)


def bars_and_line(
    bars: Sequence[tuple[str, float]], title: str, points: Sequence[tuple[float, float]], axes: tuple[str, str]
) -> Image:
    """Horizontal bars (name, value), longest first, and beside them a line through ``points``; RGB uint8."""
    figure, (left, panel) = panels(2, 2 * PANEL_WIDTH, 0.19 * len(bars) + 1.4)
    _bars(left, bars, title, 2)
    panel.plot(*zip(*points, strict=True), "-o", color=_BLUE, markersize=4)
    panel.set(xlabel=axes[0], ylabel=axes[1])
    panel.grid(True, alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    figure.set_dpi(100)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(np.uint8)
