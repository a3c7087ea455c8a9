"""``mutualformer evaluate MODEL_FILE --data DATA``: one evaluation for checkpoints, ONNX files and engines."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: the repository root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.contract import Contract
from runtime.files import write_bytes
from runtime.preprocess import prepare, restore
from train.data.item import DataError, Frames
from train.data.spec import open_data
from train.metrics import sod_metrics, to_grey

Predict = Callable[[dict[str, NDArray[Any]]], NDArray[np.float32]]
OUTPUTS = {"sod": "saliency", "reid": "feature"}


def torch_predictor(model: Any) -> tuple[Contract, Predict]:
    """A module of the registry as a function from NumPy inputs to its NumPy output."""
    import torch

    spec = model.spec
    contract = Contract(spec.task, spec.name, spec.input_size, depth_range_m=spec.depth_range_m, labels=spec.labels)
    model.eval()

    def predict(inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found = model(*(torch.from_numpy(value) for value in inputs.values()))
        return np.asarray(found.float().cpu().numpy(), dtype=np.float32)

    return contract, predict


def open_predictor(path: str | Path) -> tuple[Contract, Predict]:
    """A model file of any format; .onnx and .engine go through the runtime."""
    path = Path(path)
    if path.suffix == ".safetensors":
        from train import checkpoint

        return torch_predictor(checkpoint.load(path))
    if path.suffix not in (".onnx", ".engine"):
        raise ValueError(f"{path}: the suffix is {path.suffix!r}, expected .safetensors, .onnx or .engine")
    from runtime.session import load

    session = load(path)
    name = OUTPUTS[session.contract.task]
    return session.contract, lambda inputs: np.asarray(session.run(**inputs)[name], dtype=np.float32)


def predict_maps(contract: Contract, predict: Predict, frames: Frames) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Index and saliency map of every frame, at the frame's own size, in [0, 1]."""
    for index in tqdm(range(len(frames)), desc="evaluating", unit="frame", delay=2):
        item = frames[index]
        saliency = predict(prepare(contract, item.rgb, item.depth))[0]
        yield index, restore(saliency, item.mask.shape if item.mask is not None else item.rgb.shape[:2])


def evaluate(contract: Contract, predict: Predict, data: str, out: Path | None = None) -> dict[str, Any]:
    """Metrics of a predictor on DATA; ``out``: also write prediction maps, curves and a picture there."""
    if contract.task == "reid":
        from train.reid_evaluation import evaluate_reid

        return evaluate_reid(contract, predict, data, out)
    frames = open_data(data, "sod", contract.input_size, cache=True)

    def pairs() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        for index, saliency in predict_maps(contract, predict, frames):
            item = frames[index]
            if item.mask is None:
                raise DataError(f"{data}: frame {item.name} has no ground truth, expected a GT folder to evaluate with")
            grey = to_grey(saliency)
            if out is not None:
                _write_map(out / "maps" / f"{item.name}.png", grey)
            yield grey, item.mask

    found = sod_metrics(pairs(), curves=True)
    if out is not None:
        from train.pictures import precision_recall, qualitative_grid

        precision_recall({contract.model: found}, out / "precision_recall.png")
        qualitative_grid(frames, out / "maps", out / "examples.png")
    return {key: value for key, value in found.items() if key not in ("precision", "recall")}


def _write_map(path: Path, grey: NDArray[np.uint8]) -> None:
    import cv2

    ok, data = cv2.imencode(".png", grey)
    if not ok:
        raise ValueError(f"{path}: cannot encode a map of shape {grey.shape}")
    write_bytes(path, data.tobytes())


def evaluate_model(model: Any, data: str) -> dict[str, Any]:
    """Metrics of a module of the registry on DATA."""
    return evaluate(*torch_predictor(model), data)


def main(argv: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(prog="mutualformer evaluate", description=__doc__)
    made.add_argument("model", metavar="MODEL_FILE", help=".safetensors, .onnx or .engine")
    made.add_argument("--data", required=True, action="append", help="synthetic:N[?seed=S] or a folder; repeatable")
    made.add_argument("--out", type=Path, help="folder for metrics.json, maps and pictures")
    arguments = made.parse_args(argv)
    try:
        contract, predict = open_predictor(arguments.model)
        results = {}
        for data in arguments.data:
            folder = arguments.out / Path(data.split("?")[0].replace(":", "-")).name if arguments.out else None
            results[data] = evaluate(contract, predict, data, folder)
    except (ValueError, DataError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    if arguments.out:
        text = json.dumps({"model": str(arguments.model), "results": results}, indent=2)
        write_bytes(arguments.out / "metrics.json", text.encode())
    print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
