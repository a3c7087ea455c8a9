"""What an ONNX file may not do: name other files, anywhere in it; and what is hashed is what runs."""

from __future__ import annotations

import hashlib
import itertools
import os
import resource
import subprocess
import sys
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
    """A tensor of four floats whose values lie, by its own account, in another file."""
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


def program(tmp_path: Path, *nodes: onnx.NodeProto, functions: tuple[onnx.FunctionProto, ...] = ()) -> Path:
    built = model(*nodes, initializer=[numpy_helper.from_array(np.ones(4, np.float32), "w")])
    built.functions.extend(functions)
    (tmp_path / "m.onnx").write_bytes(built.SerializeToString())
    return tmp_path / "m.onnx"


def doubling() -> list[onnx.NodeProto]:
    names = ["w", *(f"d{number}" for number in range(40))]
    return [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in itertools.pairwise(names)]


def looping() -> onnx.NodeProto:
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["o"])], "b", [], [])
    return helper.make_node("Loop", ["w", "w"], ["m"], body=body)


def function(domain: str, name: str, *nodes: onnx.NodeProto) -> onnx.FunctionProto:
    return helper.make_function(domain, name, ["a"], ["b"], nodes, [helper.make_opsetid("", 20)])


shape = numpy_helper.from_array(np.array([600_000_000], np.int64))
PROGRAMS: dict[str, tuple[list[onnx.NodeProto], tuple[onnx.FunctionProto, ...], str]] = {
    "endless loop": ([looping()], (), "operator 'Loop'"),
    "graph in an Add": (
        [helper.make_node("Add", ["w", "w"], ["z"], body=looping().attribute[0].g)],
        (),
        "operator 'Add'",
    ),
    "made of nothing": ([helper.make_node("ConstantOfShape", ["w"], ["z"])], (), "operator 'ConstantOfShape'"),
    "foreign domain": ([helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft")], (), "EPContext"),
    "foreign function": ([], (function("my", "F", helper.make_node("Add", ["a", "a"], ["b"])),), "function 'F'"),
    "loop in ours": ([], (function("mutualformer", "CrossDiffusionAttention", looping()),), "operator 'Loop'"),
    "constant that grows": (
        [helper.make_node("Constant", [], ["s"], value=shape), helper.make_node("Expand", ["w", "s"], ["z"])],
        (),
        "make constants",
    ),
    "constant that doubles": (doubling(), (), "make constants of "),
    "doubling in ours": (
        [],
        (
            function(
                "mutualformer",
                "CrossDiffusionAttention",
                helper.make_node("Constant", [], ["w"], value_floats=[1.0] * 9),
                *doubling(),
            ),
        ),
        "make constants of ",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_file_that_is_a_program_is_refused_unless_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    nodes, functions, says = PROGRAMS[name]
    path = program(tmp_path, *nodes, functions=functions)
    with pytest.raises(ModelFileError, match=says) as error:
        read_onnx_file(path)
    assert "--trust" in str(error.value)
    assert str(path) in str(error.value)
    monkeypatch.setenv("MUTUALFORMER_TRUST", "1")
    assert read_onnx_file(path).path == path


SHIPPED = Path(__file__).resolve().parents[3] / "mutualformer/models/sod-nano.onnx"


def test_our_own_files_are_no_programs() -> None:
    assert read_onnx_file(SHIPPED).props["mutualformer.model"] == '"sod-nano"'


def test_a_stranger_s_model_runs_under_a_memory_limit() -> None:
    code = (
        "import resource, sys; from mutualformer.runtime.session import load; load(sys.argv[1], device='cpu'); "
        "print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
    )
    command = [sys.executable, "-c", code, str(SHIPPED)]
    limits = [
        int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        for environment in ({**os.environ}, {**os.environ, "MUTUALFORMER_TRUST": "1"})
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert limits[0] == max(4 << 30, memory // 2)
    assert limits[1] == resource.getrlimit(resource.RLIMIT_DATA)[0]
