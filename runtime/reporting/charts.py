"""Charts as files, without a display and without matplotlib's global state."""

from __future__ import annotations

import functools
import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutualformer.runtime.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@functools.cache
def available() -> bool:
    """Whether matplotlib is installed; warns once if it is not."""
    found = importlib.util.find_spec("matplotlib") is not None
    if not found:
        logging.getLogger("mutualformer").warning("charts are left out: matplotlib is missing; pip install matplotlib")
    return found


def panels(columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure of ``columns`` axes side by side; ``width`` and ``height`` of the whole in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def save(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write ``figure`` in the format of the path's ending, a whole file or none of it."""
    with replacing(path) as beside:
        figure.savefig(beside, dpi=dpi)
