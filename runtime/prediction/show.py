"""Show an answer: in a notebook, or in the system's own picture viewer."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from PIL import Image, ImageShow

from mutualformer.errors import InputError

CELL = (480, 640)  # height, width of each picture shown, pixels


def show(jpeg: bytes) -> None:
    """Show a JPEG file's bytes. Raises InputError where there is neither a notebook nor a screen with a viewer."""
    image = Image.open(io.BytesIO(jpeg))
    notebook: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if notebook is not None and "IPKernelApp" in notebook.config:
        from IPython.display import display

        display(image)  # type: ignore[no-untyped-call]
        return
    screen = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not (screen and ImageShow.show(image, "MutualFormer")):
        raise InputError("there is no screen and no notebook to show it on; save() writes it to files")
