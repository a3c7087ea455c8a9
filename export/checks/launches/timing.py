"""Check 8: how long one CDA takes, beside what it could be: an empty graph, PyTorch's attention, the roofline.

Fifty enqueues in one CUDA graph, contenders taking turns, medians. CDA does 2.5 times the arithmetic of an attention
for each of two modalities, so ``t / (2.5 · two attentions)`` says how near it is to a library's own kernel; the target
is at most 1.2 at 1024 tokens and head_dim 64.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mutualformer.export.checks.launches.graphs import captured
from mutualformer.export.checks.launches.numerics import same
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.driver import Launch
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import Node, opened
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped
from mutualformer.plugins.inspection import roofline
from mutualformer.plugins.inspection.usage import read_usage
from mutualformer.plugins.kernels.tiles import KERNELS, variant_for
from mutualformer.runtime.session.cuda import CudaError

ARITHMETIC = 2.5
"""Products of one CDA over those of one attention, per modality: five against two."""

TARGET = 1.2
_WARM_UP = 3
_EMPTY = b""".version 7.0
.target sm_70
.address_size 64
.visible .entry empty()
{
  ret;
}
\0"""

Timed = Callable[[], float]
"""Runs one graph; milliseconds by the GPU's own clock."""


@dataclass(frozen=True)
class Row:
    """Medians in microseconds of one call; None where a contender is missing."""

    case: Case
    enqueue: float
    rows: float
    columns: float
    floor: float | None
    attention: float | None
    roofline: float | None

    @property
    def to_attention(self) -> float | None:
        """t / (2.5 · two attentions)."""
        return None if self.attention is None else self.enqueue / (ARITHMETIC * 2 * self.attention)

    def as_dict(self) -> dict[str, float | str | None]:
        """The row for acceptance.json: microseconds, ratios without a unit, None where nothing was measured."""
        share = None if self.roofline is None else self.roofline / self.enqueue
        return {
            "case": str(self.case),
            "enqueue_us": self.enqueue,
            "rows_us": self.rows,
            "columns_us": self.columns,
            "two_empty_kernels_us": self.floor,
            "attention_us": self.attention,
            "to_attention": self.to_attention,
            "roofline_us": self.roofline,
            "share_of_roofline": share,
        }


def _timed(machine: Machine, executable: Any, stream: Any) -> Timed:
    driver = machine.driver

    def run() -> float:
        with driver.events() as (first, last):
            driver.call("cuEventRecord", first, stream)
            driver.launch(executable, stream)
            driver.call("cuEventRecord", last, stream)
            return driver.elapsed_ms(first, last)

    return run


@contextlib.contextmanager
def _recorded(node: Node, queue: Callable[[Any], None], times: int) -> Iterator[Timed]:
    """A timed graph of ``times`` calls of ``queue(stream)``."""
    driver = node.machine.driver
    with driver.capturing(node.stream) as graphs:
        for _ in range(times):
            queue(node.stream)
    with driver.instantiated(graphs[0]) as executable:
        yield _timed(node.machine, executable, node.stream)


@contextlib.contextmanager
def _empty_kernel(machine: Machine) -> Iterator[Launch | None]:
    """A launch of a kernel that does nothing; None where the driver does not compile it."""
    driver = machine.driver
    try:
        module = driver.load_module(_EMPTY)
    except CudaError:
        yield None
        return
    try:
        function = driver.call("cuModuleGetFunction", module, b"empty")
        yield Launch(function, (1, 1, 1), (32, 1, 1), 0, 0)
    finally:
        driver.call("cuModuleUnload", module)


def _attention_us(machine: Machine, case: Case) -> float | None:
    """Median of one ``scaled_dot_product_attention`` of the same shape, 50 in a CUDA graph; None without PyTorch."""
    try:
        device = machine.torch_device()
    except CheckSkipped:
        device = ""
    if device != "cuda":
        return None
    import torch

    shape = (case.batch, case.heads, case.tokens, case.head_dim)
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.float16) for _ in range(3))
    attend = torch.nn.functional.scaled_dot_product_attention
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            attend(q, k, v)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(machine.amount.per_graph):
            attend(q, k, v)
    times = []
    for _ in range(machine.amount.rounds + _WARM_UP):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        first.record()
        graph.replay()
        last.record()
        last.synchronize()
        times.append(first.elapsed_time(last))
    return float(statistics.median(times[_WARM_UP:])) * 1e3 / machine.amount.per_graph


