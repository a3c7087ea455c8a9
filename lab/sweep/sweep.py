"""Sensitivity sweep: every layer that INT8 may take, quantised alone; what that costs, and what keeping the worst buys.

``python -m lab.sweep MODEL --calibration DATA --data DATA --out DIR`` writes sweep.json, .csv, .png, .html.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.results import write_csv
from lab.sweep import charts
from lab.sweep.trial import Trial
from mutualformer.export.compare import report
from mutualformer.export.precision.quantize import Quantizer
from mutualformer.runtime.files import write_bytes, write_json
from mutualformer.runtime.images import rendering
from mutualformer.runtime.reporting.progress import progress

KEPT = (0, 1, 2, 4, 8, 16, 32)  # how many of the worst layers the second table leaves in FP16
SHOWN = 30
SCHEMA_VERSION = 1  # of sweep.json


def worst(rows: Sequence[dict[str, Any]], count: int) -> list[str]:
    """Names of the ``count`` costliest of a sweep's rows."""
    return [str(row["node"]) for row in sorted(rows, key=lambda row: -row["noise"])[:count]]


def layer_costs(quantizer: Quantizer, trial: Trial) -> list[dict[str, Any]]:
    """One row per layer quantised alone with the rest in FP32, costliest first.

    ``noise``: squared error over the squared output, the cost that ranks; ``weights``: name in the checkpoint where
    the graph still has it.
    """
    nodes = {node.name: node for node in quantizer.model.graph.node}
    rows = []
    for name in progress(quantizer.nodes, "layers"):
        node, outcome = nodes[name], trial.judge(quantizer.place([name]))
        weights = node.input[1] if node.op_type != "Add" else ""
        rows.append({"node": name, "op": node.op_type, "weights": weights, "noise": outcome.noise, **outcome.as_row()})
    return sorted(rows, key=lambda row: -row["noise"])


def kept_curve(quantizer: Quantizer, trial: Trial, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All layers in INT8 but the worst k, which stay in FP16: one row per k."""
    counts = [count for count in KEPT if count < len(rows)]
    return [
        {"kept": count, **trial.judge(quantizer.to_int8(worst(rows, count))).as_row()}
        for count in progress(counts, "keeping the worst")
    ]


def run(quantizer: Quantizer, trial: Trial, about: dict[str, Any], out: Path) -> dict[str, Any]:
    """Sweep and write all four files into ``out``; returns what sweep.json holds. ``about``: file, data, frames."""
    rows = layer_costs(quantizer, trial)
    result = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "reference": trial.reference,
        "layers": rows,
        "kept": kept_curve(quantizer, trial, rows),
    }
    write_json(out / "sweep.json", result)
    write_csv(out / "sweep.csv", rows)
    picture = chart(result)
    write_bytes(out / "sweep.png", rendering.png(picture))
    write_page(out / "sweep.html", result, picture)
    return result


def label(row: dict[str, Any]) -> str:
    """The weights' own name where the graph has it, else the node's."""
    return str(row["weights"]) if "." in str(row["weights"]) else str(row["node"])


def chart(result: dict[str, Any]) -> report.Image:
    """Left: noise of each of the worst layers alone. Right: signal-to-noise ratio over the number kept in FP16."""
    rows = result["layers"][:SHOWN]
    bars = [(label(row), 100 * row["noise"]) for row in rows]
    points = [(row["kept"], row["snr_db"]) for row in result["kept"] if row["snr_db"] is not None]
    return charts.bars_and_line(
        bars,
        "one layer in INT8: squared error, % of the answer's",
        points,
        ("worst layers left in FP16, all others INT8", "signal to noise of the answer, dB"),
    )


def write_page(path: Path, result: dict[str, Any], picture: report.Image) -> None:
    """The sweep as one HTML page: every layer alone, and what keeping the worst in FP16 buys."""
    layers = [key for key in result["layers"][0] if key != "weights"]
    rows = [[label(row), *(row[key] for key in layers)] for row in result["layers"]]
    kept = list(result["kept"][0])
    about = f"{result['file']}, {len(rows)} layers, {result['frames']} frames of {result['data']}"
    report.write_page(
        path,
        "Sensitivity: what does INT8 cost, layer by layer?",
        [
            ("", f"<p>{html.escape(about)}</p>"),
            ("", report.figure(picture, "The costliest layers, and what leaving them in FP16 buys")),
            ("Worst layers left in FP16", report.table(kept, [[row[key] for key in kept] for row in result["kept"]])),
            ("Every layer alone", report.table(["layer", *layers], rows)),
        ],
    )
