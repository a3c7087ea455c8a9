"""Verb ``bench``: ``mutualformer bench {cda,model,stream,kernels,paper} --out DIR``; each in a file of its own."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from collections.abc import Sequence

from mutualformer.runtime.commandline.running import run_module

BENCHES = {
    "cda": (
        "mutualformer.export.benchmarks.operator",
        "the operator: released form, ours, plain attention, the machine's peak",
    ),
    "model": ("mutualformer.runtime.benchmarks.model", "model files: latency of the whole graph"),
    "stream": ("mutualformer.runtime.benchmarks.stream", "everything around the model, per frame"),
    "kernels": (
        "mutualformer.plugins.usage",
        "the compiled kernels: registers, spills, occupancy (computed)",
    ),
    "paper": ("mutualformer.export.benchmarks.paper", "a frame's time on devices, layer by layer (computed)"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    rows = "\n".join(f"  {name:<8} {what}" for name, (_, what) in BENCHES.items())
    if not arguments or arguments[0] in ("-h", "--help") or arguments[0] not in BENCHES:
        wants_help = bool(arguments) and arguments[0] in ("-h", "--help")
        print(
            f"usage: mutualformer bench {{{','.join(BENCHES)}}} --out DIR …\n\n{rows}",
            file=sys.stdout if wants_help else sys.stderr,
        )
        return 0 if wants_help else 2
    name, *rest = arguments
    return run_module(BENCHES[name][0], f"mutualformer bench {name}", rest)


if __name__ == "__main__":
    sys.exit(main())
