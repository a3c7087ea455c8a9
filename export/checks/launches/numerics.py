"""The two-times rule, and check 3: the plugin's enqueue over a covering array, in poisoned and guarded memory.

Our error may be at most twice PyTorch's in the same precision, both against float64 (the rule of flash-attention's
tests). On the largest error there is a floor of half a unit in the last place of the largest output: storing any
result in that type costs as much, and with few outputs PyTorch's own largest error is a matter of luck. The root mean
square error has that floor only below 1000 outputs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import Node, opened
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.kernels.tiles import KERNELS, variant_for
from mutualformer.train.cda import cross_diffusion_attention

_FEW_OUTPUTS = 1000


@dataclass(frozen=True)
class TwoTimes:
    """Errors and what is allowed, floor included. ``not_finite``: outputs that are NaN or infinite."""

    worst: float
    worst_allowed: float
    rms: float
    rms_allowed: float
    not_finite: int

    @property
    def ratio(self) -> float:
        """Share of what is allowed: up to 1 the rule holds."""
        if self.not_finite:
            return float("inf")
        return max(_share(self.worst, self.worst_allowed), _share(self.rms, self.rms_allowed))

    @property
    def sentence(self) -> str:
        """Both errors beside what they may be, or how many outputs are not finite."""
        if self.not_finite:
            return f"{self.not_finite} outputs are not finite"
        return (
            f"largest error {self.worst:.3e}, allowed {self.worst_allowed:.3e}; "
            f"rms error {self.rms:.3e}, allowed {self.rms_allowed:.3e}"
        )


def _share(error: float, allowed: float) -> float:
    return error / allowed if allowed else (0.0 if error == 0 else float("inf"))


def two_times(
    ours: tuple[torch.Tensor, torch.Tensor], qkv_r: torch.Tensor, qkv_d: torch.Tensor, attributes: CdaAttributes
) -> TwoTimes:
    """Compare y_r, y_d of any implementation with PyTorch's; the reference runs where ``qkv_r`` is."""
    options = asdict(attributes)
    exact = torch.stack(cross_diffusion_attention(qkv_r.double(), qkv_d.double(), **options))
    same = torch.stack(cross_diffusion_attention(qkv_r, qkv_d, **options)).double()
    result = torch.stack(ours).to(exact.device).double()
    half_ulp = torch.finfo(qkv_r.dtype).eps / 2
    floor = half_ulp * exact.abs().max().item()
    rms_floor = half_ulp * exact.square().mean().sqrt().item() if exact.numel() < _FEW_OUTPUTS else 0.0
    return TwoTimes(
        worst=(result - exact).abs().max().item(),
        worst_allowed=2 * (same - exact).abs().max().item() + floor,
        rms=(result - exact).square().mean().sqrt().item(),
        rms_allowed=2 * (same - exact).square().mean().sqrt().item() + rms_floor,
        not_finite=int((~torch.isfinite(result)).sum()),
    )


def run_case(machine: Machine, case: Case, repeats: int = 2, tactic: int = 0) -> TwoTimes:
    """One node: poisoned outputs and workspace, guards, inputs untouched, ``repeats`` runs bit-equal, the rule.

    Raises CheckFailed naming the case and what is wrong.
    """
    with opened(machine, case, tactic) as node:
        return check_node(node, seed=1, repeats=repeats)


def check_node(node: Node, seed: int, repeats: int = 1, stream: int | None = None) -> TwoTimes:
    """As :func:`run_case`, of a node that is open already."""
    qkv_r, qkv_d = node.case.inputs(seed)
    first = node.run(qkv_r, qkv_d, stream)
    node.check_memory(qkv_r, qkv_d)
    device = node.machine.torch_device
    rule = two_times(first, qkv_r.to(device), qkv_d.to(device), node.case.attributes)
    if rule.ratio > 1:
        raise CheckFailed(f"{node.case}: {rule.sentence}")
    for again in range(1, repeats):
        node.poison()
        if not all(torch.equal(a, b) for a, b in zip(first, node.run(qkv_r, qkv_d, stream), strict=True)):
            raise CheckFailed(f"{node.case}: run {again + 1} differs from the first on the same inputs")
    return rule


def _runs(machine: Machine) -> list[tuple[Case, int]]:
    """(case, tactic): the covering array with the default tiles, then every tactic of the models' head dims."""
    runs = [(case, 0) for case in machine.amount.cases(machine.dtypes)]
    tokens = 45 if machine.emulated else 400
    for case in (Case(tokens, head_dim, 1, dtype=dtype) for head_dim in (8, 64) for dtype in machine.dtypes):
        runs += [(case, tactic) for tactic in range(1, _tactics(machine, case) + 1)]
    return runs


def _tactics(machine: Machine, case: Case) -> int:
    """How many tiles the plugin offers TensorRT for a type and head_dim."""
    served = tuple(variant_for(kernel, case.dtype, case.head_dim).name for kernel in KERNELS)
    return max((int(image["tactic"]) for image in machine.images if image["name"].startswith(served)), default=1)


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 3. Raises CheckFailed for the worst case after all have run, so that one report tells everything."""
    worst, worst_case, failures = 0.0, "", []
    runs = _runs(machine)
    for case, tactic in runs:
        try:
            rule = run_case(machine, case, machine.amount.repeats, tactic)
        except CheckFailed as error:
            failures.append(str(error))
            if machine.is_broken():
                break
            continue
        if rule.ratio > worst:
            worst, worst_case = rule.ratio, f"{case} tactic {tactic}" if tactic else str(case)
    if failures:
        raise CheckFailed(f"{len(failures)} of {len(runs)} nodes are wrong, first {failures[0]}")
    sentence = f"{len(runs)} nodes keep the two-times rule, write nothing else and repeat to the bit"
    return sentence, {
        "nodes": len(runs),
        "worst_share": worst,
        "worst_case": worst_case,
        "types": list(machine.dtypes),
    }
