"""``mutualformer bench model``: latency of model files on the same frame, interleaved, as a table and JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from runtime.cli import run_verb
from runtime.files import write_json
from runtime.measure import conditions, interleaved_ms, summary
from runtime.session import Session, load


def frame(session: Session, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """A seeded random frame of the model's own input shapes, batch 1."""
    random = np.random.default_rng(seed)
    made: dict[str, np.ndarray[Any, Any]] = {}
    for spec in session.contract.inputs:
        shape = (1, *spec.shape[1:])
        if spec.dtype == "uint8":
            made[spec.name] = random.integers(0, 256, shape, np.uint8)
        else:
            made[spec.name] = random.uniform(0.5, 5.0, shape).astype(np.float32)
    return made


def measure(files: Sequence[Path], rounds: int, device: str = "auto") -> dict[str, Any]:
    """Load every file, run them in turns; rows of describe() plus p20/p50/p80 and the ratio to the first file."""
    sessions = [load(path, device) for path in files]
    frames = [frame(session) for session in sessions]
    calls = {
        str(path): (lambda s=session, f=inputs: s.run(**f))
        for path, session, inputs in zip(files, sessions, frames, strict=True)
    }
    times = interleaved_ms(calls, rounds)
    rows = [
        {**session.describe(), "model": session.contract.model, **summary(times[str(path)])}
        for path, session in zip(files, sessions, strict=True)
    ]
    for row in rows:
        row["ratio_to_first"] = row["p50_ms"] / rows[0]["p50_ms"]
    return {"conditions": conditions(onnxruntime=ort.__version__), "rows": rows}


def command(args: argparse.Namespace) -> int:
    result = measure(args.model, args.rounds, args.device)
    write_json(args.out / "model.json", result)
    print(f"{result['conditions']['processor']}, {result['conditions']['cores']} cores, median of {args.rounds}")
    for row in result["rows"]:
        where = f"{row['backend']}, {row['device']}, {row.get('threads', '–')} threads"
        print(f"{row['file']:<28} {row['precision']:<5} {row['p50_ms']:8.1f} ms  ×{row['ratio_to_first']:.2f}  {where}")
    print(args.out / "model.json")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(prog="mutualformer bench model", description=__doc__)
    arguments.add_argument("--model", type=Path, action="append", required=True, help=".onnx or .engine; repeatable")
    arguments.add_argument("--out", type=Path, default=Path("out/bench"))
    arguments.add_argument("--rounds", type=int, default=50)
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return run_verb(arguments, command, argv)
