"""``python -m lab.streaming --out DIR``: measure what streaming itself costs per frame, apart from the model.

The camera replays frames that were rendered beforehand, and the stand-in model only waits, so neither rendering nor the
model's arithmetic counts. Each configuration gives two numbers: latency, how much streaming adds to the model's time
(total − model), and work, the CPU time of all threads of this process together.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.benchmarks.measure import conditions
from mutualformer.runtime.commandline.running import verb
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import write_json
from mutualformer.runtime.reporting.tables import aligned
from mutualformer.runtime.sources.base import BaseCamera
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.sources.synthetic import SCALE, Options, SyntheticCamera
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import SinkRunner
from mutualformer.runtime.streaming.telemetry import summary_ms

CONFIGURATIONS = ("bare", "record")
FPS = 30
MODEL_SECONDS = 0.010
LIMIT_MS = 6.0  # median latency above which the benchmark fails: 30 fps leave 33 ms, of which a model may take 27
WARM_UP = 15  # frames that are not counted


class ReplayCamera(BaseCamera):
    """A camera of :data:`FPS` frames per second, drawn beforehand; each read copies the pixels, as a driver does."""

    def __init__(self, size: str, frames: int) -> None:
        scene = SyntheticCamera(Options(fps=0, size=size))
        super().__init__(f"replay {size}", live=True, intrinsics=scene.intrinsics, depth_scale=SCALE)
        self._frames = [scene.frame_at(index) for index in range(16)]
        self._total, self._index, self._due = frames, 0, time.monotonic()

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As BaseCamera.read; never times out: it sleeps until its next frame is due."""
        if self._index >= self._total:
            return None
        self._due += 1 / FPS
        time.sleep(max(0.0, self._due - time.monotonic()))
        began = time.perf_counter()
        drawn, stamp = self._frames[self._index % len(self._frames)], self._index / FPS
        frame = Frame(drawn.rgb.copy(), drawn.depth.copy(), stamp, stamp, self._index)
        self._index += 1
        self.busy_s = time.perf_counter() - began
        return frame


class WaitingModel:
    """Takes :data:`MODEL_SECONDS` without CPU time, like a GPU; answers with a blob."""

    def __init__(self) -> None:
        self.contract = Contract(task="sod", model="stand-in", input_size=(320, 320))
        y, x = np.mgrid[-1:1:320j, -1:1:320j]
        self._map = np.exp(-4 * (x * x + y * y)).astype(np.float32)[None]

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """``saliency`` (1, h, w) float32, the same blob whatever the inputs are, after MODEL_SECONDS."""
        time.sleep(MODEL_SECONDS)
        return {"saliency": self._map}


def measure(configuration: str, frames: int, size: str, folder: Path) -> dict[str, Any]:
    """One run: latency (ms, p50/p95/p99), work (ms per frame), and what the sinks delivered and dropped."""
    pipeline = Pipeline(lambda: ReplayCamera(size, frames), WaitingModel())
    if configuration == "record":
        pipeline.sinks.append(SinkRunner(Recorder(folder, part_bytes=1 << 28)))
    overhead: list[float] = []
    cpu = started = 0.0
    for result in pipeline.results():
        if result.number == WARM_UP:
            cpu, started = time.process_time(), time.monotonic()
        elif result.number > WARM_UP:
            overhead.append(result.stages["total"] - result.stages["infer"])
    work = (time.process_time() - cpu) / max(1, len(overhead))
    rate = len(overhead) / (time.monotonic() - started)
    summary = pipeline.snapshot(whole=True)
    return {
        "configuration": configuration,
        "latency_ms": summary_ms(overhead),
        "work_ms_per_frame": round(1e3 * work, 2),
        "fps": round(rate, 2),
        "frames": len(overhead),
        "dropped": summary["dropped"],
        "sinks": {name: [sink["delivered"], sink["dropped"]] for name, sink in summary["sinks"].items()},
    }


def run(frames: int, size: str) -> dict[str, Any]:
    """Measure all configurations; the report names the machine and the versions."""
    with tempfile.TemporaryDirectory(prefix="bench-stream-") as folder:
        rows = [measure(name, frames, size, Path(folder) / name) for name in CONFIGURATIONS]
    return {"size": size, "limit_ms": LIMIT_MS, "rows": rows, **conditions(opencv=cv2.__version__)}


def table(report: dict[str, Any]) -> str:
    """The report as a table for a terminal."""
    lines: list[Sequence[Any]] = [("configuration", "latency p50, ms", "p95", "work, ms a frame", "fps", "dropped")]
    for row in report["rows"]:
        late, work = row["latency_ms"], row["work_ms_per_frame"]
        lines.append((row["configuration"], late["p50"], late["p95"], work, row["fps"], row["dropped"]))
    return f"{report['size']} at {FPS} fps, model {1e3 * MODEL_SECONDS:g} ms; {report['processor']}\n{aligned(lines)}"


def _command(args: argparse.Namespace) -> int:
    cv2.setNumThreads(1)  # as the stream verb does
    report = run(args.frames, args.size)
    print(table(report))
    if args.out is not None:
        write_json(args.out / "stream.json", report)
    slowest = max(row["latency_ms"]["p50"] for row in report["rows"])
    if slowest > LIMIT_MS:
        print(f"streaming: p50 without the model {slowest:.1f} ms, expected at most {LIMIT_MS:g}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m lab.streaming", description="what streaming costs per frame")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write stream.json here")
    parser.add_argument("--frames", type=int, default=300, help="frames per configuration (default: 300)")
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT of the camera (default: 640x480)")
    return parser


main = verb(parser, _command)

if __name__ == "__main__":
    sys.exit(main())
