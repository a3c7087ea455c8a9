"""Cross-Diffusion Attention as a model-local ONNX function, so that any ONNX runtime runs our files.

The linear-cost form of ``train/cda.py`` in standard operators, in the type of its inputs (float32 or float16) but for
the softmax, which is float32. The numbers ``num_heads`` and ``alpha`` are referenced from the node; ``iterations``,
``init`` and ``value_pairing`` decide which operators there are, so one function body serves one such triple.

Below BY_HEAD_FROM tokens each operator takes all heads together. From there on a Scan takes one head after the other:
the two N × N affinities of one head stay in the cache, and no other N × N memory is needed. With few tokens P V_r and
P V_d are two products, which saves concatenating and splitting the values; with many they are one, which reads P once.
Both were chosen by measurement in ONNX Runtime on two cores (``python -m lab.operator``).
Where the graph does not know N the function takes all heads together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
import onnx.parser

from mutualformer.export.graph.values import inferred
from mutualformer.plugins.attributes import BY_HEAD_FROM, DOMAIN, OP_TYPE, OPSET_VERSION, CdaAttributes

ONNX_OPSET = 20


def _split(modality: str) -> list[str]:
    """Packed (B, N, 3C) → q, k, v (heads, B, N, head_dim). Heads first: the axis a Scan goes along."""
    body = [
        f"q_flat_{modality}, k_flat_{modality}, v_flat_{modality} = Split <axis = 2, num_outputs = 3> (qkv_{modality})"
    ]
    for t in "qkv":
        body += [
            f"{t}_split_{modality} = Reshape ({t}_flat_{modality}, split_shape)",
            f"{t}_{modality} = Transpose <perm = [2, 0, 1, 3]> ({t}_split_{modality})",
        ]
    return body


def _merge(modality: str, tail: str) -> list[str]:
    """own, mutual (heads, B, N, head_dim) → [own ‖ mutual] (B, N, 2C)."""
    body = []
    for part in ("own", "mutual"):
        body += [
            f"{part}_split_{modality} = Transpose <perm = [1, 2, 0, 3]> ({part}_{modality}{tail})",
            f"{part}_flat_{modality} = Reshape ({part}_split_{modality}, merge_shape)",
        ]
    return [*body, f"y_{modality} = Concat <axis = -1> (own_flat_{modality}, mutual_flat_{modality})"]


class _Core:
    """The operator's mathematics on q, k, v of any rank, the last two axes being (N, head_dim).

    ``tag``: suffix of every name it makes; ``inputs``: suffix of the names of q, k and v. ``joined``: P [V_r ‖ V_d] as
    one product instead of two.
    A Softmax is float32 in either type: its sums need the digits, and ONNX Runtime has no float16 Softmax for a CPU and
    would make five passes of it. The scale multiplies the queries, which are fewer than the logits.
    """

    def __init__(self, attributes: CdaAttributes, rank: int, tag: str, inputs: str, joined: bool) -> None:
        self.attributes, self.tag, self.inputs, self.joined = attributes, tag, inputs, joined
        self.swap = f"perm = [{', '.join(map(str, [*range(rank - 2), rank - 1, rank - 2]))}]"
        self.lines: list[str] = []
        self._count = 0

    def call(self, operator: str, *inputs: str, name: str = "") -> str:
        """Append one statement; returns the name of its result."""
        self._count += 1
        name = name or f"t{self._count}{self.tag}"
        self.lines.append(f"{name} = {operator} ({', '.join(inputs)})")
        return name

    def product(self, a: str, b: str, name: str = "") -> str:
        return self.call("MatMul", a, b, name=name)

    def swapped(self, x: str) -> str:
        return self.call(f"Transpose <{self.swap}>", x)

    def affinity(self, m: str, o: str) -> str:
        """softmax(s · Q_m K_oᵀ)."""
        query = self.call("Mul", f"q_{m}{self.inputs}", "scale")
        logits = self.product(query, self.swapped(f"k_{o}{self.inputs}"))
        affinity = self.call("Softmax <axis = -1>", self.call("Cast <to = 1>", logits))
        return self.call("CastLike", affinity, query)

    def build(self) -> list[str]:
        """Statements that end in own_r, mutual_r, own_d, mutual_d (with the tag)."""
        p = {m: self.affinity(m, m) for m in "rd"}
        pv = self._values(p)
        for m, o in (("r", "d"), ("d", "r")):
            # the modality whose values this branch diffuses
            x = o if self.attributes.value_pairing == "released" else m
            self._branch(m, o, x, p, pv)
        return self.lines

    def _values(self, p: dict[str, str]) -> dict[str, str]:
        """P_m V_x for every pair mx; own_m is P_m V_m."""
        names = {m + x: f"own_{m}{self.tag}" if m == x else f"p_{m}_v_{x}{self.tag}" for m in "rd" for x in "rd"}
        value = {x: f"v_{x}{self.inputs}" for x in "rd"}
        if not self.joined:
            for pair, name in names.items():
                self.product(p[pair[0]], value[pair[1]], name=name)
            return names
        both = self.call("Concat <axis = -1>", value["r"], value["d"])
        for m in "rd":
            product = self.product(p[m], both)
            self.lines.append(f"{names[m + 'r']}, {names[m + 'd']} = Split <axis = -1, num_outputs = 2> ({product})")
        return names

    def _branch(self, m: str, o: str, x: str, p: dict[str, str], pv: dict[str, str]) -> None:
        """out_mo = A_T V_x: u_0 = V, u_{k+1} = P_o u_k, g = A_0 u_T, g ← α P_mᵀ g + (1 − α)(P_m + P_o) u_{T−t}."""
        steps = self.attributes.iterations
        # u_0 and u_1 of the recurrence; u_1 = P_o V_x was computed together with the other P V products.
        powers = [f"v_{x}{self.inputs}", pv[o + x]]
        while len(powers) <= steps:
            powers.append(self.product(p[o], powers[-1]))
        g = powers[steps]
        if self.attributes.init == "cross":
            g = self.product(self.affinity(m, o), g)
        # The transpose is made once for all iterations.
        transposed = self.swapped(p[m])
        for t in range(1, steps + 1):
            # The residual of the last step needs P_m u_0 = P_m V_x, which is known already; earlier steps need one more
            # product each.
            last = t == steps
            residual = self.call(
                "Add", pv[m + x] if last else self.product(p[m], powers[steps - t]), powers[steps - t + 1]
            )
            kept = self.call("Mul", residual, "rest_t")
            diffused = self.call("Mul", self.product(transposed, g), "alpha_t")
            g = self.call("Add", diffused, kept, name=f"mutual_{m}{self.tag}" if last else "")


_PARTS = ("own_r", "mutual_r", "own_d", "mutual_d")
_SPLITS = ("q_r", "k_r", "v_r", "q_d", "k_d", "v_d")


def _graph(name: str, inputs: Sequence[str], body: Sequence[str], outputs: Sequence[str]) -> str:
    """A subgraph as ONNX text. The parser demands types; :func:`_untyped` removes them again."""
    arguments, results = (", ".join(f"float {value}" for value in values) for values in (inputs, outputs))
    return f"{name} ({arguments}) => ({results}) {{\n" + "\n".join(body) + "\n}"


def _untyped(nodes: Iterable[onnx.NodeProto]) -> None:
    """Remove the types of subgraphs: inside a function they follow its inputs, float32 or float16."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                for value in (*attribute.g.input, *attribute.g.output):
                    value.ClearField("type")
                _untyped(attribute.g.node)


