"""ReID through the whole path: one file in, engines in every precision with CDA as plugin, parity of features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.emulation.session import EmulatedSession
from mutualformer.export import parity, to_trt
from mutualformer.export.compare.parity import compare
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.export.precision.convert import convert, save_checked
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.session import engine_card, load
from mutualformer.runtime.sources import opening

DATA = "synthetic:6?seed=5"  # identities
CALIBRATION = "synthetic:4?seed=11"


@pytest.fixture(scope="module")
def files(reid: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model as a checkpoint, and as ONNX in every precision."""
    folder = tmp_path_factory.mktemp("reid")
    built = {"torch": reid.checkpoint, "fp32": reid.onnx}
    model, contract = read_onnx(built["fp32"])
    for precision in ("fp16", "int8"):
        built[precision] = folder / f"{precision}.onnx"
        save_checked(convert(model, contract, precision, CALIBRATION)[0], built[precision])
    return built


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_engine_has_cda_as_plugin(files: dict[str, Path], tmp_path: Path, precision: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    out = tmp_path / "model.engine"
    assert to_trt.main([str(files[precision]), "-o", str(out), "--flavor", "rtx", "--precision", precision]) == 0
    card = engine_card.read(out)
    assert card.cda_nodes == card.plugin_layers == 1
    assert card.requested_precision == precision


@pytest.mark.parametrize(("precision", "cosine"), [("fp32", 0.999999), ("fp16", 0.999), ("int8", 0.95)])
def test_features_agree(files: dict[str, Path], precision: str, cosine: float) -> None:
    result = compare(files["torch"], files[precision], [DATA])
    assert result.tensor["cosine"] > cosine
    assert result.tensor["finite"]
    assert set(result.as_dict()["budget"]) == ({"max_abs"} if precision == "fp32" else {"cosine", "map_points"})
    assert set(result.task) == {"map", "r1", "r5", "r10"}
    if precision == "fp32":
        assert result.problems == []


def test_interpreter_computes_the_same_feature(files: dict[str, Path]) -> None:
    item = opening.identities(DATA, (64, 64))[0]
    with load(files["fp32"], "cpu") as session:
        inputs = prepare(session.contract, item.rgb, item.nir)
        expected = session.run(**inputs)["feature"]
    np.testing.assert_allclose(EmulatedSession(files["fp32"]).run(**inputs)["feature"], expected, atol=1e-5)


def test_features_are_of_unit_length(files: dict[str, Path]) -> None:
    item = opening.identities(DATA, (64, 64))[0]
    with load(files["fp32"], "cpu") as session:
        feature = session.run(**prepare(session.contract, item.rgb, item.nir))["feature"]
    assert feature.shape[0] == 1
    np.testing.assert_allclose(np.linalg.norm(feature, axis=1), 1, atol=1e-5)


def test_reports(files: dict[str, Path], tmp_path: Path) -> None:
    arguments = [str(files["torch"]), str(files["fp32"]), "--data", DATA, "--out", str(tmp_path)]
    assert parity.main(arguments) == 0
    assert "mAP" in (tmp_path / "report.html").read_text()
