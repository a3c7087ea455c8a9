"""Ranks layers by what INT8 costs: each is quantised alone and judged by the change of the model's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from mutualformer.export.criteria.tensors import TensorDifference, difference
from mutualformer.export.errors import ExportError
from mutualformer.export.precision.calibration import Feed
from mutualformer.export.precision.quantize import Quantizer
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session.onnxruntime import session_options


class Judge:
    """Compares variants of one graph on the same frames; ``answers`` are those of ``model``, the FP32 graph.

    Raises ExportError where there is no frame.
    """

    def __init__(self, model: onnx.ModelProto, contract: Contract, feeds: Sequence[Feed]) -> None:
        if not feeds:
            raise ExportError("the data holds no frame to judge on")
        self.feeds, self._output = feeds, contract.outputs[0].name
        self.answers = self.outputs(model)

    def outputs(self, model: onnx.ModelProto) -> list[NDArray[Any]]:
        """The answer to every frame, without the batch axis.

        ONNX Runtime computes Q/DQ pairs in floating point here: its fused INT8 kernels round between layers where an
        engine's do not.
        """
        options = session_options()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [np.asarray(session.run([self._output], feed)[0][0]) for feed in self.feeds]

    def difference(self, outputs: Sequence[NDArray[Any]], part: slice = slice(None)) -> TensorDifference:
        """How far ``outputs`` are from the answers, for a ``part`` of the frames or all.

        Raises ExportError for NaN or infinity in either.
        """
        found = difference(zip(self.answers[part], outputs[part], strict=True))
        if not found.finite:
            raise ExportError("an output holds NaN or infinity, in full precision or with layers quantised")
        return found


def noise(found: TensorDifference) -> float:
    """Noise over signal, Σ (r − c)² / Σ r²; 0 = equal."""
    return 0.0 if found.snr_db is None else 10 ** (-found.snr_db / 10)


def costliest(quantizer: Quantizer, contract: Contract, feeds: Sequence[Feed], count: int) -> list[str]:
    """Names of the ``count`` layers that cost most when quantised alone, measured on ``feeds``."""
    judge = Judge(quantizer.model, contract, feeds)
    costs = {
        name: noise(judge.difference(judge.outputs(quantizer.place([name]))))
        for name in progress(quantizer.nodes, "ranking layers")
    }
    return sorted(costs, key=lambda name: -costs[name])[:count]
