"""Latency of files: ours and anybody's in one run; a file that is neither is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx.parser
import pytest

from mutualformer.runtime.benchmarks import model as bench_model
from tests.conftest import ModelFiles


def other_model(path: Path, kind: str = "float") -> Path:
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 17]> other ({kind}[B, 3, 8, 8] image) => ({kind}[B, 3, 8, 8] y) '
        "{ y = Identity (image) }"
    )
    onnx.save(model, path)
    return path


def test_ours_beside_anybodys(nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = other_model(tmp_path / "other.onnx")
    arguments = ["--model", str(nano.onnx), "--model", str(other), "--rounds", "3", "--out", str(tmp_path)]
    assert bench_model.main(arguments) == 0
    rows = json.loads((tmp_path / "model.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["sod-nano", "not ours"]
    assert rows[0]["ratio_to_first"] == 1.0
    assert rows[1]["p50_ms"] < rows[0]["p50_ms"]
    assert all(len(row["sha256"]) == 64 and row["calls"] == 3 for row in rows)
    assert "other.onnx" in capsys.readouterr().out


def test_what_cannot_be_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.onnx").write_bytes(b"\xff not a model")
    odd = other_model(tmp_path / "odd.onnx", "int64")
    for path, sentence in (
        (tmp_path / "text.onnx", "not an ONNX file"),
        (tmp_path / "absent.onnx", "no such model file"),
        (odd, "tensor(int64), expected one of"),
    ):
        assert bench_model.main(["--model", str(path), "--out", str(tmp_path)]) == 1
        assert sentence in capsys.readouterr().err
