"""The operator's benchmark: its contenders agree, its files are complete. Times are never asserted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mutualformer.export.benchmarks import operator


@pytest.mark.parametrize("head_dim", [8, 64])
def test_contenders_agree(head_dim: int) -> None:
    assert operator.check_agreement(33, head_dim, 2) < 1e-5


def test_writes_json_csv_and_chart(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--tokens", "17", "33", "--head-dims", "8", "--seconds", "0.1", "--no-memory"]
    assert operator.main(arguments) == 0
    result = json.loads((tmp_path / "cda.json").read_text())
    assert {row["name"] for row in result["rows"]} == set(operator.FLOPS)
    assert result["conditions"]["peak_gflops"] > 0
    assert result["conditions"]["onnxruntime"]
    assert [(row["tokens"], round(row["flop_ratio"], 2)) for row in result["ratios"]] == [(17, 2.88), (33, 4.88)]
    assert all(row["released_to_ours"] > 0 and row["ours_to_two_attentions"] > 0 for row in result["ratios"])
    with (tmp_path / "cda.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(result["rows"]) == 12
    assert (tmp_path / "cda.png").read_bytes()[:4] == b"\x89PNG"


def test_peak_memory_is_measured() -> None:
    assert operator.peak_memory_mib(400, 64, 2, "released, PyTorch") > 20
