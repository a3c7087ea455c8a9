"""``mutualformer evaluate MODEL --data DATA``: one evaluation for checkpoints, ONNX files, engines and shipped models.

Writes OUT/metrics.json and table.md. Several --data (or rgbd:ROOT/standard) make a table in the papers' form. --probe
evaluates with each modality shuffled or taken away too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import verb, verb_parser
from mutualformer.runtime.files import write_bytes, write_json


def parser() -> argparse.ArgumentParser:
    """The command line of this verb."""
    parser = verb_parser("evaluate", __doc__)
    parser.add_argument("model", metavar="MODEL", help=zoo.HELP)
    parser.add_argument(
        "--data",
        required=True,
        action="append",
        help="synthetic:N[?seed=S], a folder, rgbd:ROOT/NAME+NAME, rgbd:ROOT/standard; repeatable, a table row each",
    )
    parser.add_argument("--out", type=Path, help="folder for metrics.json and table.md")
    parser.add_argument("--probe", action="store_true", help="also with each modality shuffled or zeroed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


def command(args: argparse.Namespace) -> int:
    """Evaluate, write OUT where it is given, print the table. Raises ValueError."""
    from mutualformer.train.evaluation.scoring import evaluate_all

    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)  # an impossible folder is reported before the work
    with zoo.load(args.model) as session:
        found, table = evaluate_all(session, args.model, args.data, args.probe)
    if args.out:
        write_json(args.out / "metrics.json", found)
        write_bytes(args.out / "table.md", table.encode(errors="backslashreplace"))
    print(json.dumps(found, indent=2) + "\n" if args.json else table, end="")
    return 0


main = verb(parser, command)
