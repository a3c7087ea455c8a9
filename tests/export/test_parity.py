"""Parity holds where it must and fails where something was planted: overflow, dead scale, swaps, wrong constants."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mutualformer.export import parity
from mutualformer.export.compare.parity import compare
from mutualformer.export.criteria.tensors import difference, violations
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.export.precision.convert import convert, save_checked
from mutualformer.export.precision.half import camera_nodes
from mutualformer.runtime.tasks import Budget
from tests.conftest import ModelFiles

DATA = ["synthetic:6?seed=3"]
CALIBRATION = "synthetic:32?seed=9"


@pytest.fixture(scope="module")
def precisions(nano: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small model in every precision."""
    folder = tmp_path_factory.mktemp("precisions")
    model, contract = read_onnx(nano.onnx)
    files = {"fp32": nano.onnx}
    for precision in ("fp16", "int8"):
        files[precision] = folder / f"{precision}.onnx"
        save_checked(convert(model, contract, precision, CALIBRATION)[0], files[precision])
    return files


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_precision_keeps_its_budget(nano: ModelFiles, precisions: dict[str, Path], precision: str) -> None:
    result = compare(nano.checkpoint, precisions[precision], ["synthetic:24?seed=3"])
    assert result.problems == []
    assert result.precision == precision
    assert result.frames == 24
    assert result.tensor["cosine"] > 0.98


