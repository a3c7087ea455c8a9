"""``mutualformer bench model``: measure the latency of model files in turns, as a table and JSON.

Any ONNX file can be given, so that an alternative network is measured in the same run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mutualformer.runtime import zoo
from mutualformer.runtime.benchmarks.measure import conditions, interleaved_ms, summary
from mutualformer.runtime.commandline.arguments import add_device
from mutualformer.runtime.commandline.running import verb, verb_parser
from mutualformer.runtime.contract import PREFIX
from mutualformer.runtime.files import write_json
from mutualformer.runtime.session import ModelFileError, Session, load
from mutualformer.runtime.session.onnx_file import read_onnx_file
from mutualformer.runtime.session.onnxruntime import open_graph, session_options

Call = Callable[[], object]


def random_values(shape: Sequence[int], dtype: str, seed: int = 0) -> NDArray[Any]:
    """Seeded random input: pixels for uint8, else metres between 0.5 and 5."""
    random = np.random.default_rng(seed)
    if dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.uniform(0.5, 5.0, shape).astype(dtype)


def frame(session: Session, seed: int = 0) -> dict[str, NDArray[Any]]:
    """A random frame of the model's input shapes, batch 1."""
    return {spec.name: random_values((1, *spec.shape[1:]), spec.dtype, seed) for spec in session.contract.inputs}


def is_ours(path: Path) -> bool:
    """Whether a file carries our metadata; an engine always does, in the card beside it."""
    return path.suffix != ".onnx" or any(key.startswith(PREFIX) for key in read_onnx_file(path).props)


def foreign(path: Path) -> tuple[dict[str, Any], Call]:
    """Any other ONNX file on the CPU, run as our own sessions are: random inputs, dynamic dimensions 1."""
    dtypes = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}
    options, file = session_options(), read_onnx_file(path)
    session = open_graph(file, options, ["CPUExecutionProvider"])
    feed: dict[str, Any] = {}
    for node in session.get_inputs():
        if node.type not in dtypes:
            raise ModelFileError(f"{path}: input {node.name!r} is {node.type}, expected one of {', '.join(dtypes)}")
        feed[node.name] = random_values([n if isinstance(n, int) else 1 for n in node.shape], dtypes[node.type])
    about = {
        "file": path.name,
        "sha256": file.sha256,
        "backend": f"onnxruntime {ort.__version__}",
        "device": "cpu",
        "threads": options.intra_op_num_threads,
        "precision": "as given",
        "model": "not ours",
    }
    return about, lambda: session.run(None, feed)


def contender(path: Path, device: str = "auto") -> tuple[dict[str, Any], Call]:
    """A description of the file, and a function that runs it once."""
    if not is_ours(path):
        return foreign(path)
    session = load(path, device)
    inputs = frame(session)
    return {**session.describe(), "model": session.contract.model}, lambda: session.run(**inputs)


def measure(files: Sequence[Path], rounds: int, device: str = "auto") -> dict[str, Any]:
    """Load every file and run them in turns; one row each with p20/p50/p80 and the ratio to the first file."""
    contenders = [contender(path, device) for path in files]
    times = interleaved_ms({str(index): call for index, (_, call) in enumerate(contenders)}, rounds)
    rows = [{**about, **summary(times[str(index)])} for index, (about, _) in enumerate(contenders)]
    for row in rows:
        row["ratio_to_first"] = row["p50_ms"] / rows[0]["p50_ms"]
    return {"conditions": conditions(onnxruntime=ort.__version__), "rows": rows}


def speed(ratio: float) -> str:
    """A ratio of times in words: 4.9 → "4.9× slower", 0.5 → "2.0× faster"."""
    if 0.995 < ratio < 1.005:
        return "as fast"
    return f"{ratio:.1f}× slower" if ratio > 1 else f"{1 / ratio:.1f}× faster"


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    models = [zoo.resolve(model) for model in args.model or [zoo.DEFAULT]]
    result = measure(models, args.rounds, args.device)
    write_json(args.out / "model.json", result)
    print(f"{result['conditions']['processor']}, {result['conditions']['cores']} cores, median of {args.rounds}")
    for row in result["rows"]:
        where = f"{row['backend']}, {row['device']}, {row.get('threads', '–')} threads"
        ratio = speed(row["ratio_to_first"])
        print(f"{row['file']:<28} {row['precision']:<8} {row['p50_ms']:8.1f} ms  {ratio:<12}  {where}")
    print(args.out / "model.json")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    parser = verb_parser("bench model", __doc__)
    parser.add_argument(
        "--model", action="append", help=f"{zoo.HELP}; .onnx may be anybody's; repeatable (default: {zoo.DEFAULT})"
    )
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    parser.add_argument("--rounds", type=int, default=50)
    add_device(parser)
    return parser


main = verb(parser, command)
