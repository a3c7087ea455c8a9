"""``python -m lab.kernels [--out DIR]``: instructions per tile, the time to issue those of one CDA, the roofline."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.kernels import roofline_report
from lab.kernels.roofline import DEVICES, WORKLOADS
from lab.kernels.sass import inspect_all, issue_seconds
from mutualformer.plugins.kernels.tiles import KERNELS, variant_for


def main() -> int:
    """Print both tables; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.kernels")
    parser.add_argument("--out", type=Path, help="folder for roofline.json and roofline.png")
    args = parser.parse_args()
    reports = inspect_all()
    for report in reports:
        print(
            f"{report.name:<28} sm_{report.arch:<4} {report.instructions_per_1024:7.0f} instructions for 1024 of P, "
            f"{report.registers:3d} registers, {report.blocks:2d} blocks"
        )
    by_name = {(report.name, report.arch): report for report in reports}
    for device in DEVICES:
        for work in WORKLOADS:
            names = [variant_for(kernel, "fp16", work.head_dim).entry(1) for kernel in KERNELS]
            both = [by_name.get((name, device.arch)) for name in names]
            microseconds = 1e6 * sum(issue_seconds(report, work, device) for report in both if report is not None)
            print(f"{device.name:<22} {work.name:<24} {microseconds:8.2f} µs to issue both loops, tactic 1")
    if args.out is not None:
        roofline_report.write(reports, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
