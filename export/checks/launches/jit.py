"""Check 7: PyTorch runs our kernels, jitted by Triton: as a function, and inside a MutualFormer in inference."""

from __future__ import annotations

import shutil
import subprocess

from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped
from mutualformer.plugins.harness.numbers import decode, encode
from mutualformer.plugins.harness.reference import two_times

_MODULE_TOLERANCE = 1e-4  # for fp32 outputs of order 1: the kernels add the same terms in another order


def _function(machine: Machine, case: Case, device: str) -> float:
    """The jitted kernels' error as a share of what the two-times rule allows. Raises CheckFailed, CheckSkipped."""
    import torch

    from mutualformer.plugins.kernels.pytorch import cross_diffusion_attention

    types = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
    qkv = case.inputs(7)
    tensors = [torch.from_numpy(decode(x, case.dtype)).to(device, types[case.dtype]) for x in qkv]
    try:
        ours = cross_diffusion_attention(tensors[0], tensors[1], case.attributes)
    except subprocess.CalledProcessError as error:
        raise CheckSkipped(f"Triton's launcher cannot be compiled here: {error}") from error
    except Exception as error:  # Triton's compiler, the driver
        raise CheckFailed(f"{case}: the jitted kernels fail: {type(error).__name__}: {error}") from error
    y_r, y_d = (encode(y.float().cpu().numpy(), case.dtype) for y in ours)
    rule = two_times((y_r, y_d), *qkv, case.attributes, case.dtype)
    if rule.ratio > 1:
        raise CheckFailed(f"{case}: the jitted kernels: {rule.sentence}")
    return rule.ratio


def _module(machine: Machine, device: str) -> float:
    """Largest difference between a MutualFormer on our kernels and on PyTorch's own operations."""
    import torch

    from mutualformer.plugins.kernels import dispatch
    from mutualformer.train.mutualformer import MutualFormer

    torch.manual_seed(0)
    tokens = machine.amount.usual
    block = MutualFormer(32, num_heads=2).eval().to(device)
    x, x_rd = torch.randn(1, tokens, 64, device=device), torch.randn(1, tokens, 32, device=device)
    expected = block(x, x_rd).detach()  # with gradients enabled, so these are PyTorch's own operations
    with torch.no_grad():
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
    """Check 7. Raises CheckFailed naming the case or why kernels are not used, CheckSkipped with what is missing."""
    import torch  # noqa: F401  (a missing package is reported before a missing compiler)
    import triton  # noqa: F401

    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        raise CheckSkipped("Triton needs a C compiler to launch kernels, and there is none; install gcc")
    device, tokens = machine.torch_device(), min(machine.amount.usual, 257)
    cases = [Case(tokens, 16, 2, dtype=dtype) for dtype in machine.dtypes]
    cases += [Case(tokens, 24, 2, batch=2, iterations=3, init="cross", value_pairing="figure", dtype=machine.dtypes[0])]
    worst = max(_function(machine, case, device) for case in cases)
    difference = _module(machine, device)
    return f"{len(cases)} calls keep the two-times rule; a MutualFormer uses the kernels", {
        "worst_share": worst,
        "module_difference": difference,
    }
