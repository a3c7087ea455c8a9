"""One tiny model file and a few pictures for the tests of ``predict``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.runtime.fakes import write_model


@pytest.fixture(scope="session")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SOD file whose saliency is red ÷ 255 wherever depth was measured."""
    return write_model(tmp_path_factory.mktemp("model") / "red.onnx", (32, 48))


def write_pictures(folder: Path, count: int, shape: tuple[int, int] = (40, 60), depth: bool = False) -> Path:
    """``count`` seeded pictures ``0.png`` … (and ``depth/`` in millimetres beside ``RGB/``)."""
    rng = np.random.default_rng(7)
    colour = folder / "RGB" if depth else folder
    colour.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image = rng.integers(0, 256, (*shape, 3), np.uint8)
        assert cv2.imwrite(str(colour / f"{index}.png"), image)
        if depth:
            (folder / "depth").mkdir(exist_ok=True)
            units = rng.integers(500, 4000, shape).astype(np.uint16)
            assert cv2.imwrite(str(folder / "depth" / f"{index}.png"), units)
    return folder
