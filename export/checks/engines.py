"""The checks with TensorRT: for each flavour and precision build, prove, save, compare with ONNX, bench, stream.

Every step is one of our own commands in a process of its own, as a user would type it. The run is skipped on a GPU that
the engine was not built for, and a step that needs a package that is not installed is skipped with its message.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mutualformer.export.checks.rig.outcome import PASS, SKIP, CheckFailed, CheckSkipped, Outcome, carried_out
from mutualformer.runtime import flavor, zoo
from mutualformer.runtime.contract import PRECISIONS
from mutualformer.runtime.files import write_json
from mutualformer.runtime.session import engine_card
from mutualformer.runtime.untrusted.typed_json import parse_json

_FRAMES_PER_SECOND = 30  # the rate of synthetic://
_CALIBRATION = "synthetic:32?seed=2026"
_DATA = "synthetic:16?seed=4052"
_STEP_TIMEOUT_S = 1800
_ORDER = ("fp16", *(precision for precision in PRECISIONS if precision != "fp16"))  # first what most people run


def _verb(*arguments: str, timeout_s: float = _STEP_TIMEOUT_S, **environment: str) -> str:
    """Run ``mutualformer …``; its standard output.

    Raises CheckFailed with the last line it printed, CheckSkipped where that line names a missing package.
    """
    try:
        process = subprocess.run(
            [sys.executable, "-m", "mutualformer.runtime.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired as error:
        raise CheckFailed(f"{arguments[0]} did not end within {timeout_s:.0f} s") from error
    if process.returncode:
        lines = (process.stderr.strip() or process.stdout.strip() or "no message").splitlines()
        if re.search(r"Python package .* is missing", lines[-1]):
            raise CheckSkipped(lines[-1])
        raise CheckFailed(f"{arguments[0]} ended with exit code {process.returncode}: {lines[-1]}")
    return process.stdout


def _build(model: Path, engine: Path, precision: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Engine and card, and the layer list beside them."""
    calibration = ["--calibration", _CALIBRATION] if precision == "int8" else []
    _verb("to_trt", str(model), "-o", str(engine), "--precision", precision, "--flavor", kind, *calibration)
    card = engine_card.read(engine)
    write_json(engine.with_suffix(".layers.json"), list(card.layers))
    nodes = ", ".join(f"{count} {name}" for name, count in card.heavy_nodes.items())
    return f"built and proven: {card.plugin_layers} of {card.cda_nodes} CDA as plugin, heavy nodes {nodes}", {
        "layers": len(card.layers),
        "kernels": card.kernels,
        "mb": engine.stat().st_size / 1e6,
    }


def _compare(model: Path, engine: Path, capability: str) -> tuple[str, dict[str, Any]]:
    """Parity, on a GPU that the engine was built for."""
    card = engine_card.read(engine)
    if not engine_card.serves(card, capability):
        raise CheckSkipped(f"{card.flavor} builds engines for {', '.join(card.targets)}, this GPU is {capability}")
    folder = engine.with_suffix(".parity")
    _verb("parity", str(model), str(engine), "--data", _DATA, "--out", str(folder))
    tensor = parse_json((folder / "parity.json").read_text()).get("tensor", {})
    return f"engine against {model.name} within its budget", {"max_abs": tensor.get("max_abs", float("nan"))}


def _bench(engine: Path) -> tuple[str, dict[str, Any]]:
    numbers = {}
    for name, switch in (("with_graph", "on"), ("without_graph", "off")):
        folder = engine.with_suffix(f".bench-{name}")
        text = _verb("bench", "model", "--model", str(engine), "--out", str(folder), MUTUALFORMER_CUDA_GRAPHS=switch)
        if match := re.search(r"([\d.]+) ms", text):
            numbers[f"{name}_ms"] = float(match[1])
    return "timed with and without CUDA graph", numbers


def _stream(engine: Path, seconds: float) -> tuple[str, dict[str, Any]]:
    frames = max(30, int(seconds * _FRAMES_PER_SECOND))
    arguments = ("stream", "synthetic://?seed=1", "--model", str(engine), "--frames", str(frames), "--json", "--quiet")
    text = _verb(*arguments, timeout_s=120 + 3 * seconds)
    frame_count = sum(parse_json(line).get("type") == "frame" for line in text.splitlines() if line.startswith("{"))
    if frame_count < 1:
        raise CheckFailed("the stream ended without a frame")
    return f"{frame_count} of {frames} frames streamed", {"frames": frame_count}


def full_precision(shipped: Path, out: Path) -> Path:
    """The shipped FP16 file in FP32, made in ``out``: the source and the reference of all engines."""
    from mutualformer.export.precision.convert import write_onnx

    return write_onnx(shipped, out / f"{shipped.stem}.fp32.onnx").path


def outcomes(out: Path, model: Path | None, capability: str, seconds: float) -> Iterator[Outcome]:
    """Two lines for each flavour and precision, ``trt-FLAVOUR-PRECISION-build`` and ``-run``, or one SKIP.

    ``capability``: of this GPU, e.g. "8.7". ``seconds``: the time that all of it plans with.
    """
    kinds, shipped = flavor.installed(), zoo.shipped(zoo.DEFAULT)
    if not kinds:
        yield Outcome("tensorrt", SKIP, "no TensorRT is installed")
        return
    if model is None and shipped is None:
        yield Outcome("tensorrt", SKIP, "there is no shipped model here: --model FILE")
        return
    source = model or full_precision(shipped.path, out)  # type: ignore[union-attr]
    end, planned = time.monotonic() + seconds, [(kind, precision) for precision in _ORDER for kind in kinds]
    for index, (kind, precision) in enumerate(planned):
        left, name = end - time.monotonic(), f"trt-{kind}-{precision}"
        if index and left < 0:
            yield Outcome(name, SKIP, "no time left; --minutes gives more, --only tensorrt all of it")
            continue
        engine, share = out / f"{kind}-{precision}.engine", max(0.0, left) / (len(planned) - index)
        outcome = carried_out(f"{name}-build", partial(_build, source, engine, precision, kind))
        yield outcome
        if outcome.state == PASS:
            yield carried_out(
                f"{name}-run",
                partial(_compare, source, engine, capability),
                partial(_bench, engine),
                partial(_stream, engine, share / 3),
            )
