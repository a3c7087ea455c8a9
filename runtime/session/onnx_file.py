"""Read an ONNX file once, and check its bytes before a runtime parses them.

An ONNX tensor can refer to values in another file: ONNX Runtime 1.23, the newest on Python 3.10, then opens whatever
path an untrusted model names (other folders, links, devices). A model file's hash does not cover such values either:
those of another export under the same name would give wrong answers with the right hash. Files of this project hold all
their values, so a file with any such reference is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import numpy_helper

from mutualformer.runtime.session.base import ModelFileError, read_file

TRUST = "MUTUALFORMER_TRUST"
FUNCTION = ("mutualformer", "CrossDiffusionAttention")
CONSTANTS = 64 << 20  # bytes that constants may take, in addition to 20 times the size of the file
OPERATORS = frozenset(
    """Abs Add And AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant Conv ConvTranspose
    DequantizeLinear Div Equal Erf Exp Expand Flatten Floor Gather Gelu Gemm GlobalAveragePool Greater GreaterOrEqual
    HardSigmoid HardSwish Identity LayerNormalization Less LessOrEqual Log MatMul Max MaxPool Min Mul Neg Not Pad Pow
    QuantizeLinear Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Resize Shape Sigmoid Sign
    Slice Softmax Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where""".split()  # noqa: SIM905 - read as a list
)
# ONNX Runtime writes these when it saves an optimised file: fused operators, and reordering for its blocked layout.
OPTIMISED = {
    "com.microsoft": frozenset("FusedConv FusedGemm FusedMatMul Gelu QuickGelu SkipLayerNormalization".split()),  # noqa: SIM905
    "com.microsoft.nchwc": frozenset(
        "AveragePool Conv GlobalAveragePool MaxPool ReorderInput ReorderOutput Upsample".split()  # noqa: SIM905
    ),
}
CONCATENATED = 32  # constants in one graph: shape inference copies them, and each may double the previous one
SMALL = 64  # elements; only constants this small may describe a shape


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
    refuse_external(file, model)  # also of a trusted file: no hash covers what lies elsewhere
    if not os.environ.get(TRUST):
        refuse_programs(file, model, len(data))
    props = {entry.key: entry.value for entry in model.metadata_props}
    if not all(isinstance(text, str) for entry in props.items() for text in entry):  # invalid UTF-8 comes as bytes
        raise ModelFileError(f"{file}: its metadata is not UTF-8; export it again")
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


def refuse_programs(path: Path, model: onnx.ModelProto, size: int) -> None:
    """Raise ModelFileError when ``model`` of ``size`` bytes holds anything that our exporter never writes.

    An ONNX file is a program. Without loops, and with no function but ours, it terminates. A runtime computes what
    depends on constants alone before the first frame: that may take 64 MB and 20 times the size of the file.
    """
    trust = "; if you know who made it, --trust runs it"
    for function in model.functions:
        if (function.domain, function.name) != FUNCTION:
            raise ModelFileError(f"{path}: holds a function {function.name[:60]!r} that is not ours{trust}")
    # None of these operators holds a graph, so a graph inside a node was not written by our exporter.
    for node in all_nodes(model):
        known = OPERATORS if node.domain in ("", "ai.onnx") else OPTIMISED.get(node.domain, frozenset())
        inside = any(part.HasField("g") or part.graphs for part in node.attribute)
        if inside or (node.op_type not in known and (node.domain, node.op_type) != FUNCTION):
            name = ".".join(str(part) for part in (node.domain, node.op_type) if part)
            raise ModelFileError(
                f"{path}: holds the operator {name[:60]!r}, expected those of saliency and ReID models{trust}"
            )
    # A file of a kilobyte can describe terabytes: a chain of Expand or Concat on constants doubles with each node.
    sizes = [_constant_bytes(model, model.graph.node), *(_constant_bytes(model, f.node) for f in model.functions)]
    made = None if None in sizes else sum(filter(None, sizes))
    if made is None or made > CONSTANTS + 20 * size:
        what = "of unknown size" if made is None else f"of {made / 1e6:,.0f} MB"
        raise ModelFileError(f"{path}: {size:,} bytes that make constants {what}{trust}")


def _constant_bytes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> int | None:
    """Bytes of everything that ``nodes`` compute from constants alone; None where that is unknown."""
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name, known, concatenated = "constants", {tensor.name for tensor in model.graph.initializer}, 0
    constants = list(model.graph.initializer)
    for node in nodes:
        if node.domain == FUNCTION[0]:  # shape inference does not look into local functions
            if known.intersection(node.input):  # constants would propagate into the function
                return None
        # What depends on a graph's input is computed frame by frame, with shapes that the contract limits.
        elif all(name in known for name in node.input if name):
            known.update(node.output)
            concatenated += len(node.input) if node.op_type == "Concat" else 0
            if node.op_type != "Constant":
                part.graph.node.append(node)
            else:
                constants.append(_constant(node))
    # Shape inference gets the values of small constants, which may be shapes, and only the types of large ones, which
    # it would copy at every step.
    used = {name for node in part.graph.node for name in node.input}
    for tensor in constants:
        if tensor.name in used and math.prod(tensor.dims) <= SMALL:
            part.graph.initializer.append(tensor)
        elif tensor.name in used:
            part.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    if concatenated > CONCATENATED:  # inference itself would take the memory that it is meant to estimate
        return None
    try:
        inferred = onnx.shape_inference.infer_shapes(part, data_prop=True).graph.value_info
        types = {value.name: value.type.tensor_type for value in inferred}
        return sum(_bytes(types[name]) for node in part.graph.node for name in node.output if name)
    except (KeyError, TypeError, ValueError, RuntimeError, onnx.shape_inference.InferenceError):
        return None


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    """The value of a Constant node; a placeholder number where it refers to a function's attribute."""
    tensor = onnx.TensorProto(data_type=onnx.TensorProto.FLOAT)
    for attribute in node.attribute:
        if attribute.ref_attr_name or attribute.name in ("value_float", "value_int"):
            integer = attribute.type == onnx.AttributeProto.INT
            tensor = numpy_helper.from_array(np.array(1, np.int64 if integer else np.float32))
        elif attribute.name == "value":
            tensor.CopyFrom(attribute.t)
        elif attribute.name in ("value_ints", "value_floats"):
            values = attribute.ints if attribute.name == "value_ints" else attribute.floats
            tensor = numpy_helper.from_array(np.array(values, np.int64 if attribute.ints else np.float32))
    tensor.name = node.output[0] if node.output else ""
    return tensor


def _bytes(tensor: onnx.TypeProto.Tensor) -> int:
    """Size of a tensor of known shape. Raises ValueError for another."""
    if not tensor.HasField("shape") or any(not side.HasField("dim_value") for side in tensor.shape.dim):
        raise ValueError("unknown shape")
    width = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    return int(width * math.prod(side.dim_value for side in tensor.shape.dim))


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of the graph and of its functions."""
    return itertools.chain(model.graph.node, *(function.node for function in model.functions))


def tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Yield every tensor in a message: initializers, sparse ones, attributes, subgraphs, functions, training."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in (value,) if isinstance(value, Message) else value:
                yield from tensors(part)


def widened(file: OnnxFile) -> OnnxFile:
    """``file`` with every FP16 number stored as FP32, and without casts to FP16.

    A CPU without FP16 arithmetic computes in FP32 anyway, and would convert the weights again in every call.
    """
    model = widen(file.model)
    return dataclasses.replace(file, data=model.SerializeToString(), model=model)


def widen(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without FP16. Casts remain, now from FP32 to FP32."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for tensor in tensors(model):
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in all_nodes(model):
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT16:
                attribute.i = onnx.TensorProto.FLOAT
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model
