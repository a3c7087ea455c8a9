"""The checks with TensorRT: for each precision build, prove, save, compare with ONNX, bench, stream.

Every step is one of our own commands in a process of its own, as a user would type it. Without a GPU TensorRT-RTX
still builds and proves; what has to run on a GPU is skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutualformer.export.checks.rig.amount import EMULATED, GPU, Amount
from mutualformer.export.checks.rig.outcome import FAIL, PASS, SKIP, CheckFailed, CheckSkipped, Outcome
from mutualformer.runtime import flavor
from mutualformer.runtime.contract import PRECISIONS
from mutualformer.runtime.files import write_json
from mutualformer.runtime.untrusted.typed_json import parse_json

_FRAMES_PER_MINUTE = 30 * 60  # what synthetic:// gives
_CALIBRATION = "synthetic:32?seed=2026"
_DATA = "synthetic:16?seed=4052"
_STEP_TIMEOUT_S = 1800


def _verb(*arguments: str, timeout_s: float = _STEP_TIMEOUT_S, **environment: str) -> str:
    """Run ``mutualformer …``; its standard output. Raises CheckFailed with the last line it said."""
    command = [sys.executable, "-m", "mutualformer.runtime.cli", *arguments]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, env={**os.environ, **environment}
        )
    except subprocess.TimeoutExpired as error:
        raise CheckFailed(f"{arguments[0]} did not end within {timeout_s:.0f} s") from error
    if process.returncode:
        lines = (process.stderr.strip() or process.stdout.strip() or "no message").splitlines()
        raise CheckFailed(f"{arguments[0]} ended with exit code {process.returncode}: {lines[-1]}")
    return process.stdout


def _build(model: Path, engine: Path, precision: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Engine and card; the layer list beside. Raises CheckFailed where the build or its proof fails."""
    arguments = ["to_trt", str(model), "-o", str(engine), "--precision", precision, "--flavor", kind]
    if precision == "int8":
        arguments += ["--calibration", _CALIBRATION]
    _verb(*arguments, "--batch", "1", "1", "1")
    from mutualformer.runtime.session import engine_card

    card = engine_card.read(engine)
    write_json(engine.with_suffix(".layers.json"), list(card.layers))
    nodes = ", ".join(f"{count} {name}" for name, count in card.heavy_nodes.items())
    return f"built and proven: {card.plugin_layers} of {card.cda_nodes} CDA as plugin, heavy nodes {nodes}", {
        "layers": len(card.layers),
        "kernels": getattr(card, "kernels", len(card.layers)),
        "mb": engine.stat().st_size / 1e6,
    }


def _inspect(engine: Path) -> tuple[str, dict[str, Any]]:
    """TensorRT's own inspector, which wants a GPU."""
    from mutualformer.runtime.session import engine_card

    trt = flavor.import_flavor(engine_card.read(engine).flavor)
    loaded = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(engine.read_bytes())
    if loaded is None:
        raise CheckFailed("TensorRT does not load the engine that it built; its log above says why")
    text = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    path = engine.with_suffix(".inspector.json")
    path.write_text(text)
    return f"inspector saved as {path.name}", {"inspected": len(parse_json(text).get("Layers", []))}


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


def _stream(engine: Path, minutes: float) -> tuple[str, dict[str, Any]]:
    frames = max(1, int(minutes * _FRAMES_PER_MINUTE))
    arguments = ("stream", "synthetic://?seed=1", "--model", str(engine), "--frames", str(frames), "--json", "--quiet")
    text = _verb(*arguments, timeout_s=120 + 180 * minutes)
    frame_count = sum(parse_json(line).get("type") == "frame" for line in text.splitlines() if line.startswith("{"))
    if frame_count < 1:
        raise CheckFailed("the stream ended without a frame")
    return f"{frame_count} of {frames} frames streamed in {minutes:g} minutes", {"frames": frame_count}


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


def outcomes(out: Path, model: Path | None, emulated: bool) -> Iterator[Outcome]:
    """Two lines for each flavour and precision: ``trt-…-build``, ``trt-…-run``; SKIP where there is nothing to do."""
    amount: Amount = EMULATED if emulated else GPU
    shipped, kinds = default_model(), flavor.installed()
    source = model or (full_precision(shipped, out) if shipped is not None and kinds else None)
    if not kinds or source is None:
        why = "no TensorRT is installed" if not kinds else "no ONNX file of ours: give --model FILE"
        yield Outcome("tensorrt", SKIP, why, emulated=emulated)
        return
    for kind in kinds:
        if emulated and kind == "tensorrt":
            yield Outcome("trt-classic", SKIP, "classic TensorRT builds on a GPU only", emulated=emulated)
            continue
        for precision in PRECISIONS:
            engine = out / f"{kind}-{precision}.engine"
            steps = {
                # called before the next turn of the loop
                "build": lambda: [_build(source, engine, precision, kind)],  # noqa: B023
                "run": lambda: _run_steps(source, engine, amount, emulated),  # noqa: B023
            }
            for name, step in steps.items():
                outcome = _outcome(f"trt-{precision}-{name}", step, emulated)
                yield outcome
                if outcome.state != PASS and name == "build":
                    break


def _run_steps(model: Path, engine: Path, amount: Amount, emulated: bool) -> list[tuple[str, dict[str, Any]]]:
    if emulated:
        raise CheckSkipped("inspector, parity, bench and stream of an engine need a GPU")
    return [_inspect(engine), _compare(model, engine), _bench(engine), _stream(engine, amount.stream_minutes)]


def _outcome(name: str, step: Any, emulated: bool) -> Outcome:
    began = time.monotonic()
    state, detail, numbers = PASS, "", dict[str, Any]()
    try:
        for sentence, values in step():
            detail, numbers = f"{detail}; {sentence}".lstrip("; "), {**numbers, **values}
    except CheckSkipped as reason:
        state, detail = SKIP, _ours(reason)
    except Exception as error:  # whatever TensorRT or a step raises is a failure of this line alone
        state, detail = FAIL, _ours(error)
    return Outcome(name, state, detail, numbers, emulated and state == SKIP, round(time.monotonic() - began, 2))
