"""``python -m lab.things fit reid-lite --data photo:ROOT …``: ``mutualformer fit`` on objects of photographs.

Every option is that of ``mutualformer fit``. ``python -m lab.things score MODEL --data ROOT``: lab/things/held_out.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import lab.things.kind  # noqa: F401 (registers photo:)
from lab.things import heads, held_out
from mutualformer.train import fit


def main(argv: Sequence[str] | None = None) -> int:
    """Register the kind and run ``fit``, or score; returns the exit code."""
    verb, *words = list(sys.argv[1:] if argv is None else argv) or [""]
    verbs = {"fit": fit.main, "heads": heads.main, "score": held_out.main}
    if verb not in verbs:
        print(f"usage: python -m lab.things {{{','.join(verbs)}}} …", file=sys.stderr)
        return 2
    return verbs[verb](words)


if __name__ == "__main__":
    sys.exit(main())
