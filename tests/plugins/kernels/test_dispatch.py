"""When PyTorch takes our kernels: on a GPU in inference; elsewhere silently not, and refusals say why, once."""

from __future__ import annotations

import logging

import pytest
import torch

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.kernels import dispatch
from mutualformer.runtime.session.gpu import compute_capabilities
from mutualformer.train.mutualformer import CrossDiffusionAttention, MutualFormer
from tests.standins.interpreted import dispatched

pytest.importorskip("triton", reason="Triton is not installed")
ATTRIBUTES = CdaAttributes(2)
GPUS = compute_capabilities()  # asked while collecting: later a stand-in driver may be in this process


def _qkv(dtype: torch.dtype = torch.float32, head_dim: int = 16) -> torch.Tensor:
    return torch.randn(1, 9, 3 * 2 * head_dim, generator=torch.Generator().manual_seed(0)).to(dtype)


def test_a_cpu_is_no_fallback_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    qkv = _qkv()
    with torch.no_grad(), caplog.at_level(logging.INFO):
        assert not dispatch.serves(qkv, qkv, ATTRIBUTES)
    assert not caplog.records


def test_a_gradient_is_no_fallback_either(caplog: pytest.LogCaptureFixture) -> None:
    qkv = _qkv().requires_grad_()
    with dispatched(), caplog.at_level(logging.INFO):
        assert not dispatch.serves(qkv, qkv, ATTRIBUTES)
        with torch.no_grad():
            assert dispatch.serves(qkv, qkv, ATTRIBUTES)
    assert not caplog.records


@pytest.mark.parametrize(
    ("qkv", "attributes", "says"),
    [
        (_qkv(torch.float64), ATTRIBUTES, "qkv is torch.float64, the kernels serve"),
        (_qkv(head_dim=144), ATTRIBUTES, "head_dim is 144, the kernels serve 4 to 128"),
        (_qkv(head_dim=3), ATTRIBUTES, "head_dim is 3, the kernels serve 4 to 128"),
    ],
)
def test_a_refusal_is_one_line_once(
    qkv: torch.Tensor, attributes: CdaAttributes, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    dispatch._warn.cache_clear()
    with torch.no_grad(), dispatched(), caplog.at_level(logging.INFO):
        for _ in range(3):
            assert not dispatch.serves(qkv, qkv, attributes)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert lines[0].startswith("CDA runs in PyTorch's own operations instead of our kernels: ")
    assert says in lines[0]


def test_triton_that_cannot_compile_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    from mutualformer.plugins.kernels import pytorch as kernels

    def broken(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(kernels, "cross_diffusion_attention", broken)
    reason = dispatch._trial(torch.device("cpu"), torch.float32)
    assert reason == "Triton cannot run them here: RuntimeError: Failed to find C compiler."


def test_a_module_runs_the_kernels_and_agrees() -> None:
    module = CrossDiffusionAttention(ATTRIBUTES).eval()
    qkv_r, qkv_d = _qkv(), _qkv().flip(1)
    with torch.no_grad():
        expected = module(qkv_r, qkv_d)
        with dispatched():
            result = module(qkv_r, qkv_d)
    assert not all(torch.equal(a, b) for a, b in zip(result, expected, strict=True)), "these are PyTorch's own sums"
    for ours, theirs in zip(result, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not GPUS, reason="no NVIDIA GPU here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_inference_on_a_gpu_takes_the_kernels(dtype: torch.dtype) -> None:
    block = MutualFormer(64, num_heads=4).eval().to("cuda", dtype)
    x, x_rd = torch.randn(2, 100, 128, device="cuda", dtype=dtype), torch.randn(2, 100, 64, device="cuda", dtype=dtype)
    expected = block(x, x_rd).detach()
    with torch.no_grad():
        qkv = torch.zeros(2, 100, 192, device="cuda", dtype=dtype)
        assert dispatch.serves(qkv, qkv, block.attn.cda.attributes)
        torch.testing.assert_close(block(x, x_rd), expected, rtol=2e-2, atol=2e-2)
