"""Decides when PyTorch runs CDA through our kernels: in inference, on a GPU, for tensors that they serve.

Where they cannot serve a call it warns once. Training, export and compilation use ``train.cda`` by design, so there is
nothing to warn of.
"""

from __future__ import annotations

import functools
import importlib.util
import logging

import torch
from torch import Tensor

from mutualformer.extras import missing
from mutualformer.plugins.attributes import MAX_HEAD_DIM, MIN_HEAD_DIM, CdaAttributes

log = logging.getLogger("mutualformer")

MIN_CAPABILITY = (7, 5)  # Turing: for older GPUs there are neither our kernels nor Triton
devices = {"cuda"}  # device types whose tensors take the kernels; tests add "cpu", for Triton's interpreter


def wanted(qkv_r: Tensor, qkv_d: Tensor) -> bool:
    """Whether a call should take the kernels: tensors on a GPU, no gradient, neither traced nor compiled."""
    if qkv_r.device.type not in devices:
        return False
    if torch.is_grad_enabled() and (qkv_r.requires_grad or qkv_d.requires_grad):
        return False
    traced = torch.jit.is_tracing() or torch.jit.is_scripting()  # type: ignore[attr-defined, no-untyped-call]
    return not (traced or torch.compiler.is_compiling())


@functools.cache
def refusal(device: torch.device, dtype: torch.dtype, packed_width: int, attributes: CdaAttributes) -> str:
    """Why the kernels do not serve qkv (B, N, ``packed_width``) there, "" if they do. Cached per argument."""
    if importlib.util.find_spec("triton") is None:
        return missing("triton")
    from mutualformer.plugins.kernels.pytorch import SUPPORTED

    if dtype not in SUPPORTED:
        return f"qkv is {dtype}, the kernels serve {', '.join(map(str, SUPPORTED))}"
    head_dim = attributes.head_dim(packed_width)
    if not MIN_HEAD_DIM <= head_dim <= MAX_HEAD_DIM:
        return f"head_dim is {head_dim}, the kernels serve {MIN_HEAD_DIM} to {MAX_HEAD_DIM}"
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < MIN_CAPABILITY:
            return f"the GPU is sm_{capability[0]}{capability[1]}, the kernels serve sm_75 and later"
    return _trial(device, dtype)


def _trial(device: torch.device, dtype: torch.dtype) -> str:
    """Run the kernels once on four tokens: Triton may lack a C compiler, for instance. Returns why it fails, or ""."""
    from mutualformer.plugins.kernels.pytorch import cross_diffusion_attention

    tokens = torch.zeros(1, 4, 3 * 16, device=device, dtype=dtype)
    try:
        cross_diffusion_attention(tokens, tokens, CdaAttributes(num_heads=1))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except Exception as error:  # whatever Triton, its compiler or the driver raise
        return f"Triton cannot run them here: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ""


def serves(qkv_r: Tensor, qkv_d: Tensor, attributes: CdaAttributes) -> bool:
    """Whether this call goes to the kernels. Warns, once per reason, where they were wanted and cannot run."""
    if not wanted(qkv_r, qkv_d):
        return False
    reason = refusal(qkv_r.device, qkv_r.dtype, qkv_r.shape[-1], attributes)
    if reason:
        _warn(reason)
    return not reason


@functools.cache
def _warn(reason: str) -> None:
    log.warning("CDA runs in PyTorch's own operations instead of our kernels: %s", reason)
