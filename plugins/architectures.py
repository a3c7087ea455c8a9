"""The table of GPU architectures that the kernels are compiled for. Standard library only.

Limits of a multiprocessor: CUDA C++ Programming Guide 13.0, "Compute Capabilities".
"""

from __future__ import annotations

from dataclasses import dataclass

_KIB = 1024


@dataclass(frozen=True)
class Architecture:
    """sm_``capability``.

    ``family``: the architecture for which Triton makes the PTX. PTX is forward compatible, and sm_86, 87, 89 and 120
    use mma.sync as sm_80 does, so one PTX text is assembled for the whole family.
    ``specific``: wgmma and tcgen05 need the "a" targets, whose cubins run on that chip only.
    ``ptxas``: the newest assembler allowed, None for no limit. A driver loads cubins of its own CUDA version or older;
    12.6 is JetPack 6.2's. ``blackwell``: only Triton's ptxas-blackwell knows the architecture.
    ``bf16``: has BF16 conversions. The rest are limits of one multiprocessor: resident ``warps`` and ``blocks``,
    ``shared`` bytes for all blocks, ``shared_reserved`` bytes that the system takes from every block, ``registers``,
    and ``tensor_memory`` columns.
    """

    capability: int
    family: int
    warps: int
    blocks: int
    shared: int
    shared_reserved: int = _KIB
    registers: int = 65536
    tensor_memory: int = 0
    specific: bool = False
    ptxas: tuple[int, int] | None = (12, 6)
    blackwell: bool = False
    bf16: bool = True

    @property
    def target(self) -> str:
        """Its name for ptxas."""
        return f"sm_{self.capability}a" if self.specific else f"sm_{self.capability}"


_ALL = (
    Architecture(75, family=75, warps=32, blocks=16, shared=64 * _KIB, shared_reserved=0, bf16=False),
    Architecture(80, family=80, warps=64, blocks=32, shared=164 * _KIB),
    Architecture(86, family=80, warps=48, blocks=16, shared=100 * _KIB),
    Architecture(87, family=80, warps=48, blocks=16, shared=164 * _KIB),
    Architecture(89, family=80, warps=48, blocks=24, shared=100 * _KIB),
    Architecture(90, family=90, warps=64, blocks=32, shared=228 * _KIB, specific=True),
    Architecture(
        100, family=100, warps=64, blocks=32, shared=228 * _KIB, tensor_memory=512, specific=True, ptxas=None
    ),
    Architecture(
        110, family=110, warps=48, blocks=24, shared=228 * _KIB, tensor_memory=512, specific=True, ptxas=None,
        blackwell=True,
    ),
    Architecture(120, family=80, warps=48, blocks=24, shared=100 * _KIB, ptxas=None),
)  # fmt: skip

TABLE = {architecture.capability: architecture for architecture in _ALL}
ARCHITECTURES = tuple(TABLE)

RUNS_AS = {121: 120}
"""Architecture without cubins of its own → the one whose cubins it runs."""

PTX_ARCHITECTURE = 80
"""Target of the embedded PTX. The driver compiles it for a newer GPU that has no cubin."""
