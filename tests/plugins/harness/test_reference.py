"""The operator and the rule in NumPy, held against PyTorch and against the N³ form written out."""

from __future__ import annotations

import numpy as np
import pytest

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.harness.numbers import decode, encode
from mutualformer.plugins.harness.reference import cross_diffusion_attention, rule, two_times
from tests.train.support.numpy_reference import cda

VARIANTS = [(t, init, pairing) for t in (1, 3) for init in ("identity", "cross") for pairing in ("released", "figure")]


@pytest.mark.parametrize(("iterations", "init", "pairing"), VARIANTS)
def test_it_is_the_operator(iterations: int, init: str, pairing: str) -> None:
    qkv = np.random.default_rng(1).standard_normal((2, 2, 33, 3 * 3 * 8))
    attributes = CdaAttributes(3, 0.6, iterations, init, pairing)
    ours = cross_diffusion_attention(qkv[0], qkv[1], attributes)
    expected = cda(qkv[0], qkv[1], 3, 0.6, iterations, init, pairing)
    assert max(np.abs(a - b).max() for a, b in zip(ours, expected, strict=True)) < 1e-13


@pytest.mark.parametrize(("dtype", "near"), [("fp16", 1.02), ("bf16", 1.02), ("fp32", 1.3)])
def test_plain_arithmetic_is_as_exact_as_pytorch(dtype: str, near: float) -> None:
    """What the rule allows is twice PyTorch's error in the same precision, with no PyTorch to ask."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from mutualformer.plugins.kernels.pytorch import SUPPORTED
    from mutualformer.train.cda import cross_diffusion_attention as pytorch_form

    kind = next(kind for kind, name in SUPPORTED.items() if name == dtype)
    for iterations, init, pairing in VARIANTS:
        attributes = CdaAttributes(2, 0.6, iterations, init, pairing)
        generator = np.random.default_rng(7)
        qkv = [encode(generator.standard_normal((1, 100, 3 * 2 * 16)), dtype) for _ in range(2)]
        tensors = [torch.from_numpy(decode(x, dtype)) for x in qkv]
        exact = np.stack([y.numpy() for y in pytorch_form(tensors[0].double(), tensors[1].double(), attributes)])
        peer = np.stack([y.float().numpy() for y in pytorch_form(tensors[0].to(kind), tensors[1].to(kind), attributes)])
        theirs = rule(peer, exact, [peer], dtype)
        y_r, y_d = (encode(y, dtype) for y in peer)
        allowed = two_times((y_r, y_d), qkv[0], qkv[1], attributes, dtype)
        assert 1 / near < allowed.rms_allowed / theirs.rms_allowed < near
        assert allowed.ratio <= 1


def test_a_wrong_answer_and_one_that_is_not_finite_break_the_rule() -> None:
    attributes = CdaAttributes(2)
    generator = np.random.default_rng(3)
    qkv = [encode(generator.standard_normal((1, 33, 96)), "fp16") for _ in range(2)]
    exact = cross_diffusion_attention(decode(qkv[0], "fp16"), decode(qkv[1], "fp16"), attributes)
    y_r, y_d = (encode(y, "fp16") for y in exact)
    assert two_times((y_r, y_d), qkv[0], qkv[1], attributes, "fp16").ratio <= 1
    assert two_times((y_d, y_r), qkv[0], qkv[1], attributes, "fp16").ratio > 1
    y_r[0, 0, 0] = np.nan
    assert two_times((y_r, y_d), qkv[0], qkv[1], attributes, "fp16").sentence == "1 outputs are not finite"
