"""The operator's study: its contenders agree, its files are complete. Times are never asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.operator import study
from lab.operator.forms import check_agreement


@pytest.mark.parametrize("head_dim", [8, 64])
def test_contenders_agree(head_dim: int) -> None:
    assert check_agreement(study.contenders(33, head_dim, 2)) < 1e-5


@pytest.mark.full
def test_ratios_and_chart(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--tokens", "17", "33", "--head-dims", "8", "--seconds", "0.1", "--no-memory"]
    assert study.main(arguments) == 0
    result = json.loads((tmp_path / "operator.json").read_text())
    assert {row["name"] for row in result["rows"]} == set(study.FLOPS)
    assert [(row["tokens"], round(row["flop_ratio"], 2)) for row in result["ratios"]] == [(17, 2.88), (33, 4.88)]
    assert all(row["released_to_ours"] > 0 and row["ours_to_two_attentions"] > 0 for row in result["ratios"])
    assert (tmp_path / "operator.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.full
def test_peak_memory_is_measured() -> None:
    assert study.peak_memory_mib(400, 64, 2, "released, PyTorch") > 20
