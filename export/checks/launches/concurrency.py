"""Check 5: two streams, two threads, two contexts at once give what each gives alone."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from mutualformer.export.checks.launches.numerics import check_node
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import Node, opened
from mutualformer.export.checks.rig.outcome import CheckFailed

_TIMEOUT_S = 300


def _cases(machine: Machine) -> tuple[Case, Case]:
    tokens = 33 if machine.emulated else 400
    return Case(tokens, 16, 2, iterations=2), Case(tokens, 32, 2, init="cross", value_pairing="figure")


def _together(work: list[Callable[[threading.Barrier], None]], what: str) -> None:
    """Run every part in a thread of its own; raises the first failure."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(work))

    def guarded(part: Callable[[threading.Barrier], None]) -> None:
        try:
            part(barrier)
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=guarded, args=(part,), daemon=True) for part in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_TIMEOUT_S)
    if any(thread.is_alive() for thread in threads):
        raise CheckFailed(f"{what}: a thread still waits after {_TIMEOUT_S} s")
    if failures:
        cause = next((f for f in failures if not isinstance(f, threading.BrokenBarrierError)), failures[0])
        raise CheckFailed(f"{what}: {cause}") from cause


def _streams(machine: Machine) -> None:
    """Both nodes queued on two streams from one thread, in turn, before either is waited for."""
    first, second = _cases(machine)
    with opened(machine, first) as a, opened(machine, second) as b:
        pairs = [(node, node.case.inputs(seed)) for node, seed in ((a, 3), (b, 4))]
        alone = [node.run(*inputs) for node, inputs in pairs]
        for _ in range(machine.amount.rounds):
            for node, inputs in pairs:
                node.poison()
                node.engine.write(*inputs)
            machine.driver.synchronize()
            for node, _inputs in pairs:
                node.enqueue()
            machine.driver.synchronize()
            for (node, inputs), expected in zip(pairs, alone, strict=True):
                _same(node, expected, "two streams")
                node.check_memory(*inputs)


def _same(node: Node, expected: tuple[torch.Tensor, ...], where: str) -> None:
    if not all(torch.equal(x, y) for x, y in zip(node.engine.result(), expected, strict=True)):
        raise CheckFailed(f"{node.case}: {where} change the result")


def _in_context(machine: Machine, case: Case, seed: int, context: int) -> Callable[[threading.Barrier], None]:
    """A thread's work: a node of its own in ``context`` (0: one that it creates and destroys)."""

    def work(barrier: threading.Barrier) -> None:
        own = context or machine.driver.create_context()
        try:
            with machine.driver.context(own), opened(machine, case) as node:
                for round_ in range(machine.amount.rounds):
                    barrier.wait(_TIMEOUT_S)
                    check_node(node, seed + round_)
        finally:
            if not context:
                machine.driver.destroy_context(own)

    return work


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 5. Raises CheckFailed naming the arrangement that changes a result."""
    first, second = _cases(machine)
    _streams(machine)
    primary = machine.primary
    _together([_in_context(machine, first, 10, primary), _in_context(machine, second, 50, primary)], "two threads")
    _together([_in_context(machine, first, 10, 0), _in_context(machine, second, 50, 0)], "two contexts")
    rounds = machine.amount.rounds
    return f"two streams, two threads and two contexts agree with one, {rounds} rounds each", {"rounds": rounds}
