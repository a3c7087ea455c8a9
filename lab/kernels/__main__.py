"""``python -m lab.kernels``: instructions per tile of every kernel, and the time to issue those of one CDA."""

from __future__ import annotations

import sys

from lab.kernels.sass import inspect_all, issue_seconds
from mutualformer.plugins.inspection.roofline import DEVICES, WORKLOADS
from mutualformer.plugins.kernels.tiles import KERNELS, variant_for


def main() -> int:
    """Print both tables; returns the exit code."""
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
