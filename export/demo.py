"""Verb ``demo``: the whole path on one machine: predict, fine-tune, export, compile with the plugin, compare.

    python export/demo.py --out out/demo

The shipped model looks at a real RGB-D pair; is fine-tuned for a minute on a small folder such as yours would be; the
result goes to ONNX and to an engine, and is compared with what PyTorch computes.

What is already there and still fits is reused, so that a second run takes seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.export.compare import report
from mutualformer.export.compare.page import write_reports
from mutualformer.export.compare.parity import compare_sessions
from mutualformer.export.compare.result import Parity
from mutualformer.export.engine.builder import BuildOptions
from mutualformer.export.engine.compile import rebuild_command, to_engine
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.plugins import library
from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import run_verb
from mutualformer.runtime.contract import ContractError
from mutualformer.runtime.files import sha256, write_bytes
from mutualformer.runtime.images import rendering
from mutualformer.runtime.images.colours import depth_colours
from mutualformer.runtime.prediction.single import predict
from mutualformer.runtime.preprocess import prepare, restore
from mutualformer.runtime.reporting.tables import aligned
from mutualformer.runtime.session import ModelFileError, Session, engine_card
from mutualformer.runtime.session.engine_card import EngineCard
from mutualformer.runtime.session.gpu import compute_capabilities
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import DataError, Item

MODEL, RECIPE = zoo.DEFAULT, "finetune"
FOLDER_FRAMES = 40
HELD_OUT = "synthetic:24?seed=500000"
SAMPLE = "sample:motorcycle"
STAND_IN = "synthetic:1?seed=600000"


@dataclass
class Demo:
    """What the steps leave behind for the closing table."""

    out: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def frames(self) -> Path:
        """Folder of the training frames."""
        return self.out / "frames"

    @property
    def weights(self) -> Path:
        """The fine-tuned checkpoint; its card lies beside it."""
        return self.out / "model.safetensors"

    @property
    def onnx(self) -> Path:
        """The exported ONNX file."""
        return self.out / "model.onnx"

    @property
    def engine(self) -> Path:
        """The TensorRT engine; its card lies beside it."""
        return self.out / "model.engine"

    def step(self, name: str, fits: Callable[[], bool], make: Callable[[], object]) -> None:
        """Run ``make`` unless what it makes is there and ``fits``; say which, and how long it took."""
        began = time.monotonic()
        if fits():
            print(f"[{name}] reused")
            return
        print(f"[{name}] …", flush=True)
        make()
        self.seconds[name] = time.monotonic() - began
        print(f"[{name}] {self.seconds[name]:.0f} s", flush=True)


def predicted(demo: Demo) -> bool:
    """The shipped model has looked at the pair."""
    return any((demo.out / "predict").glob("*"))


def predict_pair(demo: Demo, item: Item) -> None:
    """Mask, cut-out and overlay of the shipped model below ``predict/``."""
    with zoo.load(MODEL) as session:
        result = predict(session, item.rgb, item.depth)
    for path in result.save(demo.out / "predict"):
        print(f"  {path}")
    if result.nearest_object_m is not None:
        print(f"  the nearest object is {result.nearest_object_m:.2f} m away")


def folder_there(demo: Demo) -> bool:
    """The folder to fine-tune on is whole."""
    counts = [len(list((demo.frames / name).glob("*"))) for name in ("RGB", "depth", "GT")]
    return counts == [FOLDER_FRAMES] * 3


def make_folder(demo: Demo) -> None:
    """Rendered frames as a folder in the public sets' layout: colour JPEG, 16-bit depth in millimetres, masks."""
    scenes = opening.frames(f"synthetic:{FOLDER_FRAMES}?seed=0", cache=True)
    for name in ("RGB", "depth", "GT"):
        (demo.frames / name).mkdir(parents=True, exist_ok=True)
    for index in range(len(scenes)):
        item = scenes[index]
        millimetres = np.clip(item.depth * 1000 + 0.5, 0, 65535).astype(np.uint16)
        assert item.mask is not None
        files = {
            f"RGB/{index:04d}.jpg": rendering.jpeg(item.rgb),
            f"depth/{index:04d}.png": cv2.imencode(".png", millimetres)[1].tobytes(),
            f"GT/{index:04d}.png": rendering.png(item.mask),
        }
        for name, encoded in files.items():
            write_bytes(demo.frames / name, encoded)


def trained(demo: Demo) -> bool:
    """A checkpoint of this recipe and data is there."""
    try:
        from mutualformer.train import checkpoint  # with PyTorch, which `demo --help` does without

        card = checkpoint.read_card(demo.weights)
    except ValueError:
        return False
    if card["weights_sha256"] != sha256(demo.weights):
        return False
    return bool(card["recipe"].get("name") == RECIPE and card["data"].get("train") == str(demo.frames))


def train(demo: Demo) -> None:
    """Fine-tune in a process of its own: its progress bars and thread settings are its business."""
    program = Path(__file__).resolve().parents[1] / "train" / "fit.py"
    arguments = [MODEL, "--init", MODEL, "--data", str(demo.frames), "--recipe", RECIPE, "--out", str(demo.out)]
    process = subprocess.run([sys.executable, str(program), *arguments], check=False)
    if process.returncode:
        raise ExportError(f"training ended with exit code {process.returncode}; its message is above")


def _export(demo: Demo) -> None:
    """Checkpoint → ONNX."""
    from mutualformer.export.graph.from_checkpoint import export_onnx
    from mutualformer.train import checkpoint

    export_onnx(checkpoint.load(demo.weights), demo.onnx)


