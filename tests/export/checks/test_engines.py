"""What the TensorRT lines build from: the shipped FP16 file serves FP16, its weights the other precisions."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mutualformer.export.checks.engines import source_of
from mutualformer.export.checks.rig.outcome import CheckSkipped


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    for suffix in (".onnx", ".safetensors"):
        (tmp_path / f"sod-lite{suffix}").write_bytes(b"")
    return tmp_path / "sod-lite.onnx"


def test_other_precisions_come_from_the_weights_beside_the_file(shipped: Path) -> None:
    pytest.importorskip("onnxscript", reason="exporting weights needs the extra export")
    assert source_of(shipped, "fp16", chosen=False) == shipped
    for precision in ("fp32", "int8"):
        assert source_of(shipped, precision, chosen=False) == shipped.with_suffix(".safetensors")


def test_a_model_somebody_named_is_taken_as_it_is(shipped: Path) -> None:
    assert source_of(shipped, "int8", chosen=True) == shipped


def test_without_pytorch_the_line_says_what_to_give(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckSkipped, match="--model FILE"):
        source_of(shipped, "fp32", chosen=False)
