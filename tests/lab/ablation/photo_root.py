"""A small photo:ROOT: more photographs to validate on than `fit` validates on, and frames of a sensor."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from mutualformer.train.fitting.config import FitConfig
from tests.train.support.runs import tiny

PHOTOGRAPHS = 108


def write_photo_root(root: Path) -> Path:
    """ROOT/duts_tr, duts_te (``PHOTOGRAPHS`` of them) and sensor_frames: discs on noise, a slope with a hole."""
    rng = np.random.default_rng(0)
    for name, count in (("duts_tr", 6), ("duts_te", PHOTOGRAPHS)):
        for folder in ("RGB", "GT"):
            (root / name / folder).mkdir(parents=True)
        for index in range(count):
            rgb, mask = rng.integers(0, 90, (40, 48, 3)).astype(np.uint8), np.zeros((40, 48), np.uint8)
            cv2.circle(mask, (int(rng.integers(16, 32)), int(rng.integers(15, 25))), int(rng.integers(6, 10)), 255, -1)
            rgb[mask > 0] = rng.integers(100, 250, 3)
            cv2.imwrite(str(root / name / "RGB" / f"{index:03d}.png"), rgb)
            cv2.imwrite(str(root / name / "GT" / f"{index:03d}.png"), mask)
    for folder in ("RGB", "depth"):
        (root / "sensor_frames" / folder).mkdir(parents=True)
    for index in range(3):
        depth = np.tile(np.linspace(3000, 900 + 100 * index, 60)[:, None], (1, 80)).astype(np.uint16)
        depth[:15, :20] = 0
        rgb = rng.integers(90, 140, (60, 80, 3)).astype(np.uint8)
        cv2.imwrite(str(root / "sensor_frames" / "RGB" / f"{index}.png"), rgb)
        cv2.imwrite(str(root / "sensor_frames" / "depth" / f"{index}.png"), depth)
    return root


def tiny_on_photographs(root: Path, out: Path, steps: int = 2) -> FitConfig:
    """A run of seconds on ``root``."""
    config = tiny("sod", out, steps=steps, batch=8)
    return dataclasses.replace(config, data=f"photo:{root}?rendered=0")
