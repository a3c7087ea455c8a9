"""Cross-Diffusion Attention as a model-local ONNX function, so that any ONNX runtime runs our files.

The linear-cost form of ``train.cda`` in standard operators, in the type of its inputs (float32 or float16). The
numbers ``num_heads`` and ``alpha`` are referenced from the node; ``iterations``, ``init`` and ``value_pairing``
decide which operators there are, so one function body serves one such triple.

P_mᵀ g is computed as (gᵀ P_m)ᵀ: the operand transposed is N × head_dim, never N × N.
"""

from __future__ import annotations

import onnx
import onnx.parser

from plugins.attributes import DOMAIN, OP_TYPE, OPSET_VERSION, CdaAttributes

ONNX_OPSET = 20


def _lines(attributes: CdaAttributes) -> list[str]:
    """Body of the function, one ONNX-text statement per entry."""
    body = [
        "zero_zero = Constant <value_ints = [0, 0]> ()",
        "minus_one = Constant <value_ints = [-1]> ()",
        "heads_scalar = Constant <value_int: int = @num_heads> ()",
        "heads = Reshape (heads_scalar, minus_one)",
        "split_shape = Concat <axis = 0> (zero_zero, heads, minus_one)",
        "merge_shape = Concat <axis = 0> (zero_zero, minus_one)",
        "alpha_f32 = Constant <value_float: float = @alpha> ()",
        "one_f32 = Constant <value_float = 1.0> ()",
        "rest_f32 = Sub (one_f32, alpha_f32)",
        "alpha_t = CastLike (alpha_f32, qkv_r)",
        "rest_t = CastLike (rest_f32, qkv_r)",
        "width = Shape <start = 2, end = 3> (qkv_r)",
        "three = Constant <value_ints = [3]> ()",
        "packed_heads = Mul (three, heads)",
        "head_dim_i = Div (width, packed_heads)",
        "head_dim_f = Cast <to = 1> (head_dim_i)",
        "root = Sqrt (head_dim_f)",
        "scale_f32 = Reciprocal (root)",
        "scale = CastLike (scale_f32, qkv_r)",
    ]
    for m in ("r", "d"):
        body += [
            f"q_{m}_flat, k_{m}_flat, v_{m}_flat = Split <axis = 2, num_outputs = 3> (qkv_{m})",
            f"q_{m}_split = Reshape (q_{m}_flat, split_shape)",
            f"k_{m}_split = Reshape (k_{m}_flat, split_shape)",
            f"v_{m}_split = Reshape (v_{m}_flat, split_shape)",
            f"q_{m}_heads = Transpose <perm = [0, 2, 1, 3]> (q_{m}_split)",
            f"q_{m} = Mul (q_{m}_heads, scale)",
            f"kt_{m} = Transpose <perm = [0, 2, 3, 1]> (k_{m}_split)",
            f"v_{m} = Transpose <perm = [0, 2, 1, 3]> (v_{m}_split)",
            f"logits_{m} = MatMul (q_{m}, kt_{m})",
            f"p_{m} = Softmax <axis = -1> (logits_{m})",
        ]
    body.append("v_both = Concat <axis = -1> (v_r, v_d)")
    for m in ("r", "d"):  # P_m [V_r ‖ V_d] in one product
        body.append(f"pv_{m} = MatMul (p_{m}, v_both)")
        body.append(f"p_{m}_v_r, p_{m}_v_d = Split <axis = -1, num_outputs = 2> (pv_{m})")
    for m, o in (("r", "d"), ("d", "r")):
        x = o if attributes.value_pairing == "released" else m  # the modality whose values this branch diffuses
        body += _branch(m, o, x, attributes)
    for m, o in (("r", "d"), ("d", "r")):
        body += [
            f"own_{m}_t = Transpose <perm = [0, 2, 1, 3]> (p_{m}_v_{m})",
            f"own_{m} = Reshape (own_{m}_t, merge_shape)",
            f"mutual_{m}_t = Transpose <perm = [0, 2, 1, 3]> (out_{m}{o})",
            f"mutual_{m} = Reshape (mutual_{m}_t, merge_shape)",
            f"y_{m} = Concat <axis = -1> (own_{m}, mutual_{m})",
        ]
    return body


