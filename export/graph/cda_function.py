"""Cross-Diffusion Attention as a model-local ONNX function, so that any ONNX runtime runs our files.

The linear-cost form of ``train/cda.py`` in standard operators, in the type of its inputs (float32 or float16) but for
the softmax, which is float32. The numbers ``num_heads`` and ``alpha`` are referenced from the node; ``iterations``,
``init`` and ``value_pairing`` decide which operators there are, so one function body serves one such triple.

All heads are computed together, and P V_r and P V_d are two products, which saves concatenating and splitting the
values: measured in ONNX Runtime on two cores (``python -m lab.operator``). There is no control flow in it.
"""

from __future__ import annotations

import onnx
import onnx.parser

from mutualformer.plugins.attributes import DOMAIN, OP_TYPE, OPSET_VERSION, CdaAttributes

ONNX_OPSET = 20


def _split(modality: str) -> list[str]:
    """Packed (B, N, 3C) → q, k, v (B, heads, N, head_dim)."""
    body = [
        f"q_flat_{modality}, k_flat_{modality}, v_flat_{modality} = Split <axis = 2, num_outputs = 3> (qkv_{modality})"
    ]
    for t in "qkv":
        body += [
            f"{t}_split_{modality} = Reshape ({t}_flat_{modality}, split_shape)",
            f"{t}_{modality} = Transpose <perm = [0, 2, 1, 3]> ({t}_split_{modality})",
        ]
    return body


def _merge(modality: str) -> list[str]:
    """own, mutual (B, heads, N, head_dim) → [own ‖ mutual] (B, N, 2C)."""
    body = []
    for part in ("own", "mutual"):
        body += [
            f"{part}_split_{modality} = Transpose <perm = [0, 2, 1, 3]> ({part}_{modality})",
            f"{part}_flat_{modality} = Reshape ({part}_split_{modality}, merge_shape)",
        ]
    return [*body, f"y_{modality} = Concat <axis = -1> (own_flat_{modality}, mutual_flat_{modality})"]


class _Core:
    """The operator's mathematics on q, k, v (B, heads, N, head_dim).

    A Softmax is float32 in either type: its sums need the digits, and ONNX Runtime has no float16 Softmax for a CPU and
    would make five passes of it. The scale multiplies the queries, which are fewer than the logits.
    """

    def __init__(self, attributes: CdaAttributes) -> None:
        self.attributes = attributes
        self.lines: list[str] = []

    def call(self, operator: str, *inputs: str, name: str = "") -> str:
        """Append one statement; returns the name of its result."""
        name = name or f"t{len(self.lines)}"
        self.lines.append(f"{name} = {operator} ({', '.join(inputs)})")
        return name

    def swapped(self, x: str) -> str:
        return self.call("Transpose <perm = [0, 1, 3, 2]>", x)

    def affinity(self, m: str, o: str) -> str:
        """softmax(s · Q_m K_oᵀ)."""
        query = self.call("Mul", f"q_{m}", "scale")
        logits = self.call("MatMul", query, self.swapped(f"k_{o}"))
        affinity = self.call("Softmax <axis = -1>", self.call("Cast <to = 1>", logits))
        return self.call("CastLike", affinity, query)

    def build(self) -> list[str]:
        """Statements that end in own_r, mutual_r, own_d, mutual_d; own_m is P_m V_m."""
        p = {m: self.affinity(m, m) for m in "rd"}
        pv = {
            m + x: self.call("MatMul", p[m], f"v_{x}", name=f"own_{m}" if m == x else f"p_{m}_v_{x}")
            for m in "rd"
            for x in "rd"
        }
        for m, o in (("r", "d"), ("d", "r")):
            # the modality whose values this branch diffuses
            x = o if self.attributes.value_pairing == "released" else m
            self._branch(m, o, x, p, pv)
        return self.lines

    def _branch(self, m: str, o: str, x: str, p: dict[str, str], pv: dict[str, str]) -> None:
        """out_mo = A_T V_x: u_0 = V, u_{k+1} = P_o u_k, g = A_0 u_T, g ← α P_mᵀ g + (1 − α)(P_m + P_o) u_{T−t}."""
        steps = self.attributes.iterations
        # u_0 and u_1 of the recurrence; u_1 = P_o V_x was computed together with the other P V products.
        powers = [f"v_{x}", pv[o + x]]
        while len(powers) <= steps:
            powers.append(self.call("MatMul", p[o], powers[-1]))
        g = powers[steps]
        if self.attributes.init == "cross":
            g = self.call("MatMul", self.affinity(m, o), g)
        # The transpose is made once for all iterations.
        transposed = self.swapped(p[m])
        for t in range(1, steps + 1):
            # The residual of the last step needs P_m u_0 = P_m V_x, which is known already; earlier steps need one more
            # product each.
            last = t == steps
            residual = self.call(
                "Add", pv[m + x] if last else self.call("MatMul", p[m], powers[steps - t]), powers[steps - t + 1]
            )
            kept = self.call("Mul", residual, "rest_t")
            diffused = self.call("Mul", self.call("MatMul", transposed, g), "alpha_t")
            g = self.call("Add", diffused, kept, name=f"mutual_{m}" if last else "")


