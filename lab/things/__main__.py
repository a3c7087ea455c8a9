"""``python -m lab.things fit reid-lite --data photo:ROOT …``: ``mutualformer fit`` with ``photo:`` as training data.

Every option is that of ``mutualformer fit``; torchrun starts it with ``-m lab.things`` too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import lab.things.kind  # noqa: F401 (registers photo:)
from mutualformer.train import fit


def main(argv: Sequence[str] | None = None) -> int:
    """Register the kind and run ``fit``; returns its exit code."""
    verb, *words = list(sys.argv[1:] if argv is None else argv) or [""]
    if verb != "fit":
        print("usage: python -m lab.things fit reid-lite --data photo:ROOT --out DIR …", file=sys.stderr)
        return 2
    return fit.main(words)


if __name__ == "__main__":
    sys.exit(main())
