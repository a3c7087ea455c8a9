"""One acceptance check on the stand-in driver, in a process of its own, with a fault planted where asked for.

python -m tests.standins NAME --result FILE --seconds S [--plant FAULT] [--capability 87]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from mutualformer.export.checks import runner, sanitizer
from mutualformer.export.checks.rig import subject
from mutualformer.export.checks.rig.outcome import CheckFailed
from tests.standins.faults import FAULTS
from tests.standins.machine import CAPABILITY, EmulatedMachine


def _open(seconds: float, capability: int, planted: str) -> EmulatedMachine:
    machine = EmulatedMachine(seconds, capability)
    if planted:
        FAULTS[planted].plant(machine)
    return machine


def main() -> int:
    """The outcome as JSON in --result; as SUBJECT the six nodes, as compute-sanitizer runs them."""
    parser = argparse.ArgumentParser(prog="python -m tests.standins")
    parser.add_argument("name")
    parser.add_argument("--result", type=Path)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--plant", default="", choices=("", *FAULTS))
    parser.add_argument("--capability", type=int, default=CAPABILITY)
    args = parser.parse_args()
    if args.name == "SUBJECT":
        try:
            subject.run(_open(args.seconds, args.capability, args.plant))
        except CheckFailed as error:
            print(f"{subject.FAULT}{error}", file=sys.stderr)
            return 1
        return 0
    words = ["SUBJECT", "--plant", args.plant] if args.plant else ["SUBJECT"]
    sanitizer.SUBJECT = (sys.executable, "-m", "tests.standins", *words)  # type: ignore[assignment]
    outcome = runner.run_here(args.name, lambda: _open(args.seconds, args.capability, args.plant))
    args.result.write_text(json.dumps(asdict(outcome), default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
