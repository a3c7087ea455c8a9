"""Runs the checks, prints a line for each as it ends, and writes ``acceptance.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mutualformer.export.checks import runner
from mutualformer.export.checks.rig.outcome import FAIL, PASS, SKIP, Outcome
from mutualformer.export.errors import ExportError
from mutualformer.runtime.files import write_json
from mutualformer.runtime.session.gpu import compute_capabilities

SCHEMA_VERSION = 1
REPORT = "acceptance.json"


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """1 on any FAIL, and where nothing passed at all."""
    states = [outcome.state for outcome in outcomes]
    return 1 if FAIL in states or PASS not in states else 0


def run(out: Path, names: Sequence[str], model: Path | None, emulate: bool, planted: str) -> int:
    """All checks, or those of ``names``; returns the exit code.

    Raises ExportError where a fault is to be planted on a real GPU, OSError where ``out`` cannot be written.
    """
    emulated = emulate or not compute_capabilities()
    if planted and not emulated:
        raise ExportError(f"{planted} can be planted on the stand-in driver only; add --emulate")
    if emulated:
        why = "--emulate" if emulate else "no NVIDIA GPU here"
        print(
            f"{why}: launches run in Triton's interpreter on a stand-in driver; no number below is a GPU's", flush=True
        )
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for outcome in runner.run_all(emulated, names, planted, out=out, model=model):
        print(outcome.line(), flush=True)
        outcomes.append(outcome)
        write_json(out / REPORT, {  # after each check: a crash of the machine leaves what came before
            "schema_version": SCHEMA_VERSION,
            "emulated": emulated,
            "planted": planted,
            "checks": [asdict(o) for o in outcomes],
        })  # fmt: skip
    counts = {state: sum(o.state == state for o in outcomes) for state in (PASS, FAIL, SKIP)}
    print(", ".join(f"{count} {state}" for state, count in counts.items()) + f"; {out / REPORT}")
    return exit_code(outcomes)
