"""What an ONNX file may not do: name other files, anywhere in it; and what is hashed is what runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mutualformer.runtime.session import ModelFileError, load
from mutualformer.runtime.session.onnx_file import read_onnx_file

SECRET = "secret.bin"


def external(name: str, location: str = SECRET) -> TensorProto:
    """A tensor of four floats whose values are said to be in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(*nodes: onnx.NodeProto, **graph: Any) -> onnx.ModelProto:
    """y = x + w, with ``nodes`` instead of the constant where there are any."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    add = helper.make_node("Add", ["x", "w"], ["y"])
    built = helper.make_graph([*nodes, add], "g", [x], [y], **graph)
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def as_initializer(location: str) -> onnx.ModelProto:
    return model(initializer=[external("w", location)])


def as_attribute(location: str) -> onnx.ModelProto:
    return model(helper.make_node("Constant", [], ["w"], value=external("v", location)))


def as_sparse_values(location: str) -> onnx.ModelProto:
    indices = numpy_helper.from_array(np.arange(4, dtype=np.int64), "i")
    sparse = onnx.SparseTensorProto(values=external("w", location), indices=indices, dims=[4])
    return model(sparse_initializer=[sparse])


def as_sparse_indices(location: str) -> onnx.ModelProto:
    built = as_sparse_values(location)
    sparse = built.graph.sparse_initializer[0]
    sparse.indices.CopyFrom(sparse.values)
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(4, np.float32), "w"))
    return built


def as_sparse_attribute(location: str) -> onnx.ModelProto:
    node = onnx.NodeProto(op_type="Constant", output=["w"])
    sparse = as_sparse_values(location).graph.sparse_initializer[0]
    node.attribute.append(
        onnx.AttributeProto(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse)
    )
    return model(node)


def as_list_attribute(location: str) -> onnx.ModelProto:
    node = onnx.NodeProto(op_type="Constant", output=["w"])
    attribute = onnx.AttributeProto(name="values", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(external("v", location))
    node.attribute.append(attribute)
    return model(node)


def in_a_subgraph(location: str) -> onnx.ModelProto:
    inner = model(initializer=[external("w", location)]).graph
    built = model(initializer=[numpy_helper.from_array(np.ones(4, np.float32), "w")])
    built.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    return built


def in_a_function(location: str) -> onnx.ModelProto:
    built = model(initializer=[numpy_helper.from_array(np.ones(4, np.float32), "w")])
    constant = helper.make_node("Constant", [], ["w"], value=external("v", location))
    built.functions.append(
        helper.make_function("d", "F", [], ["w"], [constant], opset_imports=[helper.make_opsetid("", 20)])
    )
    return built


def in_training_info(location: str) -> onnx.ModelProto:
    built = model(initializer=[numpy_helper.from_array(np.ones(4, np.float32), "w")])
    built.training_info.add().initialization.initializer.append(external("w", location))
    return built


def said_and_unsaid(location: str) -> onnx.ModelProto:
    """The entries without the flag that says they count."""
    built = as_initializer(location)
    built.graph.initializer[0].data_location = TensorProto.DEFAULT
    return built


HIDING = [
    as_initializer,
    as_attribute,
    as_sparse_values,
    as_sparse_indices,
    as_sparse_attribute,
    as_list_attribute,
    in_a_subgraph,
    in_a_function,
    in_training_info,
    said_and_unsaid,
]


@pytest.mark.parametrize("hide", HIDING)
@pytest.mark.parametrize("where", ["beside", "absolute", "above", "link", "hard link"])
def test_values_in_other_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hide: Callable[[str], onnx.ModelProto], where: str
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / SECRET).write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (folder / SECRET).write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / SECRET)
    os.link(tmp_path / SECRET, folder / "hard.bin")
    location = {
        "beside": SECRET,
        "absolute": str(tmp_path / SECRET),
        "above": f"../{SECRET}",
        "link": "link.bin",
        "hard link": "hard.bin",
    }[where]
    (folder / "m.onnx").write_bytes(hide(location).SerializeToString())
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("ONNX Runtime saw the file"))
    with pytest.raises(ModelFileError, match="keeps its values in another file") as error:
        load(folder / "m.onnx")
    assert location in str(error.value)
    assert str(folder / "m.onnx") in str(error.value)


def test_what_is_hashed_is_what_was_read(tmp_path: Path) -> None:
    built = model(initializer=[numpy_helper.from_array(np.ones(4, np.float32), "w")])
    data = built.SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data)
    file = read_onnx_file(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"replaced meanwhile")
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert file.data == data
    assert len(file.model.graph.node) == 1
