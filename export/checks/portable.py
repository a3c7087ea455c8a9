"""Check 4: the PTX that the plugin embeds, as other GPUs run it: the mma.sync family of sm_86, 87, 89 and 120.

The driver compiles it for this GPU, so that one GPU proves the lowering of all that share the PTX.
"""

from __future__ import annotations

from mutualformer.export.checks.outcome import CheckSkipped
from mutualformer.export.checks.rig.machine import Machine

YOUNGER = 103  # a capability without cubins, which the stand-in pretends to be


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 4. Raises CheckFailed naming the case."""
    raise CheckSkipped("this plugin embeds no PTX")
