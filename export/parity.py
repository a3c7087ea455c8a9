"""Verb ``parity``: is the candidate still the model that was trained? JSON, HTML with pictures, exit 1 if it is not.

    mutualformer parity REFERENCE CANDIDATE --data DATA --out DIR

REFERENCE and CANDIDATE are any two of ``.safetensors`` (PyTorch), ``.onnx``, ``.engine``.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export import report
from export.budgets import BUDGETS
from export.compare import TensorComparison, violations
from export.errors import ExportError
from export.precision import heavy_node_types, precision_problems
from runtime import session as sessions
from runtime.cli import run_verb
from runtime.files import write_json
from runtime.preprocess import prepare
from runtime.progress import progress
from runtime.session import Session
from train.data.spec import open_data
from train.metrics import sod_metrics

SCHEMA_VERSION = 1
TASK_KEYS = ("mae", "s_measure", "max_f", "max_e")


@dataclass
class Frame:
    """One compared frame, kept only while it is among those to show. Maps (h, w) in [0, 1]; depth in metres."""

    name: str
    worst: float
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    reference: NDArray[np.float32]
    candidate: NDArray[np.float32]


@dataclass
class Parity:
    """Outcome of one comparison; ``problems`` empty = parity holds."""

    reference: dict[str, Any]
    candidate: dict[str, Any]
    precision: str
    data: str
    frames: int
    tensor: dict[str, Any]
    task: dict[str, Any]
    problems: list[str]
    shown: list[Frame] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For ``parity.json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "holds": not self.problems,
            "problems": self.problems,
            "precision": self.precision,
            "budget": {k: v for k, v in vars(BUDGETS[self.precision]).items() if v is not None},
            "reference": self.reference,
            "candidate": self.candidate,
            "data": self.data,
            "frames": self.frames,
            "tensor": self.tensor,
            "task": self.task,
            "host": {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
        }


def open_session(path: Path) -> Session:
    """Any model file as a Session. PyTorch is imported only for a checkpoint."""
    if path.suffix == ".safetensors":
        from export.torch_session import TorchSession

        return TorchSession(path)
    return sessions.load(path)


def check_same_model(reference: Session, candidate: Session) -> None:
    """Raise ExportError unless both files come from one checkpoint."""
    for what in ("task", "model", "input_size", "weights_sha256"):
        left, right = getattr(reference.contract, what), getattr(candidate.contract, what)
        if left != right:
            raise ExportError(
                f"reference and candidate are not the same model: {what} is {_short(left)} and {_short(right)}; "
                "export the candidate again from the reference checkpoint"
            )


def _short(value: object) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) > 40 else text


def compare_sod(reference: Session, candidate: Session, frames: Iterable[Any], show: int = 6) -> Parity:
    """Run both on the same prepared inputs and compare saliency maps; ``frames`` have rgb, depth, mask, name.

    Frames without a mask take the reference's own map, binarised at 0.5, as ground truth.
    """
    check_same_model(reference, candidate)
    tensors = TensorComparison()
    maps: tuple[list[Any], list[Any]] = ([], [])
    shown: list[Frame] = []
    for item in frames:
        inputs = prepare(reference.contract, item.rgb, item.depth)
        r, c = (session.run(**inputs)["saliency"][0] for session in (reference, candidate))
        worst = tensors.add(r, c)
        mask = item.mask
        if mask is None:
            mask = np.where(r >= 0.5, 255, 0).astype(np.uint8)
        elif mask.shape != r.shape:
            mask = report.resize_mask(mask, r.shape)
        for kept, output in zip(maps, (r, c), strict=True):
            kept.append((np.nan_to_num(output), mask))
        shown.append(Frame(item.name, worst, inputs["rgb"][0], inputs["depth"][0], r, c))
        shown.sort(key=lambda frame: -frame.worst)
        del shown[show:]
    if not maps[0]:
        raise ExportError("the data holds no frame to compare")
    tensor = tensors.result()
    scores = [sod_metrics(pairs) for pairs in maps]
    task: dict[str, Any] = {
        key: {"reference": scores[0][key], "candidate": scores[1][key], "delta": abs(scores[1][key] - scores[0][key])}
        for key in TASK_KEYS
    }
    deltas = {key: task[key]["delta"] for key in ("mae", "s_measure")}
    precision = candidate.contract.precision
    return Parity(
        reference=reference.describe(),
        candidate=candidate.describe(),
        precision=precision,
        data="",
        frames=len(maps[0]),
        tensor=tensor.as_dict(),
        task=task,
        problems=violations(BUDGETS[precision], tensor, deltas),
        shown=shown,
    )


def compare(reference: Path, candidate: Path, data: Sequence[str], show: int = 6) -> Parity:
    """Open both files and the data, and compare. Raises on unreadable files or data."""
    with open_session(reference) as left, open_session(candidate) as right:
        result = compare_sessions(left, right, data, show)
    result.problems[:0] = graph_problems(candidate, result.precision)
    return result


def graph_problems(candidate: Path, precision: str) -> list[str]:
    """An ONNX file whose graph is not of the precision that its metadata claims; engines prove theirs when built."""
    if candidate.suffix != ".onnx":
        return []
    return precision_problems(precision, heavy_node_types(onnx.load(candidate)), [])


def compare_sessions(reference: Session, candidate: Session, data: Sequence[str], show: int = 6) -> Parity:
    """As :func:`compare`, with both files open already."""
    if reference.contract.task != "sod":
        raise ExportError(f"parity of task {reference.contract.task} is not available yet")
    frames = Concatenated(data, reference)
    result = compare_sod(reference, candidate, progress(frames, "parity"), show)
    result.data = ", ".join(data)
    return result


class Concatenated:
    """The frames of several DATA one after another, each made only when it is asked for."""

    def __init__(self, data: Sequence[str], session: Session) -> None:
        self._parts = [open_data(source, session.contract.task, session.contract.input_size) for source in data]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Any]:
        for part in self._parts:
            for index in range(len(part)):
                yield part[index]


def write_reports(result: Parity, out: Path, json_name: str = "parity.json", html_name: str = "report.html") -> Path:
    """Write both reports into ``out``; returns the path of the HTML page."""
    write_json(out / json_name, result.as_dict())
    page = out / html_name
    report.write_page(page, "Parity: is it still the model you trained?", sections(result))
    return page


def sections(result: Parity) -> list[tuple[str, str]]:
    """The report's parts as (heading, HTML)."""
    files = [
        [role, d["file"], d["backend"], d["device"], d["precision"], d.get("threads"), d["sha256"][:16]]
        for role, d in (("reference", result.reference), ("candidate", result.candidate))
    ]
    tensor = [[key, value] for key, value in result.tensor.items()]
    task = [
        [key, row["reference"], row["candidate"], row["delta"]] for key, row in result.task.items() if key in TASK_KEYS
    ]
    budget = ", ".join(f"{k} ≤ {v}" for k, v in vars(BUDGETS[result.precision]).items() if v is not None)
    pictures = "".join(report.figure(frame_strip(frame), frame_caption(frame)) for frame in result.shown)
    return [
        ("", report.verdict(result.problems) + f"<p>{result.frames} frames of {result.data}. Budget: {budget}.</p>"),
        ("Files", report.table(["", "file", "backend", "device", "precision", "threads", "sha256"], files)),
        ("Output tensor", report.table(["measure", "value"], tensor)),
        ("Task", report.table(["metric", "reference", "candidate", "|Δ|"], task)),
        ("Frames that differ most: colour, depth, reference, candidate, difference", pictures),
    ]


