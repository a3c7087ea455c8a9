"""PyTorch model → raw ONNX graph in which every CDA is one node. All that tracing needs is here, none in the model."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutualformer.export.graph.cda_function import ONNX_OPSET
from mutualformer.plugins.attributes import DOMAIN, OP_TYPE, OPSET_VERSION, PLUGIN_NAMESPACE, PLUGIN_VERSION
from mutualformer.runtime.contract import Contract
from mutualformer.train.mutualformer import CrossDiffusionAttention

IR_VERSION = 10  # the newest that ONNX Runtime 1.20 and TensorRT 10.3 both read


def _symbolic_cda(module: CrossDiffusionAttention, qkv_r: Tensor, qkv_d: Tensor) -> tuple[Tensor, Tensor]:
    """Replaces the operator while tracing: one node, (B, N, 3C) twice → (B, N, 2C) twice."""
    batch, tokens, width = qkv_r.shape
    module.attributes.head_dim(width)
    shape = (batch, tokens, width // 3 * 2)
    y_r, y_d = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{OP_TYPE}",
        (qkv_r, qkv_d),
        {
            **module.attributes.as_dict(),
            "plugin_version": PLUGIN_VERSION,
            "plugin_namespace": PLUGIN_NAMESPACE,
        },
        dtypes=(qkv_r.dtype, qkv_r.dtype),
        shapes=(shape, shape),
        version=OPSET_VERSION,
    )
    return y_r, y_d


def _plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(s Q Kᵀ) V in three operators; the exporter's own decomposition adds shape arithmetic around them."""
    if attn_mask is not None or is_causal or enable_gqa:
        raise NotImplementedError("attention with a mask or grouped queries is not exported; no model here has it")
    logits = (query * (scale or query.shape[-1] ** -0.5)) @ key.transpose(-2, -1)
    return torch.softmax(logits, dim=-1) @ value


@contextlib.contextmanager
def _traceable() -> Iterator[None]:
    """Inside, CDA traces as one node and fused attention as plain operators."""
    cda, attention = CrossDiffusionAttention.forward, F.scaled_dot_product_attention
    CrossDiffusionAttention.forward = _symbolic_cda  # type: ignore[assignment]
    F.scaled_dot_product_attention = _plain_attention
    try:
        yield
    finally:
        CrossDiffusionAttention.forward = cda  # type: ignore[method-assign]
        F.scaled_dot_product_attention = attention


def example_inputs(contract: Contract, batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Random camera-like tensors of the contract's shapes, depth with holes; for tracing and for checking."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for spec in contract.inputs:
        shape = (batch, *spec.shape[1:])
        if spec.dtype == "uint8":
            tensors[spec.name] = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        else:
            near, far = contract.depth_range_m
            metres = near + (far - near) * torch.rand(shape, generator=generator)
            holes = torch.rand(shape, generator=generator) < 0.1
            tensors[spec.name] = torch.where(holes, torch.zeros(()), metres)
    return tensors


def trace(model: nn.Module, contract: Contract) -> onnx.ModelProto:
    """Graph with the contract's input and output names, dynamic batch, our node for every CDA, no function yet."""
    batch = torch.export.Dim("batch", min=1, max=1024)
    inputs = example_inputs(contract)
    quiet = io.StringIO()  # the exporter prints progress to standard output; errors are exceptions
    with warnings.catch_warnings(), _traceable(), contextlib.redirect_stdout(quiet), torch.no_grad():
        warnings.simplefilter("ignore")  # about torch's own internals; nothing a user could act on
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            model.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=ONNX_OPSET,
            input_names=[spec.name for spec in contract.inputs],
            output_names=[spec.name for spec in contract.outputs],
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            optimize=True,
            verbose=False,
        )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    proto.ir_version = IR_VERSION
    return proto
