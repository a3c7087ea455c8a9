"""What a layer computes and moves, from the shapes of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.export.engine.layer_list import Layer
from mutualformer.export.engine.work import layer_work
from tests.export.graph.folds.graphs import model

TEXT = """work (float16[B, 8, 10, 10] x) => (float16[B, 4, 10, 10] y) {
    [norm] n = Relu (x)
    [dw] d = Conv <group = 8, pads = [1, 1, 1, 1]> (n, w1)
    [pw] p = Conv (d, w2)
    [act] y = Relu (p)
}"""
WEIGHTS = {"w1": np.ones((8, 1, 3, 3), np.float16), "w2": np.ones((4, 8, 1, 1), np.float16)}


def layer(name: str, kind: str, *nodes: str) -> Layer:
    return Layer(name, kind, ("Half",), ("Half",), nodes)


def test_products_bytes_and_events() -> None:
    layers = [
        layer("edge", "kgen", "norm", "dw"),  # generated code names the convolution that reads it
        layer("first", "correlation", "dw"),
        layer("second", "correlation", "pw", "act"),
        layer("event", "signal"),
    ]
    edge, first, second, event = layer_work(model(TEXT, WEIGHTS), layers)
    assert event is None
    assert edge is not None
    assert first is not None
    assert second is not None
    assert (edge.flops, edge.moved, edge.depthwise) == (0, 2 * (800 + 800), False)
    assert (first.flops, first.moved, first.depthwise) == (2 * 9 * 800, 2 * (800 + 800 + 72), True)
    assert (second.flops, second.moved) == (2 * 8 * 400, 2 * (800 + 400 + 32))
    assert (second.operators, second.kind, second.launches) == ("Conv+Relu", "Half", 1)


QUANTISED = """work (float16[B, 8, 10, 10] x) => (float16[B, 4, 10, 10] y) {
    [q] q = QuantizeLinear (x, scale, zero)
    [d] d = DequantizeLinear (q, scale)
    [w] w = DequantizeLinear <axis = 0> (levels, scales)
    [pw] y = Conv (d, w)
}"""


def test_quantised_values_count_one_byte_and_int8_products() -> None:
    constants: dict[str, NDArray[Any]] = {
        "scale": np.array(0.1, np.float16), "zero": np.array(0, np.int8),
        "levels": np.ones((4, 8, 1, 1), np.int8), "scales": np.ones(4, np.float16),
    }  # fmt: skip
    quantise, product = layer_work(
        model(QUANTISED, constants), [layer("q", "kgen", "q"), layer("conv", "correlation", "pw")]
    )
    assert quantise is not None
    assert product is not None
    assert product.kind == "Int8"
    assert product.flops == 2 * 8 * 400
    assert product.moved == 800 + 32 + 2 * 400
    assert 800 + 1600 <= quantise.moved <= 800 + 1600 + 8
