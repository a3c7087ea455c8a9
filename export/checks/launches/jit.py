"""Check 7: PyTorch runs our kernels, jitted by Triton: as a function, and inside a MutualFormer in inference."""

from __future__ import annotations

import contextlib

import torch

from mutualformer.export.checks.launches.numerics import two_times
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.plugins.kernels import dispatch
from mutualformer.train.mutualformer import MutualFormer

_MODULE_TOLERANCE = 1e-4  # fp32, outputs of order 1: the same sums in another order


def _function(machine: Machine, case: Case) -> float:
    """Share of what the two-times rule allows."""
    from mutualformer.plugins.kernels.pytorch import cross_diffusion_attention

    qkv_r, qkv_d = (tensor.to(machine.torch_device) for tensor in case.inputs(7))
    try:
        ours = cross_diffusion_attention(qkv_r, qkv_d, case.attributes)
    except Exception as error:  # Triton's compiler, its launcher's C compiler, the driver
        raise CheckFailed(f"{case}: the jitted kernels fail: {type(error).__name__}: {error}") from error
    rule = two_times(ours, qkv_r, qkv_d, case.attributes)
    if rule.ratio > 1:
        raise CheckFailed(f"{case}: jitted, {rule.sentence}")
    return rule.ratio


def _module(machine: Machine) -> float:
    """Largest difference between a MutualFormer on our kernels and on PyTorch's own operations."""
    torch.manual_seed(0)
    device, tokens = machine.torch_device, 17 if machine.emulated else 400
    block = MutualFormer(32, num_heads=2).eval().to(device)
    x, x_rd = torch.randn(1, tokens, 64, device=device), torch.randn(1, tokens, 32, device=device)
    expected = block(x, x_rd).detach()  # gradients are wanted here: PyTorch's operations
    with torch.no_grad(), dispatch.interpreted() if machine.emulated else contextlib.nullcontext():
        qkv = torch.zeros(1, tokens, 96, device=device)
        if not dispatch.serves(qkv, qkv, block.attn.cda.attributes):
            attributes = block.attn.cda.attributes
            reason = dispatch.refusal(qkv.device, qkv.dtype, qkv.shape[-1], attributes) or "nothing asked for them"
            raise CheckFailed(f"a MutualFormer in inference does not use the kernels: {reason}")
        difference = float((block(x, x_rd) - expected).abs().max())
    if not difference <= _MODULE_TOLERANCE:
        raise CheckFailed(f"a MutualFormer on the kernels is {difference:.2e} off, allowed {_MODULE_TOLERANCE:.0e}")
    return float(difference)


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 7. Raises CheckFailed naming the case, or why the kernels are not used."""
    tokens = 17 if machine.emulated else 257
    cases = [Case(tokens, 16, 2, dtype=dtype) for dtype in machine.dtypes]
    cases += [Case(tokens, 24, 2, batch=2, iterations=3, init="cross", value_pairing="figure", dtype=machine.dtypes[0])]
    worst = max(_function(machine, case) for case in cases)
    difference = _module(machine)
    return f"{len(cases)} calls keep the rule; a MutualFormer uses the kernels", {
        "worst_share": worst,
        "module_difference": difference,
    }
