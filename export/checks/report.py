"""Runs the checks, prints a line for each when it ends, and writes ``acceptance.json``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from mutualformer.export.checks import runner
from mutualformer.export.checks.rig.outcome import FAIL, PASS, SKIP, Outcome
from mutualformer.runtime.files import write_json
from mutualformer.runtime.session.gpu import ask_driver, device_node

SCHEMA_VERSION = 2
REPORT = "acceptance.json"


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """1 on any FAIL, and where no check passed."""
    states = [outcome.state for outcome in outcomes]
    return 1 if FAIL in states or PASS not in states else 0


def run(out: Path, names: Sequence[str], model: Path | None, minutes: float) -> int:
    """All checks, or those of ``names``, in about ``minutes``; returns the exit code.

    Without a GPU, or with a driver that does not start, the report has that one line. Raises OSError where ``out``
    cannot be written.
    """
    capabilities, why = ask_driver()
    if not capabilities:
        node = device_node()
        there = Outcome("machine", FAIL, f"there is a GPU ({node}), but {why}")
        return report(out, [there if node else Outcome("machine", SKIP, f"no NVIDIA GPU here: {why}")])
    return report(out, runner.run_all(names, minutes, out, model, capabilities[0]))


def report(out: Path, coming: Iterable[Outcome]) -> int:
    """Print and write outcomes as they come; returns the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for outcome in coming:
        print(outcome.line(), flush=True)
        outcomes.append(outcome)
        checks = [asdict(done) for done in outcomes]  # after each: a crash of the machine leaves what came before
        write_json(out / REPORT, {"schema_version": SCHEMA_VERSION, "checks": checks})
    counts = {state: sum(o.state == state for o in outcomes) for state in (PASS, FAIL, SKIP)}
    print(", ".join(f"{count} {state}" for state, count in counts.items()) + f"; {out / REPORT}")
    return exit_code(outcomes)
