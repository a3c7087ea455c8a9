"""What the plugin tests share: the built libraries, guarded buffers, the numeric rule."""

from __future__ import annotations

import fcntl
import functools
import os
from dataclasses import asdict
from pathlib import Path

import torch

from mutualformer.plugins import build
from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.train.cda import cross_diffusion_attention

ROOT = Path(__file__).resolve().parents[2]
SANITIZE = os.environ.get("MUTUALFORMER_TEST_SANITIZE", "")  # set by test_sanitizers.py, for a process of its own
BUILD = ROOT / "build" / ("plugins-sanitized" if SANITIZE else "plugins")


@functools.lru_cache(maxsize=1)
def built() -> Path:
    """Build the plugin and the test libraries once, also with several test processes; returns their folder."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        options = (f"-DMUTUALFORMER_SANITIZE={SANITIZE}", "-DMUTUALFORMER_ARCHITECTURES=")  # all of them
        build.build(BUILD, ("all", "test_cuda_driver", "plugin_harness"), options)
    return BUILD


# ---- Numbers ----


def random_qkv(shape: tuple[int, int, int], dtype: torch.dtype, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def assert_two_times(
    ours: tuple[torch.Tensor, torch.Tensor],
    qkv_r: torch.Tensor,
    qkv_d: torch.Tensor,
    attributes: CdaAttributes,
) -> None:
    """The two-times rule: our error is at most twice PyTorch's in the same precision, both against float64.

    On the largest error there is a floor of half a unit in the last place of the largest output: storing any result
    in that type costs as much, and with few outputs PyTorch's own largest error is a matter of luck. The root mean
    square error has that floor only below 1000 outputs.
    """
    options = asdict(attributes)
    exact = torch.stack(cross_diffusion_attention(qkv_r.double(), qkv_d.double(), **options))
    same = torch.stack(cross_diffusion_attention(qkv_r, qkv_d, **options)).double()
    result = torch.stack(ours).double()
    assert torch.isfinite(result).all(), f"{int((~torch.isfinite(result)).sum())} outputs are not finite"
    half_ulp = torch.finfo(qkv_r.dtype).eps / 2
    worst, allowed = (result - exact).abs().max().item(), (same - exact).abs().max().item()
    floor = half_ulp * exact.abs().max().item()
    assert worst <= 2 * allowed + floor, f"largest error {worst:.3e}, PyTorch's {allowed:.3e}, floor {floor:.3e}"
    rms, allowed = (result - exact).square().mean().sqrt().item(), (same - exact).square().mean().sqrt().item()
    floor = half_ulp * exact.square().mean().sqrt().item() if exact.numel() < 1000 else 0.0
    assert rms <= 2 * allowed + floor, f"rms error {rms:.3e}, PyTorch's {allowed:.3e}, floor {floor:.3e}"
