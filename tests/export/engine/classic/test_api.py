"""Everything of TensorRT's Python API that the builder and the session use exists in the versions devices bring.

Read from the real bindings; the library behind them is a stub, so nothing is built. JetPack 6.2 has 10.3, JetPack 7.1
10.13, JetPack 7.2 10.16.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.export.engine.classic.bindings import download, libraries, run
from tests.plugins.support import ROOT

VERSIONS = ("10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106")
USERS = ("export/engine/builder.py", "runtime/session/tensorrt.py", "plugins/library.py")

# Asked for before use, or used by the other flavour alone.
OPTIONAL = {
    "OnnxParserFlag.ENABLE_PLUGIN_OVERRIDE", "NetworkDefinitionCreationFlag.STRONGLY_TYPED", "BuilderFlag.TF32",
    "ComputeCapability", "CudaGraphStrategy", "DynamicShapesKernelSpecializationStrategy",
    "DynamicShapesKernelSpecializationStrategy.EAGER",
}  # fmt: skip
METHODS = {
    "Builder": "create_network create_builder_config create_optimization_profile build_serialized_network",
    "OnnxParser": "set_flag parse num_errors get_error",
    "ParserError": "desc",
    "INetworkDefinition": "num_layers get_layer",
    "ILayer": "type name",
    "IBuilderConfig": "profiling_verbosity clear_flag set_memory_pool_limit set_timing_cache "
    "get_timing_cache add_optimization_profile",
    "ITimingCache": "serialize",
    "IOptimizationProfile": "set_shape",
    "Runtime": "deserialize_cuda_engine",
    "ICudaEngine": "create_engine_inspector num_io_tensors get_tensor_name get_tensor_dtype get_tensor_mode "
    "get_tensor_shape create_execution_context",
    "EngineInspector": "get_engine_information",
    "IExecutionContext": "set_tensor_address set_input_shape execute_async_v3",
    "IPluginRegistry": "load_library get_creator",
}


def names_used() -> set[str]:
    """Every ``trt.A`` and ``trt.A.B`` in the source."""
    names = set()
    for file in USERS:
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if text.startswith("trt."):
                names.add(text.removeprefix("trt.").removesuffix(".__init__"))
    return names


def test_source_is_read() -> None:
    assert {"Builder", "LayerType.PLUGIN_V3", "TensorIOMode.INPUT", "get_plugin_registry"} <= names_used()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_builder_and_session_use_exists(version: str, tmp_path: Path) -> None:
    wheel = download(version)
    wanted = sorted({*names_used(), *(f"{name}.{one}" for name, row in METHODS.items() for one in row.split())})
    code = (
        "import functools, json, tensorrt as trt\n"
        "def has(name):\n"
        "    try: functools.reduce(getattr, name.split('.'), trt)\n"
        "    except AttributeError: return False\n"
        "    return True\n"
        "class Logger(trt.ILogger):\n"
        "    def __init__(self): trt.ILogger.__init__(self)\n"
        "    def log(self, severity, message): pass\n"
        "Logger()\n"
        f"names = json.loads({json.dumps(json.dumps(wanted))})\n"
        "types = [trt.nptype(getattr(trt.DataType, name)).__name__ for name in ('FLOAT', 'HALF', 'UINT8')]\n"
        "print(json.dumps([trt.__version__, types, [name for name in names if not has(name)]]))\n"
    )
    done = run(code, wheel, libraries("stub.c", version, tmp_path / "lib"))
    assert done.returncode == 0, done.stderr
    found, types, missing = json.loads(done.stdout)
    assert version.startswith(found)
    assert types == ["float32", "float16", "uint8"]
    assert not set(missing) - OPTIONAL
