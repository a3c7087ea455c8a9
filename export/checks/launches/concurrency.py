"""Check 5: two streams, two threads, two contexts at once give what each gives alone.

Threads only run nodes and keep what came out; it is judged afterwards, on the CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mutualformer.export.checks.launches.numerics import judged, same
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import Array, opened
from mutualformer.export.checks.rig.outcome import CheckFailed

_TIMEOUT_S = 300
Outputs = list[tuple[Case, int, tuple[Array, Array]]]
"""Case, seed of its inputs, what the node made of them."""


def _cases(machine: Machine) -> tuple[Case, Case]:
    tokens = machine.amount.usual
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
            machine.driver.wait()
            for node, _inputs in pairs:
                node.enqueue()
            machine.driver.wait()
            for (node, inputs), expected in zip(pairs, alone, strict=True):
                if not same(node.engine.result(), expected):
                    raise CheckFailed(f"{node.case}: two streams change the result")
                node.check_memory(*inputs)


def _in_context(
    machine: Machine, case: Case, seed: int, context: int, outputs: Outputs
) -> Callable[[threading.Barrier], None]:
    """A thread's work: a node of its own in ``context`` (0: one that it creates and destroys)."""

    def work(barrier: threading.Barrier) -> None:
        own = context or machine.driver.create_context()
        try:
            with machine.driver.entered(own), opened(machine, case) as node:
                for round_ in range(machine.amount.rounds):
                    inputs = case.inputs(seed + round_ % 2)
                    barrier.wait(_TIMEOUT_S)
                    outputs.append((case, seed + round_ % 2, node.run(*inputs)))
                    node.check_memory(*inputs)
        finally:
            if not context:
                machine.driver.destroy_context(own)

    return work


def _judge(outputs: Outputs, what: str) -> None:
    """Every case and seed once by the rule; the rest must be the same to the bit."""
    seen: dict[tuple[Case, int], tuple[Array, Array]] = {}
    for case, seed, result in outputs:
        expected = seen.setdefault((case, seed), result)
        if expected is result:
            judged(case, seed, result)
        elif not same(expected, result):
            raise CheckFailed(f"{case}: {what} change the result")


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 5. Raises CheckFailed naming the arrangement that changes a result."""
    first, second = _cases(machine)
    _streams(machine)
    for context, what in ((machine.driver.primary, "two threads"), (0, "two contexts")):
        outputs: Outputs = []
        work = [_in_context(machine, case, seed, context, outputs) for case, seed in ((first, 10), (second, 50))]
        _together(work, what)
        _judge(outputs, what)
    rounds = machine.amount.rounds
    return f"two streams, two threads and two contexts agree with one, {rounds} rounds each", {"rounds": rounds}
