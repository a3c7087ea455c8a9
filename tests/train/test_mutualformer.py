"""The block against one written here from DESIGN section 1's text, sharing nothing but the state dict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mutualformer.train.mutualformer import DropPath, MutualFormer
from tests.train.support import numpy_reference
from tests.train.support.numpy_reference import Matrix


def layer_norm(x: Matrix, weight: Matrix, bias: Matrix) -> Matrix:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def gelu(x: Matrix) -> Matrix:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def reference_block(state: Mapping[str, Tensor], x: Matrix, x_rd: Matrix, heads: int, alpha: float) -> Matrix:
    """x (B, N, 2C), x_rd (B, N, C) → (B, N, C), float64."""
    p = {name: value.double().numpy() for name, value in state.items()}

    def linear(name: str, value: Matrix) -> Matrix:
        return value @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0.0)

    dim = x_rd.shape[-1]
    joint = layer_norm(x, p["norm1.weight"], p["norm1.bias"])
    fused = layer_norm(x_rd, p["norm1_rd.weight"], p["norm1_rd.bias"])
    y_r, y_d = numpy_reference.cda(
        linear("attn.qkv_r", joint[..., :dim]), linear("attn.qkv_d", joint[..., dim:]), heads, alpha
    )
    own = np.zeros_like(fused)
    qkv = linear("attn.qkv", fused)
    size = dim // heads
    for b in range(len(x)):
        for h in range(heads):
            q, k, v = (qkv[b, :, i * dim + h * size : i * dim + (h + 1) * size] for i in range(3))
            own[b, :, h * size : (h + 1) * size] = numpy_reference.softmax(q @ k.T * size**-0.5) @ v
    both = np.concatenate([linear("attn.proj_r", y_r), linear("attn.proj_d", y_d)], axis=-1)
    out = x_rd + linear("attn.proj", own) + linear("attn.proj_rd", both)
    hidden = gelu(linear("mlp.fc1", layer_norm(out, p["norm2.weight"], p["norm2.bias"])))
    return out + linear("mlp.fc2", hidden)


def random_block(dim: int, heads: int, seed: int = 0, **options: Any) -> MutualFormer:
    torch.manual_seed(seed)
    block = MutualFormer(dim, heads, **options).eval()
    for parameter in block.parameters():  # norms and biases too: initial ones and zeros would hide a swap
        torch.nn.init.normal_(parameter, std=0.3)
    return block


@pytest.mark.parametrize(("dim", "heads", "tokens"), [(24, 3, 7), (64, 8, 25), (16, 1, 1)])
@pytest.mark.parametrize("qkv_bias", [False, True])
def test_agrees_with_an_independent_block(dim: int, heads: int, tokens: int, qkv_bias: bool) -> None:
    block = random_block(dim, heads, qkv_bias=qkv_bias, alpha=0.6)
    x, x_rd = torch.randn(2, tokens, 2 * dim), torch.randn(2, tokens, dim)
    expected = reference_block(block.state_dict(), x.double().numpy(), x_rd.double().numpy(), heads, 0.6)
    with torch.no_grad():
        actual = block(x, x_rd).double().numpy()
    assert np.abs(actual - expected).max() < 1e-5 * max(1.0, np.abs(expected).max())


def test_state_dict_has_the_released_names_and_size() -> None:
    block = MutualFormer(32, 4)
    linear = ("qkv_r", "qkv_d", "qkv")
    expected = {f"attn.{name}.weight" for name in linear}
    for name in ("attn.proj_r", "attn.proj_d", "attn.proj_rd", "attn.proj", "mlp.fc1", "mlp.fc2"):
        expected |= {f"{name}.weight", f"{name}.bias"}
    for name in ("norm1", "norm1_rd", "norm2"):
        expected |= {f"{name}.weight", f"{name}.bias"}
    assert set(block.state_dict()) == expected
    assert sum(p.numel() for p in block.parameters()) == 24 * 32**2 + 17 * 32


def test_modalities_are_not_interchangeable_and_both_reach_the_output() -> None:
    block = random_block(16, 2)
    x, x_rd = torch.randn(1, 6, 32, requires_grad=True), torch.randn(1, 6, 16)
    out = block(x, x_rd)
    swapped = block(torch.cat([x[..., 16:], x[..., :16]], -1), x_rd)
    assert (out - swapped).abs().max() > 1e-3
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient[..., :16].abs().max() > 0
    assert gradient[..., 16:].abs().max() > 0


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    actual = drop(torch.ones(4000, 3))
    assert actual.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (actual.amin(1) == actual.amax(1)).all()
    assert float(actual.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(drop.eval()(torch.ones(3, 2)), torch.ones(3, 2))
    with pytest.raises(ValueError, match="drop_path is 1"):
        DropPath(1.0)


def test_refuses_shapes_that_do_not_fit() -> None:
    block = MutualFormer(16, 2)
    with pytest.raises(ValueError, match=r"expected \(B, N, 32\) and \(B, N, 16\)"):
        block(torch.zeros(1, 4, 16), torch.zeros(1, 4, 16))
    with pytest.raises(ValueError, match="expected a multiple of num_heads"):
        MutualFormer(10, 3)
