"""What the compiled kernels are made of: registers, spills, shared memory, occupancy, instructions per tile.

Everything is read from the cubins themselves (cuobjdump and nvdisasm, which Triton brings) and from the loop
structure of the kernels; nothing is measured, no GPU is needed. Imports neither torch nor TensorRT.
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

from mutualformer.plugins.architectures import TABLE
from mutualformer.plugins.compile.ptxas import find_triton_tool
from mutualformer.plugins.files import cache_root, parse_json, write_bytes
from mutualformer.plugins.kernels.tiles import variant_named
from mutualformer.plugins.library import find

_REVISION = 2  # raise when a report gains or changes a field
_TENSOR_CORE = re.compile(r"\b(HMMA|HGMMA|UTCHMMA|UTCQMMA)\b")
_LOCAL = re.compile(r"\b(LDL|STL)\b")
_UNITS = ("HMMA", "HGMMA", "UTCHMMA", "FFMA", "MUFU.EX2")
PRODUCTS = {"cda_rows": 3, "cda_columns": 2}
"""Matrix products per tile."""
_LABEL = re.compile(r"^\s*(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(.*?);")
_BRANCH = re.compile(r"\bBRA\b.*?(\.L_x_\d+)")
_REGISTER_UNIT = 256  # registers are handed out in this many per warp


@dataclass(frozen=True)
class KernelReport:
    """One cubin. ``tensor_core``: instructions in the whole kernel, which holds a whole and a masked tile.
    ``loop_instructions``: machine instructions that one warp issues for one whole tile. ``blocks`` per multiprocessor;
    ``occupancy`` = resident warps / most warps."""

    name: str
    kernel: str
    dtype: str
    block_d: int
    unit: int
    arch: int
    block_m: int
    block_n: int
    warps: int
    stages: int
    registers: int
    stack: int
    local_instructions: int
    shared: int
    tensor_core: int
    loop_tensor_core: float
    loop_instructions: float
    blocks: int
    occupancy: float
    size: int
    tactic: int = 1

    @property
    def instructions_per_1024(self) -> float:
        """Machine instructions of one warp for 1024 elements of P: what tiles of different sizes are compared by."""
        return self.loop_instructions * 1024 * self.warps / (self.block_m * self.block_n)

    @property
    def spills(self) -> bool:
        """True where registers went to local memory: a stack frame, or loads and stores of it."""
        return self.stack > 0 or self.local_instructions > 0


def resident_blocks(arch: int, registers: int, warps: int, shared: int, tensor_memory: int) -> int:
    """How many blocks fit on one multiprocessor of sm_``arch``."""
    sm = TABLE[arch]
    per_warp = -(-registers * 32 // _REGISTER_UNIT) * _REGISTER_UNIT
    limits = [
        sm.warps // warps,
        sm.blocks,
        sm.registers // (per_warp * warps),
        sm.shared // (shared + sm.shared_reserved),
    ]
    if tensor_memory:
        limits.append(sm.tensor_memory // tensor_memory)
    return min(limits)


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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        usage = subprocess.run([find_triton_tool("cuobjdump"), "-res-usage", path], capture_output=True, text=True)
        code = subprocess.run([find_triton_tool("nvdisasm"), "-c", path], capture_output=True, text=True)
    usage_line = re.search(r"REG:(\d+) STACK:(\d+)", usage.stdout + usage.stderr)
    if usage_line is None or code.returncode:
        raise RuntimeError(
            f"{image['name']} for sm_{image['arch']} cannot be read: {usage.stderr} {code.stderr}".strip()
        )
    registers, stack = int(usage_line[1]), int(usage_line[2])
    variant = variant_named(image["name"])
    instructions, loop_tensor_core = _per_tile(code.stdout, image, variant.kernel, variant.block_d)
    blocks = resident_blocks(image["arch"], registers, image["warps"], image["shared"], image["tensor_memory"])
    return KernelReport(
        name=image["name"],
        kernel=variant.kernel,
        dtype=variant.dtype,
        block_d=variant.block_d,
        unit=variant.unit,
        arch=image["arch"],
        block_m=image["block_m"],
        block_n=image["block_n"],
        warps=image["warps"],
        stages=image["stages"],
        registers=registers,
        stack=stack,
        local_instructions=len(_LOCAL.findall(code.stdout)),
        shared=image["shared"],
        tensor_core=len(_TENSOR_CORE.findall(code.stdout)),
        loop_tensor_core=loop_tensor_core,
        loop_instructions=instructions,
        blocks=blocks,
        occupancy=blocks * image["warps"] / TABLE[image["arch"]].warps,
        size=len(cubin),
        tactic=image["tactic"],
    )


def inspect_all(folder: Path | None = None) -> list[KernelReport]:
    """Every cubin in ``folder`` (cubins.bin and cubins.json); by default those the built plugin embeds."""
    folder = folder or find().parent / "generated"
    try:
        manifest = parse_json((folder / "cubins.json").read_text())
        blob = (folder / "cubins.bin").read_bytes()
    except OSError as error:
        raise RuntimeError(f"{error.filename} cannot be read; build the plugin with `make plugin`") from None

    def one(image: dict[str, Any]) -> KernelReport:
        cached = cache_root() / "reports" / f"{image['sha256']}-{_REVISION}.json"  # disassembly takes 0.5 s
        if cached.is_file():
            return KernelReport(**parse_json(cached.read_text()))
        report = inspect(image, blob[image["offset"] : image["offset"] + image["size"]])
        write_bytes(cached, json.dumps(asdict(report)).encode())
        return report

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, manifest))