def _lines(attributes: CdaAttributes, tokens: int) -> list[str]:
    """Body of the function, one ONNX-text statement per entry."""
    # Both forms are written out as text and only one of them becomes part of the body.
    whole = _Core(attributes, 4, "_w", inputs="", joined=False).build()
    one_head = _graph(
        "one_head",
        [f"{name}_h" for name in _SPLITS],
        _Core(attributes, 3, "_h", inputs="_h", joined=True).build(),
        [f"{part}_h" for part in _PARTS],
    )
    outputs = ", ".join(f"{part}_s" for part in _PARTS)
    scan = f"{outputs} = Scan <num_scan_inputs = 6, body = {one_head}> ({', '.join(_SPLITS)})"
    # Scan writes its results under names that end in _s, the form for all heads under names that end in _w.
    tail, middle = ("_s", [scan]) if tokens >= BY_HEAD_FROM else ("_w", whole)
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
        *middle,
        *_merge("r", tail),
        *_merge("d", tail),
    ]


def cda_function(attributes: CdaAttributes, opset: int = ONNX_OPSET, tokens: int = 0) -> onnx.FunctionProto:
    """FunctionProto ``mutualformer::CrossDiffusionAttention`` for this iterations/init/value_pairing.

    ``tokens``: the most that any node has, 0 = unknown. It decides between the two forms, which answer the same; one
    that is not needed is left out because not every runtime takes a Scan in a function.
    """
    alpha = f"alpha: float = {attributes.alpha}"
    header = (
        f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>\n{OP_TYPE} '
        f"<num_heads, iterations, init, value_pairing, plugin_version, plugin_namespace, {alpha}> "
        "(qkv_r, qkv_d) => (y_r, y_d)\n"
    )
    function: onnx.FunctionProto = onnx.parser.parse_function(
        header + "{\n" + "\n".join(_lines(attributes, tokens)) + "\n}"
    )
    # The text parser demands a type on every value of a subgraph; "float" would be wrong in an FP16 file.
    _untyped(function.node)
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


def _most_tokens(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> int:
    """Largest N of the nodes' inputs (B, N, 3C), 0 where one is not known before it runs."""
    # Values inside a graph need not carry shapes, so ONNX infers them; the batch stays symbolic, N must not.
    types = inferred(model)
    shapes = [types[node.input[0]].shape.dim for node in nodes if node.input[0] in types]
    sizes = [shape[1].dim_value for shape in shapes if len(shape) == 3]
    return max(sizes) if len(sizes) == len(nodes) and all(sizes) else 0


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
    model.functions.append(cda_function(node_attributes(nodes[0]), opset, _most_tokens(model, nodes)))
    if not any(entry.domain == DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, OPSET_VERSION))


def strip_function(model: onnx.ModelProto) -> None:
    """Remove the function again: parsers before TensorRT 10.7 would expand it instead of using the plugin."""
    del model.functions[:]