def exported(demo: Demo) -> bool:
    """The ONNX file comes from this checkpoint."""
    try:
        _, contract = read_onnx(demo.onnx)
    except (ExportError, ModelFileError):
        return False
    return contract.weights_sha256 == sha256(demo.weights)


def compiled(demo: Demo) -> bool:
    """The engine comes from this ONNX file and this plugin."""
    try:
        card = engine_card.read(demo.engine)
        engine_card.verify_bytes(demo.engine, card, demo.engine.read_bytes())
        engine_card.verify_plugin(demo.engine, card, library.find())
    except (ModelFileError, ContractError, library.PluginError):
        return False
    return card.onnx_sha256 == sha256(demo.onnx)


def compile_engine(demo: Demo) -> EngineCard:
    """Build the engine; returns its card. Raises ExportError."""
    options = BuildOptions("rtx")
    return to_engine(demo.onnx, demo.engine, options, rebuild_command(demo.onnx, demo.engine, options))


def real_pair() -> tuple[Item, str]:
    """The real RGB-D photograph, or a synthetic scene and a line that says so."""
    try:
        return opening.frames(SAMPLE)[0], SAMPLE
    except DataError as error:
        print(f"no real pair here ({error}); using a synthetic scene instead")
        return opening.frames(STAND_IN)[0], STAND_IN


def median_ms(session: Session, inputs: dict[str, NDArray[Any]], runs: int = 15) -> float:
    """Median wall time of one call in milliseconds, after three warm-up calls."""
    times = []
    for run in range(runs + 3):
        began = time.perf_counter()
        session.run(**inputs)
        if run >= 3:
            times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def show_pair(demo: Demo, session: Session, item: Item) -> float:
    """Write ``saliency.png`` (the map, camera size) and ``overview.png``; returns the model's milliseconds."""
    inputs = prepare(session.contract, item.rgb, item.depth)
    saliency = restore(session.run(**inputs)["saliency"][0], item.rgb.shape[:2])
    write_bytes(demo.out / "saliency.png", report.png(report.grey(saliency)[..., 0]))
    pictures = [item.rgb, depth_colours(item.depth), report.grey(saliency), rendering.overlay(item.rgb, saliency)]
    write_bytes(demo.out / "overview.png", report.png(report.strip(pictures, height=300)))
    return median_ms(session, inputs)


def closing_table(demo: Demo, result: Parity, pytorch_ms: float, onnx_ms: float, threads: int) -> str:
    """The three files, one row each: size, time, how they compare."""
    card = engine_card.read(demo.engine)
    from mutualformer.train import checkpoint

    metrics = checkpoint.read_card(demo.weights).get("metrics", {})
    scores = f"S {metrics['s_measure']:.3f}  MAE {metrics['mae']:.3f}" if "mae" in metrics else "not evaluated"
    agreement = f"{result.tensor['max_abs']:.1e} from PyTorch"
    megabytes = [path.stat().st_size / 1e6 for path in (demo.weights, demo.onnx, demo.engine)]
    where = f"GPU {compute_capabilities()[0]}" if compute_capabilities() else "built here, not run: no GPU"
    rows = [
        ("model.safetensors", f"{megabytes[0]:.1f} MB", f"{pytorch_ms:.1f} ms PyTorch, CPU, {threads} threads", scores),
        ("model.onnx", f"{megabytes[1]:.1f} MB", f"{onnx_ms:.1f} ms ONNX Runtime, CPU, {threads} threads", agreement),
        (
            "model.engine",
            f"{megabytes[2]:.1f} MB",
            where,
            f"{card.plugin_layers} of {card.cda_nodes} CDA as plugin, TensorRT-RTX {card.builder_version}",
        ),
    ]
    return aligned(rows)


def run(out: Path) -> int:
    """All steps; returns the exit code: 1 when a parity budget is violated."""
    out.mkdir(parents=True, exist_ok=True)
    demo = Demo(out)
    item, name = real_pair()
    demo.step("predict", lambda: predicted(demo), lambda: predict_pair(demo, item))
    demo.step("folder", lambda: folder_there(demo), lambda: make_folder(demo))
    demo.step("fine-tune", lambda: trained(demo), lambda: train(demo))
    demo.step("export", lambda: exported(demo), lambda: _export(demo))
    demo.step("compile", lambda: compiled(demo), lambda: compile_engine(demo))
    began = time.monotonic()
    with zoo.load(demo.weights) as reference, zoo.load(demo.onnx) as candidate:
        onnx_ms = show_pair(demo, candidate, item)
        pytorch_ms = median_ms(reference, prepare(reference.contract, item.rgb, item.depth), runs=5)
        threads = int(candidate.describe().get("threads", 0))
        result = compare_sessions(reference, candidate, [name, HELD_OUT])
    page = write_reports(result, out)
    print(f"[compare] {time.monotonic() - began:.0f} s\n")
    print(closing_table(demo, result, pytorch_ms, onnx_ms, threads))
    print("\nparity holds" if not result.problems else f"\nPARITY VIOLATED: {'; '.join(result.problems)}")
    print(f"pictures: {out / 'saliency.png'}, {out / 'overview.png'}\nreport:   {page}")
    return 1 if result.problems else 0


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    arguments = argparse.ArgumentParser(prog="mutualformer demo", description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=Path("out/demo"), metavar="DIR")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), lambda args: run(args.out), argv)


if __name__ == "__main__":
    sys.exit(main())
