"""The outcome of a check: PASS, FAIL or SKIP, one sentence, and numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"
Step = Callable[[], tuple[str, dict[str, Any]]]
"""A check or a part of one: does it and returns a sentence and numbers. Raises CheckFailed, CheckSkipped."""


class CheckFailed(RuntimeError):
    """A check found a fault: the message names it, its place, and what was expected."""


class CheckSkipped(RuntimeError):
    """A check cannot run here: the message gives the reason and what is missing."""


@dataclass(frozen=True)
class Outcome:
    """One line of the report."""

    check: str
    state: str
    detail: str
    numbers: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def line(self) -> str:
        """``check, PASS|FAIL|SKIP, sentence, name=value …`` as the command prints it."""
        numbers = " ".join(f"{name}={_text(value)}" for name, value in self.numbers.items() if _is_short(value))
        return ", ".join(part for part in (f"{self.check:<12}", self.state, self.detail, numbers) if part)


def carried_out(name: str, *steps: Step) -> Outcome:
    """Do the steps in order; the first that fails or is skipped ends them."""
    began, state, done, numbers = time.monotonic(), PASS, list[str](), dict[str, Any]()
    try:
        for step in steps:
            sentence, values = step()
            done.append(sentence)
            numbers |= values
    except (CheckSkipped, ModuleNotFoundError) as reason:
        state, done = SKIP, [str(reason)]
    except CheckFailed as reason:
        state, done = FAIL, [str(reason)]
    except Exception as error:  # a broken check is no PASS
        state, done = FAIL, [f"the check itself broke: {type(error).__name__}: {error}"]
    return Outcome(name, state, " ".join("; ".join(done).split()), numbers, round(time.monotonic() - began, 2))


def _is_short(value: Any) -> bool:
    return isinstance(value, (int, float, str)) and len(str(value)) < 48


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
