"""What the plugin tests share: the built libraries, guarded buffers, the numeric rule."""

from __future__ import annotations

import fcntl
import functools
import os
from pathlib import Path

import torch

from mutualformer.plugins import build
from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.harness.reference import rule
from mutualformer.plugins.kernels.pytorch import SUPPORTED
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


def random_pair(shape: tuple[int, int, int], dtype: torch.dtype, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """qkv_r of ``seed`` and qkv_d of the seed after it."""
    return random_qkv(shape, dtype, seed), random_qkv(shape, dtype, seed + 1)


def assert_two_times(
    ours: tuple[torch.Tensor, torch.Tensor],
    qkv_r: torch.Tensor,
    qkv_d: torch.Tensor,
    attributes: CdaAttributes,
) -> None:
    """The two-times rule (plugins/harness/reference.py): at most twice PyTorch's error, same precision."""
    exact = torch.stack(cross_diffusion_attention(qkv_r.double(), qkv_d.double(), attributes)).cpu()
    same = torch.stack(cross_diffusion_attention(qkv_r, qkv_d, attributes)).double().cpu()
    found = rule(torch.stack(ours).double().cpu().numpy(), exact.numpy(), [same.numpy()], SUPPORTED[qkv_r.dtype])
    assert found.ratio <= 1, found.sentence
