"""``python -m lab.things heads …``, ``python -m lab.things score MODEL …``: lab/things/heads.py and held_out.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lab.things import heads, held_out


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is behind the streams, or score; returns the exit code."""
    verb, *words = list(sys.argv[1:] if argv is None else argv) or [""]
    verbs = {"heads": heads.main, "score": held_out.main}
    if verb not in verbs:
        print(f"usage: python -m lab.things {{{','.join(verbs)}}} …", file=sys.stderr)
        return 2
    return verbs[verb](words)


if __name__ == "__main__":
    sys.exit(main())
