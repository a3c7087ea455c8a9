"""All folds one after another: what an engine is built from instead of the exported graph."""

from __future__ import annotations

import onnx

from mutualformer.export.graph.folds.convolutions import fold_convolutions
from mutualformer.export.graph.folds.depth_statistics import fold_depth_statistics
from mutualformer.export.graph.folds.halves import fold_halves
from mutualformer.export.graph.folds.plain_means import plain_means
from mutualformer.export.graph.folds.products import fold_products
from mutualformer.export.graph.folds.wiring import Wiring
from mutualformer.runtime.benchmarks.frame_cost import Device


def fold(model: onnx.ModelProto, device: Device) -> tuple[onnx.ModelProto, dict[str, int]]:
    """A model that computes the same in fewer kernels, and how often each fold was made; the argument is left alone.

    ``device``: on which convolutions are folded where that pays. Values differ by rounding alone.
    """
    means, count = plain_means(model)
    wiring = Wiring(means)
    made = {
        "plain means": count,
        "depth statistics": fold_depth_statistics(wiring),
        "convolutions": fold_convolutions(wiring, device),
        "products": fold_products(wiring),
        "products of halves": fold_halves(wiring),
    }
    return wiring.finished(), {name: times for name, times in made.items() if times}
