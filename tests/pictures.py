"""Picture files as OpenCV reads them, by itself and not through the project's reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Change = Callable[[NDArray[Any]], NDArray[Any]]


def decode_picture(data: bytes, flags: int = cv2.IMREAD_COLOR) -> NDArray[Any]:
    """Bytes of a picture file → pixels, colour channels in BGR order."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    assert image is not None, f"{len(data)} bytes that are no picture"
    return image


def read_picture(path: Path, flags: int = cv2.IMREAD_COLOR) -> NDArray[Any]:
    """A picture file → pixels, colour channels in BGR order."""
    image = cv2.imread(str(path), flags)
    assert image is not None, f"{path} is no picture"
    return image


def rewrite_picture(path: Path, change: Change) -> None:
    """Replace a picture by what ``change`` makes of its pixels, type and channels as they were stored."""
    cv2.imwrite(str(path), change(read_picture(path, cv2.IMREAD_UNCHANGED)))
