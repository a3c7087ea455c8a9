"""What a training run was asked to be, kept beside its checkpoints: a run is gone on with only as it was begun."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutualformer.runtime.files import write_json

if TYPE_CHECKING:
    from mutualformer.train.fit import FitConfig

NAME = "plan.json"


def plan_of(config: FitConfig) -> dict[str, Any]:
    """Everything that decides the weights of a run, in JSON types. Where it runs and what it is scored on do not."""
    plan = {
        "model": config.model,
        "data": config.data,
        "recipe": dataclasses.asdict(config.recipe),
        "seed": config.seed,
        "overrides": config.overrides,
        "precision": config.precision,
    }
    return dict(json.loads(json.dumps(plan)))


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

    Raises ValueError when the kept plan cannot be read.
    """
    path = folder / NAME
    if not path.is_file():
        return ""
    try:
        begun = _flat(json.loads(path.read_text()))
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: is not a plan ({error}); remove {folder} to start anew") from error
    now = _flat(plan_of(config))
    keys = [key for key in sorted(begun.keys() | now.keys()) if begun.get(key) != now.get(key)]
    return "; ".join(f"{key} = {begun.get(key)!r}, now {now.get(key)!r}" for key in keys)


def keep(folder: Path, config: FitConfig) -> None:
    """Write the plan of a run that begins."""
    write_json(folder / NAME, plan_of(config))
