"""CDA against an independent float64 NumPy implementation, the released N³ form, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lab.operator.released import cross_diffusion_attention_released
from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.train.cda import cross_diffusion_attention
from tests.train.support import numpy_reference
from tests.train.support.numpy_reference import Matrix

BY_HEAD = pytest.mark.parametrize("by_head", [False, True])
SHAPES = [(1, 1, 4), (7, 3, 5), (7, 8, 64), (121, 8, 8), (121, 3, 16), (577, 1, 64), (577, 3, 8)]


def packed(
    tokens: int, heads: int, head_dim: int, batch: int = 1, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed + 1000 * tokens + heads)
    shape = (2, batch, tokens, 3 * heads * head_dim)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).unbind(0)


def relative(actual: Tensor, expected: Matrix) -> float:
    return float(np.abs(actual.double().numpy() - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(("tokens", "heads", "head_dim"), SHAPES)
def test_agrees_with_numpy(tokens: int, heads: int, head_dim: int) -> None:
    r, d = packed(tokens, heads, head_dim)
    attributes, expected = CdaAttributes(heads), numpy_reference.cda(r.numpy(), d.numpy(), heads)
    for actual, want in zip(cross_diffusion_attention(r, d, attributes), expected, strict=True):
        assert np.abs(actual.numpy() - want).max() < 1e-12
    for actual, want in zip(cross_diffusion_attention(r.float(), d.float(), attributes), expected, strict=True):
        assert actual.dtype == torch.float32
        # The inputs are rounded too; what is measured is the error of doing it in float32 altogether.
        assert relative(actual, want) < 2e-6


@pytest.mark.parametrize("value_pairing", ["released", "figure"])
@pytest.mark.parametrize("init", ["identity", "cross"])
@pytest.mark.parametrize("iterations", [1, 2, 3])
@BY_HEAD
def test_every_variant_agrees_with_numpy_and_with_the_released_form(
    by_head: bool, iterations: int, init: str, value_pairing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mutualformer.train.cda.BY_HEAD_FROM", 1 if by_head else 1000)
    r, d = packed(33, 3, 6, batch=2, seed=iterations)
    options: dict[str, Any] = {"alpha": 0.35, "iterations": iterations, "init": init, "value_pairing": value_pairing}
    expected = numpy_reference.cda(r.numpy(), d.numpy(), 3, **options)
    for form in (cross_diffusion_attention, cross_diffusion_attention_released):
        for actual, want in zip(form(r, d, CdaAttributes(3, **options)), expected, strict=True):
            assert np.abs(actual.numpy() - want).max() < 1e-12


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    tokens=st.integers(1, 40),
    heads=st.integers(1, 8),
    head_dim=st.integers(4, 24),
    alpha=st.floats(0, 1),
    iterations=st.integers(1, 4),
)
def test_any_shape(batch: int, tokens: int, heads: int, head_dim: int, alpha: float, iterations: int) -> None:
    r, d = packed(tokens, heads, head_dim, batch)
    attributes = CdaAttributes(heads, alpha, iterations)
    expected = numpy_reference.cda(r.numpy(), d.numpy(), heads, alpha, iterations)
    for actual, want in zip(cross_diffusion_attention(r, d, attributes), expected, strict=True):
        assert actual.shape == (batch, tokens, 2 * heads * head_dim)
        assert np.abs(actual.numpy() - want).max() < 1e-11


@pytest.mark.parametrize("init", ["identity", "cross"])
@pytest.mark.parametrize("iterations", [1, 2])
@BY_HEAD
def test_gradients(by_head: bool, iterations: int, init: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mutualformer.train.cda.BY_HEAD_FROM", 1 if by_head else 1000)
    r, d = (x.clone().requires_grad_() for x in packed(5, 2, 4))
    attributes = CdaAttributes(2, iterations=iterations, init=init)
    assert torch.autograd.gradcheck(lambda a, b: cross_diffusion_attention(a, b, attributes), (r, d), fast_mode=True)


def test_a_peaked_softmax_stays_finite() -> None:
    r, d = packed(16, 2, 4, dtype=torch.float32)
    for actual in cross_diffusion_attention(1e4 * r, -1e4 * d, CdaAttributes(2)):
        assert torch.isfinite(actual).all()


def test_alpha_one_is_pure_diffusion_and_alpha_zero_none() -> None:
    r, d = packed(9, 1, 4)
    (q_r, k_r, v_r), (q_d, k_d, v_d) = r[0].chunk(3, dim=-1), d[0].chunk(3, dim=-1)
    p_r, p_d = torch.softmax(q_r @ k_r.T / 2, -1), torch.softmax(q_d @ k_d.T / 2, -1)
    y_r, _ = cross_diffusion_attention(r, d, CdaAttributes(1, 1.0))
    torch.testing.assert_close(y_r[0, :, 4:], p_r.T @ p_d @ v_d, atol=1e-13, rtol=0)
    y_r, y_d = cross_diffusion_attention(r, d, CdaAttributes(1, 0.0))
    torch.testing.assert_close(y_r[0, :, 4:], (p_r + p_d) @ v_d, atol=1e-13, rtol=0)
    torch.testing.assert_close(y_d[0, :, 4:], (p_r + p_d) @ v_r, atol=1e-13, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, d: (r, d[:, :-1], 2), "expected one shape"),
        (lambda r, d: (r, d.double(), 2), "expected one floating type"),
        (lambda r, d: (r.int(), d.int(), 2), "expected one floating type"),
        (lambda r, d: (r, d, 5), "positive multiple of"),
        (lambda r, d: (r, d, 2, 1.5), r"alpha is 1\.5"),
        (lambda r, d: (r, d, 2, 0.6, 0), "iterations is 0"),
        (lambda r, d: (r, d, 2, 0.6, 1, "zero"), "init is 'zero'"),
    ],
)
def test_refuses_what_does_not_fit(change: Callable[[Tensor, Tensor], tuple[Any, ...]], message: str) -> None:
    r, d = packed(6, 2, 4, dtype=torch.float32)
    qkv_r, qkv_d, *attributes = change(r, d)
    with pytest.raises(ValueError, match=message):
        cross_diffusion_attention(qkv_r, qkv_d, CdaAttributes(*attributes))
