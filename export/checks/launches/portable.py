"""Check 4: the embedded PTX, which the GPUs of the mma.sync family (sm_86, 87, 89 and 120) share.

The driver compiles it for this GPU, so one GPU tests the lowering that the whole family uses. The plugin takes
its PTX instead of its cubins because ``MUTUALFORMER_KERNELS=ptx`` is set in this check's process (names.py).
"""

from __future__ import annotations

from mutualformer.export.checks.launches.numerics import run_case
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckSkipped


def _cases(machine: Machine, dtypes: list[str]) -> list[Case]:
    tokens = [n for n in (1, 17, 100, 257, 400, 1024) if n <= max(machine.amount.tokens)]
    shapes = [(n, 16, 2) for n in tokens] + [(tokens[-1], 64, 2)]
    cases = [Case(*shape, dtype=dtype) for shape in shapes for dtype in dtypes]
    return [Case(tokens[1], 32, 2, batch=2, iterations=2, init="cross", value_pairing="figure"), *cases]


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 4. Raises CheckFailed naming the case, CheckSkipped for a GPU older than the PTX."""
    if not machine.ptx:
        raise CheckSkipped("this plugin embeds no PTX; build it with all architectures (make plugin)")
    oldest = min(image["arch"] for image in machine.ptx)
    if machine.capability < oldest:
        raise CheckSkipped(f"the PTX is for sm_{oldest} and later, this GPU is sm_{machine.capability}")
    dtypes = sorted({str(image["name"]).split("_")[2] for image in machine.ptx})
    shares: list[float] = []
    for case in _cases(machine, dtypes):
        if not shares or machine.left() > 0:
            shares.append(run_case(machine, case).ratio)
    sentence = f"{len(shares)} nodes from the PTX of sm_{oldest} keep the two-times rule on sm_{machine.capability}"
    return sentence, {"cases": len(shares), "worst_share": max(shares), "images": len(machine.ptx)}
