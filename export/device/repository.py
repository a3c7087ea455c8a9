"""A model repository for the Triton Inference Server: the ONNX file for any processor, an engine for a GPU.

Configurations are text in the server's protobuf schema; the tests parse them with the server's client library.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mutualformer.export.device.archive import write_archive
from mutualformer.export.device.plugin import licences
from mutualformer.export.device.scripts import resource
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.onnx_file import open_onnx
from mutualformer.plugins import library
from mutualformer.plugins.record import to_json
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.reporting.tables import markdown
from mutualformer.runtime.session import engine_card
from mutualformer.runtime.tasks import TensorSpec

MAX_BATCH = 8
_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}


def model_config(name: str, backend: str, contract: Contract, max_batch: int) -> str:
    """``config.pbtxt`` of one model. ``backend``: "onnxruntime" or "tensorrt".

    ``dims`` leave out the batch, which is the server's first dimension; the server batches requests.
    """

    def tensors(key: str, specs: tuple[TensorSpec, ...]) -> list[str]:
        rows = [
            f'  {{ name: "{one.name}" data_type: {_TYPES[one.dtype]} dims: [{", ".join(map(str, one.shape[1:]))}] }}'
            for one in specs
        ]
        return [f"{key} [", ",\n".join(rows), "]"]

    lines = [f'name: "{name}"', f'backend: "{backend}"', f"max_batch_size: {max_batch}"]
    lines += tensors("input", contract.inputs) + tensors("output", contract.outputs)
    lines.append(f"instance_group [ {{ count: 1 kind: {'KIND_GPU' if backend == 'tensorrt' else 'KIND_AUTO'} }} ]")
    lines += ["dynamic_batching { }"] if max_batch > 1 else []
    return "\n".join(lines) + "\n"


def _engine(engine: Path, contract: Contract) -> tuple[dict[str, bytes], str]:
    """Files of the engine's model, and a sentence on the TensorRT it needs. Raises ExportError, ModelFileError."""
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

    ``engine``: a classic TensorRT engine of the same model, built on the server's kind of GPU; our plugin is added.
    Raises ExportError, ModelFileError, PluginError, ContractError, and leaves ``out`` unchanged then.
    """
    source, contract = open_onnx(onnx_file)
    rows: list[tuple[Any, ...]] = [(f"`{contract.model}`", "ONNX Runtime, CPU or GPU", contract.precision, MAX_BATCH)]
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
        where = f"TensorRT {card.builder_version}, GPU"
        rows.append((f"`{contract.model}-tensorrt`", where, card.requested_precision, card.profile[2]))
    table = markdown(["model", "runs in", "precision", "largest batch"], rows)
    readme = resource("serving", "README.md").decode()
    for word, value in (("MODEL", contract.model), ("TABLE", table), ("VERSION", version)):
        readme = readme.replace(f"@{word}@", value)
    files["README.md"] = readme.encode()
    write_archive(out, f"mutualformer-{contract.model}-triton", files)
    return {path: len(data) for path, data in files.items()}
