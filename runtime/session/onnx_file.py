"""An ONNX file as bytes that were read once, checked before a runtime sees them.

ONNX lets a tensor say "my values are in that file": ONNX Runtime 1.23, the newest on Python 3.10, then opens whatever
path a stranger's model names (other folders, links, devices). And the values beside a file are covered by no hash of
it: those of another export under the same name give wrong answers with the right hash. Our files hold all their
values; one that does not is refused, wherever in it the reference hides.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import numpy_helper

from mutualformer.runtime.session.base import ModelFileError, read_file


@dataclasses.dataclass(frozen=True)
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


def widened(file: OnnxFile) -> OnnxFile:
    """``file`` with every half-precision number as the single-precision one that it is, and no rounding to half.

    A processor without half-precision arithmetic computes in single precision anyway, and would convert the weights
    again in every call.
    """
    model = widen(file.model)
    return dataclasses.replace(file, data=model.SerializeToString(), model=model)


def widen(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without half precision; the casts between the two are left, and change nothing."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for tensor in tensors(model):
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in itertools.chain(model.graph.node, *(function.node for function in model.functions)):
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT16:
                attribute.i = onnx.TensorProto.FLOAT
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model
