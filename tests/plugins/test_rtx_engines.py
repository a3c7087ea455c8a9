"""Real TensorRT-RTX engines around the plugin, built on a CPU: every variant is one plugin layer."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
from typing import Any

import pytest

from mutualformer.plugins import attributes as a
from mutualformer.plugins import library
from tests.plugins.support import ROOT

onnx = pytest.importorskip("onnx")
trt: Any = pytest.importorskip("tensorrt_rtx")


def model(node: a.CdaAttributes, elem_type: int, tokens: int, width: int) -> bytes:
    """An ONNX file of one CDA node with dynamic batch, as export/to_onnx.py writes it."""
    from onnx import helper

    attributes: dict[str, Any] = node.as_dict()
    cda = helper.make_node(
        a.OP_TYPE,
        ["qkv_r", "qkv_d"],
        ["y_r", "y_d"],
        name="cda",
        domain=a.DOMAIN,
        **attributes,
        plugin_version=a.PLUGIN_VERSION,
        plugin_namespace=a.PLUGIN_NAMESPACE,
    )
    inputs = [helper.make_tensor_value_info(n, elem_type, ["B", tokens, width]) for n in cda.input]
    outputs = [helper.make_tensor_value_info(n, elem_type, ["B", tokens, width // 3 * 2]) for n in cda.output]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(a.DOMAIN, a.OPSET_VERSION)]
    return bytes(
        helper.make_model(helper.make_graph([cda], "cda", inputs, outputs), opset_imports=opsets).SerializeToString()
    )


class Log(trt.ILogger):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def log(self, severity: Any, message: str) -> None:
        self.text += message + "\n"


def build(content: bytes, tokens: int, width: int) -> tuple[list[Any], Any, str]:
    """Layer types of the parsed network, the serialised engine (or None), the builder's log."""
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    parser.set_flag(trt.OnnxParserFlag.ENABLE_PLUGIN_OVERRIDE)
    if not parser.parse(content):
        return [], None, log.text
    layers = [network.get_layer(i).type for i in range(network.num_layers)]
    assert tuple(network.get_output(0).shape) == (-1, tokens, width // 3 * 2)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    for name in ("qkv_r", "qkv_d"):
        profile.set_shape(name, (1, tokens, width), (1, tokens, width), (8, tokens, width))
    config.add_optimization_profile(profile)
    return layers, builder.build_serialized_network(network, config), log.text


TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
VARIANTS = list(itertools.product(TYPES, (1, 3), a.INITS, a.VALUE_PAIRINGS))


def serialized_nodes() -> dict[str, str]:
    """Node → what the plugin put into the engine for it, e.g. "num_heads=8 … tactic=2/3", since the last call."""
    function = ctypes.CDLL(library._registered["rtx"].mapped).mutualformer_serialized_nodes
    function.restype, function.argtypes = ctypes.c_size_t, [ctypes.c_char_p, ctypes.c_size_t]
    text = ctypes.create_string_buffer(1 << 16)
    assert function(text, len(text)) <= len(text)
    return dict(line.split("\t", 1) for line in text.value.decode().splitlines())


@pytest.mark.usefixtures("plugin_path")
@pytest.mark.parametrize(("elem_type", "iterations", "init", "value_pairing"), VARIANTS)
def test_every_variant_is_a_plugin_layer(elem_type: int, iterations: int, init: str, value_pairing: str) -> None:
    node = a.CdaAttributes(8, 0.6, iterations, init, value_pairing)
    layers, engine, log = build(model(node, elem_type, 100, 192), 100, 192)
    assert layers == [trt.LayerType.PLUGIN_V3], log
    assert engine is not None, log
    assert engine.nbytes > 1000
    assert "custom_layer" in log, "the builder's final layer list names no plugin"
    tactics = 1 if elem_type == onnx.TensorProto.FLOAT or elem_type == onnx.TensorProto.BFLOAT16 else 2
    metadata = serialized_nodes()["cda"]
    assert metadata.startswith(f"num_heads=8 alpha=0.600000 iterations={iterations} init={init}")
    assert f"value_pairing={value_pairing} tactic=1/{tactics}" in metadata, "without a GPU TensorRT takes the first"
    assert serialized_nodes() == {}, "the call before empties the list"


@pytest.mark.usefixtures("plugin_path")
@pytest.mark.parametrize(("heads", "head_dim", "tokens"), [(1, 4, 1), (3, 24, 577), (12, 64, 257), (8, 128, 484)])
def test_other_shapes(heads: int, head_dim: int, tokens: int) -> None:
    width = 3 * heads * head_dim
    layers, engine, log = build(model(a.CdaAttributes(heads), onnx.TensorProto.FLOAT16, tokens, width), tokens, width)
    assert layers == [trt.LayerType.PLUGIN_V3], log
    assert engine is not None, log


@pytest.mark.usefixtures("plugin_path")
@pytest.mark.parametrize(
    ("heads", "width", "message"),
    [
        (8, 3 * 8 * 130, "head_dim is 130, supported are 4 to 128"),
        (5, 192, "packed qkv width is 192, expected a positive multiple of 3 · num_heads = 15"),
    ],
)
def test_shapes_that_the_kernels_do_not_support_are_refused(heads: int, width: int, message: str) -> None:
    _, engine, _ = build(model(a.CdaAttributes(heads), onnx.TensorProto.FLOAT, 100, width), 100, width)
    assert engine is None
    assert message in library.last_error()


@pytest.mark.slow
@pytest.mark.usefixtures("plugin_path")
def test_two_engines_and_a_library_unloaded_and_loaded_again() -> None:
    """Runs in its own process, where nothing else has loaded the library."""
    code = (
        "import onnx\n"
        "from mutualformer.plugins import attributes as a, library\n"
        "from tests.plugins.test_rtx_engines import build, model, trt\n"
        "def engine(heads, alpha):\n"
        "    node = a.CdaAttributes(heads, alpha)\n"
        "    layers, found, log = build(model(node, onnx.TensorProto.FLOAT16, 49, 192), 49, 192)\n"
        "    assert layers == [trt.LayerType.PLUGIN_V3] and found is not None, log\n"
        "    return bytes(found)\n"
        "library.load('rtx')\n"
        "first, second = engine(8, 0.6), engine(4, 0.5)\n"
        "assert first != second\n"
        "trt.get_plugin_registry().deregister_library(library._registered.pop('rtx').handle)\n"
        "assert trt.get_plugin_registry().get_creator(a.OP_TYPE, a.PLUGIN_VERSION, '') is None\n"
        "library.load('rtx')\n"
        "engine(8, 0.6)\n"
        "print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"
