"""``parity --sweep`` and ``parity --calibrations``: open the model, calibrate once, hand over to the study."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import onnx

from mutualformer.export.errors import ExportError
from mutualformer.export.precision.convert import calibration_feeds
from mutualformer.export.precision.quantize import Quantizer
from mutualformer.export.studies import calibrations, sweep
from mutualformer.export.studies.trial import open_trial
from mutualformer.export.to_trt import read_onnx
from mutualformer.runtime.contract import Contract

DEFAULT_FRAMES = {"sweep": 8, "calibrations": 64}


def open_fp32(path: Path) -> tuple[onnx.ModelProto, Contract]:
    """The FP32 graph of a checkpoint or an .onnx file. Raises ExportError for one that is quantised already."""
    if path.suffix == ".safetensors":
        from mutualformer.export.to_onnx import export_onnx
        from mutualformer.train import checkpoint

        with tempfile.TemporaryDirectory(prefix="mutualformer-") as folder:
            export_onnx(checkpoint.load(path), Path(folder) / "fp32.onnx")
            return read_onnx(Path(folder) / "fp32.onnx")
    model, contract = read_onnx(path)
    if contract.precision != "fp32":
        raise ExportError(f"{path}: the graph is {contract.precision}; layers are quantised from an fp32 file")
    return model, contract


def command(args: argparse.Namespace) -> int:
    """Run what ``--sweep`` or ``--calibrations`` asks for; always 0: these studies judge layers, not the model."""
    study = "sweep" if args.sweep else "calibrations"
    if args.candidate is not None:
        raise ExportError(f"--{study} takes one model file; {args.candidate} is a second one")
    if args.calibration is None:
        raise ExportError(f"--{study} needs --calibration DATA (a folder or synthetic:N), other frames than --data")
    model, contract = open_fp32(args.reference)
    quantizer = Quantizer.measure(model, calibration_feeds(args.calibration, contract))
    trial = open_trial(model, contract, args.data, args.frames or DEFAULT_FRAMES[study])
    about = {
        "file": args.reference.name,
        "model": contract.model,
        "weights_sha256": contract.weights_sha256,
        "calibration": args.calibration,
        "data": ", ".join(args.data),
        "frames": len(trial.feeds),
    }
    if args.sweep:
        result = sweep.run(quantizer, trial, args.method, about, args.out)
        rows = result["layers"]
        print(f"{len(rows)} layers quantised alone, the costliest of them (squared error, % of the answer's):")
        print("\n".join(f"  {100 * row['noise']:8.4f}  {row['node']:<24} {sweep.label(row)}" for row in rows[:8]))
        print(f"{args.out / 'sweep.html'}, sweep.json, sweep.csv, sweep.png")
    else:
        result = calibrations.run(quantizer, trial, about, args.out)
        print(calibrations.as_text(result["methods"]))
        print(f"{args.out / 'calibrations.html'}, calibrations.json, calibrations.png")
    return 0
