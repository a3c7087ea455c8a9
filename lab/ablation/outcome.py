"""The outcome of a comparison on photographs: metrics by arm and set, what depth contributes, paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab.ablation.paired import Paired, paired
from lab.ablation.photo_spread import BARE, DRAWN, markdown, panels, rows
from lab.ablation.photographs import SPOILT, HeldOut, scores_of
from lab.ablation.runs import Run
from lab.ablation.witness import check_equal
from lab.results import write_csv
from mutualformer.runtime.benchmarks.measure import conditions as machine
from mutualformer.runtime.card import over_seeds
from mutualformer.runtime.files import write_bytes, write_json
from mutualformer.runtime.tasks import SOD
from mutualformer.train import checkpoint
from mutualformer.train.fitting import config as plan

REFERENCE = "cda"  # the arm that the others are compared with, where it takes part


@dataclass(frozen=True)
class Study:
    """Where the outcome of a study lies, and its table as text."""

    result: dict[str, Any]
    table: str
    stem: Path


Scores = Mapping[str, Any]  # condition → metrics, and "frames": metric → values frame by frame


def _difference(runs: Sequence[tuple[Scores, Scores]], first: str, second: str) -> dict[str, Any]:
    """Metric → condition ``first`` of one model less ``second`` of the other, paired by seed and frame."""
    values: dict[str, Paired] = {}
    for name in SOD.names:
        ours = np.array([one[first]["frames"][name] for one, _ in runs])
        theirs = np.array([other[second]["frames"][name] for _, other in runs])
        values[name] = paired(ours - theirs)
    return {name: one.as_dict() for name, one in values.items()}


def compared(runs: Sequence[Run], scores: Mapping[Run, Scores]) -> dict[str, Any]:
    """Fusion → parameters, training time, ``conditions``, ``minus_REFERENCE`` and ``depth``, in JSON types.

    ``conditions``: condition → metric → mean and standard deviation over seeds, and the runs. ``depth``: set →
    ``gain``, with depth less without, and ``wrong``, with that of another frame less without; metric → paired by frame.
    """
    fusions = list(dict.fromkeys(run.fusion for run in runs))
    reference = REFERENCE if REFERENCE in fusions else fusions[0]
    by_arm = {fusion: {run.seed: run for run in runs if run.fusion == fusion} for fusion in fusions}
    arms: dict[str, Any] = {}
    for fusion, ours in by_arm.items():
        conditions: dict[str, Any] = {}
        seeds = list(ours)
        for key in scores[ours[seeds[0]]]:
            metrics = [{name: scores[run][key][name] for name in SOD.names} for run in ours.values()]
            spread = over_seeds(metrics, seeds, SOD.names)
            conditions[key] = {
                "metrics": {name: spread[name] for name in SOD.names},
                "runs": {str(seed): one for seed, one in zip(seeds, metrics, strict=True)},
                SOD.counted: scores[ours[seeds[0]]][key][SOD.counted],
            }
        own = [(scores[run], scores[run]) for run in ours.values()]
        measured = [key for key in conditions if f"{key} {SPOILT[0]}" in conditions]
        cards = [checkpoint.read_card(run.weights) for run in ours.values()]
        arm: dict[str, Any] = {
            "params": cards[0]["params"],
            # Of runs that were gone on with, only the last part is known.
            "training_seconds": [
                one["recipe"]["seconds"]["training"] for one in cards if not one["recipe"]["resumed_at_step"]
            ],
            "conditions": conditions,
            "depth": {
                key: {
                    "gain": _difference(own, key, f"{key} {SPOILT[0]}"),
                    "wrong": _difference(own, f"{key} {SPOILT[1]}", f"{key} {SPOILT[0]}"),
                }
                for key in measured
            },
        }
        arm["depth"][DRAWN] = {"gain": _difference(own, DRAWN, BARE)}
        if fusion != reference:
            pairs = [(scores[run], scores[by_arm[reference][seed]]) for seed, run in ours.items()]
            arm[f"minus_{reference}"] = {key: _difference(pairs, key, key) for key in conditions}
        arms[fusion] = arm
    return {"reference": reference, "arms": arms}


def collected(runs: Sequence[Run], held_out: HeldOut, jobs: int) -> dict[str, Any]:
    """Everything the section on photographs is made of, in JSON types; scores what is not scored yet.

    Raises FitError where the arms of a seed did not begin alike.
    """
    same = check_equal(runs)
    outcome = compared(runs, {run: scores_of(run.weights, held_out) for run in runs})
    first = runs[0].config
    return {
        "plan": {key: value for key, value in plan.plan_of(first).items() if key not in ("seed", "overrides")},
        "overrides": {key: value for key, value in first.overrides.items() if key != "fusion"},
        "input_size": checkpoint.read_card(runs[0].weights)["input_size"],
        "held_out": held_out.facts(),
        "seeds": list(dict.fromkeys(run.seed for run in runs)),
        **outcome,
        "same_begin_and_batches": same,
        "jobs": jobs,
        "conditions": machine(torch=torch.__version__),
        "git_revision": checkpoint.git_revision(),
    }


def written(result: dict[str, Any], stem: Path) -> Study:
    """Write ``stem``.json, .csv, .png and .md, a section to be pasted into a document as it is."""
    from lab.ablation.chart import spread_chart

    table = markdown(result, stem.with_suffix(".png").name)
    write_json(stem.with_suffix(".json"), result)
    write_csv(stem.with_suffix(".csv"), rows(result))
    write_bytes(stem.with_suffix(".md"), table.encode(errors="backslashreplace"))
    heading = f"{result['plan']['model']}: every run a dot, mean ± standard deviation over seeds"
    spread_chart(*panels(result), stem.with_suffix(".png"), heading)
    return Study(result, table, stem)
