"""Tables as text: aligned columns for a terminal, Markdown for model cards and reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def aligned(rows: Sequence[Sequence[Any]], gap: str = "  ") -> str:
    """Every column as wide as its widest cell, text to the left; no blanks at the ends of lines."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(gap.join(map(str.ljust, row, widths)).rstrip() for row in cells)


def markdown(header: Sequence[Any], rows: Sequence[Sequence[Any]], numbers: bool = False) -> str:
    """A Markdown table. ``numbers``: all columns but the first stand to the right."""
    rule = ["---", *["---:" if numbers else "---"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in (header, rule, *rows))
