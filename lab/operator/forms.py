"""Forms of the operator that the study runs: the released formulation, ours, two plain attentions; the machine's peak.

Flops per head and batch, for N tokens and head_dim d: released 16 N³ + 12 N² d; ours, which keeps the affinities,
16 N² d (2 · QKᵀ, 2 · P[V‖V], 2 · Pᵀg), and 20 N² d where they are recomputed as in the GPU kernels; two attentions
8 N² d. The machine's peak is that of its matrix product.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads of one contender would slow down the others

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper
from torch.nn import functional as F

from lab.operator.released import cross_diffusion_attention_released
from mutualformer.export.graph.cda_function import ONNX_OPSET, attach_function
from mutualformer.plugins.attributes import (
    DOMAIN,
    OP_TYPE,
    OPSET_VERSION,
    PLUGIN_NAMESPACE,
    PLUGIN_VERSION,
    CdaAttributes,
)
from mutualformer.runtime.benchmarks.measure import interleaved_ms
from mutualformer.runtime.session.onnxruntime import session_options
from mutualformer.train.cda import cross_diffusion_attention, split_heads

HEADS = 8
TOKENS = (100, 196, 400, 484, 1024, 1936, 4096)
HEAD_DIMS = (8, 64)
RELEASED_LIMIT = 1936  # tokens: at 4096 one call of the released form, 16 N³, is 9 Tflop
IR_VERSION = 10
FLOPS: dict[str, Callable[[int, int], float]] = {
    "released, PyTorch": lambda n, d: HEADS * (16.0 * n**3 + 12.0 * n * n * d),
    "ours, PyTorch": lambda n, d: HEADS * 16.0 * n * n * d,
    "ours, ONNX Runtime": lambda n, d: HEADS * 16.0 * n * n * d,
    "two attentions, PyTorch": lambda n, d: HEADS * 8.0 * n * n * d,
}
Call = Callable[[], object]


def cda_graph(
    attributes: CdaAttributes, head_dim: int, dtype: int = TensorProto.FLOAT, tokens: int | str = "N"
) -> onnx.ModelProto:
    """qkv_r, qkv_d (B, N, 3C) → y_r, y_d (B, N, 2C): our node with its function. ``tokens``: N, or a name for any."""
    width = attributes.num_heads * head_dim
    names: dict[str, Any] = {
        "plugin_version": PLUGIN_VERSION,
        "plugin_namespace": PLUGIN_NAMESPACE,
        **attributes.as_dict(),
    }
    node = helper.make_node(OP_TYPE, ["qkv_r", "qkv_d"], ["y_r", "y_d"], name="cda", domain=DOMAIN, **names)
    graph = helper.make_graph(
        [node],
        "cda",
        [helper.make_tensor_value_info(name, dtype, ["B", tokens, 3 * width]) for name in ("qkv_r", "qkv_d")],
        [helper.make_tensor_value_info(name, dtype, ["B", tokens, 2 * width]) for name in ("y_r", "y_d")],
    )
    imports = [helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid(DOMAIN, OPSET_VERSION)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
    attach_function(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def run_of(model: onnx.ModelProto, feed: dict[str, Any], threads: int) -> Call:
    """A call of ``model`` on ``feed`` in ONNX Runtime."""
    options = session_options(threads)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, feed)


def example(tokens: int, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Seeded qkv_r, qkv_d (1, N, 3C)."""
    generator = torch.Generator().manual_seed(tokens)
    qkv_r, qkv_d = torch.randn(2, 1, tokens, 3 * HEADS * head_dim, generator=generator)
    return qkv_r, qkv_d


def contenders(tokens: int, head_dim: int, threads: int) -> dict[str, Call]:
    """Name → a call on seeded inputs, batch 1; the released form only up to RELEASED_LIMIT tokens."""
    qkv_r, qkv_d = example(tokens, head_dim)
    feed = {"qkv_r": qkv_r.numpy(), "qkv_d": qkv_d.numpy()}
    split = [split_heads(x, HEADS) for x in (qkv_r, qkv_d)]
    calls: dict[str, Call] = {
        "ours, PyTorch": lambda: cross_diffusion_attention(qkv_r, qkv_d, CdaAttributes(HEADS)),
        "ours, ONNX Runtime": run_of(cda_graph(CdaAttributes(HEADS), head_dim, tokens=tokens), feed, threads),
        "two attentions, PyTorch": lambda: [F.scaled_dot_product_attention(*qkv) for qkv in split],
    }
    if tokens <= RELEASED_LIMIT:
        calls["released, PyTorch"] = lambda: cross_diffusion_attention_released(qkv_r, qkv_d, CdaAttributes(HEADS))
    return calls


def check_agreement(calls: dict[str, Call]) -> float:
    """Largest difference between the CDA contenders' outputs: a benchmark of wrong answers is worth nothing."""
    results = [np.asarray(call()[0]) for name, call in calls.items() if "attentions" not in name]  # type: ignore[index]
    return float(max(np.abs(result - results[0]).max() for result in results))


def peak_gflops(threads: int) -> float:
    """Gflop/s of a 2048³ float32 matrix product, best of five: the machine's own limit."""
    torch.set_num_threads(threads)
    a = torch.randn(2048, 2048)
    times = interleaved_ms({"product": lambda: a @ a}, 5)["product"]
    return 2 * 2048**3 / min(times) / 1e6
