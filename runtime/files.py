"""Results on disk: JSON and CSV, a whole file or none of it; the habits are those of ``plugins/files.py``."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mutualformer.plugins.files import cache_root, replacing, sha256, write_bytes

__all__ = ["cache_root", "replacing", "sha256", "write_bytes", "write_csv", "write_json"]


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write indented JSON. Raises ValueError for NaN and infinity, which JSON cannot say, and OSError."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode(errors="backslashreplace"))  # paths that are not UTF-8 become JSON's own escapes


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows under the first one's keys; ``rows`` is not empty. Raises OSError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())
