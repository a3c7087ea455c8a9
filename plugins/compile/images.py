"""The records of compiled kernels that the compiler gives to the C++ build. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Image:
    """One compiled kernel. ``arch``: the cubin's architecture, or the oldest that its PTX runs on. ``tactic``: which
    of the variant's tiles, from 1. ``shared``: dynamic shared memory in bytes; ``parameters``: PTX types in order;
    ``tensor_memory``: columns of the 512 that an SM of sm_100 and sm_110 has."""

    name: str
    arch: int
    block_m: int
    block_n: int
    warps: int
    stages: int
    shared: int
    tensor_memory: int
    parameters: list[str]
    sha256: str
    tactic: int = 1


@dataclass(frozen=True)
class Compiled:
    """Every kernel with its bytes: cubins, and PTX texts with their terminating zero."""

    cubins: list[tuple[Image, bytes]]
    ptx: list[tuple[Image, bytes]]
