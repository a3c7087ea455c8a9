"""Checkpoint → ONNX: what the file contains, that it computes what PyTorch does, that a wrong one is never written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from mutualformer.export import to_onnx
from mutualformer.export.errors import ExportError
from mutualformer.export.graph import from_checkpoint, trace
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.from_checkpoint import export_onnx
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.tasks import Budget
from mutualformer.train.checkpoint import load
from mutualformer.train.evaluation.session import contract_of
from tests.conftest import NANO_SIZE, ModelFiles


def test_the_file_has_cda_nodes_their_function_and_a_contract(nano: ModelFiles) -> None:
    model = onnx.load(nano.onnx)
    onnx.checker.check_model(model, full_check=True)
    nodes = [node for node in model.graph.node if is_cda(node)]
    expected = sum(type(m).__name__ == "CrossDiffusionAttention" for m in load(nano.checkpoint).modules())
    assert len(nodes) == expected > 0
    assert len(model.functions) == 1
    assert all(not node.metadata_props for node in model.graph.node)
    contract = Contract.from_props({prop.key: prop.value for prop in model.metadata_props})
    assert (contract.task, contract.model, contract.input_size) == ("sod", "sod-nano", NANO_SIZE)
    assert contract.cda_nodes == expected
    assert contract.weights_sha256 == load(nano.checkpoint).weights_sha256
    assert {node.op_type for node in model.graph.node}.isdisjoint({"Identity", "Shape", "Dropout"})


def test_nothing_is_transposed_around_the_node(nano: ModelFiles) -> None:
    graph = onnx.load(nano.onnx).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    for node in filter(is_cda, graph.node):
        assert all(makers[name] in ("MatMul", "Add", "Gemm") for name in node.input)
        readers = [other.op_type for other in graph.node for name in node.output if name in other.input]
        assert len(readers) == 2
        assert set(readers) <= {"MatMul", "Gemm"}


@pytest.mark.parametrize("batch", [1, 3])
def test_plain_onnx_runtime_agrees_with_pytorch(nano: ModelFiles, batch: int) -> None:
    model = load(nano.checkpoint)
    inputs = trace.example_inputs(contract_of(model), batch, seed=5)
    session = ort.InferenceSession(str(nano.onnx), providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    with torch.no_grad():
        expected = model(*inputs.values()).numpy()
    assert expected.std() > 1e-4, "a constant map would agree with anything"
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_a_graph_that_differs_is_refused_and_not_written(
    nano: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(nano.onnx)
    for node in filter(is_cda, proto.graph.node):
        next(one for one in node.attribute if one.name == "alpha").f = 0.0
    monkeypatch.setattr(from_checkpoint, "to_proto", lambda *_: proto)
    model = load(nano.checkpoint)
    tight = SimpleNamespace(budgets={"fp32": Budget(max_abs=1e-7)})
    monkeypatch.setattr(from_checkpoint, "TASKS", {"sod": tight})
    with pytest.raises(ExportError, match="differs from PyTorch by"):
        export_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_command_line_errors_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    for arguments, says in (
        ([str(tmp_path / "no.safetensors"), "-o", str(tmp_path / "x.onnx")], "no such model file"),
        ([str(empty), "-o", str(tmp_path / "x.onnx")], "empty"),
        ([str(empty), "-o", str(tmp_path / "x.pb")], "expected .onnx"),
    ):
        assert to_onnx.main(arguments) == 1
        message = capsys.readouterr().err
        assert says in message
        assert message.count("\n") == 1
    assert not (tmp_path / "x.onnx").exists()


def test_missing_calibration_data_is_reported_before_tracing(
    nano: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(from_checkpoint, "to_proto", lambda *_: pytest.fail("traced first"))
    arguments = [str(nano.checkpoint), "-o", str(tmp_path / "x.onnx"), "--precision", "int8", "--calibration"]
    assert to_onnx.main([*arguments, str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
