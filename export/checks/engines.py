"""The checks with TensorRT: for each flavour and precision build, prove, save, compare with ONNX, open, bench, stream.

Every step is one of our own commands in a process of its own, as a user would type it. What an engine was not built
for is skipped, as is what needs a package that is not here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mutualformer.export.checks.rig.outcome import FAIL, PASS, SKIP, CheckFailed, CheckSkipped, Outcome
from mutualformer.runtime import flavor
from mutualformer.runtime.contract import PRECISIONS
from mutualformer.runtime.files import write_json
from mutualformer.runtime.session import engine_card
from mutualformer.runtime.untrusted.typed_json import parse_json

_FRAMES_PER_SECOND = 30  # what synthetic:// gives
_CALIBRATION = "synthetic:32?seed=2026"
_DATA = "synthetic:16?seed=4052"
_STEP_TIMEOUT_S = 1800
_ORDER = ("fp16", *(precision for precision in PRECISIONS if precision != "fp16"))  # first what people run
Steps = Iterator[tuple[str, dict[str, Any]]]
"""A sentence and numbers for each step that was done."""


def _run(command: list[str], name: str, timeout_s: float = _STEP_TIMEOUT_S, **environment: str) -> str:
    """Run a program of ours; its standard output. Raises CheckFailed with the last line it said, CheckSkipped where
    that names a missing package."""
    try:
        process = subprocess.run(
            [sys.executable, "-m", *command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired as error:
        raise CheckFailed(f"{name} did not end within {timeout_s:.0f} s") from error
    if process.returncode:
        lines = (process.stderr.strip() or process.stdout.strip() or "no message").splitlines()
        if re.search(r"Python package .* is missing", lines[-1]):
            raise CheckSkipped(lines[-1])
        raise CheckFailed(f"{name} ended with exit code {process.returncode}: {lines[-1]}")
    return process.stdout


def _verb(*arguments: str, timeout_s: float = _STEP_TIMEOUT_S, **environment: str) -> str:
    """Run ``mutualformer …`` as :func:`_run` does."""
    return _run(["mutualformer.runtime.cli", *arguments], arguments[0], timeout_s, **environment)


def _build(model: Path, engine: Path, precision: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Engine and card; the layer list beside. Raises CheckFailed where the build or its proof fails."""
    arguments = ["to_trt", str(model), "-o", str(engine), "--precision", precision, "--flavor", kind]
    if precision == "int8":
        arguments += ["--calibration", _CALIBRATION]
    _verb(*arguments, "--batch", "1", "1", "1")
    card = engine_card.read(engine)
    write_json(engine.with_suffix(".layers.json"), list(card.layers))
    nodes = ", ".join(f"{count} {name}" for name, count in card.heavy_nodes.items())
    return f"built and proven: {card.plugin_layers} of {card.cda_nodes} CDA as plugin, heavy nodes {nodes}", {
        "layers": len(card.layers),
        "kernels": getattr(card, "kernels", len(card.layers)),
        "mb": engine.stat().st_size / 1e6,
    }


def _served(engine: Path, capability: str) -> None:
    """Raises CheckSkipped for a GPU that the engine was not built for."""
    card = engine_card.read(engine)
    if not engine_card.serves(card, capability):
        raise CheckSkipped(f"{card.flavor} builds engines for {', '.join(card.targets)}, this GPU is {capability}")


def _inspect(engine: Path) -> tuple[str, dict[str, Any]]:
    """TensorRT's own inspector, which wants a GPU."""
    trt = flavor.import_flavor(engine_card.read(engine).flavor)
    loaded = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(engine.read_bytes())
    if loaded is None:
        raise CheckFailed("TensorRT does not load the engine that it built; its log above says why")
    text = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    path = engine.with_suffix(".inspector.json")
    path.write_text(text)
    return f"inspector saved as {path.name}", {"inspected": len(parse_json(text).get("Layers", []))}


def _sessions(engine: Path) -> tuple[str, dict[str, Any]]:
    text = _run(["mutualformer.export.checks.sessions", str(engine)], "opening sessions")
    numbers = parse_json(text.strip().splitlines()[-1])
    return numbers.pop("sentence"), numbers


def _compare(model: Path, engine: Path) -> tuple[str, dict[str, Any]]:
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


def default_model() -> Path | None:
    """The shipped model in one file, where there is one."""
    import mutualformer

    folder = Path(mutualformer.__file__).resolve().parent / "models"
    return next(iter(sorted(folder.glob("sod-lite*.onnx")) or sorted(folder.glob("*.onnx"))), None)


def full_precision(shipped: Path, out: Path) -> Path:
    """The shipped FP16 file in FP32, made in ``out``: what all engines are built from and compared with."""
    from mutualformer.export.precision.convert import write_onnx

    return write_onnx(shipped, out / f"{shipped.stem}.fp32.onnx").path


def _ours(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def outcomes(out: Path, model: Path | None, capability: str, seconds: float) -> Iterator[Outcome]:
    """Two lines for each flavour and precision: ``trt-FLAVOUR-PRECISION-build`` and ``-run``; SKIP where there is
    nothing to do. ``capability``: of this GPU, e.g. "8.7". ``seconds``: what all of it plans with."""
    shipped, kinds = default_model(), flavor.installed()
    source = model or (full_precision(shipped, out) if shipped is not None and kinds else None)
    if not kinds or source is None:
        yield Outcome(
            "tensorrt", SKIP, "no TensorRT is installed" if not kinds else "no ONNX file of ours: --model FILE"
        )
        return
    began, planned = time.monotonic(), [(kind, precision) for precision in _ORDER for kind in kinds]
    for index, (kind, precision) in enumerate(planned):
        left = seconds - (time.monotonic() - began)
        name = f"trt-{kind}-{precision}"
        if index and left < 0:
            yield Outcome(name, SKIP, "no time left; --minutes gives more, --only tensorrt all of it")
            continue
        engine, share = out / f"{kind}-{precision}.engine", max(0.0, left) / (len(planned) - index)

        def build(engine: Path = engine, precision: str = precision, kind: str = kind) -> Steps:
            yield _build(source, engine, precision, kind)

        def run(engine: Path = engine, precision: str = precision, share: float = share) -> Steps:
            _served(engine, capability)
            yield _inspect(engine)
            yield _compare(source, engine)
            yield _sessions(engine)
            yield _bench(engine)
            yield _stream(engine, share / 3)

        outcome = _outcome(f"{name}-build", build)
        yield outcome
        if outcome.state == PASS:
            yield _outcome(f"{name}-run", run)


def _outcome(name: str, steps: Callable[[], Steps]) -> Outcome:
    began = time.monotonic()
    state, detail, numbers = PASS, "", dict[str, Any]()
    try:
        for sentence, values in steps():
            detail, numbers = f"{detail}; {sentence}".lstrip("; "), {**numbers, **values}
    except CheckSkipped as reason:
        state, detail = SKIP, _ours(reason)
    except Exception as error:  # whatever TensorRT or a step raises is a failure of this line alone
        state, detail = FAIL, _ours(error)
    return Outcome(name, state, detail, numbers, round(time.monotonic() - began, 2))
