"""``mutualformer completion bash|zsh|tcsh``: a static completion script, made by shtab from the verbs' own parsers.

mutualformer completion bash > ~/.local/share/bash-completion/completions/mutualformer
mutualformer completion zsh > "${fpath[1]}/_mutualformer"
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from typing import Any

from mutualformer.extras import missing
from mutualformer.runtime.cli import VERBS
from mutualformer.runtime.commandline.running import run_verb

SHELLS = ("bash", "zsh", "tcsh")


def whole_parser() -> argparse.ArgumentParser:
    """One parser with every verb that can be imported here as a sub-command.

    A verb whose packages are missing completes without its options, which is logged.
    """
    whole = argparse.ArgumentParser(prog="mutualformer")
    verbs = whole.add_subparsers(dest="verb")
    for name, verb in VERBS.items():
        added = _add(verbs, name, verb.module, verb.about)
        benches = getattr(sys.modules.get(verb.module), "BENCHES", {})
        if benches:
            kinds = added.add_subparsers(dest="kind")
            for kind, (module, about) in benches.items():
                _add(kinds, kind, module, about)
    return whole


def _add(verbs: Any, name: str, module: str, about: str) -> argparse.ArgumentParser:
    """Add the parser of ``module`` as a sub-command."""
    try:
        build = getattr(importlib.import_module(module), "parser", None)
        parents = [build()] if build is not None else []
    except ModuleNotFoundError as error:
        reason = missing(error.name or str(error))
        logging.getLogger("mutualformer").warning("%s completes without options: %s", name, reason)
        parents = []
    # The parent has a --help too: "resolve" keeps the one that add_parser makes.
    added: argparse.ArgumentParser = verbs.add_parser(name, help=about, parents=parents, conflict_handler="resolve")
    return added


def script(shell: str) -> str:
    """The completion script for one of :data:`SHELLS`. Raises ModuleNotFoundError where shtab is missing."""
    import shtab

    return str(shtab.complete(whole_parser(), shell=shell))


def parser() -> argparse.ArgumentParser:
    """The command line of this verb."""
    parser = argparse.ArgumentParser(
        prog="mutualformer completion",
        description="Print a completion script for your shell.",
        epilog=__doc__.split("\n\n", 1)[1] if __doc__ else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    return parser


def command(args: argparse.Namespace) -> int:
    """Print the script."""
    print(script(args.shell))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``mutualformer completion``."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
