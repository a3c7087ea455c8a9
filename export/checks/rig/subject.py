"""What compute-sanitizer watches: six small nodes, created, run and destroyed; nothing else touches the GPU.

python -m mutualformer.export.checks.rig.subject [--emulate] [--plant FAULT]
"""

from __future__ import annotations

import argparse
import sys

from mutualformer.export.checks.rig import faults
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import opened
from mutualformer.export.checks.rig.outcome import CheckFailed

CASES = (
    Case(1, 16, 1),
    Case(17, 16, 2),
    Case(33, 32, 1, dtype="fp32"),
    Case(65, 64, 1),
    Case(33, 12, 1, iterations=2, init="cross"),
    Case(45, 16, 1, batch=2, value_pairing="figure"),
)


def main(argv: list[str] | None = None) -> int:
    """Exit code 1 where a node fails or writes outside of its buffers."""
    parser = argparse.ArgumentParser(prog="python -m mutualformer.export.checks.rig.subject")
    parser.add_argument("--emulate", action="store_true")
    parser.add_argument("--plant", choices=tuple(faults.FAULTS))
    args = parser.parse_args(argv)
    try:
        machine = Machine(args.emulate)
        if args.plant:
            faults.plant(machine, args.plant)
        with machine.current():
            for case in CASES:
                with opened(machine, case) as node:
                    inputs = case.inputs(9)
                    if any(not y.isfinite().all() for y in node.run(*inputs)):
                        raise CheckFailed(f"{case}: an output was never written")
                    node.check_memory(*inputs)
        machine.close()
    except CheckFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(CASES)} nodes ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
