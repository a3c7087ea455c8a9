"""Tile sizes, warps and pipeline stages of the CDA kernels: one table, per architecture, type and head_dim.

``block_m`` rows of the result are held by one program, which walks over the tokens ``block_n`` at a time.
head_dim is padded to one of BLOCK_D columns. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 110, 120)
DTYPES = ("fp16", "fp32")
KERNELS = ("cda_rows", "cda_columns")
BLOCK_D = (16, 32, 64, 128)
UNITS = (8, 1)  # head_dim is a multiple of one of these; 8 keeps rows on 16-byte boundaries


@dataclass(frozen=True)
class Tile:
    """One launch configuration."""

    block_m: int
    block_n: int
    warps: int
    stages: int


# (block_m, block_n, warps, stages) by kernel, type and BLOCK_D. fp16 runs on tensor cores; fp32 is exact (no TF32),
# so it runs on the ordinary units and wants small tiles: its operands sit in registers.
_TILES: dict[tuple[str, str, int], Tile] = {
    ("cda_rows", "fp16", 16): Tile(64, 64, 4, 3),
    ("cda_rows", "fp16", 32): Tile(64, 64, 4, 3),
    ("cda_rows", "fp16", 64): Tile(64, 32, 4, 2),
    ("cda_rows", "fp16", 128): Tile(64, 32, 8, 2),
    ("cda_columns", "fp16", 16): Tile(64, 64, 4, 3),
    ("cda_columns", "fp16", 32): Tile(64, 64, 4, 3),
    ("cda_columns", "fp16", 64): Tile(64, 64, 4, 2),
    ("cda_columns", "fp16", 128): Tile(64, 64, 8, 2),
    ("cda_rows", "fp32", 16): Tile(32, 32, 4, 2),
    ("cda_rows", "fp32", 32): Tile(32, 32, 4, 2),
    ("cda_rows", "fp32", 64): Tile(32, 32, 8, 2),
    ("cda_rows", "fp32", 128): Tile(16, 32, 8, 2),
    ("cda_columns", "fp32", 16): Tile(32, 32, 4, 2),
    ("cda_columns", "fp32", 32): Tile(32, 32, 4, 2),
    ("cda_columns", "fp32", 64): Tile(32, 32, 8, 2),
    ("cda_columns", "fp32", 128): Tile(16, 32, 8, 2),
}

# Where an architecture needs another tile than the table above.
_BY_ARCHITECTURE: dict[tuple[int, str, str, int], Tile] = {
    (90, "cda_rows", "fp32", 64): Tile(32, 16, 8, 2),  # 32 x 32 spills 8 bytes on these
    (100, "cda_rows", "fp32", 64): Tile(32, 16, 8, 2),
    (110, "cda_rows", "fp32", 64): Tile(32, 16, 8, 2),
    (120, "cda_rows", "fp16", 64): Tile(64, 16, 4, 2),  # 64 x 32 spills 24 bytes
    (120, "cda_rows", "fp32", 128): Tile(16, 16, 8, 2),  # 16 x 32 spills 32 bytes
}

# sm_75: this Triton has no tensor-core path for it, so fp16 is computed like fp32, in yet smaller tiles.
_TURING: dict[tuple[str, int], Tile] = {
    ("cda_rows", 16): Tile(32, 32, 4, 1),
    ("cda_rows", 32): Tile(32, 32, 8, 1),
    ("cda_rows", 64): Tile(16, 16, 4, 1),
    ("cda_rows", 128): Tile(16, 16, 8, 1),
    ("cda_columns", 16): Tile(32, 32, 4, 1),
    ("cda_columns", 32): Tile(32, 32, 8, 1),
    ("cda_columns", 64): Tile(16, 16, 4, 1),
    ("cda_columns", 128): Tile(16, 16, 8, 1),
}

# UNIT = 1 (head_dim not a multiple of 8): every element has its own address, which takes registers.
_SCALAR: dict[tuple[str, int], Tile] = {
    ("fp16", 16): Tile(32, 32, 4, 1),
    ("fp16", 64): Tile(32, 16, 4, 1),
    ("fp16", 128): Tile(32, 16, 8, 1),
    ("fp32", 16): Tile(32, 16, 4, 1),
    ("fp32", 64): Tile(16, 16, 8, 1),
    ("fp32", 128): Tile(16, 16, 8, 1),
}


def tile_for(kernel: str, capability: int, dtype: str, block_d: int, unit: int) -> Tile:
    """The launch configuration of ``kernel`` on sm_``capability``."""
    if capability == 75:
        return _TURING[kernel, block_d]
    if unit == 1:
        return _SCALAR[dtype, block_d]
    return _BY_ARCHITECTURE.get((capability, kernel, dtype, block_d), _TILES[kernel, dtype, block_d])


@dataclass(frozen=True)
class Variant:
    """One compiled form of one kernel; its name is the entry point in the cubin."""

    kernel: str
    dtype: str
    block_d: int
    unit: int

    @property
    def name(self) -> str:
        return f"{self.kernel}_{self.dtype}_d{self.block_d}_u{self.unit}"


# Head dims that are no multiple of 8 are rare: they do without the 32-wide form, to keep the build short.
VARIANTS = tuple(
    Variant(k, t, d, u) for k in KERNELS for t in DTYPES for u in UNITS for d in BLOCK_D if (d, u) != (32, 1)
)


def variant_named(name: str) -> Variant:
    """The variant whose entry point is ``name``."""
    return next(v for v in VARIANTS if v.name == name)


def variant_for(kernel: str, dtype: str, head_dim: int) -> Variant:
    """The variant that serves a head_dim: the narrowest padding, then the widest unit (as kernel_images.cpp)."""
    fitting = [v for v in VARIANTS if (v.kernel, v.dtype) == (kernel, dtype)]
    fitting = [v for v in fitting if head_dim <= v.block_d and head_dim % v.unit == 0]
    if not fitting:
        raise ValueError(f"head_dim is {head_dim}, expected at most {BLOCK_D[-1]}")
    return min(fitting, key=lambda v: (v.block_d, -v.unit))