def _lines(attributes: CdaAttributes) -> list[str]:
    """Body of the function, one ONNX-text statement per entry."""
    return [
        # A Reshape takes 0 as "keep this axis" and one -1 as "what is left", so the same body serves every batch and
        # every number of tokens.
        "zero_zero = Constant <value_ints = [0, 0]> ()",
        "minus_one = Constant <value_ints = [-1]> ()",
        "heads_scalar = Constant <value_int: int = @num_heads> ()",
        "heads = Reshape (heads_scalar, minus_one)",
        "split_shape = Concat <axis = 0> (zero_zero, heads, minus_one)",
        "merge_shape = Concat <axis = 0> (zero_zero, minus_one)",
        "alpha_f32 = Constant <value_float: float = @alpha> ()",
        "one_f32 = Constant <value_float = 1.0> ()",
        # 1 − α is formed in float32 and rounded once, to the type of the inputs.
        "rest_f32 = Sub (one_f32, alpha_f32)",
        "alpha_t = CastLike (alpha_f32, qkv_r)",
        "rest_t = CastLike (rest_f32, qkv_r)",
        # head_dim is computed from the input's width, because a function cannot read the shapes of the graph around it.
        "width = Shape <start = 2, end = 3> (qkv_r)",
        "three = Constant <value_ints = [3]> ()",
        "packed_heads = Mul (three, heads)",
        "head_dim_i = Div (width, packed_heads)",
        "head_dim_f = Cast <to = 1> (head_dim_i)",
        "root = Sqrt (head_dim_f)",
        "scale_f32 = Reciprocal (root)",
        "scale = CastLike (scale_f32, qkv_r)",
        *_split("r"),
        *_split("d"),
        *_Core(attributes).build(),
        *_merge("r"),
        *_merge("d"),
    ]


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
    names = CdaAttributes.__dataclass_fields__
    arguments = {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items() if k in names}
    if "num_heads" not in arguments:
        raise ValueError(f"node {node.name!r}: attribute num_heads is missing")
    if "alpha" in arguments:  # float32 in the file; 0.6 comes back as 0.60000002…
        arguments["alpha"] = round(float(arguments["alpha"]), 6)
    return CdaAttributes(**arguments)  # type: ignore[arg-type]


def is_cda(node: onnx.NodeProto) -> bool:
    """Whether the node is our Cross-Diffusion Attention."""
    return bool(node.op_type == OP_TYPE and node.domain == DOMAIN)


def attach_function(model: onnx.ModelProto, opset: int = ONNX_OPSET) -> None:
    """Give ``model`` the function its CDA nodes need. Raises ValueError when nodes need different bodies."""
    nodes = [node for node in model.graph.node if is_cda(node)]
    del model.functions[:]
    if not nodes:
        return
    # ONNX keeps functions by domain and name, so a second body under the same name would replace the first.
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
