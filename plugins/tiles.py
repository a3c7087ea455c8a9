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
    ("cda_rows", "fp32", 128): Tile(16, 32, 8, 1),
    ("cda_columns", "fp32", 16): Tile(32, 32, 4, 2),
    ("cda_columns", "fp32", 32): Tile(32, 32, 4, 2),
    ("cda_columns", "fp32", 64): Tile(32, 32, 8, 2),
    ("cda_columns", "fp32", 128): Tile(16, 32, 8, 1),
}


def tile_for(kernel: str, capability: int, dtype: str, block_d: int) -> Tile:
    """The launch configuration of ``kernel`` on sm_``capability``."""
    return _TILES[(kernel, dtype, block_d)]


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


VARIANTS = tuple(Variant(k, t, d, u) for k in KERNELS for t in DTYPES for d in BLOCK_D for u in UNITS)


def variant_named(name: str) -> Variant:
    """The variant whose entry point is ``name``."""
    return next(v for v in VARIANTS if v.name == name)
