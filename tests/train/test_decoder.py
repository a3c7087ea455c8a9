"""The decoder's heads say what a plain convolution says, and every pass ends where it should."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mutualformer.train.decoder import FeedbackDecoder, LogitsHead


@given(
    batch=st.integers(1, 3),
    width=st.integers(1, 40),
    height=st.integers(1, 9),
    across=st.integers(1, 9),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_a_head_is_a_convolution_to_one_channel(batch: int, width: int, height: int, across: int, seed: int) -> None:
    torch.manual_seed(seed)
    head, x = LogitsHead(width).double(), torch.randn(batch, width, height, across, dtype=torch.float64)
    expected = F.conv2d(x, head.weight, head.bias, padding=1)[:, 0]
    torch.testing.assert_close(head(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("first_stride", "levels"), [(4, 3), (8, 2), (16, 1)])
def test_first_pass_ends_at_its_stride(first_stride: int, levels: int) -> None:
    decoder = FeedbackDecoder(8, separable=True, first_stride=first_stride)
    assert len(decoder.first.steps) == levels
    maps = [torch.randn(2, 8, 64 // stride, 96 // stride) for stride in (4, 8, 16, 32)]
    seen = []
    decoder.heads[1].register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    logits = decoder.train()(maps, (64, 96))
    assert seen == [(2, 64 // first_stride, 96 // first_stride)]
    assert [tuple(x.shape) for x in logits] == [(2, 64, 96), *[(2, 16, 24)] * 5]
    assert [tuple(x.shape) for x in decoder.eval()(maps, (64, 96))] == [(2, 64, 96)]


def test_other_strides_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 4, 8 or 16"):
        FeedbackDecoder(8, separable=True, first_stride=32)