def _branch(m: str, o: str, x: str, attributes: CdaAttributes) -> list[str]:
    """out_mo = A_T V_x: u_0 = V, u_{k+1} = P_o u_k, g = A_0 u_T, g ← α P_mᵀ g + (1 − α)(P_m + P_o) u_{T−t}."""
    tag = m + o
    steps = attributes.iterations
    powers = [f"v_{x}", f"p_{o}_v_{x}"] + [f"u{k}_{tag}" for k in range(2, steps + 1)]
    body = [f"{powers[k]} = MatMul (p_{o}, {powers[k - 1]})" for k in range(2, steps + 1)]
    g = powers[steps]
    if attributes.init == "cross":
        body += [
            f"cross_logits_{tag} = MatMul (q_{m}, kt_{o})",
            f"cross_{tag} = Softmax <axis = -1> (cross_logits_{tag})",
            f"g0_{tag} = MatMul (cross_{tag}, {g})",
        ]
        g = f"g0_{tag}"
    for t in range(1, steps + 1):
        if steps == t:
            own = f"p_{m}_v_{x}"
        else:
            own = f"pu{t}_{tag}"
            body.append(f"{own} = MatMul (p_{m}, {powers[steps - t]})")
        result = f"out_{tag}" if t == steps else f"g{t}_{tag}"
        body += [
            f"residual{t}_{tag} = Add ({own}, {powers[steps - t + 1]})",
            f"kept{t}_{tag} = Mul (residual{t}_{tag}, rest_t)",
            f"g{t}_{tag}_t = Transpose <perm = [0, 1, 3, 2]> ({g})",
            f"back{t}_{tag}_t = MatMul (g{t}_{tag}_t, p_{m})",
            f"back{t}_{tag} = Transpose <perm = [0, 1, 3, 2]> (back{t}_{tag}_t)",
            f"diffused{t}_{tag} = Mul (back{t}_{tag}, alpha_t)",
            f"{result} = Add (diffused{t}_{tag}, kept{t}_{tag})",
        ]
        g = result
    return body


def cda_function(attributes: CdaAttributes, opset: int = ONNX_OPSET) -> onnx.FunctionProto:
    """FunctionProto ``mutualformer::CrossDiffusionAttention`` for this iterations/init/value_pairing."""
    alpha = f"alpha: float = {attributes.alpha}"
    header = (
        f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>\n{OP_TYPE} '
        f"<num_heads, iterations, init, value_pairing, plugin_version, plugin_namespace, {alpha}> "
        "(qkv_r, qkv_d) => (y_r, y_d)\n"
    )
    function: onnx.FunctionProto = onnx.parser.parse_function(header + "{\n" + "\n".join(_lines(attributes)) + "\n}")
    function.doc_string = (
        "Cross-Diffusion Attention, linear-cost form (MutualFormer, IJCV 2024). "
        "Inputs (B, N, 3C) packed (query, key, value) per head; outputs [out_r|out_rd], [out_d|out_dr] (B, N, 2C)."
    )
    return function


def node_attributes(node: onnx.NodeProto) -> CdaAttributes:
    """Read and validate the attributes of a CDA node. Raises ValueError."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    known = CdaAttributes.__dataclass_fields__
    picked = {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items() if k in known}
    if "num_heads" not in picked:
        raise ValueError(f"node {node.name!r}: attribute num_heads is missing")
    if "alpha" in picked:  # float32 in the file; 0.6 comes back as 0.60000002…
        picked["alpha"] = round(float(picked["alpha"]), 6)
    return CdaAttributes(**picked)  # type: ignore[arg-type]


def is_cda(node: onnx.NodeProto) -> bool:
    return bool(node.op_type == OP_TYPE and node.domain == DOMAIN)


def attach_function(model: onnx.ModelProto, opset: int = ONNX_OPSET) -> None:
    """Give ``model`` the function its CDA nodes need. Raises ValueError when nodes need different bodies."""
    nodes = [node for node in model.graph.node if is_cda(node)]
    del model.functions[:]
    if not nodes:
        return
    kinds = {(a.iterations, a.init, a.value_pairing) for a in map(node_attributes, nodes)}
    if len(kinds) != 1:
        raise ValueError(
            f"CDA nodes differ in (iterations, init, value_pairing): {sorted(kinds)}; one file holds one function, "
            "use one combination per model"
        )
    model.functions.append(cda_function(node_attributes(nodes[0]), opset))
    if not any(entry.domain == DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, OPSET_VERSION))


def strip_function(model: onnx.ModelProto) -> None:
    """Remove the function again: parsers before TensorRT 10.7 would expand it instead of using the plugin."""
    del model.functions[:]
