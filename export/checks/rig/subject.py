"""The program that compute-sanitizer watches: it creates, runs and destroys six small nodes and does nothing else.

Their buffers have exactly the size that the plugin gets, and only the plugin writes its outputs: the tools see an
access one byte beyond a buffer, and a read of a byte that was never written.

python -m mutualformer.export.checks.rig.subject
"""

from __future__ import annotations

import sys

import numpy as np

from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import ExactBuffer, opened
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped
from mutualformer.plugins.harness.numbers import decode

FAULT = "subject: "
"""Prefix of the line that reports a faulty node."""

CASES = (
    Case(1, 16, 1),
    Case(17, 16, 2),
    Case(33, 32, 1, dtype="fp32"),
    Case(65, 64, 1),
    Case(33, 12, 1, iterations=2, init="cross"),
    Case(45, 16, 1, batch=2, value_pairing="figure"),
)


def run(machine: Machine) -> None:
    """Run all nodes that this GPU has kernels for. Raises CheckFailed naming the faulty one."""
    with machine.driver.context():
        for case in CASES:
            if machine.runs_ptx and case.head_dim % 8:
                continue
            with opened(machine, case, buffer=ExactBuffer) as node:
                inputs = case.inputs(9)
                if not all(np.isfinite(decode(y, case.dtype)).all() for y in node.run(*inputs)):
                    raise CheckFailed(f"{case}: an output was never written")
                node.check_memory(*inputs)


def main() -> int:
    """Exit code 1 where a node fails."""
    try:
        machine = Machine()
        run(machine)
        machine.close()
    except (CheckFailed, CheckSkipped) as error:
        print(f"{FAULT}{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
