"""The machine code of the compiled kernels: instructions per tile, tensor cores, local memory, time to issue them.

Everything is read from the cubins themselves (cuobjdump and nvdisasm, which Triton brings) and from the loop
structure of the kernels; nothing is measured, no GPU is needed.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.kernels.roofline import PRODUCTS, Device, Workload, cost
from lab.kernels.usage import KernelUsage, manifest, read_usage
from mutualformer.plugins.compile.ptxas import find_triton_tool
from mutualformer.plugins.files import cache_root, parse_json, write_bytes

_REVISION = 3  # raise when a report gains or changes a field
_TENSOR_CORE = re.compile(r"\b(HMMA|HGMMA|UTCHMMA|UTCQMMA)\b")
_LOCAL = re.compile(r"\b(LDL|STL)\b")
_UNITS = ("HMMA", "HGMMA", "UTCHMMA", "FFMA", "MUFU.EX2")
_LABEL = re.compile(r"^\s*(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(.*?);")
_BRANCH = re.compile(r"\bBRA\b.*?(\.L_x_\d+)")


@dataclass(frozen=True)
class KernelReport(KernelUsage):
    """One cubin. ``tensor_core``: instructions in the whole kernel, which holds a whole and a masked tile.
    ``loop_instructions``: machine instructions that one warp issues for one whole tile."""

    local_instructions: int
    tensor_core: int
    loop_tensor_core: float
    loop_instructions: float

    @property
    def instructions_per_1024(self) -> float:
        """Machine instructions of one warp for 1024 elements of P: what tiles of different sizes are compared by."""
        return self.loop_instructions * 1024 * self.warps / (self.block_m * self.block_n)


def _loop(code: list[str], labels: dict[str, int]) -> list[str]:
    """The longest stretch of code that a branch back repeats: the loop over whole tiles."""
    body: list[str] = []
    for index, instruction in enumerate(code):
        branch = _BRANCH.search(instruction)
        begin = labels.get(branch[1], index + 1) if branch else index + 1
        if index + 1 - begin > len(body):
            body = code[begin : index + 1]
    return body


def _per_tile(disassembly: str, image: dict[str, Any], kernel: str, block_d: int) -> tuple[float, float]:
    """Machine instructions and tensor-core instructions of one warp for one whole tile.

    The compiler may unroll the loop. How often, its products tell: mma.m16n8k16 is 4096 flops of a warp and FFMA 64;
    where whole warp groups multiply (HGMMA, UTCHMMA), its exponentials do, one for each element of P that a thread
    holds and a few of the rescaling.
    """
    code: list[str] = []
    labels: dict[str, int] = {}
    for line in disassembly.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(code)
        elif instruction := _INSTRUCTION.match(line):
            code.append(instruction[1])
    body = _loop(code, labels)
    elements = image["block_m"] * image["block_n"] / image["warps"]  # of P, one warp's
    flops = 2 * PRODUCTS[kernel] * elements * block_d
    counts = {name: sum(line.startswith(name) or f" {name}" in line for line in body) for name in _UNITS}
    if counts["HGMMA"] or counts["UTCHMMA"]:
        unrolled = counts["MUFU.EX2"] / (1.06 * elements / 32)
    else:
        unrolled = counts["HMMA"] * 4096 / flops if counts["HMMA"] else counts["FFMA"] * 64 / flops
    tiles = max(1, round(unrolled))
    return len(body) / tiles, sum(bool(_TENSOR_CORE.search(line)) for line in body) / tiles


def inspect(image: dict[str, Any], cubin: bytes) -> KernelReport:
    """One cubin of the manifest. Raises RuntimeError when the tools cannot read it."""
    usage = read_usage(image, cubin)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        code = subprocess.run([find_triton_tool("nvdisasm"), "-c", path], capture_output=True, text=True)
    if code.returncode:
        raise RuntimeError(f"{image['name']} for sm_{image['arch']} cannot be read: {code.stderr}".strip())
    instructions, loop_tensor_core = _per_tile(code.stdout, image, usage.kernel, usage.block_d)
    return KernelReport(
        **asdict(usage),
        local_instructions=len(_LOCAL.findall(code.stdout)),
        tensor_core=len(_TENSOR_CORE.findall(code.stdout)),
        loop_tensor_core=loop_tensor_core,
        loop_instructions=instructions,
    )


def inspect_all(folder: Path | None = None) -> list[KernelReport]:
    """Every cubin in ``folder``; by default those the built plugin embeds."""

    def one(entry: tuple[dict[str, Any], bytes]) -> KernelReport:
        image, cubin = entry
        cached = cache_root() / "reports" / f"{image['sha256']}-{_REVISION}.json"  # disassembly takes 0.5 s
        if cached.is_file():
            return KernelReport(**parse_json(cached.read_text()))
        report = inspect(image, cubin)
        write_bytes(cached, json.dumps(asdict(report)).encode())
        return report

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, manifest(folder)))


def warp_instructions(report: KernelReport, work: Workload) -> float:
    """Machine instructions of the loops over tiles of one launch, all programs and their warps."""
    steps = -(-work.tokens // report.block_n)
    return cost(report, work).programs * report.warps * steps * report.loop_instructions


def issue_seconds(report: KernelReport, work: Workload, device: Device) -> float:
    """Time to issue the instructions of the loops on the busiest multiprocessor, 4 a cycle, no stall whatever."""
    programs = cost(report, work).programs
    busiest = -(-programs // device.multiprocessors) / programs
    return warp_instructions(report, work) * busiest / (4 * device.clock)
