"""The operator's benchmark: its contenders agree, its files are complete. Times are never asserted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from mutualformer.export.benchmarks import operator


def test_writes_json_and_csv(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--tokens", "17", "33", "--head-dims", "8", "--seconds", "0.1"]
    assert operator.main(arguments) == 0
    result = json.loads((tmp_path / "cda.json").read_text())
    assert {row["name"] for row in result["rows"]} == set(operator.FLOPS)
    assert result["conditions"]["peak_gflops"] > 0
    assert result["conditions"]["onnxruntime"]
    with (tmp_path / "cda.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(result["rows"]) == 8
