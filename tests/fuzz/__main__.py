"""``python -m tests.fuzz [TARGET …] --cases N --seed S --seconds T --keep DIR``: exit 1 where a case failed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz import folders, lists, models, recordings, requests
from tests.fuzz.campaign import Report, campaign

TARGETS = {
    target.name: target for module in (recordings, folders, lists, models, requests) for target in module.targets()
}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feed broken inputs to every reader.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(TARGETS)}")
    parser.add_argument("--cases", type=int, default=10_000, metavar="N", help="per target (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"), metavar="T", help="per target, at most")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder for the inputs that failed")
    return parser


def line(report: Report) -> str:
    numbers = f"{report.cases} cases in {report.seconds:.0f} s, {report.accepted} read, {report.refused} refused"
    return f"{report.target:<18} {numbers}, slowest {report.slowest_s:.2f} s, {len(report.failures)} failures"


def main() -> int:
    args = parser().parse_args()
    unknown = [name for name in args.targets if name not in TARGETS]
    if unknown:
        print(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    failed = False
    for name in args.targets or TARGETS:
        report = campaign(TARGETS[name], args.cases, args.seed, args.seconds, args.keep)
        print(line(report), flush=True)
        for where, example in report.failures.items():
            print(f"    {where}: {example}", flush=True)
        failed = failed or bool(report.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
