"""An ONNX file as bytes that were read once, checked before a runtime sees them.

ONNX lets a tensor say "my values are in that file": ONNX Runtime 1.23, the newest on Python 3.10, then opens whatever
path a stranger's model names (other folders, links, devices). And the values beside a file are covered by no hash of
it: those of another export under the same name give wrong answers with the right hash. Our files hold all their
values; one that does not is refused, wherever in it the reference hides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message

from mutualformer.runtime.session.base import ModelFileError, read_file


@dataclass(frozen=True)
class OnnxFile:
    """``data``: the file's bytes; ``model``: parsed from them; ``sha256``: of them, hex; ``props``: its metadata."""

    path: Path
    data: bytes
    model: onnx.ModelProto
    sha256: str
    props: dict[str, str]


def read_onnx_file(path: str | Path, what: str = "model file") -> OnnxFile:
    """Read ``path`` once and check it. Raises ModelFileError: missing, empty, not ONNX, values in other files."""
    file, data = Path(path), read_file(path, what)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelFileError(
            f"{file}: cannot load it, not an ONNX file or truncated ({error}); export it again"
        ) from error
    if not model.graph.node:
        raise ModelFileError(f"{file}: cannot load it, not an ONNX file or truncated (no node); export it again")
    refuse_external(file, model)
    try:
        props = {entry.key: entry.value for entry in model.metadata_props}
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{file}: its metadata is not UTF-8; export it again") from error
    return OnnxFile(file, data, model, hashlib.sha256(data).hexdigest(), props)


def refuse_external(path: Path, model: onnx.ModelProto) -> None:
    """Raise ModelFileError when any tensor of ``model`` keeps its values in another file."""
    for tensor in tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            fields = {entry.key: entry.value for entry in tensor.external_data}
            raise ModelFileError(
                f"{path}: tensor {tensor.name!r} keeps its values in another file ({fields.get('location', '?')!r}), "
                "which nothing vouches for; save the model as one file: "
                "onnx.save(onnx.load(FILE), OTHER, save_as_external_data=False)"
            )


def tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor anywhere in a message: initializers, sparse ones, attributes, subgraphs, functions, training."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in (value,) if isinstance(value, Message) else value:
                yield from tensors(part)
