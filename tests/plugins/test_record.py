"""The plugin's record: read back as it was written, without a built library."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutualformer.plugins import record
from mutualformer.plugins.record import Record

RECORD = Record("libmutualformer_plugin.so", "0" * 64, "1", (86, 87), 40, 4, "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "libmutualformer_plugin.so.json"
    file.write_bytes(record.to_json(RECORD))
    return file


def test_a_record_comes_back_as_it_was_written(path: Path) -> None:
    assert record.read(path) == RECORD


@pytest.mark.parametrize("text", ["", "[1]", "{}", "[" * 100_000, "1" * 2_000_000, "\xff"])
def test_what_is_no_record_is_a_value_error(path: Path, text: str) -> None:
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):  # each has words of its own
        record.read(path)
