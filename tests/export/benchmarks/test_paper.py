"""``bench paper``: a shipped model and anybody's file, computed and said to be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from mutualformer.export.benchmarks import paper
from mutualformer.runtime.benchmarks.frame_cost import DEVICES
from tests.export.graph.folds.graphs import model

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
LIMITS = {"sod-lite": 180, "sod-nano": 149}  # kernels a frame, CDA's second launch and resizing included


@pytest.mark.parametrize("name", LIMITS)
def test_shipped_model_is_told_layer_by_layer(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paper.main([name, "--device", "rtx4090", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "COMPUTED, not measured" in said
    assert "MixNet-S" in said
    result = json.loads((tmp_path / "paper.json").read_text())
    assert result["computed"] is True
    found = result["devices"]["rtx4090"]
    assert found["kernels"] <= LIMITS[name]
    assert sum(part["ms"] for part in found["bound"].values()) == pytest.approx(found["ms"])
    assert 0.1 < found["ms"] < found["ms_without_graph"] < 3
    assert len(found["costliest"]) == 10
    assert found["costliest"][0]["us"] >= found["costliest"][-1]["us"] > 1


def test_anybodys_file_on_all_devices(tmp_path: Path) -> None:
    text = """net (float16[1, 8, 32, 32] x) => (float16[1, 8, 32, 32] y) {
        [a] a = Conv <pads = [1, 1, 1, 1]> (x, w)
        [r] y = Relu (a)
    }"""
    onnx.save(model(text, {"w": np.ones((8, 8, 3, 3), np.float16)}), tmp_path / "other.onnx")
    assert paper.main([str(tmp_path / "other.onnx"), "--out", str(tmp_path)]) == 0
    devices = json.loads((tmp_path / "paper.json").read_text())["devices"]
    assert list(devices) == [device.key for device in DEVICES]
    (row,) = [row for row in devices["h200"]["costliest"] if "Conv" in row["operators"]]
    assert row["flops"] == 2 * 9 * 8 * 8 * 1024
