"""``make demo``: the whole path on one machine: predict, fine-tune, export, compile with the plugin, compare.

    python -m lab.demo --out out/demo

The shipped model predicts a real RGB-D pair and is fine-tuned for a minute on a folder in the public sets
layout. The result is exported to ONNX, compiled to an engine, and compared with PyTorch.

A second run takes seconds: it reuses every file that is newer than what it was made of.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mutualformer.export.compare import report
from mutualformer.export.compare.page import write_reports
from mutualformer.export.compare.parity import compare_sessions
from mutualformer.export.engine.builder import BuildOptions
from mutualformer.export.engine.compile import rebuild_command, to_engine
from mutualformer.export.errors import ExportError
from mutualformer.export.precision.convert import write_onnx
from mutualformer.plugins import library
from mutualformer.runtime import zoo
from mutualformer.runtime.benchmarks.measure import interleaved_ms, summary
from mutualformer.runtime.commandline.running import verb
from mutualformer.runtime.files import write_bytes
from mutualformer.runtime.images import rendering
from mutualformer.runtime.images.colours import depth_colours
from mutualformer.runtime.prediction.sheet import cell
from mutualformer.runtime.prediction.single import predict
from mutualformer.runtime.preprocess import prepare, restore
from mutualformer.runtime.reporting.tables import aligned
from mutualformer.runtime.session import Session, engine_card
from mutualformer.runtime.session.gpu import compute_capabilities
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import DataError, Item

MODEL, RECIPE = zoo.DEFAULT, "finetune"
STEPS = 30  # a minute on two cores
FOLDER_FRAMES = 40
HELD_OUT = "synthetic:24?seed=500000"
SAMPLE = "sample:motorcycle"
STAND_IN = "synthetic:1?seed=600000"


def step(name: str, made: Path, make: Callable[[], object], *sources: Path) -> None:
    """Run ``make`` unless ``made`` is there and no older than its sources, as make(1) decides; print what happened."""
    if made.exists() and all(made.stat().st_mtime >= source.stat().st_mtime for source in sources):
        print(f"[{name}] reused")
        return
    began = time.monotonic()
    print(f"[{name}] …", flush=True)
    make()
    print(f"[{name}] {time.monotonic() - began:.0f} s", flush=True)


def predict_pair(out: Path, item: Item) -> None:
    """Mask, cut-out and overlay of the shipped model below ``predict/``."""
    with zoo.load(MODEL) as session:
        result = predict(session, item.rgb, item.depth)
    for path in result.save(out / "predict"):
        print(f"  {path}")
    if result.nearest_object_m is not None:
        print(f"  the nearest object is {result.nearest_object_m:.2f} m away")


def make_folder(folder: Path) -> None:
    """Rendered frames as a folder in the public sets' layout: colour JPEG, 16-bit depth in millimetres, masks."""
    scenes = opening.frames(f"synthetic:{FOLDER_FRAMES}?seed=0", cache=True)
    for index in range(len(scenes)):
        item = scenes[index]
        millimetres = np.clip(item.depth * 1000 + 0.5, 0, 65535).astype(np.uint16)
        assert item.mask is not None
        files = {
            f"RGB/{index:04d}.jpg": rendering.jpeg(item.rgb),
            f"GT/{index:04d}.png": rendering.png(item.mask),
            f"depth/{index:04d}.png": cv2.imencode(".png", millimetres)[1].tobytes(),
        }
        for name, encoded in files.items():
            write_bytes(folder / name, encoded)


def train(out: Path) -> None:
    """Fine-tune in a process of its own, which keeps its progress bars and thread settings."""
    arguments = [MODEL, "--init", MODEL, "--data", str(out / "frames"), "--recipe", RECIPE, "--steps", str(STEPS)]
    command = [sys.executable, "-m", "mutualformer.train.fit", *arguments, "--out", str(out)]
    process = subprocess.run(command, check=False)
    if process.returncode:
        raise ExportError(f"training ended with exit code {process.returncode}; its message is above")


def real_pair() -> tuple[Item, str]:
    """The real RGB-D photograph and its address; a synthetic scene where the photograph is not here."""
    try:
        return opening.frames(SAMPLE)[0], SAMPLE
    except DataError as error:
        print(f"no real pair here ({error}); using a synthetic scene instead")
        return opening.frames(STAND_IN)[0], STAND_IN


def show_pair(out: Path, session: Session, item: Item) -> None:
    """Write ``saliency.png`` (the map at the camera's size) and ``overview.png``."""
    inputs = prepare(session.contract, item.rgb, item.depth)
    saliency = restore(session.run(**inputs)["saliency"][0], item.rgb.shape[:2])
    grey = rendering.grey(saliency)
    write_bytes(out / "saliency.png", rendering.png(grey))
    pictures = [item.rgb, depth_colours(item.depth), report.grey(saliency), rendering.overlay(item.rgb, grey)]
    size = 300, 6 + round(300 * item.rgb.shape[1] / item.rgb.shape[0])  # 6 pixels of paper between two pictures
    write_bytes(out / "overview.png", rendering.png(np.hstack([cell(picture, size) for picture in pictures])))


def run(out: Path) -> int:
    """All steps; returns the exit code: 1 when a parity budget is violated."""
    frames, weights, onnx, engine = out / "frames", out / "model.safetensors", out / "model.onnx", out / "model.engine"
    options = BuildOptions("rtx")
    item, name = real_pair()
    step("predict", out / "predict", lambda: predict_pair(out, item))
    step("folder", frames / f"depth/{FOLDER_FRAMES - 1:04d}.png", lambda: make_folder(frames))
    step("fine-tune", weights, lambda: train(out))
    step("export", onnx, lambda: write_onnx(weights, onnx), weights)
    command = rebuild_command(onnx, engine, options)
    step("compile", engine, lambda: to_engine(onnx, engine, options, command), onnx, library.find())
    with zoo.load(weights) as reference, zoo.load(onnx) as candidate:
        show_pair(out, candidate, item)
        inputs = prepare(reference.contract, item.rgb, item.depth)
        calls = {"PyTorch": partial(reference.run, **inputs), "ONNX Runtime": partial(candidate.run, **inputs)}
        ms = {name: summary(times)["p50_ms"] for name, times in interleaved_ms(calls, 7).items()}
        result = compare_sessions(reference, candidate, [name, HELD_OUT])
    page = write_reports(result, out)
    card = engine_card.read(engine)
    proof = f"{card.plugin_layers} of {card.cda_nodes} CDA as plugin, TensorRT-RTX {card.builder_version}"
    where = "" if compute_capabilities() else ", not run: no GPU"
    about = {
        weights: f"{ms['PyTorch']:.1f} ms in PyTorch on the CPU",
        onnx: f"{ms['ONNX Runtime']:.1f} ms in ONNX Runtime on the CPU, {result.tensor['max_abs']:.1e} from PyTorch",
        engine: proof + where,
    }
    print(aligned([(path.name, f"{path.stat().st_size / 1e6:.1f} MB", text) for path, text in about.items()]))
    print("\nparity holds" if not result.problems else f"\nPARITY VIOLATED: {'; '.join(result.problems)}")
    print(f"pictures: {out / 'saliency.png'}, {out / 'overview.png'}\nreport:   {page}")
    return 1 if result.problems else 0


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    arguments = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=Path("out/demo"), metavar="DIR")
    return arguments


main = verb(parser, lambda args: run(args.out))

if __name__ == "__main__":
    sys.exit(main())
