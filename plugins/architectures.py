"""The table of GPU architectures that the kernels are compiled for. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """sm_``capability``.

    ``family``: the architecture for which Triton makes the PTX. PTX is forward compatible, and sm_86, 87, 89 and 120
    use mma.sync as sm_80 does, so one PTX text is assembled for the whole family.
    ``specific``: wgmma and tcgen05 need the "a" targets, whose cubins run on that chip only.
    ``ptxas``: the newest assembler allowed, None for no limit. A driver loads cubins of its own CUDA version or older;
    12.6 is JetPack 6.2's. ``blackwell``: only Triton's ptxas-blackwell knows the architecture.
    ``bf16``: has BF16 conversions.
    """

    capability: int
    family: int
    specific: bool = False
    ptxas: tuple[int, int] | None = (12, 6)
    blackwell: bool = False
    bf16: bool = True

    @property
    def target(self) -> str:
        """Its name for ptxas."""
        return f"sm_{self.capability}a" if self.specific else f"sm_{self.capability}"


_ALL = (
    Architecture(75, family=75, bf16=False),
    Architecture(80, family=80),
    Architecture(86, family=80),
    Architecture(87, family=80),
    Architecture(89, family=80),
    Architecture(90, family=90, specific=True),
    Architecture(100, family=100, specific=True, ptxas=None),
    Architecture(110, family=110, specific=True, ptxas=None, blackwell=True),
    Architecture(120, family=80, ptxas=None),
)

TABLE = {architecture.capability: architecture for architecture in _ALL}
ARCHITECTURES = tuple(TABLE)

RUNS_AS = {121: 120}
"""Architecture without cubins of its own → the one whose cubins it runs."""

PTX_ARCHITECTURE = 80
"""Target of the embedded PTX. The driver compiles it for a newer GPU that has no cubin."""
