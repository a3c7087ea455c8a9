"""Charts of the quantisation reports as pictures: bars with a line beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mutualformer.export.compare.report import Image

_BLUE, _GREY = "#2f6fb7", "#57606a"


def _figure(columns: int, height: float) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made: tuple[Any, Any] = pyplot.subplots(1, columns, figsize=(6.2 * columns, height), squeeze=False)
    return made


def _picture(figure: Any) -> Image:
    from matplotlib import pyplot

    figure.tight_layout()
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    pyplot.close(figure)
    return np.asarray(pixels, np.uint8)


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
    figure, panels = _figure(2, 0.19 * len(bars) + 1.4)
    _bars(panels[0][0], bars, title, 2)
    panel = panels[0][1]
    panel.plot(*zip(*points, strict=True), "-o", color=_BLUE, markersize=4)
    panel.set(xlabel=axes[0], ylabel=axes[1])
    panel.grid(True, alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    return _picture(figure)


def bar_panels(panels: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> Image:
    """One panel of horizontal bars per (title, bars); RGB uint8."""
    figure, axes = _figure(len(panels), 0.4 * max(len(bars) for _, bars in panels) + 1.2)
    for panel, (title, bars) in zip(axes[0], panels, strict=True):
        _bars(panel, bars, title, 3)
    return _picture(figure)
