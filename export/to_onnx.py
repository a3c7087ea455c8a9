"""Verb ``to_onnx``: checkpoint → one ONNX file that any runtime runs, verified against PyTorch before it is written.

python export/to_onnx.py CHECKPOINT.safetensors -o model.onnx [--precision fp32|fp16|int8 --calibration DATA]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import tempfile
from collections.abc import Sequence

import numpy as np
import onnx
import torch
from torch import nn

from mutualformer.export.compare.budgets import BUDGETS
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import ONNX_OPSET, attach_function, is_cda
from mutualformer.export.graph.tidy import tidy
from mutualformer.export.graph.trace import example_inputs, trace
from mutualformer.export.precision.calibration import DEFAULT_METHOD, METHODS
from mutualformer.export.precision.convert import convert, save_checked
from mutualformer.runtime.cli import run_verb
from mutualformer.runtime.contract import PRECISIONS, Contract
from mutualformer.runtime.files import replacing
from mutualformer.runtime.session.onnxruntime import OnnxSession
from mutualformer.train.checkpoint import load as load_checkpoint
from mutualformer.train.session import contract_of


def to_proto(model: nn.Module, contract: Contract) -> onnx.ModelProto:
    """Trace, tidy, attach function and metadata, and let the ONNX checker read it. No numbers are compared here."""
    proto = tidy(trace(model, contract))
    attach_function(proto)
    onnx.helper.set_model_props(proto, replace(contract, opset=ONNX_OPSET).to_props())
    proto.doc_string = f"{contract.model} ({contract.task}); every CDA node carries its own function"
    onnx.checker.check_model(proto, full_check=True)
    return proto


def worst_difference(model: nn.Module, path: Path, contract: Contract) -> float:
    """Largest absolute difference between PyTorch and the file in ONNX Runtime, batches 1 and 3, random frames."""
    session = OnnxSession(path, "cpu")
    worst = 0.0
    for batch in (1, 3):
        inputs = example_inputs(contract, batch, seed=batch)
        with torch.no_grad():
            expected = model(*inputs.values()).numpy()
        found = session.run(**{name: value.numpy() for name, value in inputs.items()})
        difference = np.abs(found[contract.outputs[0].name] - expected).max()
        worst = max(worst, float(difference)) if np.isfinite(difference) else float("inf")
    return worst


def export_onnx(model: nn.Module, out: Path) -> tuple[Contract, float]:
    """Write ``out`` in full precision. Returns its contract and the worst difference from PyTorch.

    Raises ExportError, and writes nothing, when the file would differ by more than the fp32 budget.
    """
    contract = replace(contract_of(model), opset=ONNX_OPSET)
    proto = to_proto(model, contract)
    with replacing(out) as beside:
        onnx.save(proto, beside)
        worst = worst_difference(model, beside, contract)
        limit = BUDGETS[contract.task]["fp32"].max_abs
        assert limit is not None
        if not worst <= limit:
            raise ExportError(
                f"{out}: the exported graph differs from PyTorch by {worst:.2e}, expected at most {limit:.0e}; "
                "nothing was written. This is a bug in the export or an operator that torch.onnx translates wrongly"
            )
    return contract, worst


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="mutualformer to_onnx", description=__doc__.splitlines()[0])
    arguments.add_argument("checkpoint", type=Path, help="model.safetensors with its model.json beside it")
    arguments.add_argument("-o", "--output", type=Path, required=True, help="the .onnx file to write")
    arguments.add_argument("--precision", choices=PRECISIONS, default="fp32")
    arguments.add_argument("--calibration", metavar="DATA", help="folder, sample:motorcycle or synthetic:N[?seed=S]")
    arguments.add_argument("--method", choices=tuple(METHODS), default=DEFAULT_METHOD, help="calibration method")
    arguments.add_argument("--keep", action="append", metavar="NODE", help="leave this node one precision higher")
    arguments.add_argument(
        "--keep-worst", type=int, default=0, metavar="K", help="int8: leave the K costliest layers in FP16"
    )
    arguments.add_argument(
        "--sweep", type=Path, metavar="FILE", help="sweep.json of parity --sweep that ranks them (default: rank now)"
    )
    return arguments


def command(args: argparse.Namespace) -> int:
    if args.output.suffix != ".onnx":
        raise ExportError(f"{args.output}: the output ends in {args.output.suffix!r}, expected .onnx")
    if args.keep_worst < 0 or (args.sweep is not None and not args.keep_worst):
        raise ExportError(f"--keep-worst is {args.keep_worst}, expected a number of layers (1 or more with --sweep)")
    model = load_checkpoint(args.checkpoint)
    if args.precision == "fp32" and not args.keep_worst:
        contract, worst = export_onnx(model, args.output)
    else:
        with tempfile.TemporaryDirectory(prefix="mutualformer-") as folder:
            full = Path(folder) / "fp32.onnx"
            contract, worst = export_onnx(model, full)
            proto, contract = convert(
                onnx.load(full),
                contract,
                args.precision,
                args.calibration,
                args.method,
                args.keep or (),
                args.keep_worst,
                args.sweep,
            )
        save_checked(proto, args.output)
    nodes = sum(is_cda(node) for node in onnx.load(args.output).graph.node)
    size = args.output.stat().st_size / 1e6
    print(
        f"{args.output}: {contract.model}, {contract.precision}, opset {contract.opset}, {size:.1f} MB, "
        f"{nodes} CDA nodes, fp32 graph {worst:.1e} from PyTorch"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
