"""Calibration methods compared on one model: the same frames, the same layers, four ways to choose the scales.

``mutualformer parity REFERENCE --calibrations --calibration DATA --data DATA --out DIR`` writes calibrations.json,
.png, .html.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mutualformer.export.compare import charts, report
from mutualformer.export.precision.calibration import METHODS
from mutualformer.export.precision.quantize import Quantizer
from mutualformer.export.studies.trial import Trial
from mutualformer.runtime.files import write_bytes, write_json
from mutualformer.runtime.reporting.progress import progress

SCHEMA_VERSION = 1


def compare_methods(quantizer: Quantizer, trial: Trial) -> list[dict[str, Any]]:
    """One row per method, all layers in INT8, the rest FP16; the least noisy first."""
    rows = []
    for method in progress(tuple(METHODS), "calibration methods"):
        outcome = trial.judge(quantizer.to_int8(method))
        rows.append({"method": method, "noise": outcome.noise, **outcome.as_row()})
    return sorted(rows, key=lambda row: row["noise"])


def run(quantizer: Quantizer, trial: Trial, about: dict[str, Any], out: Path) -> dict[str, Any]:
    """Compare and write the three files into ``out``; returns what calibrations.json holds."""
    rows = compare_methods(quantizer, trial)
    result = {"schema_version": SCHEMA_VERSION, **about, "reference": trial.reference, "methods": rows}
    write_json(out / "calibrations.json", result)
    picture = chart(rows)
    write_bytes(out / "calibrations.png", report.png(picture))
    keys = list(rows[0])
    text = (
        f"{about['file']}, calibrated on {about['calibration']}, judged on {about['frames']} frames of {about['data']}"
    )
    report.write_page(
        out / "calibrations.html",
        "INT8: which calibration?",
        [
            ("", f"<p>{report.escape(text)}</p>"),
            ("", report.figure(picture, "Shorter is better")),
            ("Methods", report.table(keys, [[row[key] for key in keys] for row in rows])),
        ],
    )
    return result


def chart(rows: list[dict[str, Any]]) -> report.Image:
    """One panel per measure, one bar per method."""
    deltas = [key for key in rows[0] if key.startswith("delta_")]
    measures = [("mean_abs", "mean absolute difference"), *((key, f"|{key.replace('delta_', 'Δ')}|") for key in deltas)]
    return charts.bar_panels([(title, [(row["method"], abs(row[key])) for row in rows]) for key, title in measures])


def as_text(rows: list[dict[str, Any]]) -> str:
    """The table for a terminal."""
    keys = [key for key in rows[0] if key not in ("method", "noise")]
    lines = [f"{'method':<12}" + "".join(f"{key:>18}" for key in keys)]
    lines += [
        f"{row['method']:<12}" + "".join(f"{'–':>18}" if row[key] is None else f"{row[key]:>18.5f}" for key in keys)
        for row in rows
    ]
    return "\n".join(lines)
