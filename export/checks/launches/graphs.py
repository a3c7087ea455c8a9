"""Check 6: enqueue can be captured into a CUDA graph, whose replays are bit-equal; then another shape."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch

from mutualformer.export.checks.launches.numerics import check_node
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import Node, opened
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.runtime.session.cuda import CudaError


@contextlib.contextmanager
def captured(node: Node, enqueues: int = 1) -> Iterator[tuple[int, int]]:
    """(graph, executable) of ``enqueues`` calls; both destroyed afterwards. Raises CheckFailed."""
    driver, stream = node.machine.driver, node.stream
    driver.begin_capture(stream)
    try:
        for _ in range(enqueues):
            node.enqueue()
    finally:
        try:
            graph = driver.end_capture(stream)
        except CudaError as error:
            raise CheckFailed(f"{node.case}: enqueue cannot be captured: {error}") from error
    executable = driver.instantiate(graph)
    try:
        yield graph, executable
    finally:
        driver.destroy_graph(graph, executable)


def _replay(node: Node, executable: int, expected: tuple[torch.Tensor, ...], times: int) -> None:
    driver = node.machine.driver
    for replay in range(times):
        node.poison()
        driver.synchronize()
        driver.launch_graph(executable, node.stream)
        driver.synchronize_stream(node.stream)
        if not all(torch.equal(a, b) for a, b in zip(node.engine.result(), expected, strict=True)):
            raise CheckFailed(f"{node.case}: replay {replay + 1} of the graph differs from enqueue")


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 6. Raises CheckFailed naming the case and the replay."""
    tokens = 33 if machine.emulated else 400
    cases = (Case(tokens, 8, 2), Case(tokens, 32, 2, batch=2, iterations=3, init="cross"))
    launches = []
    for case in cases:
        with opened(machine, case) as node:
            inputs = case.inputs(5)
            expected = node.run(*inputs)
            with captured(node) as (graph, executable):
                launches.append(len(machine.driver.kernel_nodes(graph)))
                if launches[-1] < 2:
                    raise CheckFailed(f"{case}: the captured graph has {launches[-1]} kernels, expected at least 2")
                _replay(node, executable, expected, machine.amount.replays)
            node.check_memory(*inputs)
            smaller = dataclasses.replace(case, tokens=max(1, tokens // 2))
            node.change_case(smaller)
            check_node(node, seed=6)
    sentence = f"captured; {machine.amount.replays} replays bit-equal; a smaller shape afterwards is right"
    return sentence, {"replays": machine.amount.replays, "kernels": "+".join(map(str, launches))}
