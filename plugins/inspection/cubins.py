"""What the compiled kernels are made of: registers, spills, shared memory, occupancy, tensor-core instructions.

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

from mutualformer.plugins.compile.aot import default_cache, write_file
from mutualformer.plugins.compile.ptxas import find_triton_tool
from mutualformer.plugins.kernels.tiles import variant_named
from mutualformer.plugins.library import find

_TENSOR_CORE = re.compile(r"\b(HMMA|HGMMA|UTCHMMA|UTCQMMA)\b")
_REVISION = 1  # raise when a report gains or changes a field
_LOCAL = re.compile(r"\b(LDL|STL)\b")


@dataclass(frozen=True)
class Multiprocessor:
    """Limits of one streaming multiprocessor (CUDA C++ Programming Guide 13.0, "Compute Capabilities")."""

    warps: int
    blocks: int
    shared: int  # bytes for all blocks
    shared_reserved: int  # bytes the system takes from every block
    registers: int = 65536


_KIB = 1024
MULTIPROCESSORS = {
    75: Multiprocessor(32, 16, 64 * _KIB, 0),
    80: Multiprocessor(64, 32, 164 * _KIB, _KIB),
    86: Multiprocessor(48, 16, 100 * _KIB, _KIB),
    87: Multiprocessor(48, 16, 164 * _KIB, _KIB),
    89: Multiprocessor(48, 24, 100 * _KIB, _KIB),
    90: Multiprocessor(64, 32, 228 * _KIB, _KIB),
    100: Multiprocessor(64, 32, 228 * _KIB, _KIB),
    110: Multiprocessor(48, 24, 228 * _KIB, _KIB),
    120: Multiprocessor(48, 24, 100 * _KIB, _KIB),
}
_REGISTER_UNIT = 256  # registers are handed out in this many per warp
_TENSOR_MEMORY = 512  # columns per multiprocessor


@dataclass(frozen=True)
class Report:
    """One cubin. ``tensor_core``: instructions in the whole kernel (the loop over tiles appears once per modality in
    cda_rows, once in cda_columns). ``blocks`` per multiprocessor; ``occupancy`` = resident warps / most warps."""

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
    blocks: int
    occupancy: float
    size: int

    @property
    def tensor_core_per_tile(self) -> float:
        """Tensor-core instructions of one warp (or warp group) for one tile of one modality."""
        return self.tensor_core / (2 if self.kernel == "cda_rows" else 1)

    @property
    def spills(self) -> bool:
        return self.stack > 0 or self.local_instructions > 0


def resident_blocks(arch: int, registers: int, warps: int, shared: int, tensor_memory: int) -> int:
    """How many blocks fit on one multiprocessor of sm_``arch``."""
    sm = MULTIPROCESSORS[arch]
    per_warp = -(-registers * 32 // _REGISTER_UNIT) * _REGISTER_UNIT
    limits = [
        sm.warps // warps,
        sm.blocks,
        sm.registers // (per_warp * warps),
        sm.shared // (shared + sm.shared_reserved),
    ]
    if tensor_memory:
        limits.append(_TENSOR_MEMORY // tensor_memory)
    return min(limits)


def inspect(image: dict[str, Any], cubin: bytes) -> Report:
    """One cubin of the manifest. Raises RuntimeError when the tools cannot read it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        usage = subprocess.run([find_triton_tool("cuobjdump"), "-res-usage", path], capture_output=True, text=True)
        code = subprocess.run([find_triton_tool("nvdisasm"), "-c", path], capture_output=True, text=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage.stdout + usage.stderr)
    if found is None or code.returncode:
        raise RuntimeError(
            f"{image['name']} for sm_{image['arch']} cannot be read: {usage.stderr} {code.stderr}".strip()
        )
    registers, stack = int(found[1]), int(found[2])
    variant = variant_named(image["name"])
    blocks = resident_blocks(image["arch"], registers, image["warps"], image["shared"], image["tensor_memory"])
    return Report(
        name=variant.name,
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
        blocks=blocks,
        occupancy=blocks * image["warps"] / MULTIPROCESSORS[image["arch"]].warps,
        size=len(cubin),
    )


def inspect_all(folder: Path | None = None) -> list[Report]:
    """Every cubin in ``folder`` (cubins.bin and cubins.json); by default those the built plugin embeds."""
    folder = folder or find().parent / "generated"
    try:
        manifest = json.loads((folder / "cubins.json").read_text())
        blob = (folder / "cubins.bin").read_bytes()
    except OSError as error:
        raise RuntimeError(f"{error.filename} cannot be read; build the plugin with `make plugin`") from None

    def one(image: dict[str, Any]) -> Report:
        known = default_cache().parent / "reports" / f"{image['sha256']}-{_REVISION}.json"  # disassembly takes 0.5 s
        if known.is_file():
            return Report(**json.loads(known.read_text()))
        report = inspect(image, blob[image["offset"] : image["offset"] + image["size"]])
        write_file(known, json.dumps(asdict(report)).encode())
        return report

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, manifest))
