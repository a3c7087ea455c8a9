"""What a compiled kernel takes of a multiprocessor, and how many blocks of it fit on one.

Registers and stack are read from the cubin by cuobjdump, which Triton and the CUDA toolkit bring. Nothing is measured.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutualformer.plugins.architectures import TABLE
from mutualformer.plugins.compile.ptxas import find_triton_tool
from mutualformer.plugins.files import parse_json
from mutualformer.plugins.kernels.tiles import variant_named
from mutualformer.plugins.library import find

_REGISTER_UNIT = 256  # registers are handed out in this many per warp
_PARTITIONS = 4  # of a multiprocessor, each with its own share of the registers and a scheduler


@dataclass(frozen=True)
class KernelUsage:
    """One cubin. ``stack``: bytes per thread; ``blocks`` per multiprocessor; ``occupancy`` = resident / most warps."""

    name: str
    kernel: str
    dtype: str
    block_d: int
    unit: int
    arch: int
    tactic: int
    block_m: int
    block_n: int
    warps: int
    stages: int
    registers: int
    stack: int
    shared: int
    blocks: int
    occupancy: float
    size: int

    @property
    def spills(self) -> bool:
        """True where registers went to local memory, which is where a stack frame lies."""
        return self.stack > 0


def resident_blocks(arch: int, registers: int, warps: int, shared: int, tensor_memory: int) -> int:
    """How many blocks of ``warps`` warps fit on one multiprocessor of sm_``arch``.

    ``registers`` per thread; ``shared`` bytes and ``tensor_memory`` columns per block. A warp lives in one partition
    of the multiprocessor and takes its registers there: what is left over in four partitions does not add up.
    """
    sm = TABLE[arch]
    per_warp = -(-registers * 32 // _REGISTER_UNIT) * _REGISTER_UNIT
    resident_warps = sm.registers // _PARTITIONS // per_warp * _PARTITIONS
    limits = [sm.warps // warps, sm.blocks, resident_warps // warps, sm.shared // (shared + sm.shared_reserved)]
    if tensor_memory:
        limits.append(sm.tensor_memory // tensor_memory)
    return min(limits)


def read_usage(image: dict[str, Any], cubin: bytes) -> KernelUsage:
    """One cubin of the manifest. Raises RuntimeError where cuobjdump is missing or cannot read it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        done = subprocess.run([find_triton_tool("cuobjdump"), "-res-usage", path], capture_output=True, text=True)
    line = re.search(r"REG:(\d+) STACK:(\d+)", done.stdout + done.stderr)
    if line is None:
        raise RuntimeError(
            f"{image['name']} for sm_{image['arch']} cannot be read: {done.stdout} {done.stderr}".strip()
        )
    registers, stack, variant = int(line[1]), int(line[2]), variant_named(image["name"])
    blocks = resident_blocks(image["arch"], registers, image["warps"], image["shared"], image["tensor_memory"])
    table = {
        name: image[name] for name in ("name", "arch", "tactic", "block_m", "block_n", "warps", "stages", "shared")
    }
    return KernelUsage(
        **table,
        kernel=variant.kernel,
        dtype=variant.dtype,
        block_d=variant.block_d,
        unit=variant.unit,
        registers=registers,
        stack=stack,
        blocks=blocks,
        occupancy=blocks * image["warps"] / TABLE[image["arch"]].warps,
        size=len(cubin),
    )


def manifest(folder: Path | None = None) -> list[tuple[dict[str, Any], bytes]]:
    """Row and bytes of every cubin in ``folder``; by default those the built plugin embeds. Raises RuntimeError."""
    folder = folder or find().parent / "generated"
    try:
        rows, blob = parse_json((folder / "cubins.json").read_text()), (folder / "cubins.bin").read_bytes()
    except OSError as error:
        raise RuntimeError(f"{error.filename} cannot be read; build the plugin with `make plugin`") from None
    return [(row, blob[row["offset"] : row["offset"] + row["size"]]) for row in rows]


def read_all(folder: Path | None = None) -> list[KernelUsage]:
    """Every cubin of :func:`manifest`. Raises RuntimeError."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda entry: read_usage(*entry), manifest(folder)))
