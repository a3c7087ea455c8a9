"""Check 3: the plugin's enqueue over a covering array, in poisoned and guarded memory, by the two-times rule.

The reference is NumPy on the CPU (plugins/harness/reference.py), so nothing else computes on the GPU.
"""

from __future__ import annotations

import numpy as np

from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import Array, Node, opened
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.plugins.harness.reference import TwoTimes, two_times
from mutualformer.plugins.kernels.tiles import KERNELS, variant_for

_LEAST = 12
"""Nodes that run even if no time is left."""


def run_case(machine: Machine, case: Case, repeats: int = 2, tactic: int = 0) -> TwoTimes:
    """One node: poisoned outputs and workspace, guards, inputs untouched, ``repeats`` runs bit-equal, the rule.

    Raises CheckFailed naming the case and what is wrong.
    """
    with opened(machine, case, tactic) as node:
        return check_node(node, seed=1, repeats=repeats)


def check_node(node: Node, seed: int, repeats: int = 1) -> TwoTimes:
    """As :func:`run_case`, for an open node."""
    qkv_r, qkv_d = node.case.inputs(seed)
    first = node.run(qkv_r, qkv_d)
    node.check_memory(qkv_r, qkv_d)
    rule = judged(node.case, seed, first)
    for again in range(1, repeats):
        node.poison()
        if not same(first, node.run(qkv_r, qkv_d)):
            raise CheckFailed(f"{node.case}: run {again + 1} differs from the first on the same inputs")
    return rule


def judged(case: Case, seed: int, outputs: tuple[Array, Array]) -> TwoTimes:
    """Apply the rule to the outputs of ``case.inputs(seed)``. Raises CheckFailed where they break it."""
    rule = two_times(outputs, *case.inputs(seed), case.attributes, case.dtype)
    if rule.ratio > 1:
        raise CheckFailed(f"{case}: {rule.sentence}")
    return rule


def same(first: tuple[Array, Array], second: tuple[Array, Array]) -> bool:
    """Whether both pairs hold the same bits."""
    return all(np.array_equal(a.view(np.uint8), b.view(np.uint8)) for a, b in zip(first, second, strict=True))


def _runs(machine: Machine) -> list[tuple[Case, int]]:
    """(case, tactic): every tactic of the models' head dims, then the covering array with the default tiles."""
    unit = 8 if machine.runs_ptx else 1  # the PTX has the common variants only
    runs = [(case, 0) for case in machine.amount.cases(machine.dtypes, unit)]
    tokens = machine.amount.usual
    for case in (Case(tokens, head_dim, 1, dtype=dtype) for head_dim in (16, 64) for dtype in machine.dtypes):
        runs += [(case, tactic) for tactic in range(1, _tactics(machine, case) + 1)]
    return runs


def _tactics(machine: Machine, case: Case) -> int:
    """How many tactics the plugin offers TensorRT for a type and head_dim."""
    served = tuple(variant_for(kernel, case.dtype, case.head_dim).name for kernel in KERNELS)
    images = machine.native_images()
    return max((int(image["tactic"]) for image in images if image["name"].startswith(served)), default=1)


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 3. Raises CheckFailed for the worst case after all have run, so that the report counts all faults."""
    worst, worst_case, failures, done = 0.0, "", list[str](), 0
    runs = sorted(_runs(machine), key=lambda run: run[0].work())  # cheap ones first: all of them when time is short
    for case, tactic in runs:
        if done >= _LEAST and machine.left() < 0:
            break
        done += 1
        try:
            rule = run_case(machine, case, machine.amount.repeats, tactic)
        except CheckFailed as error:
            failures.append(str(error))
            if machine.is_broken():
                break
            continue
        if rule.ratio > worst:
            worst, worst_case = rule.ratio, f"{case} tactic {tactic}" if tactic else str(case)
    if failures:
        raise CheckFailed(f"{len(failures)} of {done} nodes are wrong, first {failures[0]}")
    part = "" if done == len(runs) else f" of {len(runs)}, for which there was time,"
    return f"{done} nodes{part} keep the two-times rule, write nothing else and repeat to the bit", {
        "nodes": done,
        "planned": len(runs),
        "worst_share": worst,
        "worst_case": worst_case,
        "types": list(machine.dtypes),
    }
