"""Trainings as small as they can be, for either task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mutualformer.train.fitting.config import FitConfig
from mutualformer.train.fitting.recipes import Recipe
from mutualformer.train.fitting.recipes.reading import record

DATA = {"sod": "synthetic:16?seed=7", "reid": "synthetic:4?seed=7"}
HELD_OUT = {"sod": "synthetic:6?seed=8", "reid": "synthetic:4?seed=8"}
MODELS = {"sod": "sod-nano", "reid": "reid-tiny"}
OVERRIDES: dict[str, dict[str, Any]] = {
    "sod": {"input_size": [32, 64]},
    "reid": {"input_size": [32, 32], "dim": 24},
}


def tiny(
    task: str, out: Path, steps: int = 3, batch: int = 8, how: dict[str, Any] | None = None, **changes: Any
) -> FitConfig:
    """A run of seconds: ``steps`` steps of ``batch`` at 32 pixels; ``how``: more of its recipe."""
    plan = {"steps": steps, "batch": batch, "learning_rate": 2e-3, "stages": [[0.0, 32]], "warmup": 0.2, **(how or {})}
    recipe = record(Recipe, {"name": "tiny", **plan})
    settings = {"overrides": OVERRIDES[task], "workers": 0, "save_every": 1000, **changes}
    return FitConfig(MODELS[task], DATA[task], out, recipe, **settings)
