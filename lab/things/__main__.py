"""``python -m lab.things fit reid-lite --data photo:ROOT …``: ``mutualformer fit`` on objects of photographs.

Every option is that of ``mutualformer fit``. ``python -m lab.things score MODEL --data ROOT``: lab/things/held_out.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import lab.things.kind  # noqa: F401 (registers photo:)
from lab.things import held_out
from mutualformer.train import fit


def main(argv: Sequence[str] | None = None) -> int:
    """Register the kind and run ``fit``, or score; returns the exit code."""
    verb, *words = list(sys.argv[1:] if argv is None else argv) or [""]
    if verb not in ("fit", "score"):
        print("usage: python -m lab.things {fit,score} …", file=sys.stderr)
        return 2
    return fit.main(words) if verb == "fit" else held_out.main(words)


if __name__ == "__main__":
    sys.exit(main())
