"""``python -m lab.kernels.usage --out DIR``: registers, spills, shared memory and occupancy of every compiled kernel.

cuobjdump, which Triton brings, reads them from the cubins that the built plugin embeds; the occupancy is computed from
them. Nothing is measured and no GPU is needed. ``python -m lab.kernels`` goes further: roofline and machine code.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mutualformer.plugins.compile.ptxas import find_triton_tool
from mutualformer.plugins.files import parse_json, sha256, write_bytes
from mutualformer.plugins.kernels.tiles import variant_named
from mutualformer.plugins.library import PluginError, find

_REGISTER_UNIT = 256  # the hardware allocates registers to a warp in units of this many
_PARTITIONS = 4  # partitions of a multiprocessor; each has a scheduler and its own quarter of the registers


_KIB = 1024


@dataclass(frozen=True)
class Limits:
    """Of one multiprocessor: resident ``warps`` and ``blocks``, ``shared`` bytes for all blocks, ``shared_reserved``
    bytes that the system takes from every block, ``registers``, and ``tensor_memory`` columns (CUDA C++ Programming
    Guide 13.0, "Compute Capabilities")."""

    warps: int
    blocks: int
    shared: int
    shared_reserved: int = _KIB
    registers: int = 65536
    tensor_memory: int = 0


LIMITS = {
    75: Limits(warps=32, blocks=16, shared=64 * _KIB, shared_reserved=0),
    80: Limits(warps=64, blocks=32, shared=164 * _KIB),
    86: Limits(warps=48, blocks=16, shared=100 * _KIB),
    87: Limits(warps=48, blocks=16, shared=164 * _KIB),
    89: Limits(warps=48, blocks=24, shared=100 * _KIB),
    90: Limits(warps=64, blocks=32, shared=228 * _KIB),
    100: Limits(warps=64, blocks=32, shared=228 * _KIB, tensor_memory=512),
    110: Limits(warps=48, blocks=24, shared=228 * _KIB, tensor_memory=512),
    120: Limits(warps=48, blocks=24, shared=100 * _KIB),
}


@dataclass(frozen=True)
class KernelUsage:
    """Resources of one cubin.

    ``registers`` and ``stack`` (bytes) are per thread, ``shared`` (bytes) is per block. ``blocks``: how many fit on one
    multiprocessor; ``occupancy``: their warps over the most that a multiprocessor holds. ``size``: bytes of the cubin.
    """

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
        """Whether the kernel spills: a stack frame lies in local memory."""
        return self.stack > 0


def resident_blocks(arch: int, registers: int, warps: int, shared: int, tensor_memory: int) -> int:
    """How many blocks of ``warps`` warps fit on one multiprocessor of sm_``arch``.

    ``registers`` per thread; ``shared`` bytes and ``tensor_memory`` columns per block. A warp takes all its registers
    from one partition of the multiprocessor, so registers left over in two partitions cannot serve one warp.
    """
    sm = LIMITS[arch]
    per_warp = -(-registers * 32 // _REGISTER_UNIT) * _REGISTER_UNIT
    resident_warps = sm.registers // _PARTITIONS // per_warp * _PARTITIONS
    limits = [sm.warps // warps, sm.blocks, resident_warps // warps, sm.shared // (shared + sm.shared_reserved)]
    if tensor_memory:
        limits.append(sm.tensor_memory // tensor_memory)
    return min(limits)


def read_usage(image: dict[str, Any], cubin: bytes) -> KernelUsage:
    """Usage of one cubin; ``image``: its row of cubins.json.

    Raises RuntimeError where cuobjdump is missing or cannot read the cubin.
    """
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
    same = ("name", "arch", "tactic", "block_m", "block_n", "warps", "stages", "shared")
    return KernelUsage(
        **{name: image[name] for name in same},
        **asdict(variant),
        registers=registers,
        stack=stack,
        blocks=blocks,
        occupancy=blocks * image["warps"] / LIMITS[image["arch"]].warps,
        size=len(cubin),
    )


def manifest(folder: Path | None = None) -> list[tuple[dict[str, Any], bytes]]:
    """Row and bytes of every cubin in ``folder``, by default the built plugin's. Raises RuntimeError, PluginError."""
    folder = folder or find().parent / "generated"
    try:
        rows, blob = parse_json((folder / "cubins.json").read_text()), (folder / "cubins.bin").read_bytes()
    except OSError as error:
        raise RuntimeError(f"{error.filename} cannot be read; build the plugin with `make plugin`") from None
    return [(row, blob[row["offset"] : row["offset"] + row["size"]]) for row in rows]


def read_all(folder: Path | None = None) -> list[KernelUsage]:
    """Usage of every cubin of :func:`manifest`. Raises RuntimeError, PluginError."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda entry: read_usage(*entry), manifest(folder)))


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m lab.kernels.usage", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for kernels.json")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write kernels.json and print which kernels spill; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        kernels = read_all()
        document = {"plugin_sha256": sha256(find()), "kernels": [{**asdict(k), "spills": k.spills} for k in kernels]}
    except (PluginError, RuntimeError) as error:
        print(f"usage: error: {error}", file=sys.stderr)
        return 1
    write_bytes(args.out / "kernels.json", (json.dumps(document, indent=1) + "\n").encode())
    spilling = ", ".join(f"{k.name} for sm_{k.arch}" for k in kernels if k.spills)
    print(f"{args.out / 'kernels.json'}: {len(kernels)} kernels; {spilling or 'none'} spills")
    return 0


if __name__ == "__main__":
    sys.exit(main())
