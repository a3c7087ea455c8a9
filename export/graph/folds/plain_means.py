"""For engines: the blocked means of the depth input as plain ones, sixteen reductions in a row as four.

``train/camera_input.py`` takes means in blocks of 32, because ONNX Runtime adds 10⁵ float32 values one after another
and loses four digits of them. TensorRT's reductions add in a tree, over threads and warps, and should lose next to
nothing (not measured: that takes a GPU); there the blocks only cost kernels. ``parity`` compares the engine's answers,
and ``to_trt --unfolded`` keeps the blocks.
"""

from __future__ import annotations

import numpy as np
from onnx import helper

from mutualformer.export.graph.folds.wiring import Pattern, Wiring

_OPERATORS = ("Reshape", "ReduceMean", "ReduceMean") * 2


def _chain() -> Pattern:
    """Reshape, ReduceMean, ReduceMean, twice, and the Unsqueeze that puts both axes back: (B, H, W) → (B, 1, 1)."""
    chain: Pattern = "source"
    for index, operator in enumerate(_OPERATORS):
        chain = (f"value{index}={operator}", chain, f"argument{index}")
    return ("Unsqueeze", chain, "axes")


def fold_plain_means(wiring: Wiring) -> int:
    """Make one ReduceMean of every blocked mean over height and width; returns their number.

    Only chains that nothing else reads and that end in one mean per frame: (B, H, W) → (B, 1, 1).
    """
    pattern, axes, folded = _chain(), "", 0
    for node in wiring.graph.node:
        found = wiring.match(node.output[0], pattern, {}) if node.op_type == "Unsqueeze" else None
        if found is None or not _is_blocked_mean(wiring, found):
            continue
        axes = axes or wiring.add_constant(np.array([1, 2], np.int64))
        node.op_type, folded = "ReduceMean", folded + 1
        node.input[:] = [found["source"], axes]
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("keepdims", 1))
    wiring.index()
    return folded


def _is_blocked_mean(wiring: Wiring, found: dict[str, str]) -> bool:
    axes = wiring.constant(found["axes"])
    reduced = [wiring.constant(found[f"argument{i}"]) for i, name in enumerate(_OPERATORS) if name == "ReduceMean"]
    return (
        axes is not None
        and axes.tolist() == [1, 2]
        and all(one is not None and one.size == 1 for one in reduced)
        and all(wiring.only_reader(found[f"value{i}"]) is not None for i in range(len(_OPERATORS)))
    )
