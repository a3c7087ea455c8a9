"""The sensitivity sweep finds the layer that was made fragile, and keeping it in FP16 repairs the model."""

from __future__ import annotations

import csv
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from lab.sweep import sweep
from lab.sweep.trial import Trial, open_trial
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.node_types import heavy_node_types
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.export.precision import convert as convert_module
from mutualformer.export.precision.convert import Choices, calibration_feeds, convert
from mutualformer.export.precision.placement import depth_readers, depthwise_nodes, narrow_convolutions
from mutualformer.export.precision.quantize import Quantizer
from mutualformer.runtime.contract import Contract
from tests.conftest import ModelFiles

CALIBRATION = "synthetic:16?seed=9"
DATA = ["synthetic:4?seed=700000"]
LAYERS = 8


def make_fragile(model: onnx.ModelProto) -> str:
    """One channel between two convolutions a thousand times louder, undone by the second: the same function in
    floating point, and no level left for the other channels in INT8. Returns the name of the second."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for second in model.graph.node:
        relu = makers.get(second.input[0])
        first = makers.get(relu.input[0]) if relu is not None and relu.op_type == "Relu" else None
        if second.op_type != "Conv" or first is None or first.op_type != "Conv" or len(readers[second.input[0]]) != 1:
            continue
        weights = numpy_helper.to_array(tensors[second.input[1]]).copy()
        if weights.shape[1] < 8:  # depthwise
            continue
        weights[:, 0] /= 1000
        tensors[second.input[1]].CopyFrom(numpy_helper.from_array(weights, second.input[1]))
        for name in first.input[1:]:
            values = numpy_helper.to_array(tensors[name]).copy()
            values[0] *= 1000
            if name == first.input[2]:
                values[0] = 1000  # loud for certain, whatever the frame
            tensors[name].CopyFrom(numpy_helper.from_array(values, name))
        return str(second.name)
    raise AssertionError("no two convolutions in a row")


@pytest.fixture(scope="module")
def fragile(nano: ModelFiles) -> tuple[Quantizer, Trial, Contract, str]:
    """A quantizer of a few layers only, so that this takes seconds."""
    model, contract = read_onnx(nano.onnx)
    name = make_fragile(model)
    full = Quantizer.measure(model, calibration_feeds(CALIBRATION, contract)[0])
    nodes = tuple(sorted({name, *full.nodes[:: len(full.nodes) // LAYERS]}, key=full.nodes.index))
    return Quantizer(model, nodes, full.histograms), open_trial(model, contract, DATA, 4), contract, name


@pytest.mark.full
def test_the_fragile_layer_is_the_worst_and_keeping_it_helps(
    fragile: tuple[Quantizer, Trial, Contract, str], tmp_path: Path
) -> None:
    quantizer, trial, contract, name = fragile
    about = {"file": "f", "weights_sha256": contract.weights_sha256, "data": DATA[0], "frames": 4}
    result = sweep.run(quantizer, trial, about, tmp_path)
    assert result["layers"][0]["node"] == name
    assert result["layers"][0]["noise"] > 3 * result["layers"][1]["noise"] > 0
    kept = {row["kept"]: row["snr_db"] for row in result["kept"]}
    assert kept[1] > kept[0] + 5
    assert {"mean_abs", "snr_db", "delta_mae", "delta_s_measure"} <= set(result["layers"][0])

    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert [row["node"] for row in rows] == [row["node"] for row in result["layers"]]
    assert len(rows) == len(quantizer.nodes)
    assert (tmp_path / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    assert name in (tmp_path / "sweep.html").read_text()


def test_kept_layers_are_half_and_told_in_the_card(nano: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    model, contract = read_onnx(nano.onnx)
    half = {*depth_readers(model), *depthwise_nodes(model), *narrow_convolutions(model)}
    first, second = [node.name for node in model.graph.node if node.op_type == "Conv" and node.name not in half][:2]
    monkeypatch.setattr(convert_module, "costliest", lambda *_: [first])
    done, after = convert(model, contract, "int8", CALIBRATION, Choices(keep_worst=1))
    kinds = heavy_node_types(done)
    assert (kinds[first], kinds[second]) == ("Half", "Int8")
    assert after.card["calibration"]["kept_fp16"] == sorted([first, *half])
    assert after.card["calibration"]["method"] == "mse"
    with pytest.raises(ExportError, match="keep-worst leaves INT8 layers in FP16"):
        convert(model, contract, "fp16", choices=Choices(keep_worst=1))
