"""The compiled kernels and their roofline on published devices, as ``roofline.json`` and ``roofline.png``.

Everything is computed from the cubins and from the loop structure of the kernels; nothing is measured, and both files
say so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.kernels.roofline import DEVICES, WORKLOADS, Device, Workload, cost, roofline_seconds, waves
from lab.kernels.usage import KernelUsage
from mutualformer.plugins.attributes import PLUGIN_VERSION
from mutualformer.plugins.files import replacing, sha256, write_bytes
from mutualformer.plugins.kernels.tiles import DTYPES, KERNELS, VECTOR_UNIT, variant_for, variant_named
from mutualformer.plugins.library import find

NOTE = "computed from cubins and loop structure, not measured"


def estimate(reports: Sequence[KernelUsage], device: Device, work: Workload, dtype: str) -> list[dict[str, Any]]:
    """Both launches of the default path of one workload on one device, one row for each tactic; microseconds.

    ``roofline_us``: a lower bound from published peaks, which counts neither launches nor latency.
    """
    rows = []
    names = {kernel: variant_for(kernel, dtype, work.head_dim).name for kernel in KERNELS}
    tactics = sorted({r.tactic for r in reports if variant_named(r.name).name in names.values()})
    for tactic in tactics:
        row: dict[str, Any] = {"device": device.name, "workload": work.name, "dtype": dtype, "tactic": tactic}
        row |= {"note": NOTE, "roofline_us": 0.0}
        for kernel in KERNELS:
            entry = variant_for(kernel, dtype, work.head_dim).entry(tactic)
            report = next((r for r in reports if (r.name, r.arch) == (entry, device.arch)), None)
            if report is None:
                break
            launch = cost(report, work)
            seconds = roofline_seconds(launch, device, dtype)
            row["roofline_us"] += 1e6 * seconds
            row[kernel] = {
                **asdict(launch),
                "intensity": launch.intensity,
                "waves": waves(launch, report, device),
                "busy": min(1.0, launch.programs / device.multiprocessors),
                "roofline_us": 1e6 * seconds,
            }
        else:
            rows.append(row)
    return rows


def collect(reports: Sequence[KernelUsage]) -> dict[str, Any]:
    """The JSON document."""
    present = {r.arch for r in reports}
    return {
        "note": NOTE,
        "plugin_version": PLUGIN_VERSION,
        "plugin_sha256": sha256(find()),
        "devices": [asdict(d) for d in DEVICES],
        "workloads": [asdict(w) for w in WORKLOADS],
        "kernels": [{**asdict(r), "spills": r.spills} for r in reports],
        "roofline": [
            row
            for device in DEVICES
            if device.arch in present
            for work in WORKLOADS
            for dtype in DTYPES
            for row in estimate(reports, device, work, dtype)
        ],
    }


def draw(document: dict[str, Any], path: Path) -> None:
    """Registers and occupancy per architecture, and the roofline time per device, as one picture."""
    from matplotlib.figure import Figure

    kernels = [k for k in document["kernels"] if k["unit"] == VECTOR_UNIT and k["tactic"] == 1]
    columns = sorted({k["arch"] for k in kernels})
    lines = sorted({(k["dtype"], k["kernel"], k["block_d"]) for k in kernels})
    figure = Figure(figsize=(17, 7))
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    table = [[0.0] * len(columns) for _ in lines]
    for k in kernels:
        i, j = lines.index((k["dtype"], k["kernel"], k["block_d"])), columns.index(k["arch"])
        table[i][j] = k["occupancy"]
        text = f"{k['registers']} r, {k['blocks']} b"
        text += "\nspills" if k["spills"] else ""
        left.text(j, i, text, ha="center", va="center", fontsize=7, color="black")
    picture = left.imshow(table, cmap="YlGn", vmin=0, vmax=1, aspect="auto")
    left.set_xticks(range(len(columns)), [f"sm_{c}" for c in columns])
    left.set_yticks(range(len(lines)), [f"{t} {k.removeprefix('cda_')} d{d}" for t, k, d in lines])
    left.set_title("registers (r), blocks per multiprocessor (b); tactic 1")
    figure.colorbar(picture, ax=left, label="theoretical occupancy")

    rows = [r for r in document["roofline"] if r["dtype"] == "fp16" and r["tactic"] == 1]
    works = [w["name"] for w in document["workloads"]]
    devices = [d["name"] for d in document["devices"] if any(r["device"] == d["name"] for r in rows)]
    height = 0.8 / max(len(works), 1)
    for n, work in enumerate(works):
        times = [next(r["roofline_us"] for r in rows if (r["device"], r["workload"]) == (d, work)) for d in devices]
        right.barh([i + n * height for i in range(len(devices))], times, height, label=work)
    right.set_yticks([i + 0.4 - height / 2 for i in range(len(devices))], devices)
    right.invert_yaxis()
    right.set_xscale("log")
    right.set_xlabel("roofline time of one CDA, FP16, microseconds (launch overhead not included)")
    right.set_title("lower bound on published devices")
    right.legend()
    figure.suptitle(f"CrossDiffusionAttention kernels: {document['note']}")
    figure.tight_layout()
    with replacing(path) as beside:
        figure.savefig(beside, dpi=110)


def write(reports: Sequence[KernelUsage], out: Path) -> None:
    """Write both files into ``out`` and print a line for each FP16 row."""
    document = collect(reports)
    write_bytes(out / "roofline.json", (json.dumps(document, indent=1) + "\n").encode())
    draw(document, out / "roofline.png")
    print(f"device, workload, tactic: programs of cda_rows, waves; µs at the roofline ({NOTE})")
    for row in document["roofline"]:
        if row["dtype"] == "fp16":
            first = row["cda_rows"]
            print(
                f"  {row['device']:<22} {row['workload']:<20} {row['tactic']}: {first['programs']:5d} "
                f"{first['waves']:7.2f} {row['roofline_us']:10.2f}"
            )
