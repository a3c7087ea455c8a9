"""Folds the products of the two halves of one value into one product of both, stacked.

A MutualFormer block normalises [X_r ‖ X_d] together and projects each half to queries, keys and values with weights of
its own. Stacked along a leading axis that is one batched product. CDA reads its two entries, which are contiguous in
memory and need no copy.
"""

from __future__ import annotations

import numpy as np

from mutualformer.export.graph.folds.wiring import Array, Wiring
from mutualformer.export.graph.values import attribute


def fold_halves(wiring: Wiring) -> int:
    """Fold every split into two equal halves read only by products with weights of one shape; returns their number."""
    folded = 0
    for node in list(wiring.graph.node):
        shape = wiring.shape(node.input[0]) if node.op_type == "Split" else ()
        products = [wiring.only_reader(name) for name in node.output] if len(shape) == 3 else []
        if len(products) != 2 or attribute(node, "axis", 0) not in (-1, 2):
            continue
        weights: list[Array] = []
        for half, product in zip(node.output, products, strict=True):
            value = wiring.constant(product.input[1]) if product is not None and product.op_type == "MatMul" else None
            if value is not None and value.ndim == 2 and product is not None and product.input[0] == half:
                weights.append(value)
        if len(weights) != 2 or weights[0].shape != weights[1].shape or shape[2] != 2 * weights[0].shape[0]:
            continue
        layout = wiring.add_constant(np.array([0, 0, 2, shape[2] // 2], np.int64))  # 0 keeps a dimension
        stacked = wiring.add("Transpose", [wiring.add("Reshape", [node.input[0], layout])], perm=[2, 0, 1, 3])
        both = wiring.add("MatMul", [stacked, wiring.add_constant(np.stack(weights)[:, None])])
        for i, product in enumerate(products):
            assert product is not None
            wiring.rewire(product.output[0], wiring.add("Gather", [both, wiring.add_constant(np.array(i))], axis=0))
        wiring.index()
        folded += 1
    return folded
