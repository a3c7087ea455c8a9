"""A file whose CDA nodes are gone is refused by everybody who promises the plugin, whatever took them away."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
import onnxruntime as ort
import pytest

from mutualformer.export import acceptance, bundle, export, to_trt
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.onnx_file import open_onnx, refuse_inlined
from mutualformer.runtime import zoo
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.session import load

SAYS = "functions were inlined; export again, or give the file before optimisation"


@pytest.fixture(scope="module")
def shipped() -> Path:
    return zoo.resolve("sod-nano")


@pytest.fixture(scope="module", params=["inliner", "dead nodes", "basic", "extended", "all"])
def robbed(request: pytest.FixtureRequest, shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What onnx's inliner, or ONNX Runtime at a level of optimisation, makes of the shipped file."""
    out = tmp_path_factory.mktemp(str(request.param)) / "model.onnx"
    if request.param in ("inliner", "dead nodes"):
        model = onnx.load(shipped)
        inlined = onnx.inliner.inline_local_functions(model)
        if request.param == "dead nodes":  # as many as the contract says, but nothing depends on them
            nodes = [node for node in model.graph.node if is_cda(node)]
            for number, node in enumerate(nodes):
                node.output[:] = [f"unused_{number}_r", f"unused_{number}_d"]
            inlined.graph.node.extend(nodes)
            inlined.functions.extend(model.functions)
            inlined.opset_import.extend(one for one in model.opset_import if one.domain == nodes[0].domain)
        onnx.save(inlined, out)
        return out
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{request.param.upper()}")
    options.optimized_model_filepath, options.log_severity_level = str(out), 3
    ort.InferenceSession(str(shipped), options, providers=["CPUExecutionProvider"])
    return out


def test_every_command_that_promises_the_plugin_refuses(
    robbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(robbed)
    for verb, arguments in (
        (to_trt, [file, "-o", str(tmp_path / "x.engine"), "--flavor", "rtx"]),
        (bundle, [file, "--target", "orin-nano", "-o", str(tmp_path / "x.tar.gz")]),
        (bundle, [file, "--triton", "-o", str(tmp_path / "x.tar.gz")]),
        (export, [file, "--format", "engine", "-o", str(tmp_path / "x.engine")]),
        (export, [file, "--int8", "--data", "synthetic:16", "-o", str(tmp_path / "x.onnx")]),
        (acceptance, ["--out", str(tmp_path / "out"), "--model", file, "--only", "tensorrt"]),
    ):
        if verb in (to_trt, export) and "engine" in str(arguments):
            pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
        assert verb.main(arguments) == 1, arguments
        assert f"0 of 2 CrossDiffusionAttention nodes are left: {SAYS}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_such_a_file_still_answers(robbed: Path) -> None:
    """It is refused where the plugin is promised, not where a model is run."""
    with load(robbed, "cpu") as session:
        assert session.contract.model == "sod-nano"


@pytest.mark.parametrize(
    ("count", "fusion", "kept", "refused"),
    [(2, "cda", 2, False), (2, "cda", 1, True), (0, "concat", 0, False), (None, "concat", 0, False),
     (None, "cda", 1, True), (None, "cross_attention+cda", 2, False), (3, "cda", 2, True)],
)  # fmt: skip
def test_the_count_decides_and_older_files_are_known_by_their_fusion(
    shipped: Path, count: int | None, fusion: str, kept: int, refused: bool
) -> None:
    model, (_, contract) = onnx.load(shipped), open_onnx(shipped)
    contract = dataclasses.replace(contract, cda_nodes=count, card={"architecture": {"fusion": fusion}})
    nodes = [node for node in model.graph.node if is_cda(node)]
    for node in nodes[kept:]:
        model.graph.node.remove(node)
    if refused:
        with pytest.raises(ExportError, match=SAYS):
            refuse_inlined(Path("x.onnx"), model, contract)
    else:
        refuse_inlined(Path("x.onnx"), model, contract)


def test_the_count_travels_with_the_contract() -> None:
    contract = Contract("sod", "sod-nano", (64, 96), cda_nodes=2)
    assert Contract.from_props(contract.to_props()) == contract
    wrong: Any
    for wrong in (-1, True, "2", 1.5):
        with pytest.raises(ValueError, match="cda_nodes"):
            Contract.from_json({**contract.to_json(), "cda_nodes": wrong})
