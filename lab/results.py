"""Keeps what a study found: rows in a table, numbers in the card of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mutualformer.runtime.files import csv_table
from mutualformer.train import checkpoint


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under the first one's keys. Raises OSError."""
    with csv_table(path) as write:
        for row in rows:
            write(row)


def change_card(path: Path, **changes: Any) -> None:
    """Replace parts of the card of checkpoint ``path``, and its form for readers."""
    checkpoint.write_card(path, {**checkpoint.read_card(path), **changes})
    checkpoint.write_markdown(path)
