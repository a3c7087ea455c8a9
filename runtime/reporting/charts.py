"""Charts as files or pixels, without a display and without matplotlib's global state."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def available() -> bool:
    """Whether matplotlib is installed; warns once if it is not."""
    if importlib.util.find_spec("matplotlib") is not None:
        return True
    global _reported
    if not _reported:
        _reported = True
        logging.getLogger("mutualformer").warning("charts are left out: matplotlib is missing; pip install matplotlib")
    return False


_reported = False


def panels(columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure of ``columns`` axes side by side; ``width`` and ``height`` of the whole in inches.

    Raises RuntimeError where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise RuntimeError("charts need matplotlib; pip install matplotlib") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def save(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write ``figure`` in the format of the path's ending, a whole file or none of it."""
    with replacing(path) as beside:
        figure.savefig(beside, dpi=dpi)


def pixels(figure: Figure, dpi: int = 100) -> NDArray[np.uint8]:
    """``figure`` as RGB uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(np.uint8)
