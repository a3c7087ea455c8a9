"""Check 8: how long one CDA takes, beside PyTorch's own attention of the same shape.

Each contender runs many times in one CUDA graph, and medians are reported. CDA does 2.5 times the arithmetic of one
attention for each of two modalities, so ``t / (2.5 · two attentions)`` compares it with a library's kernel; the target
is at most 1.2 at 1024 tokens and head_dim 64.
"""

from __future__ import annotations

import statistics
from typing import Any

from mutualformer.export.checks.launches.numerics import same
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import opened
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped

ARITHMETIC = 2.5
"""Products of one CDA over those of one attention, per modality: five against two."""

TARGET = 1.2
_WARM_UP = 3


def _enqueue_us(machine: Machine, case: Case) -> float:
    """Median microseconds of one enqueue. Raises CheckFailed where the results change under timing."""
    driver, times, samples = machine.driver, machine.amount.per_graph, list[float]()
    with opened(machine, case) as node:
        inputs = case.inputs(8)
        expected = node.run(*inputs)

        def work() -> None:
            for _ in range(times):
                node.enqueue()

        with driver.recorded(node.stream, work) as graph, driver.events() as (first, last):
            for _ in range(machine.amount.rounds + _WARM_UP):
                driver.call("cuEventRecord", first, node.stream)
                driver.launch(graph, node.stream)
                driver.call("cuEventRecord", last, node.stream)
                driver.call("cuEventSynchronize", last)
                samples.append(float(driver.call("cuEventElapsedTime", first, last)))
        if not same(node.run(*inputs), expected):
            raise CheckFailed(f"{case}: after timing the results differ")
    return 1e3 * statistics.median(samples[_WARM_UP:]) / times


def _attention_us(machine: Machine, case: Case) -> float | None:
    """Median microseconds of one ``scaled_dot_product_attention`` of that shape; None without PyTorch or Triton."""
    try:
        if machine.torch_device() != "cuda":
            return None
        import torch
        from triton.testing import do_bench_cudagraph
    except (CheckSkipped, ModuleNotFoundError):
        return None
    shape = (case.batch, case.heads, case.tokens, case.head_dim)
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.float16) for _ in range(3))
    attend = torch.nn.functional.scaled_dot_product_attention
    return 1e3 * float(do_bench_cudagraph(lambda: attend(q, k, v), return_mode="median"))


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 8. A missed target is reported and is no failure: a slow kernel is still a right one."""
    numbers: dict[str, Any] = {}
    verdict = "nothing was timed"
    for case in machine.amount.timed:
        if numbers and machine.left() <= 0:
            break
        name = f"N{case.tokens}_d{case.head_dim}"
        ours, attention = _enqueue_us(machine, case), _attention_us(machine, case)
        numbers[f"us_{name}"] = ours
        verdict = "not compared with PyTorch's attention"
        if attention is not None:
            ratio = ours / (ARITHMETIC * 2 * attention)
            numbers |= {f"attention_us_{name}": attention, f"to_attention_{name}": ratio}
            verdict = f"{ratio:.2f}, target {TARGET} {'met' if ratio <= TARGET else 'missed'}"
        verdict = f"t / (2.5 · two attentions) at N={case.tokens}: {verdict}"
    return verdict, numbers
