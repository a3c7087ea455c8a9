"""The configuration of a training run, and the plan of it that is kept beside its checkpoints.

A run can be resumed only with the plan it was begun with; :func:`difference` reports how a command differs from it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mutualformer.errors import BuildError
from mutualformer.plugins.files import plain
from mutualformer.runtime.files import write_bytes, write_json
from mutualformer.runtime.untrusted.typed_json import read_json
from mutualformer.train.fitting.recipes import Recipe
from mutualformer.train.fitting.recipes.reading import to_toml

NAME, RECIPE = "plan.json", "recipe.toml"
# What may change when a run is resumed: its length and its end. Progress is a share of the steps, so a longer run
# continues at the rate and the side that its schedule has there.
GOING_ON = tuple(f"recipe.{key}" for key in ("steps", "minutes", "stages", "plateau", "final", "note"))


class FitError(BuildError, ValueError):
    """A run that cannot be started as asked."""


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """One training run.

    ``overrides``: of the model's registry entry. ``validate``: DATA for the card's metrics; None = none, unless
    ``hold_out`` keeps a tenth of the frames out of training for it. ``local_norms``: with several processes every
    batch norm takes its statistics over its own process's share of a batch. ``init``: a checkpoint to start from
    (fine-tuning). ``validate_every``: steps between validations while it trains, 0 = none. Raises FitError.
    """

    model: str
    data: str
    out: Path
    recipe: Recipe
    seed: int = 0
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    validate: str | None = None
    hold_out: bool = False
    init: str | None = None
    resume: bool = False
    precision: str = "32-true"
    local_norms: bool = False
    workers: int = 1
    save_every: int = 200
    validate_every: int = 400

    def __post_init__(self) -> None:
        recipe = self.recipe
        for name, value, least in (
            ("--steps", recipe.steps, 1),
            ("--batch", recipe.batch, 1),
            ("--workers", self.workers, 0),
            ("--save-every", self.save_every, 1),
            ("--validate-every", self.validate_every, 0),
            ("--seed", self.seed, 0),
        ):
            if value < least:
                raise FitError(f"{name} is {value}, expected a whole number of at least {least}")
        if not 0 <= recipe.minutes < float("inf"):
            raise FitError(f"--minutes is {recipe.minutes}, expected 0 (no budget) or more")


def plan_of(config: FitConfig) -> dict[str, Any]:
    """Everything that affects a run's weights, in JSON types; not the machine, and not the data it is scored on."""
    plan = {
        "model": config.model,
        "data": config.data,
        "recipe": dataclasses.asdict(config.recipe),
        "seed": config.seed,
        "overrides": config.overrides,
        "precision": config.precision,
    }
    # Only options that differ from their defaults, so that plans written before they existed stay valid.
    plan |= {key: getattr(config, key) for key in ("hold_out", "init", "local_norms") if getattr(config, key)}
    if not config.validate_every:  # some kinds of data keep the weights of the best validation
        plan["validate_every"] = 0
    return dict(plain(plan))


def _flat(plan: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plan.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def difference(folder: Path, config: FitConfig) -> str:
    """How ``config`` differs from the run begun in ``folder``, as "seed = 0, now 1; …"; "" when it does not.

    Raises FitError when the kept plan cannot be read.
    """
    path = folder / NAME
    if not path.is_file():
        return ""
    try:
        begun = _flat(dict(read_json(path, FitError, "plan of a training run")))
    except FitError as error:
        raise FitError(f"{path}: is not a plan ({error}); remove {folder} to start anew") from error
    now = _flat(plan_of(config))
    keys = [k for k in sorted(begun.keys() | now.keys()) if begun.get(k) != now.get(k) and not k.startswith(GOING_ON)]
    return "; ".join(f"{key} = {begun.get(key)!r}, now {now.get(key)!r}" for key in keys)


def keep(folder: Path, config: FitConfig) -> None:
    """Write the plan of a run, and its recipe as a file that ``--recipe`` takes."""
    write_json(folder / NAME, plan_of(config))
    write_bytes(folder / RECIPE, to_toml(config.recipe).encode())
