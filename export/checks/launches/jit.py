"""Check 7: PyTorch runs our kernels, jitted by Triton: as a function, and inside a MutualFormer in inference."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sysconfig
from pathlib import Path

from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped
from mutualformer.plugins.harness.numbers import decode, encode
from mutualformer.plugins.harness.reference import two_times

_MODULE_TOLERANCE = 1e-4  # fp32, outputs of order 1: the same sums in another order


def missing() -> str:
    """What Triton needs to launch a kernel and is not here, "" where all of it is."""
    packages = [name for name in ("torch", "triton") if importlib.util.find_spec(name) is None]
    if packages:
        return f"Python package {packages[0]} is not installed"
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        return "Triton needs a C compiler to launch kernels, and there is none; install gcc"
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        return "Triton needs Python.h to launch kernels; install python3-dev"
    return ""


def _function(machine: Machine, case: Case, device: str) -> float:
    """Share of what the two-times rule allows."""
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
        raise CheckFailed(f"{case}: jitted, {rule.sentence}")
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
    expected = block(x, x_rd).detach()  # gradients are wanted here: PyTorch's operations
    with torch.no_grad(), machine.jitting():
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
    if reason := missing():
        raise CheckSkipped(reason)
    device, tokens = machine.torch_device(), min(machine.amount.usual, 257)
    cases = [Case(tokens, 16, 2, dtype=dtype) for dtype in machine.dtypes]
    cases += [Case(tokens, 24, 2, batch=2, iterations=3, init="cross", value_pairing="figure", dtype=machine.dtypes[0])]
    worst = max(_function(machine, case, device) for case in cases)
    difference = _module(machine, device)
    return f"{len(cases)} calls keep the rule; a MutualFormer uses the kernels", {
        "worst_share": worst,
        "module_difference": difference,
    }
