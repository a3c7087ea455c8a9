"""The parity report: the verdict, one bar per budget, what was compared, and frames, the real pair first."""

from __future__ import annotations

import html
from pathlib import Path

from mutualformer.export.compare import report
from mutualformer.export.compare.result import Parity
from mutualformer.runtime.files import write_json
from mutualformer.runtime.tasks import TITLES

WORDS = {
    "max_abs": "largest difference of any output value",
    "mean_abs": "mean difference of all output values",
    "cosine": "cosine of the outputs",
    "snr_db": "signal to noise, dB",
    "finite": "all values finite",
    "values": "values compared",
    "map_points": "change of mAP, points",
    **TITLES,
}


def write_reports(result: Parity, out: Path) -> Path:
    """Write ``parity.json`` and ``report.html`` into ``out``; returns the path of the latter."""
    write_json(out / "parity.json", result.as_dict())
    page = out / "report.html"
    report.write_page(page, "Parity: is it still the model you trained?", sections(result))
    return page


def sections(result: Parity) -> list[tuple[str, str]]:
    """The report's parts as (heading, HTML), the verdict first."""
    files = [
        [role, d["file"], d["backend"], d["device"], d["precision"], d.get("threads"), d["sha256"][:16]]
        for role, d in (("reference", result.reference), ("candidate", result.candidate))
    ]
    tensor = [[WORDS[key], value] for key, value in result.tensor.items()]
    task = [[WORDS[key], row["reference"], row["candidate"], row["delta"]] for key, row in result.task.items()]
    host = result.host
    when = (
        f"{result.candidate['file']}, {result.precision}, against {result.reference['file']} on {result.frames} "
        f"frames: {result.data}. {host['date']}, {host['processor']}, {host['cores']} cores, Python {host['python']}."
    )
    parts = [
        ("", report.verdict(result.problems) + f"<p>{html.escape(when)}</p>"),
        ("Budgets: value against limit", bars(result)),
        ("Frames" if result.shown else "", "".join(report.row(frame.name, frame.pictures) for frame in result.shown)),
        ("Files", report.table(["", "file", "backend", "device", "precision", "threads", "sha256"], files)),
        ("Task", report.table(["metric", "reference", "candidate", "|Δ|"], task)),
        ("Output tensor", report.table(["measure", "value"], tensor)),
    ]
    return [part for part in parts if part[1]]


def bars(result: Parity) -> str:
    """One bar per budget, in shares of the limit; for a cosine, shares of the limit's distance from 1."""
    drawn = []
    for key, limit in result.budget.as_dict().items():
        value = result.measured.get(key)
        if value is None:
            continue
        if key == "cosine":
            drawn.append(report.bar(f"{WORDS[key]} (at least)", value, limit, (1 - value) / (1 - limit)))
        else:
            change = "change of " if key in TITLES else ""
            drawn.append(report.bar(f"{change}{WORDS[key]}", value, limit, value / limit))
    return "".join(drawn)