def frame_strip(frame: Frame) -> NDArray[np.uint8]:
    """Colour, depth, reference map, candidate map, difference stretched to its own maximum."""
    difference = np.abs(np.nan_to_num(frame.reference - frame.candidate))
    stretched = difference / max(float(difference.max()), 1e-9)
    maps = [report.grey(image) for image in (frame.reference, frame.candidate, stretched)]
    return report.strip([frame.rgb, report.depth_colours(frame.depth), *maps])


def frame_caption(frame: Frame) -> str:
    return f"{frame.name}: largest difference {frame.worst:.2e} (last picture is stretched to it)"


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="mutualformer parity", description=__doc__.splitlines()[0])
    arguments.add_argument("reference", type=Path, help="model file to be equal to")
    arguments.add_argument("candidate", type=Path, help="model file to be judged; its precision picks the budget")
    arguments.add_argument(
        "--data", action="append", required=True, help="folder, sample:motorcycle or synthetic:N[?seed=S]"
    )
    arguments.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets parity.json and report.html")
    arguments.add_argument("--show", type=int, default=6, help="pictures in the report (default 6, the worst frames)")
    return arguments


def command(args: argparse.Namespace) -> int:
    result = compare(args.reference, args.candidate, args.data, args.show)
    page = write_reports(result, args.out)
    print(
        f"{'parity holds' if not result.problems else 'PARITY VIOLATED: ' + '; '.join(result.problems)} "
        f"({result.precision}, {result.frames} frames, max abs {result.tensor['max_abs']:.2e}); report: {page}"
    )
    return 1 if result.problems else 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
