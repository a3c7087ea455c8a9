"""Check 6: enqueue can be captured into a CUDA graph, whose replays are bit-equal; then another shape is right too."""

from __future__ import annotations

import dataclasses
from typing import Any

from mutualformer.export.checks.launches.numerics import check_node, same
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import Array, Node, opened
from mutualformer.export.checks.rig.outcome import CheckFailed


def _replay(node: Node, graph: Any, expected: tuple[Array, Array], times: int) -> None:
    driver = node.machine.driver
    for replay in range(times):
        node.poison()
        driver.wait()
        driver.launch(graph, node.stream)
        driver.synchronize(node.stream)
        if not same(node.engine.result(), expected):
            raise CheckFailed(f"{node.case}: replay {replay + 1} of the graph differs from enqueue")


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 6. Raises CheckFailed naming the case and the replay."""
    tokens, driver = machine.amount.usual, machine.driver
    cases = (Case(tokens, 8, 2), Case(tokens, 32, 2, batch=2, iterations=3, init="cross"))
    for case in cases:
        with opened(machine, case) as node:
            inputs = case.inputs(5)
            expected = node.run(*inputs)
            with driver.recorded(node.stream, node.enqueue) as graph:
                _replay(node, graph, expected, machine.amount.replays)
            node.check_memory(*inputs)
            node.change_case(dataclasses.replace(case, tokens=max(1, tokens // 2)))
            check_node(node, seed=6)
    sentence = f"captured; {machine.amount.replays} replays bit-equal; a smaller shape afterwards is right"
    return sentence, {"replays": machine.amount.replays}
