"""Showing an answer to whoever asked for it: in a notebook, or in the system's own picture viewer."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.preprocess import InputError

HEIGHT = 480
_VIEWERS = {"darwin": "open", "linux": "xdg-open"}


def sheet(*pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures (H, W, 3), or (H, W, 4) upon white, side by side at one height."""
    tiles = []
    for one in pictures:
        if one.shape[2] == 4:
            alpha = one[..., 3:].astype(np.float32) / 255
            one = (one[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        width = max(1, round(one.shape[1] * HEIGHT / one.shape[0]))
        tiles.append(np.asarray(cv2.resize(one, (width, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8))
    return np.concatenate(tiles, axis=1)


def show(png: bytes) -> None:
    """Show a PNG file's bytes. Raises InputError where there is neither a notebook nor a screen."""
    notebook: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if notebook is not None and "IPKernelApp" in notebook.config:
        from IPython.display import Image, display

        display(Image(png))  # type: ignore[no-untyped-call]
        return
    screen = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    path = Path(tempfile.mkdtemp(prefix="mutualformer-")) / "answer.png"
    path.write_bytes(png)
    try:
        if not screen:
            raise FileNotFoundError
        if sys.platform == "win32":
            os.startfile(path)
        else:
            subprocess.Popen([_VIEWERS.get(sys.platform, "xdg-open"), str(path)], stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise InputError(f"there is no screen and no notebook to show it on; it is written to {path}") from None
