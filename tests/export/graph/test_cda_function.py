"""The model-local function in plain ONNX Runtime against the float64 reference, every variant."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.operator.forms import cda_graph
from mutualformer.export.graph.cda_function import (
    attach_function,
    cda_function,
    is_cda,
    node_attributes,
    strip_function,
)
from mutualformer.plugins.attributes import INITS, VALUE_PAIRINGS, CdaAttributes
from mutualformer.train.cda import cross_diffusion_attention


def run(model: onnx.ModelProto, qkv_r: np.ndarray, qkv_d: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"qkv_r": qkv_r, "qkv_d": qkv_d})


def errors(
    attributes: CdaAttributes, batch: int, tokens: int, head_dim: int, dtype: torch.dtype, seed: int = 0
) -> tuple[float, float]:
    """Largest error of the function and of PyTorch in the same precision, both against float64."""
    generator = torch.Generator().manual_seed(seed)
    width = 3 * attributes.num_heads * head_dim
    pair = torch.randn(2, batch, tokens, width, generator=generator).to(dtype)
    kind = onnx.TensorProto.FLOAT if dtype == torch.float32 else onnx.TensorProto.FLOAT16
    actual = run(cda_graph(attributes, head_dim, kind, tokens), *pair.numpy())
    exact = cross_diffusion_attention(pair[0].double(), pair[1].double(), attributes)
    same = cross_diffusion_attention(pair[0], pair[1], attributes)
    ours = max(float((torch.from_numpy(f).double() - e).abs().max()) for f, e in zip(actual, exact, strict=True))
    theirs = max(float((s.double() - e).abs().max()) for s, e in zip(same, exact, strict=True))
    return ours, theirs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("iterations", "init", "pairing"), list(itertools.product((1, 2, 3), INITS, VALUE_PAIRINGS)))
def test_variant_obeys_two_times_rule(iterations: int, init: str, pairing: str, dtype: torch.dtype) -> None:
    attributes = CdaAttributes(3, 0.6, iterations, init, pairing)
    ours, theirs = errors(attributes, 2, 33, 8, dtype)
    floor = 1e-6 if dtype == torch.float32 else 1e-3
    assert ours <= 2 * theirs + floor


def test_there_is_no_control_flow() -> None:
    nodes = cda_function(CdaAttributes(4)).node
    assert nodes
    assert not any(part.HasField("g") or part.graphs for node in nodes for part in node.attribute)


@pytest.mark.parametrize("tokens", [40, 484])
def test_a_graph_of_unknown_length_takes_any(tokens: int) -> None:
    model = cda_graph(CdaAttributes(2), 8)
    pair = torch.randn(2, 3, tokens, 48)
    expected = cross_diffusion_attention(pair[0], pair[1], CdaAttributes(2))
    np.testing.assert_allclose(run(model, *pair.numpy())[1], expected[1], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    heads=st.integers(1, 4),
    head_dim=st.sampled_from([1, 4, 5, 8, 16, 64]),
    tokens=st.integers(1, 40),
    batch=st.integers(1, 3),
    alpha=st.sampled_from([0.0, 0.25, 0.6, 1.0]),
    iterations=st.integers(1, 3),
)
def test_any_shape(heads: int, head_dim: int, tokens: int, batch: int, alpha: float, iterations: int) -> None:
    attributes = CdaAttributes(heads, alpha, iterations)
    ours, theirs = errors(attributes, batch, tokens, head_dim, torch.float32)
    assert ours <= 2 * theirs + 2e-6


def test_alpha_and_heads_come_from_the_node() -> None:
    model = cda_graph(CdaAttributes(2, 0.6), 8)
    for attribute in model.graph.node[0].attribute:
        if attribute.name == "alpha":
            attribute.f = 0.25
        if attribute.name == "num_heads":
            attribute.i = 4
    pair = torch.randn(2, 1, 9, 48)
    actual = run(model, *pair.numpy())
    expected = cross_diffusion_attention(pair[0], pair[1], CdaAttributes(4, 0.25))
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(actual[1], expected[1], atol=1e-5)


def test_node_attributes_round_trip() -> None:
    attributes = CdaAttributes(6, 0.35, 2, "cross", "figure")
    model = cda_graph(attributes, 4)
    assert is_cda(model.graph.node[0])
    assert node_attributes(model.graph.node[0]) == attributes


def test_stripped_file_has_no_function() -> None:
    model = cda_graph(CdaAttributes(1), 4)
    assert len(model.functions) == 1
    strip_function(model)
    assert not model.functions


def test_mixed_variants_are_refused() -> None:
    model = cda_graph(CdaAttributes(1), 4)
    other = cda_graph(CdaAttributes(1, iterations=2), 4).graph.node[0]
    model.graph.node.append(other)
    with pytest.raises(ValueError, match="one combination per model"):
        attach_function(model)
