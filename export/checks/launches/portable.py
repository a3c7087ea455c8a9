"""Check 4: the PTX that the plugin embeds, as other GPUs run it: the mma.sync family of sm_86, 87, 89 and 120.

The driver compiles it for this GPU, so that one GPU proves the lowering of all that share the PTX. The plugin takes
its PTX instead of its cubins because ``MUTUALFORMER_KERNELS=ptx`` is set in this check's process (runner.py).
"""

from __future__ import annotations

import os

from mutualformer.export.checks.launches.numerics import run_case
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped
from mutualformer.runtime.untrusted.typed_json import parse_json

ENVIRONMENT = {"MUTUALFORMER_KERNELS": "ptx"}


def _cases(machine: Machine, dtypes: list[str]) -> list[Case]:
    tokens = (17,) if machine.emulated else (1, 100, 257, 400, 1024)
    shapes = [(n, 16, 2) for n in tokens] + [(tokens[-1], 64, 1 if machine.emulated else 12)]
    cases = [Case(*shape, dtype=dtype) for shape in shapes for dtype in dtypes]
    return [*cases, Case(tokens[0], 32, 2, batch=2, iterations=2, init="cross", value_pairing="figure")]


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 4. Raises CheckFailed naming the case, CheckSkipped for a GPU older than the PTX."""
    path = machine.folder / "generated" / "ptx.json"
    images = parse_json(path.read_text()) if path.is_file() else []
    if not images:
        raise CheckSkipped("this plugin embeds no PTX; build it with all architectures (make plugin)")
    oldest = min(image["arch"] for image in images)
    if machine.capability < oldest:
        raise CheckSkipped(f"the PTX is for sm_{oldest} and later, this GPU is sm_{machine.capability}")
    if any(os.environ.get(key) != value for key, value in ENVIRONMENT.items()):
        raise CheckFailed(f"{ENVIRONMENT} is not set in this process, so that cubins would run")
    dtypes = sorted({str(image["name"]).split("_")[2] for image in images})
    cases = _cases(machine, dtypes)
    worst = max(run_case(machine, case).ratio for case in cases)
    sentence = f"{len(cases)} nodes from the PTX of sm_{oldest} keep the two-times rule on sm_{machine.capability}"
    return sentence, {"cases": len(cases), "worst_share": worst, "images": len(images)}