def test_reports_are_whole_and_self_contained(nano: ModelFiles, tmp_path: Path) -> None:
    assert parity.main([str(nano.checkpoint), str(nano.onnx), "--data", DATA[0], "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "parity.json").read_text())
    assert data["holds"] is True
    assert data["tensor"]["max_abs"] <= 1e-4
    assert data["reference"]["backend"].startswith("torch")
    assert len(data["candidate"]["sha256"]) == 64
    page = (tmp_path / "report.html").read_text()
    assert page.count('<div class="frame">') == 6
    assert page.count("data:image/png;base64,") == 6 * 6
    assert page.index("Parity holds") < page.index('class="bar"') < page.index('<div class="frame">')
    for head in ("colour", "depth, near is red", "ground truth", "reference", "candidate", "difference, stretched"):
        assert page.count(f"<figcaption>{head}</figcaption>") == 6
    assert data["host"]["date"] in page
    assert data["host"]["processor"] in page
    assert "http://" not in page
    assert "https://" not in page


def test_real_pair(nano: ModelFiles, samples: Path) -> None:
    result = compare(nano.checkpoint, nano.onnx, ["sample:motorcycle"])
    assert result.problems == []
    assert result.frames == 1


Change = Callable[[onnx.ModelProto], None]


def planted(nano: ModelFiles, tmp_path: Path, change: Change, source: Path | None = None) -> Path:
    model = onnx.load(source or nano.onnx)
    change(model)
    onnx.save(model, tmp_path / "planted.onnx")
    return tmp_path / "planted.onnx"


def caught(nano: ModelFiles, candidate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Exit code 1 and a report that says so; returns the printed line."""
    assert parity.main([str(nano.checkpoint), str(candidate), "--data", DATA[0], "--out", str(tmp_path / "out")]) == 1
    assert json.loads((tmp_path / "out" / "parity.json").read_text())["holds"] is False
    assert "Parity is violated" in (tmp_path / "out" / "report.html").read_text()
    return capsys.readouterr().out


def swap_modalities(model: onnx.ModelProto) -> None:
    """Colour goes where depth belongs and the other way round."""
    names = camera_nodes(model)
    built = {name for node in model.graph.node if node.name in names for name in node.output}
    first = [node for node in model.graph.node if node.op_type == "Conv" and node.input[0] in built]
    camera = sorted({node.input[0] for node in first})
    assert len(camera) == 2, camera
    for node in first:
        if node.input[0] in camera:
            node.input[0] = camera[1 - camera.index(node.input[0])]
    ordered = sorted(model.graph.node, key=lambda node: node.name not in names)  # what now comes first goes first
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def transpose_map(model: onnx.ModelProto) -> None:
    """Rows become columns before the answer leaves."""
    last = next(node for node in model.graph.node if "saliency" in node.output)
    last.output[list(last.output).index("saliency")] = "upright"
    shape = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim][1:]
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, *shape], np.int64), "planted_shape"))
    model.graph.node.append(helper.make_node("Transpose", ["upright"], ["lying"], "planted_t", perm=[0, 2, 1]))
    model.graph.node.append(helper.make_node("Reshape", ["lying", "planted_shape"], ["saliency"], "planted_r"))


def wrong_normalisation(model: onnx.ModelProto) -> None:
    """ImageNet's mean forgotten: the constant that is subtracted from the colours becomes zero."""
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Sub" and node.input[1] in values:
            array = numpy_helper.to_array(values[node.input[1]])
            if array.size == 3:
                values[node.input[1]].CopyFrom(numpy_helper.from_array(np.zeros_like(array), node.input[1]))
                return
    raise AssertionError("the graph subtracts no mean")


def other_alpha(model: onnx.ModelProto) -> None:
    """CDA without its diffusion."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "alpha":
                attribute.f = 0.0


@pytest.mark.parametrize("change", [swap_modalities, transpose_map, wrong_normalisation, other_alpha])
def test_planted_graph_errors_are_caught(
    nano: ModelFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Change,
) -> None:
    assert "PARITY VIOLATED" in caught(nano, planted(nano, tmp_path, change), tmp_path, capsys)


def test_dead_quantiser_scale_is_caught(
    nano: ModelFiles, precisions: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill(model: onnx.ModelProto) -> None:
        for quantize in [node for node in model.graph.node if node.op_type == "QuantizeLinear"][-4:]:
            scale = next(t for t in model.graph.initializer if t.name == quantize.input[1])
            scale.CopyFrom(numpy_helper.from_array(np.array(1e4, numpy_helper.to_array(scale).dtype), scale.name))

    candidate = planted(nano, tmp_path, kill, precisions["int8"])
    assert "PARITY VIOLATED" in caught(nano, candidate, tmp_path, capsys)


@pytest.mark.parametrize("claimed", ["fp16", "int8"])
def test_silent_fall_back_is_caught(
    nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str], claimed: str
) -> None:
    def claim(model: onnx.ModelProto) -> None:
        for prop in model.metadata_props:
            if prop.key == "mutualformer.precision":
                prop.value = json.dumps(claimed)

    wanted = {"fp16": "Half", "int8": "Int8"}[claimed]
    assert f"no {wanted} convolution" in caught(nano, planted(nano, tmp_path, claim), tmp_path, capsys)


def test_overflow_before_layernorm_is_caught(
    nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def loud(model: onnx.ModelProto) -> None:
        """One channel of the convolutions before the norm becomes large; in single precision that is no harm."""
        makers = {name: node for node in model.graph.node for name in node.output}
        weights = {tensor.name: tensor for tensor in model.graph.initializer}
        norm = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
        ahead, found = [norm.input[0]], 0
        while ahead:
            node = makers.get(ahead.pop())
            if node is not None and node.op_type == "Conv":
                found += 1
                for name, change in zip(node.input[1:], (lambda w: 1e5 * w, lambda b: 7e4 + 0 * b), strict=True):
                    values = numpy_helper.to_array(weights[name]).copy()
                    values[3] = change(values[3])
                    weights[name].CopyFrom(numpy_helper.from_array(values, name))
            elif node is not None:
                ahead += node.input
        assert found == 2

    path = planted(nano, tmp_path, loud)
    full, contract = read_onnx(path)
    save_checked(convert(full, contract, "fp16")[0], tmp_path / "loud16.onnx")
    command = ["--data", DATA[0], "--out", str(tmp_path / "out")]
    assert parity.main([str(path), str(path), *command]) == 0
    assert parity.main([str(path), str(tmp_path / "loud16.onnx"), *command]) == 1
    assert "NaN or infinity" in capsys.readouterr().out


def test_other_weights_are_not_compared(nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rename(model: onnx.ModelProto) -> None:
        for prop in model.metadata_props:
            if prop.key == "mutualformer.weights_sha256":
                prop.value = json.dumps("0" * 64)

    candidate = planted(nano, tmp_path, rename)
    assert parity.main([str(nano.checkpoint), str(candidate), "--data", DATA[0], "--out", str(tmp_path)]) == 1
    assert "not the same model: weights_sha256" in capsys.readouterr().err


def test_tensor_measures() -> None:
    reference = np.array([3.0, 4.0])
    pairs = [(reference, reference + [0.0, 0.5])]
    result = difference(pairs)
    assert (result.max_abs, result.mean_abs) == (0.5, 0.25)
    assert result.snr_db == pytest.approx(10 * np.log10(25 / 0.25))
    assert result.cosine == pytest.approx((9 + 18) / (5 * np.sqrt(9 + 20.25)))
    broken = difference([*pairs, (reference, np.array([np.nan, 0]))])
    assert violations(Budget(max_abs=0.1, mae=0.5), broken, {"mae": 0.6}) == [
        "an output holds NaN or infinity",
        "max abs difference 5.00e-01 > 1e-01",
        "Δmae 0.60000 > 0.5",
    ]
