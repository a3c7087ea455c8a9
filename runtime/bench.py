"""Verb ``bench``: ``mutualformer bench {model,paper} --out DIR``; each in a file of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mutualformer.runtime.commandline.running import run_module

BENCHES = {
    "model": ("mutualformer.runtime.benchmarks.model", "model files: latency of the whole graph"),
    "paper": ("mutualformer.export.benchmarks.paper", "a frame's time on devices, layer by layer (computed)"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or [""]
    if name in BENCHES:
        return run_module(BENCHES[name][0], f"mutualformer bench {name}", rest)
    wants_help = name in ("-h", "--help")
    rows = "\n".join(f"  {name:<8} {what}" for name, (_, what) in BENCHES.items())
    text = f"usage: mutualformer bench {{{','.join(BENCHES)}}} --out DIR …\n\n{rows}"
    print(text, file=sys.stdout if wants_help else sys.stderr)
    return 0 if wants_help else 2


if __name__ == "__main__":
    sys.exit(main())
