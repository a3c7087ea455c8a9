"""The Triton kernels through their PyTorch entry point, in the interpreter, and the reference they must equal."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.operator.released import cross_diffusion_attention_released
from mutualformer.plugins.architectures import ARCHITECTURES
from mutualformer.plugins.attributes import INITS, VALUE_PAIRINGS, CdaAttributes
from mutualformer.plugins.kernels.pytorch import cross_diffusion_attention
from mutualformer.plugins.kernels.tiles import (
    DTYPES,
    KERNELS,
    VARIANTS,
    tiles_for,
    variant_for,
    variant_named,
)
from tests.plugins.support import assert_two_times, random_pair, random_qkv


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 2),
    tokens=st.integers(1, 70),
    heads=st.integers(1, 2),
    head_dim=st.integers(4, 128),
    alpha=st.floats(0, 1, width=32),
    iterations=st.integers(1, 3),
    init=st.sampled_from(INITS),
    value_pairing=st.sampled_from(VALUE_PAIRINGS),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.bfloat16]),
    tactic=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_any_attributes(
    batch: int,
    tokens: int,
    heads: int,
    head_dim: int,
    alpha: float,
    iterations: int,
    init: str,
    value_pairing: str,
    dtype: torch.dtype,
    tactic: int,
    seed: int,
) -> None:
    attributes = CdaAttributes(heads, alpha, iterations, init, value_pairing)
    qkv_r, qkv_d = (random_qkv((batch, tokens, 3 * heads * head_dim), dtype, seed + i) for i in range(2))
    assert_two_times(cross_diffusion_attention(qkv_r, qkv_d, attributes, tactic), qkv_r, qkv_d, attributes)


@pytest.mark.parametrize("iterations", [1, 2, 3])
@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("value_pairing", VALUE_PAIRINGS)
def test_kernels_equal_the_released_formulation(iterations: int, init: str, value_pairing: str) -> None:
    """Against the N³ form written from the paper, so that a mistake shared with the linear form would show."""
    qkv_r, qkv_d = (random_qkv((1, 45, 3 * 2 * 8), torch.float32, seed) for seed in (3, 4))
    attributes = CdaAttributes(2, 0.6, iterations, init, value_pairing)
    exact = cross_diffusion_attention_released(qkv_r.double(), qkv_d.double(), attributes)
    for ours, theirs in zip(cross_diffusion_attention(qkv_r, qkv_d, attributes), exact, strict=True):
        assert (ours.double() - theirs).abs().max() < 2e-6


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        *((torch.float16, scale) for scale in (0.0, 8.0, 30.0)),
        *((torch.float32, scale) for scale in (0.0, 8.0)),
        *((torch.bfloat16, scale) for scale in (0.0, 8.0)),
    ],
)
def test_flat_and_peaked_attention(dtype: torch.dtype, scale: float) -> None:
    """Scores from all equal to hundreds, where exp alone would overflow and softmax rows are nearly one-hot."""
    attributes = CdaAttributes(2, iterations=2, init="cross")
    qkv_r, qkv_d = (random_qkv((1, 70, 3 * 2 * 16), dtype, seed) for seed in (5, 6))
    for qkv in (qkv_r, qkv_d):
        qkv[..., : 2 * 2 * 16] *= scale
    result = cross_diffusion_attention(qkv_r, qkv_d, attributes)
    assert_two_times(result, qkv_r, qkv_d, attributes)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:All-NaN slice:RuntimeWarning")
def test_nan_stays_in_its_batch_and_head() -> None:
    """A NaN in one head of one image must not leak into others."""
    qkv_r, qkv_d = (random_qkv((2, 40, 3 * 2 * 8), torch.float32, seed) for seed in (7, 8))
    qkv_r[1, 5, 3] = float("nan")  # image 1, head 0
    y_r, y_d = cross_diffusion_attention(qkv_r, qkv_d, CdaAttributes(2))
    for y in (y_r, y_d):
        heads = y.view(2, 40, 2, 2, 8)  # image, token, part, head, dim
        assert torch.isfinite(heads[0]).all()
        assert torch.isfinite(heads[1, :, :, 1]).all()
        assert torch.isnan(heads[1, :, 1, 0]).all(), "the diffused part of that head depends on the NaN everywhere"


@pytest.mark.parametrize(
    ("shapes", "dtypes", "message"),
    [
        (((1, 5, 48), (1, 6, 48)), (torch.float32, torch.float32), "expected one shape"),
        (((1, 5, 48), (1, 5, 48)), (torch.float32, torch.float16), "one type, float16, float32 or bfloat16"),
        (((1, 5, 48), (1, 5, 48)), (torch.float64, torch.float64), "one type, float16, float32 or bfloat16"),
        (((1, 5, 50), (1, 5, 50)), (torch.float32, torch.float32), "packed qkv width is 50"),
        (((1, 5, 774), (1, 5, 774)), (torch.float32, torch.float32), "head_dim is 129, expected at most 128"),
    ],
)
def test_what_the_kernels_do_not_serve_is_refused(
    shapes: tuple[tuple[int, ...], ...], dtypes: tuple[torch.dtype, ...], message: str
) -> None:
    qkv_r, qkv_d = (torch.zeros(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
    with pytest.raises(ValueError, match=message):
        cross_diffusion_attention(qkv_r, qkv_d, CdaAttributes(2))


def test_every_head_dim_has_a_variant_and_every_variant_a_tile() -> None:
    for kernel, dtype in itertools.product(KERNELS, DTYPES):
        for head_dim in range(4, 129):
            variant = variant_for(kernel, dtype, head_dim)
            assert head_dim <= variant.block_d
            assert head_dim % variant.unit == 0
            assert variant_named(variant.entry(1)) == variant_named(variant.entry(3)) == variant
    for variant in VARIANTS:
        for arch in ARCHITECTURES:
            tiles = tiles_for(variant.kernel, arch, variant.dtype, variant.block_d, variant.unit)
            for size in (size for tile in tiles for size in (tile.block_m, tile.block_n)):
                assert size >= 16, "tl.dot needs 16"
                assert size & (size - 1) == 0, "Triton tiles are powers of two"
            other = "cda_columns" if variant.kernel == "cda_rows" else "cda_rows"
            partner = tiles_for(other, arch, variant.dtype, variant.block_d, variant.unit)
            assert len(partner) == len(tiles), "a tactic names a tile of each kernel"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("head_dim", [4, 8, 16, 32, 64, 128])
@pytest.mark.parametrize(("iterations", "init", "value_pairing"), [(1, "identity", "released"), (3, "cross", "figure")])
def test_jitted_kernels_on_a_gpu(
    dtype: torch.dtype, head_dim: int, iterations: int, init: str, value_pairing: str
) -> None:
    attributes = CdaAttributes(8, 0.6, iterations, init, value_pairing)
    qkv = random_pair((2, 484, 3 * 8 * head_dim), dtype, 1)
    result = cross_diffusion_attention(qkv[0].cuda(), qkv[1].cuda(), attributes)
    assert_two_times((result[0].cpu(), result[1].cpu()), *qkv, attributes)
