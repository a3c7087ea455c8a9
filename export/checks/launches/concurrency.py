"""Check 5: two streams, two threads, two contexts at once give what each gives alone.

Threads only run nodes and keep the outputs; those are judged afterwards, on the CPU.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from mutualformer.export.checks.launches.numerics import judged, same
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import Array, opened
from mutualformer.export.checks.rig.outcome import CheckFailed

Outputs = list[tuple[Case, int, tuple[Array, Array]]]
"""Case, seed of its inputs, outputs of the node."""


def _cases(machine: Machine) -> tuple[Case, Case]:
    tokens = machine.amount.usual
    return Case(tokens, 16, 2, iterations=2), Case(tokens, 32, 2, init="cross", value_pairing="figure")


def _streams(machine: Machine) -> None:
    """One thread queues both nodes on two streams, in turn, before it waits for either."""
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


def _rounds(machine: Machine, case: Case, seed: int, own_context: bool, barrier: threading.Barrier) -> Outputs:
    """The work of one thread: a node of its own, in the primary context or in one that it creates and destroys."""
    outputs: Outputs = []
    context = machine.driver.new_context() if own_context else machine.driver.context()
    try:
        with context, opened(machine, case) as node:
            for round_ in range(machine.amount.rounds):
                inputs = case.inputs(seed + round_ % 2)
                barrier.wait()
                outputs.append((case, seed + round_ % 2, node.run(*inputs)))
                node.check_memory(*inputs)
    except BaseException:
        barrier.abort()  # the other thread would wait for ever
        raise
    return outputs


def _threads(machine: Machine, own_context: bool) -> Outputs:
    """Both cases at once, each in its thread. Raises the first failure."""
    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        starts = zip(_cases(machine), (10, 50), strict=True)
        futures = [pool.submit(_rounds, machine, case, seed, own_context, barrier) for case, seed in starts]
    failures = [future.exception() for future in futures]
    for failure in sorted(filter(None, failures), key=lambda f: isinstance(f, threading.BrokenBarrierError)):
        raise CheckFailed(f"two {'contexts' if own_context else 'threads'}: {failure}") from failure
    return [output for future in futures for output in future.result()]


def _judge(outputs: Outputs, what: str) -> None:
    """The first output of each case and seed must keep the rule, the others must be the same to the bit."""
    seen: dict[tuple[Case, int], tuple[Array, Array]] = {}
    for case, seed, result in outputs:
        expected = seen.setdefault((case, seed), result)
        if expected is result:
            judged(case, seed, result)
        elif not same(expected, result):
            raise CheckFailed(f"{case}: {what} change the result")


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 5. Raises CheckFailed naming the arrangement that changes a result."""
    _streams(machine)
    _judge(_threads(machine, own_context=False), "two threads")
    _judge(_threads(machine, own_context=True), "two contexts")
    rounds = machine.amount.rounds
    return f"two streams, two threads and two contexts agree with one, {rounds} rounds each", {"rounds": rounds}
