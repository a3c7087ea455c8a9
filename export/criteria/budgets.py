"""How far a candidate may be from its reference: the bounds stand in each task's record (parity, defined once)."""

from __future__ import annotations

from collections.abc import Mapping

from mutualformer.runtime.tasks import TASKS, Budget

BUDGETS: dict[str, Mapping[str, Budget]] = {name: task.budgets for name, task in TASKS.items()}

__all__ = ["BUDGETS", "Budget"]
