"""The Triton repository: configurations of the protocol's schema, and the client against a server that speaks it."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from concurrent import futures
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mutualformer.export.bundle import main
from mutualformer.export.device.repository import MAX_BATCH, model_config, write_repository
from mutualformer.export.device.wheel import ROOT
from mutualformer.runtime import session
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.preprocess import prepare, restore
from tests.conftest import ModelFiles
from tests.pictures import read_picture

grpc = pytest.importorskip("grpc", reason="grpc is not installed: pip install '.[serving]'")
protocol = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")

NAME = "sod-nano"


@pytest.fixture(scope="module")
def repository(nano: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("triton") / "repository.tar.gz"
    assert main([str(nano.onnx), "--triton", "-o", str(out)]) == 0
    with tarfile.open(out) as tar:
        tar.extractall(out.parent)
    return out.parent / f"mutualformer-{NAME}-triton"


def _config(text: str) -> Any:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_config_says_what_the_graph_takes_and_gives(repository: Path, nano: ModelFiles) -> None:
    import onnx

    config = _config((repository / "models" / NAME / "config.pbtxt").read_text())
    assert (config.name, config.backend, config.max_batch_size) == (NAME, "onnxruntime", MAX_BATCH)
    types = {"TYPE_UINT8": onnx.TensorProto.UINT8, "TYPE_FP32": onnx.TensorProto.FLOAT}
    data_type = config.input[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    graph = onnx.load(repository / "models" / NAME / "1" / "model.onnx").graph
    for tensors, values in ((config.input, graph.input), (config.output, graph.output)):
        assert [t.name for t in tensors] == [v.name for v in values]
        for tensor, value in zip(tensors, values, strict=True):
            kind = value.type.tensor_type
            assert types[data_type[tensor.data_type].name] == kind.elem_type
            assert list(tensor.dims) == [dim.dim_value for dim in kind.shape.dim[1:]]
            assert kind.shape.dim[0].dim_param, "the server's batch is the graph's dynamic first dimension"


def test_repository_is_whole(repository: Path, nano: ModelFiles) -> None:
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=repository, check=True)
    assert (repository / "models" / NAME / "1" / "model.onnx").read_bytes() == nano.onnx.read_bytes()
    assert "ONNX Runtime" in (repository / "README.md").read_text()
    assert "@" not in (repository / "README.md").read_text()
    assert Contract.from_json(json.loads((repository / "contract.json").read_text())).model == NAME


def test_start_says_what_is_missing_and_preloads_the_plugin(repository: Path, tmp_path: Path) -> None:
    bare = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(["./start.sh"], cwd=repository, env=bare, capture_output=True, text=True)
    assert done.returncode == 1
    assert "tritonserver is not on PATH" in done.stderr
    server = tmp_path / "tritonserver"
    server.write_text('#!/bin/sh\necho "$@"\n')
    server.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        ["./start.sh", "--log-verbose=1"], cwd=repository, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [
        f"--model-repository={repository}/models", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1",
        "--log-verbose=1",
    ]  # fmt: skip
    plugin = repository / "plugins" / "libmutualformer_plugin.so"
    plugin.parent.mkdir()
    plugin.touch()
    try:
        done = subprocess.run(["./start.sh"], cwd=repository, env=environment, capture_output=True, text=True)
    finally:
        plugin.unlink()
        plugin.parent.rmdir()
    assert f"--backend-config=tensorrt,plugins={plugin}" in done.stdout.split()


def test_engine_of_tensorrt_rtx_is_refused(nano: ModelFiles, tmp_path: Path) -> None:
    from mutualformer.runtime.files import sha256
    from mutualformer.runtime.session import engine_card

    engine = tmp_path / "model.engine"
    engine.write_bytes(b"engine")
    contract = session.load(nano.onnx, "cpu").contract

    def card(flavor: str) -> None:
        engine_card.EngineCard(
            contract=contract, flavor=flavor, builder_version="10.3.0", onnx_sha256="", plugin_sha256="",
            engine_sha256=sha256(engine), requested_precision="fp16", actual_precision={}, profile=(1, 1, 4),
            cda_nodes=0, plugin_layers=0, targets=("8.7",), built_on="8.7", rebuild="",
        ).write_to(engine_card.card_path(engine))  # fmt: skip

    card("rtx")
    with pytest.raises(RuntimeError, match="TensorRT-RTX, for which the server has no backend"):
        write_repository(nano.onnx, tmp_path / "x.tar.gz", engine)
    assert not (tmp_path / "x.tar.gz").exists()
    card("tensorrt")
    members = write_repository(nano.onnx, tmp_path / "x.tar.gz", engine)
    assert members[f"models/{NAME}-tensorrt/1/model.plan"] == len(b"engine")
    with tarfile.open(tmp_path / "x.tar.gz") as tar:
        member = tar.extractfile(f"mutualformer-{NAME}-triton/models/{NAME}-tensorrt/config.pbtxt")
        assert member is not None
        config = _config(member.read().decode())
    assert (config.backend, config.max_batch_size) == ("tensorrt", 4)


def test_reid_is_served_too() -> None:
    config = _config(model_config("reid-tiny", "onnxruntime", Contract("reid", "reid-tiny", (64, 64)), 8))
    assert [t.name for t in config.input] == ["rgb", "nir"]
    assert list(config.output[0].dims) == [-1]


def test_client_against_a_server_that_speaks_the_protocol(repository: Path, nano: ModelFiles, tmp_path: Path) -> None:
    """The server is a stand-in of ten lines over ONNX Runtime; requests and answers are the protocol's own messages."""
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    model = session.load(nano.onnx, "cpu")
    asked: list[str] = []

    class Server(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        def ModelInfer(self, request: Any, context: Any) -> Any:
            asked.append(request.model_name)
            types = {"UINT8": np.uint8, "FP32": np.float32}
            inputs = {
                tensor.name: np.frombuffer(raw, types[tensor.datatype]).reshape(tensor.shape)
                for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
            }
            result = model.run(**inputs)["saliency"]
            answer = service_pb2.ModelInferResponse(model_name=request.model_name)
            answer.outputs.add(name="saliency", datatype="FP32", shape=result.shape)
            answer.raw_output_contents.append(result.tobytes())
            return answer

    server = grpc.server(futures.ThreadPoolExecutor(1))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Server(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        random = np.random.default_rng(0)
        rgb = random.integers(0, 256, (90, 130, 3), np.uint8)
        depth_mm = random.integers(500, 5000, (90, 130), np.uint16)
        cv2.imwrite(str(tmp_path / "rgb.png"), rgb[..., ::-1])
        cv2.imwrite(str(tmp_path / "depth.png"), depth_mm)
        command = [
            sys.executable,
            str(repository / "client.py"),
            "rgb.png",
            "--depth",
            "depth.png",
            "--out",
            "mask.png",
        ]
        done = subprocess.run(
            [*command, "--server", f"127.0.0.1:{port}"], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1"},
        )  # fmt: skip
    finally:
        server.stop(None)
    assert done.returncode == 0, done.stderr
    assert asked == [NAME]
    expected = restore(
        model.run(**prepare(model.contract, rgb, (depth_mm * np.float32(0.001)).astype(np.float32)))["saliency"][0],
        (90, 130),
    )
    mask = read_picture(tmp_path / "mask.png", cv2.IMREAD_UNCHANGED)
    assert np.abs(mask / 255 - expected).max() <= 0.5 / 255 + 1e-3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--precision", "fp16"], "are for a device"),
        (["--calibration", "synthetic:16"], "are for a device"),
    ],
)
def test_options_without_use_are_refused(
    nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main([str(nano.onnx), "--triton", "-o", str(tmp_path / "x.tar.gz"), *arguments]) == 1
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
