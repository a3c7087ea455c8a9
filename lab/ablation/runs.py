"""The runs of a comparison: one folder for every arm and seed, OUT/FUSION-seedS."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mutualformer.runtime.sources.grammar import parse
from mutualformer.train import checkpoint
from mutualformer.train.fitting import config as plan
from mutualformer.train.fitting.config import FitConfig, FitError


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One training of the study."""

    fusion: str
    seed: int
    config: FitConfig

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.config.out.name

    @property
    def weights(self) -> Path:
        """The finished model's checkpoint; missing until the run is done."""
        return self.config.out / "model.safetensors"

    def finished(self) -> bool:
        """Whether its checkpoint is there, whole, and of all its steps."""
        return checkpoint.has_steps(self.weights, self.config.recipe.steps)


def on_photographs(config: FitConfig) -> bool:
    """Whether the runs train on ``photo:ROOT``, which brings its own pictures to be scored on."""
    return parse(config.data).kind == "photo"


def planned(config: FitConfig, seeds: Sequence[int], fusions: Sequence[str]) -> list[Run]:
    """All runs, seed by seed so that every arm has one result first. Raises FitError for what cannot be compared."""
    if config.validate is None and not config.hold_out and not on_photographs(config):
        raise FitError("a comparison needs held-out data: give --validate DATA")
    equal = dataclasses.replace(config.recipe, minutes=0.0)
    runs = []
    for seed in seeds:
        for fusion in fusions:
            folder = config.out / f"{fusion}-seed{seed}"
            one = dataclasses.replace(
                config,
                out=folder,
                recipe=equal,
                seed=seed,
                overrides={**config.overrides, "fusion": fusion},
                resume=(folder / "checkpoints" / "last.ckpt").is_file(),
            )
            changed = plan.difference(one.out, one)
            if changed:
                raise FitError(f"{one.out}: holds a run begun with {changed}; take another --out")
            runs.append(Run(fusion, seed, one))
    return runs
