"""Folds products with constant weights into one where only sums and concatenations lie between them.

A MutualFormer block projects [out_r ‖ out_rd] and [out_d ‖ out_dr], concatenates, projects again, and adds the
projection of its self-attention. All of that is linear: one product of [y_r ‖ y_d ‖ attention] with weights multiplied
out, which are fewer than those they replace.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from mutualformer.export.graph.folds.wiring import Array, Wiring
from mutualformer.export.graph.values import attribute


@dataclass
class _Sum:
    """A sum. ``parts``: values and the weights that multiply them; ``rest``: values that are added as they are.

    ``products``: how many products it was collected from, and ``before``: how many weights those had.
    """

    parts: list[tuple[str, Array]] = field(default_factory=list)
    bias: Array = field(default_factory=lambda: np.zeros(1))
    rest: list[str] = field(default_factory=list)
    products: int = 0
    before: int = 0

    @property
    def weights(self) -> int:
        """How many weights all parts have together."""
        return sum(weights.size for _, weights in self.parts)


def fold_products(wiring: Wiring) -> int:
    """Fold every sum of more than one product where that needs no more weights; returns their number."""
    folded = 0
    for node in list(wiring.graph.node):
        # A sum inside a longer sum is folded as part of that one; by itself it would be folded twice.
        if node.op_type != "Add" or _is_inside(wiring, node):
            continue
        total = _Sum()
        _collect(wiring, node.output[0], total, first=True)
        # Multiplying weights out can make them larger where the inner width is small. Such a
        # fold would read more memory than it saves launches.
        if total.products > 1 and total.weights <= total.before:
            _fold(wiring, node, total)
            wiring.index()
            folded += 1
    return folded


def _is_inside(wiring: Wiring, node: onnx.NodeProto) -> bool:
    reader = wiring.only_reader(node.output[0])
    return reader is not None and reader.op_type in ("Add", "Concat")


def _collect(wiring: Wiring, name: str, total: _Sum, first: bool = False) -> None:
    """Add the terms of value ``name`` to ``total``; a value that other nodes read too is a term itself."""
    node = wiring.producer.get(name)
    constant = wiring.constant(name)
    if constant is not None and constant.ndim <= 1:
        total.bias = total.bias + constant.astype(np.float64)
    # A value that somebody else reads must be computed anyway, so its products stay where they are.
    elif node is None or (wiring.only_reader(name) is None and not first):
        total.rest.append(name)
    elif node.op_type == "Add":
        for value in node.input:
            _collect(wiring, value, total)
    elif node.op_type == "MatMul" and (weights := wiring.constant(node.input[1])) is not None and weights.ndim == 2:
        total.before += weights.size
        total.products += 1
        _multiply(wiring, node.input[0], weights.astype(np.float64), total)
    else:
        total.rest.append(name)


def _multiply(wiring: Wiring, name: str, weights: Array, total: _Sum) -> None:
    """Add ``name`` · ``weights`` to ``total``: a concatenation by its parts, a sum of products by those products."""
    node = wiring.producer.get(name)
    alone = node is not None and wiring.only_reader(name) is not None
    rank = len(wiring.shape(name))
    if node is not None and alone and node.op_type == "Concat" and attribute(node, "axis", 0) in (-1, rank - 1):
        widths = [wiring.shape(value)[-1] if wiring.shape(value) else 0 for value in node.input]
        # [a ‖ b] W = a W_top + b W_bottom: each part gets its own rows of the weights.
        if sum(widths) == weights.shape[0] and all(widths):
            for value, rows in zip(node.input, np.split(weights, np.cumsum(widths)[:-1]), strict=True):
                _multiply(wiring, value, rows, total)
            return
    inner = _Sum()
    if node is not None and alone and node.op_type in ("Add", "MatMul"):
        _collect(wiring, name, inner)
    # (x A + c) B = x (A B) + c B. The products are formed in float64, so the only rounding is the one when the folded
    # weights are stored. A rest, such as a residual, has no weights that B could be multiplied into.
    if inner.products and not inner.rest:
        total.parts += [(value, part @ weights) for value, part in inner.parts]
        total.bias = total.bias + np.broadcast_to(inner.bias, weights.shape[:1]) @ weights
        total.products += inner.products
        total.before += inner.before
    else:
        total.parts.append((name, weights))


def _fold(wiring: Wiring, node: onnx.NodeProto, total: _Sum) -> None:
    """Replace the sum that ends in ``node`` by one product, its bias and the values of ``rest``."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(wiring.kind(total.parts[0][0]))
    # The reverse of the split above: all parts side by side, and all weights below one another, are one product.
    joined = [value for value, _ in total.parts]
    source = wiring.add("Concat", joined, axis=-1) if len(joined) > 1 else joined[0]
    weights = np.concatenate([weights for _, weights in total.parts])
    product = wiring.add("MatMul", [source, wiring.add_constant(weights.astype(kind))])
    bias = np.broadcast_to(total.bias, weights.shape[1:])
    product = wiring.add("Add", [product, wiring.add_constant(bias.astype(kind))])
    for value in total.rest[:-1]:
        product = wiring.add("Add", [product, value])
    # The last node keeps its name and output, so the readers of the sum stay as they are.
    if total.rest:
        node.input[:] = [product, total.rest[-1]]
    else:
        wiring.rewire(node.output[0], product)
