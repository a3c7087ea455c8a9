"""ONNX graphs that only the operator's study runs: the released N³ form, two plain attentions."""

from __future__ import annotations

import onnx
import onnx.parser
from onnx import TensorProto, helper

from lab.operator.forms import IR_VERSION
from mutualformer.export.graph.cda_function import ONNX_OPSET
from mutualformer.plugins.attributes import CdaAttributes


def released_graph(heads: int, head_dim: int, alpha: float = CdaAttributes(1).alpha) -> onnx.ModelProto:
    """The released formulation, T = 1, A₀ = I: S = D^-½ Pᵀ D^-½ as products with diagonal matrices, A formed whole."""
    width = heads * head_dim
    lines = [
        f"split = Constant <value_ints = [0, 0, 3, {heads}, {head_dim}]> ()",
        f"merge = Constant <value_ints = [0, 0, {width}]> ()",
        "tokens = Shape <start = 1, end = 2> (qkv_r)",
        "square = Concat <axis = 0> (tokens, tokens)",
        "zeros = ConstantOfShape <value = float[1] {0.0}> (square)",
        "eye = EyeLike <dtype = 1> (zeros)",
        "last = Constant <value_ints = [-1]> ()",
        f"scale = Constant <value_float = {head_dim**-0.5}> ()",
        f"alpha = Constant <value_float = {alpha}> ()",
        f"rest = Constant <value_float = {1 - alpha}> ()",
        "minus_half = Constant <value_float = -0.5> ()",
    ]
    for m in "rd":
        lines += [
            f"five_{m} = Reshape (qkv_{m}, split)",
            f"heads_{m} = Transpose <perm = [2, 0, 3, 1, 4]> (five_{m})",
            f"q4_{m}, k4_{m}, v4_{m} = Split <axis = 0, num_outputs = 3> (heads_{m})",
            *(f"{t}_{m} = Squeeze (" + f"{t}4_{m}, first)" for t in "qkv"),
            f"kt_{m} = Transpose <perm = [0, 1, 3, 2]> (k_{m})",
            f"raw_{m} = MatMul (q_{m}, kt_{m})",
            f"logits_{m} = Mul (raw_{m}, scale)",
            f"p_{m} = Softmax <axis = -1> (logits_{m})",
            f"sums_{m} = ReduceSum <keepdims = 1> (p_{m}, last)",
            f"roots_{m} = Pow (sums_{m}, minus_half)",
            f"diag_{m} = Mul (roots_{m}, eye)",
            f"pd_{m} = MatMul (p_{m}, diag_{m})",
            f"pdt_{m} = Transpose <perm = [0, 1, 3, 2]> (pd_{m})",
            f"s_{m} = MatMul (pdt_{m}, diag_{m})",
            f"st_{m} = Transpose <perm = [0, 1, 3, 2]> (s_{m})",
        ]
    lines.insert(0, "first = Constant <value_ints = [0]> ()")
    lines.append("y = Add (p_r, p_d)")
    lines.append("kept = Mul (y, rest)")
    for m, o in ("rd", "dr"):
        lines += [
            f"sa_{m} = MatMul (s_{m}, eye)",
            f"sas_{m} = MatMul (sa_{m}, st_{o})",
            f"diffused_{m} = Mul (sas_{m}, alpha)",
            f"a_{m} = Add (diffused_{m}, kept)",
            f"mutual_{m} = MatMul (a_{m}, v_{o})",
            f"own_{m} = MatMul (p_{m}, v_{m})",
            f"own_t_{m} = Transpose <perm = [0, 2, 1, 3]> (own_{m})",
            f"mutual_t_{m} = Transpose <perm = [0, 2, 1, 3]> (mutual_{m})",
            f"own_m_{m} = Reshape (own_t_{m}, merge)",
            f"mutual_m_{m} = Reshape (mutual_t_{m}, merge)",
            f"y_{m} = Concat <axis = -1> (own_m_{m}, mutual_m_{m})",
        ]
    text = (
        f'<ir_version: {IR_VERSION}, opset_import: ["" : {ONNX_OPSET}]>\n'
        f"released (float[B, N, {3 * width}] qkv_r, float[B, N, {3 * width}] qkv_d) => "
        f"(float[B, N, {2 * width}] y_r, float[B, N, {2 * width}] y_d)\n{{\n" + "\n".join(lines) + "\n}"
    )
    model: onnx.ModelProto = onnx.parser.parse_model(text)
    onnx.checker.check_model(model, full_check=True)
    return model


def two_attentions_graph(heads: int, head_dim: int) -> onnx.ModelProto:
    """Two independent fused attentions (ONNX Runtime's MultiHeadAttention): what any two-stream model pays."""
    width = heads * head_dim
    nodes = [
        helper.make_node(
            "MultiHeadAttention", [f"{t}_{m}" for t in "qkv"], [f"o_{m}"], domain="com.microsoft", num_heads=heads
        )
        for m in "rd"
    ]
    shape: list[str | int | None] = ["B", "N", width]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info(f"{t}_{m}", TensorProto.FLOAT, shape) for m in "rd" for t in "qkv"],
        [helper.make_tensor_value_info(f"o_{m}", TensorProto.FLOAT, shape) for m in "rd"],
    )
    imports = [helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
