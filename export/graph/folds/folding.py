"""All folds one after another: they make the graph that an engine is built from out of the exported one."""

from __future__ import annotations

import onnx

from mutualformer.export.graph.folds.channel_sums import fold_channel_sums
from mutualformer.export.graph.folds.convolutions import fold_convolutions
from mutualformer.export.graph.folds.depth_statistics import fold_depth_statistics
from mutualformer.export.graph.folds.halves import fold_halves
from mutualformer.export.graph.folds.plain_means import fold_plain_means
from mutualformer.export.graph.folds.products import fold_products
from mutualformer.export.graph.folds.wiring import Wiring
from mutualformer.runtime.benchmarks.frame_cost import Device


def fold(model: onnx.ModelProto, device: Device) -> tuple[onnx.ModelProto, dict[str, int]]:
    """A copy of ``model`` that computes the same in fewer kernels, and how often each fold was made.

    ``device``: convolutions are folded where that pays on it. Values differ by rounding alone.
    """
    wiring = Wiring(model)
    made = {
        "plain means": fold_plain_means(wiring),
        "depth statistics": fold_depth_statistics(wiring),
        "channel sums": fold_channel_sums(wiring),
        "convolutions": fold_convolutions(wiring, device),
        "products": fold_products(wiring),
        "products of halves": fold_halves(wiring),
    }
    return wiring.finished(), {name: times for name, times in made.items() if times}
