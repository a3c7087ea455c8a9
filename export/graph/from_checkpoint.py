"""PyTorch model → one FP32 ONNX file that any runtime runs. It is compared with PyTorch before it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import ONNX_OPSET, attach_function
from mutualformer.export.graph.onnx_file import refuse_inlined
from mutualformer.export.graph.tidy import tidy
from mutualformer.export.graph.trace import example_inputs, trace
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import replacing
from mutualformer.runtime.reporting.progress import working
from mutualformer.runtime.session.onnxruntime import OnnxSession
from mutualformer.runtime.tasks import TASKS
from mutualformer.train.evaluation.session import contract_of


def to_proto(model: nn.Module, contract: Contract) -> onnx.ModelProto:
    """Trace, tidy, attach function and metadata, and run the ONNX checker. It compares no numbers."""
    proto = tidy(trace(model, contract))
    attach_function(proto)
    onnx.helper.set_model_props(proto, contract.to_props())
    proto.doc_string = f"{contract.model} ({contract.task}); every CDA node carries its own function"
    onnx.checker.check_model(proto, full_check=True)
    return proto


def worst_difference(model: nn.Module, path: Path, contract: Contract) -> float:
    """Largest absolute difference between PyTorch and the file in ONNX Runtime, batches 1 and 3, random frames.

    Infinity where either answers with NaN or infinity.
    """
    session = OnnxSession(path, "cpu")
    worst = 0.0
    for batch in (1, 3):
        inputs = example_inputs(contract, batch, seed=batch)
        with torch.no_grad():
            expected = model(*inputs.values()).numpy()
        answer = session.run_unchecked(**{name: value.numpy() for name, value in inputs.items()})
        difference = np.abs(answer[contract.outputs[0].name] - expected).max()
        worst = max(worst, float(difference)) if np.isfinite(difference) else float("inf")
    return worst


def export_onnx(model: nn.Module, out: Path) -> tuple[Contract, float]:
    """Write ``out`` in full precision. Returns its contract and the worst difference from PyTorch.

    Raises ExportError, and writes nothing, when the file would differ by more than the fp32 budget.
    """
    contract = replace(contract_of(model), opset=ONNX_OPSET)
    with working(f"tracing {contract.model}"):
        proto = to_proto(model, contract)
    refuse_inlined(out, proto, contract)
    with replacing(out) as beside:
        onnx.save(proto, beside)
        with working("comparing the graph with PyTorch"):
            worst = worst_difference(model, beside, contract)
        limit = TASKS[contract.task].budgets["fp32"].max_abs
        assert limit is not None
        if not worst <= limit:
            raise ExportError(
                f"{out}: the exported graph differs from PyTorch by {worst:.2e}, expected at most {limit:.0e}; "
                "nothing was written. This is a bug in the export or an operator that torch.onnx translates wrongly"
            )
    return contract, worst