def device_of(machine: Machine) -> roofline.Device | None:
    """The peaks of this GPU from its attributes; None for an architecture that the table does not know."""
    attribute = machine.driver.attribute
    try:
        return roofline.device_of(
            machine.architecture,
            multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
            clock=1e3 * attribute("CLOCK_RATE"),
            bandwidth=2e3 * attribute("MEMORY_CLOCK_RATE") * attribute("GLOBAL_MEMORY_BUS_WIDTH") / 8,
        )
    except CudaError:
        return None


def _roofline_us(machine: Machine, case: Case) -> float | None:
    """What the peaks allow both launches together; None where they are not known."""
    device = device_of(machine)
    images = {image["name"]: image for image in machine.native_images()}
    names = [variant_for(kernel, case.dtype, case.head_dim).name for kernel in KERNELS]
    if device is None or not all(name in images for name in names):
        return None
    work = roofline.Workload(str(case), case.batch, case.tokens, case.heads, case.head_dim)
    try:
        usages = [read_usage(images[name], machine.cubin(images[name])) for name in names]
    except (RuntimeError, OSError):  # no cuobjdump here
        return None
    return 1e6 * sum(roofline.roofline_seconds(roofline.cost(usage, work), device, case.dtype) for usage in usages)


def measure(machine: Machine, case: Case) -> Row:
    """Time one shape. Raises CheckFailed where the results change under timing."""
    driver, times = machine.driver, machine.amount.per_graph
    with opened(machine, case) as node, contextlib.ExitStack() as stack:
        inputs = case.inputs(8)
        expected = node.run(*inputs)
        graph = captured(node)
        stack.callback(driver.call, "cuGraphDestroy", graph)  # the launches' arguments are the graph's
        launches = driver.launches(graph)
        if len(launches) != 2:
            raise CheckFailed(f"{case}: one CDA is {len(launches)} launches, expected cda_rows and cda_columns")
        contenders = {"enqueue": stack.enter_context(_recorded(node, node.enqueue, times))}
        for name, launch in zip(("rows", "columns"), launches, strict=True):
            queue = lambda stream, launch=launch: driver.launch_kernel(launch, stream)  # noqa: E731
            contenders[name] = stack.enter_context(_recorded(node, queue, times))
        empty = stack.enter_context(_empty_kernel(machine))
        if empty is not None:

            def twice(stream: Any) -> None:
                driver.launch_kernel(empty, stream)
                driver.launch_kernel(empty, stream)

            contenders["floor"] = stack.enter_context(_recorded(node, twice, times))
        samples: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(machine.amount.rounds + _WARM_UP):
            for name, run in contenders.items():
                sample = run()
                if turn >= _WARM_UP:
                    samples[name].append(sample)
        if not same(node.run(*inputs), expected):
            raise CheckFailed(f"{case}: after timing the results differ")
    median = {name: statistics.median(values) * 1e3 / times for name, values in samples.items()}
    return Row(
        case, median["enqueue"], median["rows"], median["columns"], median.get("floor"),
        _attention_us(machine, case), _roofline_us(machine, case),
    )  # fmt: skip


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 8. A missed target is said, and is no failure: the numbers are what was asked for."""
    table: list[Row] = []
    for case in machine.amount.timed:
        if not table or machine.left() > 0:
            table.append(measure(machine, case))
    last = table[-1]
    verdict = "not compared with PyTorch's attention"
    if last.to_attention is not None:
        verdict = f"target {TARGET} {'met' if last.to_attention <= TARGET else 'missed'}: {last.to_attention:.2f}"
    numbers: dict[str, object] = {f"us_N{row.case.tokens}_d{row.case.head_dim}": row.enqueue for row in table}
    if (device := device_of(machine)) is not None:
        numbers["roofline_of"] = device.name
    sentence = f"{len(table)} shapes timed; t / (2.5 · two attentions) at N={last.case.tokens}: {verdict}"
    return sentence, {**numbers, "table": [row.as_dict() for row in table]}
