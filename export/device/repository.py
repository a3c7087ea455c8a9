"""A model repository for the Triton Inference Server: the ONNX file on CPU or GPU, an engine with our plugin on a GPU.

Configurations are messages of the protocol's own schema (``tritonclient``), written as text and read back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mutualformer.export.device.archive import write_archive
from mutualformer.export.device.plugin import licences
from mutualformer.export.device.scripts import resource
from mutualformer.export.errors import ExportError
from mutualformer.plugins import library
from mutualformer.plugins.record import to_json
from mutualformer.runtime.contract import Contract, TensorSpec
from mutualformer.runtime.session import engine_card
from mutualformer.runtime.session.onnx_file import read_onnx_file

MAX_BATCH = 8
_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}


def _schema() -> Any:
    try:
        from tritonclient.grpc import model_config_pb2
    except ModuleNotFoundError as error:
        raise ExportError(
            f"a model repository needs Python package {error.name!r}; pip install 'mutualformer[serving]'"
        ) from error
    return model_config_pb2


def model_config(name: str, backend: str, contract: Contract, max_batch: int) -> str:
    """``config.pbtxt`` of one model. ``backend``: "onnxruntime" or "tensorrt". Raises ExportError without tritonclient.

    The batch is the server's first dimension and is left out of ``dims``; requests are batched on the fly.
    """
    schema = _schema()
    from google.protobuf import text_format

    def tensors(kind: Any, specs: tuple[TensorSpec, ...]) -> list[Any]:
        return [kind(name=s.name, data_type=schema.DataType.Value(_TYPES[s.dtype]), dims=s.shape[1:]) for s in specs]

    kinds = schema.ModelInstanceGroup
    config = schema.ModelConfig(
        name=name,
        backend=backend,
        max_batch_size=max_batch,
        input=tensors(schema.ModelInput, contract.inputs),
        output=tensors(schema.ModelOutput, contract.outputs),
        instance_group=[kinds(count=1, kind=kinds.KIND_GPU if backend == "tensorrt" else kinds.KIND_AUTO)],
    )
    if max_batch > 1:
        config.dynamic_batching.SetInParent()
    text = text_format.MessageToString(config)
    if text_format.Parse(text, schema.ModelConfig()) != config:
        raise ExportError(f"the configuration of {name} does not survive being written as text")
    return str(text)


def _engine(engine: Path, contract: Contract) -> tuple[dict[str, bytes], str]:
    """Files of the engine's model, and which TensorRT it wants. Raises ExportError, ModelFileError."""
    card = engine_card.read(engine)
    data = engine.read_bytes()
    engine_card.verify_bytes(engine, card, data)
    if card.flavor != "tensorrt":
        raise ExportError(
            f"{engine}: built by TensorRT-RTX, for which the server has no backend; use --flavor tensorrt"
        )
    if (card.contract.model, card.contract.inputs) != (contract.model, contract.inputs):
        raise ExportError(f"{engine}: an engine of {card.contract.model}, expected one of {contract.model}, same size")
    name = f"{contract.model}-tensorrt"
    config = model_config(name, "tensorrt", contract, card.profile[2])
    files = {f"models/{name}/config.pbtxt": config.encode(), f"models/{name}/1/model.plan": data}
    if card.cda_nodes:
        plugin = library.find()
        content, record = library.read(plugin)
        engine_card.verify_plugin(engine, card, plugin, record.sha256)
        files |= {f"plugins/{plugin.name}": content, f"plugins/{plugin.name}.json": to_json(record)}
    return files, f"; the engine was built by TensorRT {card.builder_version}, and the server's must be the same"


def write_repository(onnx_file: Path, out: Path, engine: Path | None = None) -> dict[str, int]:
    """Write the archive ``out`` (.tar.gz); returns path → bytes of its members.

    ``engine``: a classic TensorRT engine of the same model, built on the server's kind of GPU; our plugin goes with it.
    Raises ExportError, ModelFileError, PluginError, ContractError; ``out`` then keeps what it held.
    """
    if not out.name.endswith(".tar.gz"):
        raise ExportError(f"{out}: the output's name must end in .tar.gz")
    source = read_onnx_file(onnx_file)
    contract = Contract.from_props(source.props)
    rows = [f"| `{contract.model}` | ONNX Runtime, CPU or GPU | {contract.precision} | {MAX_BATCH} |"]
    files = {
        f"models/{contract.model}/config.pbtxt": model_config(
            contract.model, "onnxruntime", contract, MAX_BATCH
        ).encode(),
        f"models/{contract.model}/1/model.onnx": source.data,
        "contract.json": (json.dumps(contract.to_json(), indent=1, sort_keys=True) + "\n").encode(),
        "client.py": resource("serving", "client.py"),
        "start.sh": resource("serving", "start.sh"),
        **licences(),
    }
    version = ""
    if engine is not None:
        more, version = _engine(engine, contract)
        files |= more
        card = engine_card.read(engine)
        rows.append(
            f"| `{contract.model}-tensorrt` | TensorRT {card.builder_version}, GPU | {card.requested_precision} "
            f"| {card.profile[2]} |"
        )
    table = "\n".join(["| model | runs in | precision | largest batch |", "| --- | --- | --- | --- |", *rows])
    readme = resource("serving", "README.md").decode()
    for word, value in (("MODEL", contract.model), ("TABLE", table), ("VERSION", version)):
        readme = readme.replace(f"@{word}@", value)
    files["README.md"] = readme.encode()
    write_archive(out, f"mutualformer-{contract.model}-triton", files)
    return {path: len(data) for path, data in files.items()}
