"""``mutualformer evaluate MODEL_FILE --data DATA``: one evaluation for checkpoints, ONNX files and engines.

Writes OUT/metrics.json, table.md, precision_recall.png and, for each DATA, examples.png. Several --data (or
rgbd:ROOT/standard) make a table in the papers' form. --probe evaluates with each modality shuffled or taken away too.
"""

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

from mutualformer.runtime import zoo
from mutualformer.runtime.cli import run_verb
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.data.item import DataError, Frames
from mutualformer.runtime.data.spec import expand, open_data, short
from mutualformer.runtime.files import write_bytes, write_json
from mutualformer.runtime.preprocess import prepare, restore
from mutualformer.runtime.reporting.progress import progress
from mutualformer.train.evaluation import corrupt
from mutualformer.train.evaluation.sod import sod_metrics, to_grey
from mutualformer.train.evaluation.tables import probe_table, results_table

Predict = Callable[[dict[str, NDArray[Any]]], NDArray[np.float32]]
OUTPUTS = {"sod": "saliency", "reid": "feature"}
CURVES = ("precision", "recall")


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


def open_predictor(model: str | Path) -> tuple[Contract, Predict]:
    """A shipped model's name or a model file of any format, as a function from NumPy inputs to its NumPy output."""
    session = zoo.load(model)
    name = OUTPUTS[session.contract.task]
    return session.contract, lambda inputs: np.asarray(session.run(**inputs)[name], dtype=np.float32)


def predict_maps(contract: Contract, predict: Predict, frames: Frames) -> Iterator[tuple[Any, NDArray[np.float32]]]:
    """Every frame with its saliency map in [0, 1], at the frame's own size."""
    for index in progress(range(len(frames)), "evaluating", "frames"):
        item = frames[index]
        saliency = predict(prepare(contract, item.rgb, item.depth))[0]
        yield item, restore(saliency, item.mask.shape if item.mask is not None else item.rgb.shape[:2])


def evaluate(
    contract: Contract,
    predict: Predict,
    data: str,
    out: Path | None = None,
    maps: bool = False,
    corruption: str = "",
    curves: bool = False,
) -> dict[str, Any]:
    """Metrics of a predictor on DATA.

    ``out``: folder for examples.png and, with ``maps``, the saliency maps as PNG (ReID: features.npz).
    ``corruption``: spoil modalities first, such as "depth=shuffle" (train/evaluation/corrupt.py).
    ``curves``: add precision and recall over 256 thresholds (SOD).
    """
    how = corrupt.parse(corruption, contract.task) if corruption else {}
    if contract.task == "reid":
        from mutualformer.train.evaluation.reid import evaluate_reid

        return evaluate_reid(contract, predict, data, out if maps else None, how)
    frames = open_data(data, "sod", contract.input_size, cache=True)
    if how:
        frames = corrupt.CorruptFrames(frames, how)
    from mutualformer.train.evaluation.pictures import grid_indices, qualitative_grid, write_picture

    wanted = set(grid_indices(len(frames))) if out is not None else set()
    shown = []

    def pairs() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        for index, (item, saliency) in enumerate(predict_maps(contract, predict, frames)):
            if item.mask is None:
                raise DataError(f"{data}: frame {item.name} has no ground truth, expected a GT folder to evaluate with")
            grey = to_grey(saliency)
            if index in wanted:
                shown.append((item, grey))
            if out is not None and maps:
                write_picture(out / "maps" / f"{item.name}.png", grey)
            yield grey, item.mask

    found = sod_metrics(pairs(), curves=curves)
    if out is not None:
        qualitative_grid(shown, out / "examples.png")
    return found


def evaluate_model(model: Any, data: str) -> dict[str, Any]:
    """Metrics of a module of the registry on DATA."""
    return evaluate(*torch_predictor(model), data)


def _folders(data: Sequence[str], out: Path | None) -> list[Path | None]:
    """One folder a DATA; equal names are told apart by number."""
    names = [short(one).replace("/", "-") for one in data]
    return [out / (n if names.count(n) == 1 else f"{n}-{i}") if out else None for i, n in enumerate(names)]


def evaluate_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything the command line asks for: {"model", "task", "precision", "results", "probe", "table"}."""
    contract, predict = open_predictor(arguments.model)
    data = list(dict.fromkeys(single for text in arguments.data for single in expand(text)))
    results, probe, curves = {}, {}, {}
    for one, folder in zip(data, _folders(data, arguments.out), strict=True):
        found = evaluate(contract, predict, one, folder, arguments.maps, arguments.corrupt, curves=True)
        results[one] = {name: value for name, value in found.items() if name not in CURVES}
        if contract.task == "sod":
            curves[short(one)] = found
        if arguments.probe:
            probe[one] = {
                how: evaluate(contract, predict, one, corruption=how) for how in corrupt.PROBES[contract.task]
            }
    if arguments.out and curves:
        from mutualformer.train.evaluation.pictures import precision_recall

        precision_recall(curves, arguments.out / "precision_recall.png")
    text = [results_table(results, contract.task)]
    if arguments.corrupt:
        text.insert(0, f"Data corrupted: {arguments.corrupt}.\n")
    text += [f"\n{short(one)}:\n\n{probe_table(results[one], spoilt, contract.task)}" for one, spoilt in probe.items()]
    return {
        "model": str(arguments.model),
        "registry_name": contract.model,
        "task": contract.task,
        "precision": contract.precision,
        "weights_sha256": contract.weights_sha256,
        "corruption": arguments.corrupt,
        "results": results,
        **({"probe": probe} if probe else {}),
        "table": "\n".join(text) + "\n",
    }


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="mutualformer evaluate", description=(__doc__ or "").splitlines()[0])
    made.add_argument("model", metavar="MODEL", help=zoo.HELP)
    made.add_argument(
        "--data",
        required=True,
        action="append",
        help="synthetic:N[?seed=S], a folder, rgbd:ROOT/NAME+NAME, rgbd:ROOT/standard; repeatable, a table row each",
    )
    made.add_argument("--out", type=Path, help="folder for metrics.json, table.md and pictures")
    made.add_argument("--maps", action="store_true", help="keep saliency maps (ReID: features) in OUT too")
    made.add_argument(
        "--corrupt", default="", metavar="HOW", help="depth=shuffle|zero,rgb=shuffle|zero (ReID: nir, rgb)"
    )
    made.add_argument("--probe", action="store_true", help="also with each modality shuffled or zeroed, and the change")
    made.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return made


def command(arguments: argparse.Namespace) -> int:
    if arguments.maps and not arguments.out:
        raise ValueError("--maps needs --out DIR to write them to")
    if arguments.probe and arguments.corrupt:
        raise ValueError("--probe compares with the data as they are: give it or --corrupt, not both")
    found = evaluate_all(arguments)
    text = found.pop("table")
    if arguments.out:
        write_json(arguments.out / "metrics.json", found)
        write_bytes(arguments.out / "table.md", text.encode())
    print(json.dumps(found, indent=2) if arguments.json else text, end="" if not arguments.json else "\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    raise SystemExit(main())
