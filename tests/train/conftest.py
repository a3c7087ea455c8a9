"""Fixtures shared by the training tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Rendered scenes go to a folder of the test session, and seeds are fixed."""
    root = tmp_path_factory.getbasetemp() / "mutualformer-cache"
    monkeypatch.setenv("MUTUALFORMER_CACHE", str(root))
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the pictures are tiny: a second thread only waits for the first


@pytest.fixture
def rgbd_folder(tmp_path: Path) -> Path:
    """A folder of three frames in the spelling of the public sets: JPEG colour, 8-bit depth, PNG truth."""
    rng = np.random.default_rng(0)
    for name in ("RGB", "depth", "GT"):
        (tmp_path / name).mkdir()
    for i in range(3):
        mask = np.zeros((40, 50), np.uint8)
        mask[10 + i : 30, 15:35] = 255
        cv2.imwrite(str(tmp_path / "RGB" / f"{i}.jpg"), rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
        cv2.imwrite(str(tmp_path / "depth" / f"{i}.png"), np.where(mask > 0, 200, 50 + 10 * i).astype(np.uint8))
        cv2.imwrite(str(tmp_path / "GT" / f"{i}.png"), mask)
    return tmp_path
