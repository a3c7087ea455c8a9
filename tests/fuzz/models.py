"""Targets: model files and what stands beside them: contracts, cards, weights, indexes, plans, journals, records."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from onnx import TensorProto, helper

from mutualformer.export.engine.layer_list import inspected_layers
from mutualformer.plugins import record
from mutualformer.runtime.card import markdown
from mutualformer.runtime.contract import Contract, ContractError
from mutualformer.runtime.prediction.journal import Journal
from mutualformer.runtime.prediction.work import Plan
from mutualformer.runtime.preview import addresses
from mutualformer.runtime.session import ModelFileError, engine_card
from mutualformer.runtime.session.onnx_file import read_onnx_file
from mutualformer.runtime.session.onnxruntime import OnnxSession
from mutualformer.runtime.untrusted.seal import SEAL, seal_of, sealed
from mutualformer.runtime.untrusted.typed_json import parse_json
from mutualformer.runtime.zoo.index import ModelNameError, own_shelf, read_index
from mutualformer.train import checkpoint
from mutualformer.train.fitting import config
from mutualformer.train.fitting.recipes import recipe
from tests.fuzz.campaign import Target

WORDS = (b"NaN", b"1e999", b"-1", b"null", b"{}", b"[]", b"true", b'""', b"[" * 16, b'{"a":', b"\\ud800", b"9" * 16)
SHELF = own_shelf()
CARD = json.loads((SHELF / "sod-nano.json").read_text())
CONTRACT = Contract("sod", "tiny", (32, 48), card=CARD)
ENGINE = {
    "contract": CONTRACT.to_json(), "flavor": "rtx", "builder_version": "1.7", "onnx_sha256": "0" * 64,
    "plugin_sha256": "0" * 64, "engine_sha256": hashlib.sha256(b"x").hexdigest(), "requested_precision": "fp16",
    "actual_precision": {"Half": 3}, "profile": [1, 1, 4], "cda_nodes": 1, "plugin_layers": 1, "targets": ["8.6+"],
    "built_on": "8.6", "rebuild": "mutualformer to_trt x.onnx -o x.engine", "layers": [{"name": "a"}], "kernels": 3,
    "tf32": False, "heavy_nodes": {"fp16": 1}, "schema_version": engine_card.SCHEMA_VERSION,
}  # fmt: skip
RECORD = record.Record("libx.so", "0" * 64, "1", (87,), 3, 1, "")
LINE = {"index": 0, "stamp": "x", "name": "a", "rows": [{"area": 1}], "error": "", "has_depth": True}


def text(value: Any) -> Callable[[Path], Sequence[bytes]]:
    return lambda folder: [json.dumps(value).encode()]


def resealed(data: bytes, key: str = SEAL) -> bytes:
    """The seal of whatever is there now, so that changes get past it."""
    with contextlib.suppress(ValueError, TypeError, RecursionError, AttributeError):
        value = json.loads(data)
        return json.dumps({**value, key: seal_of(value, key)}).encode()
    return data


def tiny_onnx(folder: Path) -> Sequence[bytes]:
    """saliency = depth × 0 + w, with our metadata."""
    inputs = [
        helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["batch", 32, 48, 3]),
        helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["batch", 32, 48]),
    ]
    output = helper.make_tensor_value_info("saliency", TensorProto.FLOAT, ["batch", 32, 48])
    weights = [helper.make_tensor("w", TensorProto.FLOAT, [48], [0.5] * 48), helper.make_tensor("z", 1, [], [0.0])]
    nodes = [helper.make_node("Mul", ["depth", "z"], ["m"]), helper.make_node("Add", ["m", "w"], ["saliency"])]
    graph = helper.make_graph(nodes, "g", inputs, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, CONTRACT.to_props())
    return [model.SerializeToString()]


def read_contract(data: bytes, folder: Path) -> None:
    keys = list(CONTRACT.to_props())
    contract = Contract.from_props(dict(zip(keys, data.decode("utf-8", "replace").split("\0"), strict=False)))
    json.dumps(contract.to_json())
    assert contract.inputs
    assert contract.outputs


def in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def run(data: bytes, folder: Path) -> object:
        (folder / name).write_bytes(data)
        return read(folder / name)

    return run


def read_engine(data: bytes, folder: Path) -> None:
    (folder / "m.engine.json").write_bytes(resealed(data))
    (folder / "m.engine").write_bytes(b"x")
    card = engine_card.read(folder / "m.engine")
    engine_card.verify_bytes(folder / "m.engine", card, b"x")
    engine_card.verify_host(folder / "m.engine", card, "1.7", "8.6")


def read_checkpoint_card(data: bytes, folder: Path) -> None:
    (folder / "m.safetensors").write_bytes(b"x")
    (folder / "m.json").write_bytes(resealed(data))
    checkpoint.read_card(folder / "m.safetensors")


def read_weights(data: bytes, folder: Path) -> None:
    (folder / "w.safetensors").write_bytes(data)
    checkpoint.read_tensors(folder / "w.safetensors", {"weights_sha256": hashlib.sha256(data).hexdigest()})


def read_journal(data: bytes, folder: Path) -> None:
    journal = Journal(folder / "out", {"a": 1}, ["x"])
    journal.folder.mkdir(parents=True, exist_ok=True)
    (journal.folder / "run.json").write_bytes(data)
    journal.begin(True)
    journal._path(0, ".json").write_bytes(data)
    journal.done(0, "x", Plan(folder / "out"))
    assert all(isinstance(line["name"], str) for _, line in journal.entries())


def targets() -> list[Target]:
    weights = {"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.float16)}
    layer = {"Name": "a", "LayerType": "Conv", "Inputs": [{"Format/Datatype": "Half"}], "Outputs": [], "Metadata": ""}
    plan = {"schema": 1, "model": "sod-nano", "recipe": {"steps": 3}}
    onnx_words = (b"Loop", b"If", b"ConstantOfShape", b"Expand", b"location", b"mutualformer", b"\x08", b"\x70\x01")
    props = "\0".join(CONTRACT.to_props().values()).encode()
    return [
        Target("json", text(CARD), lambda data, folder: parse_json(data), (ValueError,), WORDS),
        Target("contract", lambda folder: [props], read_contract, (ContractError,), WORDS),
        Target("onnx-file", tiny_onnx, in_file("m.onnx", read_onnx_file), (ModelFileError,), onnx_words),
        Target(
            "onnx-session",
            tiny_onnx,
            in_file("m.onnx", lambda path: OnnxSession(path, "cpu", 1)),
            (ModelFileError,),
            onnx_words,
        ),
        Target(
            "model-card", text(CARD), lambda data, _: markdown(parse_json(data)), (ValueError, ContractError), WORDS
        ),
        Target("engine-card", text(sealed(ENGINE)), read_engine, (ModelFileError,), WORDS),
        Target("checkpoint-card", text(CARD), read_checkpoint_card, (checkpoint.CheckpointError,), WORDS),
        Target(
            "safetensors",
            lambda folder: [safetensors.numpy.save(weights, metadata={"model": "x"})],
            read_weights,
            (checkpoint.CheckpointError,),
            (b"F64", b"BF16", b"[0,0]", b"9999999999"),
        ),
        Target(
            "zoo-index",
            lambda folder: [(SHELF / "index.json").read_bytes()],
            in_file("index.json", lambda path: read_index(path.parent)),
            (ModelNameError,),
            WORDS,
        ),
        Target(
            "inspector",
            text({"Layers": [layer]}),
            lambda data, _: inspected_layers(data.decode("utf-8", "replace")),
            (ValueError,),
            WORDS,
        ),
        Target("plan", text(plan), in_file("plan.json", read_plan), (config.FitError,), WORDS),
        Target("journal", lambda folder: [json.dumps(LINE).encode()], read_journal, (), WORDS),
        Target(
            "plugin-record",
            lambda folder: [record.to_json(RECORD)],
            lambda data, folder: in_file("r.json", record.read)(resealed(data, record.SEAL), folder),
            (ValueError,),
            WORDS,
        ),
        Target(
            "token-file",
            lambda folder: [b"0123456789abcdef\n"],
            in_file("token", lambda path: addresses.token(True, file=path)),
            (ValueError,),
            (b"\n", b"\0", b" ", b"\xff"),
        ),
    ]


def read_plan(path: Path) -> str:
    """What a run that goes on was begun with."""
    return config.difference(path.parent, config.FitConfig("sod-nano", "synthetic:8", path.parent, recipe("demo")))
