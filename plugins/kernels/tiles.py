"""Tile sizes, warps and pipeline stages of the CDA kernels: one table, per architecture, type and head_dim.

``block_m`` rows of the result are held by one program, which walks over the tokens ``block_n`` at a time.
head_dim is padded to one of BLOCK_D columns. Where several tiles are listed the plugin offers them to TensorRT as
tactics 1, 2, …, which it times on the device for the actual shapes: few tokens need many programs, many tokens need
programs that share their loads. Tactic 1 is the default. Standard library only.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from mutualformer.plugins.architectures import TABLE

DTYPES = ("fp16", "fp32", "bf16")
KERNELS = ("cda_rows", "cda_columns")
BLOCK_D = (16, 32, 64, 128)
VECTOR_UNIT = 8  # keeps rows on 16-byte boundaries
UNITS = (VECTOR_UNIT, 1)  # head_dim is a multiple of one of these


@dataclass(frozen=True)
class Tile:
    """One launch configuration. ``registers``: a limit for the compiler, None for its own choice. ``peeled``: only the
    last tile is masked, in separate code."""

    block_m: int
    block_n: int
    warps: int
    stages: int
    registers: int | None = None
    peeled: bool = True


_plain = functools.partial(Tile, peeled=False)


# By kernel and BLOCK_D, for fp16 and bf16, which run on tensor cores. A warp always holds 16 rows, so the tactics of
# one entry differ in how many warps share a tile of keys and values: 4, 2 (twice the programs) or 8.
_NARROW = (Tile(64, 64, 4, 3), Tile(32, 64, 2, 2))
_TENSOR_CORE: dict[tuple[str, int], tuple[Tile, ...]] = {
    **{(kernel, block_d): _NARROW for kernel in KERNELS for block_d in (16, 32)},
    ("cda_rows", 64): (Tile(64, 64, 4, 2), Tile(32, 64, 2, 2), Tile(128, 64, 8, 2)),
    ("cda_rows", 128): (Tile(32, 32, 4, 2),),
    ("cda_columns", 64): (Tile(64, 64, 4, 2, 168), Tile(32, 64, 2, 2, 168), Tile(128, 64, 8, 2)),
    ("cda_columns", 128): (Tile(64, 64, 8, 2),),
}

# fp32 is exact (no TF32), so it runs on the ordinary units and needs small tiles: its operands are in registers. Its
# tiles are not peeled: masks are 1 to 2 % of its instructions, and a second tile's code costs 130 registers and spills.
_FP32: dict[tuple[str, int], Tile] = {
    **{(kernel, block_d): _plain(32, 32, 4, 2) for kernel in KERNELS for block_d in (16, 32)},
    **{(kernel, 64): _plain(32, 32, 8, 2) for kernel in KERNELS},
    ("cda_rows", 128): _plain(16, 16, 8, 2),
    ("cda_columns", 128): _plain(16, 32, 8, 2),
}

# Exceptions of single architectures to the tables above.
_BY_ARCHITECTURE: dict[tuple[int, str, str, int], tuple[Tile, ...]] = {
    # wgmma and tcgen05 leave more registers to the accumulators of a warp group than mma.sync does
    **{(90, "cda_rows", dtype, 128): (Tile(128, 32, 8, 2),) for dtype in ("fp16", "bf16")},
    **{(arch, "cda_rows", dtype, 128): (Tile(64, 32, 8, 2),) for arch in (100, 110) for dtype in ("fp16", "bf16")},
}

# sm_75: this Triton has no tensor-core path for it, so fp16 runs like fp32, in even smaller tiles.
_TURING: dict[int, Tile] = {
    16: _plain(32, 32, 4, 1),
    32: _plain(32, 32, 8, 1),
    64: _plain(16, 16, 4, 1),
    128: _plain(16, 16, 8, 1),
}

# UNIT = 1 (head_dim not a multiple of 8): every element has its own address, which takes registers. The limits are
# above those that ptxas chooses for sm_120, where it spills 8 bytes to fit one more block.
_SCALAR: dict[tuple[str, int], Tile] = {
    ("tensor core", 16): _plain(32, 32, 4, 1),
    ("tensor core", 64): _plain(32, 16, 4, 1, registers=200),
    ("tensor core", 128): _plain(32, 16, 8, 1),
    ("fp32", 16): _plain(32, 16, 4, 1, registers=112),
    ("fp32", 64): _plain(16, 16, 8, 1),
    ("fp32", 128): _plain(16, 16, 8, 1),
}

# BF16 is for models of the ViT class, whose heads are 64 wide; its other forms have one tile, which keeps builds short.
_TACTICS = {("bf16", 16): 1, ("bf16", 32): 1}


def tiles_for(kernel: str, capability: int, dtype: str, block_d: int, unit: int) -> tuple[Tile, ...]:
    """The launch configurations of ``kernel`` on sm_``capability``: tactic 1, 2, …"""
    if capability == 75:
        return (_TURING[block_d],)
    if unit == 1:
        return (_SCALAR["fp32" if dtype == "fp32" else "tensor core", block_d],)
    common = (_FP32[kernel, block_d],) if dtype == "fp32" else _TENSOR_CORE[kernel, block_d]
    return _BY_ARCHITECTURE.get((capability, kernel, dtype, block_d), common)[: _TACTICS.get((dtype, block_d))]


@dataclass(frozen=True)
class Variant:
    """One compiled form of one kernel; its name is the entry point in the cubin."""

    kernel: str
    dtype: str
    block_d: int
    unit: int

    @property
    def name(self) -> str:
        """``KERNEL_DTYPE_dBLOCK_uUNIT``, e.g. cda_rows_fp16_d64_u8."""
        return f"{self.kernel}_{self.dtype}_d{self.block_d}_u{self.unit}"

    def entry(self, tactic: int) -> str:
        """Entry point of a tactic: its name where it is the first, name_t2, name_t3, … otherwise."""
        return self.name if tactic == 1 else f"{self.name}_t{tactic}"

    def runs_on(self, capability: int) -> bool:
        """Whether sm_``capability`` has the type."""
        return self.dtype != "bf16" or TABLE[capability].bf16


# Head dims that are no multiple of 8 are rare: there is no 32-wide form for them, and in BF16 no 64-wide one.
VARIANTS = tuple(
    Variant(k, t, d, u)
    for k in KERNELS
    for t in DTYPES
    for u in UNITS
    for d in BLOCK_D
    if (d, u) != (32, 1) and (t, d, u) != ("bf16", 64, 1)
)

# The embedded PTX covers the common variants only: GPUs newer than the build are rare too.
PTX_VARIANTS = tuple(v for v in VARIANTS if v.unit == VECTOR_UNIT)


def variant_named(name: str) -> Variant:
    """The variant whose entry point, of whichever tactic, is ``name``."""
    return next(v for v in VARIANTS if name == v.name or name.startswith(f"{v.name}_t"))


def variant_for(kernel: str, dtype: str, head_dim: int) -> Variant:
    """The variant that serves a head_dim: the narrowest padding, then the widest unit (as kernel_images.cpp)."""
    fitting = [v for v in VARIANTS if (v.kernel, v.dtype) == (kernel, dtype)]
    fitting = [v for v in fitting if head_dim <= v.block_d and head_dim % v.unit == 0]
    if not fitting:
        raise ValueError(f"head_dim is {head_dim}, expected at most {BLOCK_D[-1]}")
    return min(fitting, key=lambda v: (v.block_d, -v.unit))
