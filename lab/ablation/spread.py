"""The outcome of several trainings as a table: mean ± standard deviation over seeds, and the paired differences."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from mutualformer.runtime.reporting import tables
from mutualformer.runtime.tasks import Task
from mutualformer.train.evaluation.tables import number


def both(spread: Mapping[str, Any], signed: bool = False) -> str:
    """``0.8883 ± 0.0057``: a mean and its standard deviation over seeds, where there are several."""
    mean = f"{spread['mean']:+.4f}" if signed else number(spread["mean"], 4)
    return mean if spread["std"] is None else f"{mean} ± {spread['std']:.4f}"


def markdown(result: Mapping[str, Any], task: Task) -> str:
    """The table for readers: mean ± standard deviation over seeds, and the run-by-run difference from the first arm."""
    columns, arms = task.headings, result["arms"]
    timed = result.get("latency", {}).get("arms")
    rows, differences = [], []
    first = next(iter(arms))
    for fusion, arm in arms.items():
        row = [fusion, *(both(arm["metrics"][name]) for name in columns), f"{arm['params']:,}"]
        rows.append([*row, *([f"{timed[fusion]['p50_ms']:.1f}"] if timed else [])])
        if f"minus_{first}" in arm:
            differences.append([fusion, *(both(arm[f"minus_{first}"][name], signed=True) for name in columns)])
    header = ["fusion", *columns.values(), "parameters", *(["ms (CPU, PyTorch)"] if timed else [])]
    recipe, seeds = result["plan"]["recipe"], ", ".join(map(str, result["seeds"]))
    lines = [
        f"# {result['plan']['model']}: {'fusion' if len(arms) > 1 else 'spread over seeds'}",
        "",
        f"Trained on `{result['plan']['data']}` with recipe {recipe['name']}, {recipe['steps']} steps of "
        f"{recipe['batch']}, no time budget; seeds {seeds}; evaluated on `{result['held_out']}`. "
        "Mean ± standard deviation over seeds.",
        "",
        tables.markdown(header, rows, numbers=True),
    ]
    gains = [
        [fusion, *(both(arm[f"gain_of_{task.modalities[1]}"][name], signed=True) for name in columns)]
        for fusion, arm in arms.items()
        if f"gain_of_{task.modalities[1]}" in arm
    ]
    if gains:
        lines += ["", f"What {task.modalities[1]} contributes: the metric with it less the same without it.", ""]
        lines += [tables.markdown(["fusion", *columns.values()], gains, numbers=True)]
    if differences:
        lines += ["", f"Difference from {first}, seed by seed (same first weights, same batches):", ""]
        lines += [tables.markdown(["fusion", *columns.values()], differences, numbers=True)]
        lines += ["", "A difference smaller than its own spread says nothing about which arm is better."]
    return "\n".join(lines) + "\n"


def comma_separated(result: Mapping[str, Any], task: Task) -> str:
    """One line a run: fusion, seed, metrics, parameters."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["fusion", "seed", *task.names, "params"])
    for fusion, arm in result["arms"].items():
        for seed, metrics in arm["runs"].items():
            writer.writerow([fusion, seed, *(f"{metrics[name]:.6f}" for name in task.names), arm["params"]])
    return text.getvalue()
