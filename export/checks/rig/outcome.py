"""The outcome of a check: PASS, FAIL or SKIP, one sentence, and numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"


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


def _is_short(value: Any) -> bool:
    return isinstance(value, (int, float, str)) and len(str(value)) < 48


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
