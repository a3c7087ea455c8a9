"""``mutualformer bench paper``: the time of a frame on a device, layer by layer. Computed, never measured.

Every layer that TensorRT's builder makes of a model takes the largest of the times for its arithmetic, its bytes and a
launch (``runtime/benchmarks/frame_cost.py``). The output names the error of that formula on networks with published
times.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mutualformer.export.engine.builder import BuildOptions, build
from mutualformer.export.engine.work import layer_work
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.folds.folding import fold
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.plugins import library
from mutualformer.runtime import flavor as flavors
from mutualformer.runtime import zoo
from mutualformer.runtime.benchmarks.frame_cost import BOUNDS, DEVICES, ERROR, Device, Work, cost, device_of
from mutualformer.runtime.benchmarks.model import is_ours
from mutualformer.runtime.commandline.running import verb, verb_parser
from mutualformer.runtime.files import write_json
from mutualformer.runtime.reporting.progress import working
from mutualformer.runtime.reporting.tables import aligned
from mutualformer.runtime.session import engine_card
from mutualformer.runtime.session.onnx_file import read_onnx_file
from mutualformer.runtime.tasks import TensorSpec

_COSTLIEST = 10


def works(path: Path, device: Device) -> list[Work]:
    """Flops and bytes of each layer of an engine; for an ONNX file, of the engine that TensorRT-RTX builds of it.

    Our own graphs are folded for ``device`` first. Raises ExportError, ModelFileError, FlavorError, PluginError.
    """
    if path.suffix == ".engine":
        rows = [layer["work"] for layer in engine_card.read(path).layers if "work" in layer]
        if not rows:
            raise ExportError(f"{path}: its card has no work of its layers; build the engine again")
        return [_recorded(path, row) for row in rows]
    ours = is_ours(path)
    inputs: tuple[TensorSpec, ...] = ()
    if ours:
        model, contract = read_onnx(path)
        (model, _), inputs = fold(model, device), contract.inputs
    else:
        model = read_onnx_file(path).model
    trt = flavors.import_flavor("rtx")
    if any(map(is_cda, model.graph.node)):
        library.load("rtx")
    with working(f"building the engine with {library.FLAVORS['rtx']}"):
        layers = build(trt, model, inputs, BuildOptions("rtx")).layers
    return [work for work in layer_work(model, layers) if work is not None]


def _recorded(path: Path, row: Any) -> Work:
    """Work as an engine card has it. Raises ExportError for other types, because anybody can seal a card."""
    try:
        numbers = {"flops": float(row["flops"]), "moved": float(row["moved"]), "launches": int(row["launches"])}
        texts = {name: str(row[name]) for name in ("name", "kind", "operators")}
        return Work(**texts, **numbers, depthwise=bool(row["depthwise"]))  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{path}: its card's work of a layer is not readable; build the engine again") from error


def estimate(rows: Sequence[Work], device: Device) -> dict[str, Any]:
    """Milliseconds of a frame, with and without a CUDA graph, split by the binding limit, and the costliest layers."""
    costs = [cost(row, device) for row in rows]
    bound = {
        name: {
            "layers": sum(one.bound == name for one in costs),
            "ms": sum(one.us for one in costs if one.bound == name) / 1e3,
        }
        for name in BOUNDS
    }
    costliest = sorted(zip(rows, costs, strict=True), key=lambda pair: -pair[1].us)[:_COSTLIEST]
    return {
        "device": device.name,
        "ms": sum(one.us for one in costs) / 1e3,
        "ms_without_graph": sum(one.eager_us for one in costs) / 1e3,
        "bound": bound,
        "costliest": [{**asdict(row), "us": one.us, "bound": one.bound} for row, one in costliest],
    }


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    path = zoo.resolve(args.model)
    chosen = [device for device in DEVICES if args.device in (None, device.key)]
    built: dict[str, list[Work]] = {}  # one engine for all devices that take the same folds
    results = {}
    for device in chosen:
        reference = device_of(device.capability)
        rows = built.get(reference.key) or built.setdefault(reference.key, works(path, reference))
        results[device.key] = {"kernels": sum(row.launches for row in rows), **estimate(rows, device)}
    write_json(args.out / "paper.json", {"model": path.name, "computed": True, "error": ERROR, "devices": results})
    print(f"{path.name}: COMPUTED, not measured. {ERROR}")
    heads = ("device", "kernels", "ms in a CUDA graph", "without", *(f"bound by {name}" for name in BOUNDS))
    print(aligned([heads, *map(_row, results.values())]))
    for result in results.values():
        print(f"\nthe costliest layers on {result['device']}:")
        heads = ("layer", "operators", "Mflop", "kB", "µs", "bound by")
        print(aligned([heads, *map(_layer, result["costliest"])]))
    print(args.out / "paper.json")
    return 0


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    times = (f"{result[name]:.2f}" for name in ("ms", "ms_without_graph"))
    bound = (f"{result['bound'][name]['ms']:.2f} ms ({result['bound'][name]['layers']})" for name in BOUNDS)
    return (result["device"], str(result["kernels"]), *times, *bound)


def _layer(row: dict[str, Any]) -> tuple[str, ...]:
    numbers = f"{row['flops'] / 1e6:.1f}", f"{row['moved'] / 1e3:.0f}", f"{row['us']:.1f}"
    return (str(row["name"])[:44], str(row["operators"])[:32], *numbers, str(row["bound"]))


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    parser = verb_parser("bench paper", __doc__)
    parser.add_argument("model", nargs="?", default=zoo.DEFAULT, help=f"{zoo.HELP}; or any .onnx file")
    parser.add_argument("--device", choices=[device.key for device in DEVICES], help="default: all of them")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    return parser


main = verb(parser, command)
