"""Verb ``parity``: is the candidate still the model that was trained? JSON, HTML with pictures, exit 1 if it is not.

    mutualformer parity REFERENCE CANDIDATE --data DATA --out DIR
    mutualformer parity REFERENCE --sweep --calibration DATA --data DATA --out DIR          cost of INT8 layer by layer

REFERENCE and CANDIDATE are any two of ``.safetensors`` (PyTorch), ``.onnx``, ``.engine``; the studies take one fp32
``.onnx`` or a checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

import onnx

from mutualformer.export.compare import report
from mutualformer.export.compare.reid import compare_reid
from mutualformer.export.compare.result import Parity
from mutualformer.export.compare.sod import compare_sod
from mutualformer.export.engine.proof import heavy_node_types, precision_problems
from mutualformer.export.errors import ExportError
from mutualformer.export.precision.calibration import DEFAULT_METHOD, METHODS
from mutualformer.runtime import zoo
from mutualformer.runtime.cli import run_verb
from mutualformer.runtime.data.spec import open_all, open_identities
from mutualformer.runtime.files import write_json
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session import Session


def compare(reference: Path, candidate: Path, data: Sequence[str], show: int = 6, emulate_half: bool = False) -> Parity:
    """Open both files and the data, and compare. Raises on unreadable files or data.

    ``emulate_half``: compare a second time with the candidate in ``export/emulation``, which rounds to float16
    where the graph says so; ONNX Runtime on a CPU does not everywhere.
    """
    with zoo.load(reference) as left:
        with zoo.load(candidate) as right:
            result = compare_sessions(left, right, data, show)
        if emulate_half:
            from mutualformer.export.emulation.session import EmulatedSession

            if candidate.suffix != ".onnx":
                raise ExportError(f"{candidate}: --emulate-half interprets .onnx files only")
            result.add_emulated(compare_sessions(left, EmulatedSession(candidate), data, show=0))
    result.problems[:0] = graph_problems(candidate, result.precision)
    return result


def graph_problems(candidate: Path, precision: str) -> list[str]:
    """An ONNX file whose graph is not of the precision that its metadata claims; engines prove theirs when built."""
    if candidate.suffix != ".onnx":
        return []
    return precision_problems(precision, heavy_node_types(onnx.load(candidate)), [])


def compare_sessions(reference: Session, candidate: Session, data: Sequence[str], show: int = 6) -> Parity:
    """As :func:`compare`, with both files open already."""
    if reference.contract.task == "reid":
        if len(data) != 1:
            raise ExportError(f"ReID is compared on one DATA at a time, found {len(data)}: identities must not mix")
        result = compare_reid(reference, candidate, open_identities(data[0], reference.contract.input_size))
    else:
        frames = open_all(data, reference.contract.input_size)
        items = (frames[index] for index in progress(range(len(frames)), "parity"))
        result = compare_sod(reference, candidate, items, show)
    result.data = ", ".join(data)
    return result


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
    twin = result.emulated
    extra = ["in true half precision"] if twin else []
    tensor = [[key, value, *([twin.tensor[key]] if twin else [])] for key, value in result.tensor.items()]
    task = [
        [key, row["reference"], row["candidate"], row["delta"], *([twin.task[key]["delta"]] if twin else [])]
        for key, row in result.task.items()
    ]
    budget = ", ".join(f"{k} {'≥' if k == 'cosine' else '≤'} {v}" for k, v in result.budget.as_dict().items())
    pictures = "".join(report.figure(picture, caption) for picture, caption in result.pictures)
    shown = [
        ("", report.verdict(result.problems) + f"<p>{result.frames} frames of {result.data}. Budget: {budget}.</p>"),
        ("Files", report.table(["", "file", "backend", "device", "precision", "threads", "sha256"], files)),
        ("Output tensor", report.table(["measure", "value", *extra], tensor)),
        ("Task", report.table(["metric", "reference", "candidate", "|Δ|", *(f"|Δ| {e}" for e in extra)], task)),
    ]
    return [*shown, (result.pictures_title, pictures)] if pictures else shown


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    arguments = argparse.ArgumentParser(prog="mutualformer parity", description=__doc__.splitlines()[0])
    arguments.add_argument("reference", help=f"the model to be equal to: {zoo.HELP}")
    arguments.add_argument("candidate", nargs="?", help="the model to be judged; its precision picks the budget")
    arguments.add_argument(
        "--data", action="append", required=True, help="folder, sample:motorcycle or synthetic:N[?seed=S]"
    )
    arguments.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets parity.json and report.html")
    arguments.add_argument("--show", type=int, default=6, help="pictures in the report (default 6, the worst frames)")
    arguments.add_argument(
        "--emulate-half", action="store_true", help="judge an .onnx file in true float16 arithmetic as well"
    )
    arguments.add_argument("--sweep", action="store_true", help="quantise every layer alone: which cost how much")
    arguments.add_argument("--calibration", metavar="DATA", help="frames for the scales of --sweep")
    arguments.add_argument("--method", choices=METHODS, default=DEFAULT_METHOD, help="scales of --sweep")
    arguments.add_argument("--frames", type=int, default=8, help="frames of DATA that --sweep judges on (default 8)")
    return arguments


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    reference = zoo.resolve(args.reference)
    if args.sweep:
        return _sweep(args, reference)
    if args.candidate is None:
        raise ExportError("parity compares two model files; CANDIDATE is missing (or --sweep)")
    result = compare(reference, zoo.resolve(args.candidate), args.data, args.show, args.emulate_half)
    page = write_reports(result, args.out)
    print(
        f"{'parity holds' if not result.problems else 'PARITY VIOLATED: ' + '; '.join(result.problems)} "
        f"({result.precision}, {result.frames} frames, max abs {result.tensor['max_abs']:.2e}, mean abs "
        f"{result.tensor['mean_abs']:.2e}); report: {page}"
    )
    if result.emulated:
        emulated = result.emulated.tensor
        print(f"in true half precision: max abs {emulated['max_abs']:.2e}, mean abs {emulated['mean_abs']:.2e}")
    return 1 if result.problems else 0


def _sweep(args: argparse.Namespace, reference: Path) -> int:
    """Always 0: the sweep judges layers, not the model."""
    from mutualformer.export.studies import sweep
    from mutualformer.export.studies.study import study

    if args.candidate is not None:
        raise ExportError(f"--sweep takes one model file; {args.candidate} is a second one")
    rows = study(reference, args.calibration, args.data, args.method, args.out, args.frames)["layers"]
    print(f"{len(rows)} layers quantised alone, the costliest of them (squared error, % of the answer's):")
    print("\n".join(f"  {100 * row['noise']:8.4f}  {row['node']:<24} {sweep.label(row)}" for row in rows[:8]))
    print(f"{args.out / 'sweep.html'}, sweep.json, sweep.csv, sweep.png")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
