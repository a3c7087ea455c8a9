"""Computes mean and variance of the measured depths row by row, instead of in four dependent passes over the map.

``train/camera_input.py`` takes the share of measured pixels, their mean, what rounding lost of it, and the mean square
of what is left. Each row gives its own share, mean and mean square around that mean, as a LayerNormalization does, in
one kernel; shares, means and squares of the rows give those of the map (Chan, Golub and LeVeque 1979). No digits
cancel, and a sum has only as many terms as the map has rows or columns.
"""

from __future__ import annotations

import numpy as np

from mutualformer.export.graph.folds.wiring import Pattern, Wiring

_SHARE: Pattern = ("share=Clip", ("ReduceMean", "valid", "axes"), "least")
_FIRST: Pattern = ("Div", ("ReduceMean", ("Mul", "valid", "inverse"), "axes"), _SHARE)
_LOST: Pattern = ("Div", ("ReduceMean", ("Mul", "valid", ("Sub", "inverse", _FIRST)), "axes"), _SHARE)
_CENTRED: Pattern = ("centred=Mul", "valid", ("Sub", "inverse", ("mean=Add", _FIRST, _LOST)))
_VARIANCE: Pattern = ("Div", ("ReduceMean", ("Mul", _CENTRED, _CENTRED), "axes"), _SHARE)


def fold_depth_statistics(wiring: Wiring) -> int:
    """Fold every such chain of means over height and width of (B, H, W); returns their number."""
    found = [
        (node.output[0], names)
        for node in wiring.graph.node
        if node.op_type == "Div" and (names := wiring.match(node.output[0], _VARIANCE, {})) is not None
    ]
    for variance, names in found:
        _fold(wiring, variance, names)
        wiring.index()
    return len(found)


def _fold(wiring: Wiring, variance: str, names: dict[str, str]) -> None:
    last = wiring.add_constant(np.array([2], np.int64))
    valid, inverse = names["valid"], names["inverse"]
    least = wiring.producer[names["share"]].input[1]

    def mean(value: str) -> str:
        return wiring.add("ReduceMean", [value, last], keepdims=1)

    def lying(value: str) -> str:
        return wiring.add("Transpose", [value], perm=[0, 2, 1])  # (B, H, 1) → (B, 1, H)

    def weighted(value: str, share: str) -> tuple[str, str]:
        """Share and mean of the measured values along the last axis."""
        part = mean(share)
        return part, wiring.add("Div", [mean(wiring.add("Mul", [share, value])), wiring.add("Clip", [part, least])])

    share, row = weighted(inverse, valid)  # of each row, (B, H, 1)
    around = wiring.add("Mul", [valid, wiring.add("Sub", [inverse, row])])
    square = lying(mean(wiring.add("Mul", [around, around])))
    share, row = lying(share), lying(row)

    total, whole = weighted(row, share)  # of the map, (B, 1, 1)
    apart = wiring.add("Sub", [row, whole])
    between = wiring.add("Mul", [share, wiring.add("Mul", [apart, apart])])
    spread = mean(wiring.add("Add", [square, between]))
    wiring.rewire(names["mean"], whole)
    wiring.rewire(variance, wiring.add("Div", [spread, wiring.add("Clip", [total, least])]))
