"""Messages reach the host's logger, whichever layout its interfaces have; an unknown host is not called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins import support

HOST = """
// A host as TensorRT VERSION lays its interfaces out; a call of anything but the function asked for aborts.
#include <dlfcn.h>
#include <cstdint>
#include <cstdlib>
#include <string>
struct Versioned {
  virtual int language() const noexcept { std::abort(); }
  virtual int info() const noexcept { std::abort(); }
  virtual ~Versioned() = default;
};
struct Plain {};
struct Logger : BASE {
  virtual void log(int32_t severity, char const* text) noexcept { if (severity == 1) kept = text; }
  virtual ~Logger() = default;
  std::string kept;
};
struct Finder : BASE {
  virtual Logger* find() { return &logger; }
  virtual ~Finder() = default;
  Logger logger;
};
static Finder finder;
extern "C" int32_t NAME() { return VERSION; }
extern "C" void install(char const* plugin) {
  auto const set = reinterpret_cast<void (*)(void*)>(dlsym(dlopen(plugin, RTLD_NOW), "setLoggerFinder"));
  set(&finder);
}
extern "C" char const* kept() { return finder.logger.kept.c_str(); }
"""
PROGRAM = """
import ctypes, sys
from pathlib import Path
from mutualformer.plugins.harness.harness import Harness
harness = Harness(Path(sys.argv[1]), Path(sys.argv[1]) / "libmutualformer_plugin.so", direct=True)
host = ctypes.CDLL(sys.argv[2])
host.kept.restype = ctypes.c_char_p
host.install(str(Path(sys.argv[1]) / "libmutualformer_plugin.so").encode())
assert harness.create({"num_heads": 0}) is None
print(host.kept().decode())
"""


@pytest.mark.parametrize(
    ("base", "version", "reaches"),
    [
        ("Plain", 100300, True),  # TensorRT 10.3, JetPack 6
        ("Plain", 101600, True),
        ("Versioned", 110000, True),
        ("Versioned", 110400, True),
        ("Versioned", 10701, True),  # TensorRT-RTX 1.7.1
        ("Versioned", 10400, False),  # TensorRT-RTX 1.4: not known
        ("Versioned", 0, False),  # a host that does not tell
    ],
)
def test_messages_reach_the_hosts_logger(base: str, version: int, reaches: bool, tmp_path: Path) -> None:
    source, library = tmp_path / "host.cpp", tmp_path / "libhost.so"
    source.write_text(HOST)
    name = "getInferLibVersion" if version else "something_else"
    command = [os.environ.get("CXX", "c++"), "-std=c++17", "-shared", "-fPIC", f"-DBASE={base}", f"-DVERSION={version}"]
    subprocess.run([*command, f"-DNAME={name}", str(source), "-o", str(library), "-ldl"], check=True)
    command = [sys.executable, "-c", PROGRAM, str(support.built()), str(library)]
    done = subprocess.run(command, cwd=support.ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    where, elsewhere = (done.stdout, done.stderr) if reaches else (done.stderr, done.stdout)
    assert "num_heads" in where
    assert "num_heads" not in elsewhere


def test_tensorrt_rtx_gets_them_in_its_own_logger(plugin_path: Path) -> None:
    """In a process of its own, whose plugin nobody else has given a logger."""
    program = (
        "import tensorrt_rtx as trt\n"
        "from onnx import TensorProto, helper\n"
        "from mutualformer.plugins import library\n"
        "library.load('rtx')\n"
        "class Logger(trt.ILogger):\n"
        "    def __init__(self):\n"
        "        trt.ILogger.__init__(self)\n"
        "        self.errors = []\n"
        "    def log(self, severity, text):\n"
        "        if severity == trt.ILogger.ERROR:\n"
        "            self.errors.append(text)\n"
        "attributes = dict(alpha=0.6, iterations=1, init='identity', value_pairing='released', plugin_version='1')\n"
        "node = helper.make_node('CrossDiffusionAttention', ['a', 'b'], ['y', 'z'], domain='mutualformer',\n"
        "    num_heads=5, plugin_namespace='', **attributes)\n"
        "inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, [1, 49, 192]) for n in 'ab']\n"
        "outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, [1, 49, 128]) for n in 'yz']\n"
        "opsets = [helper.make_opsetid('', 20), helper.make_opsetid('mutualformer', 1)]\n"
        "file = helper.make_model(helper.make_graph([node], 'g', inputs, outputs), opset_imports=opsets)\n"
        "logger = Logger()\n"
        "network = trt.Builder(logger).create_network()\n"
        "parser = trt.OnnxParser(network, logger)\n"
        "parser.set_flag(trt.OnnxParserFlag.ENABLE_PLUGIN_OVERRIDE)\n"
        "parser.parse(file.SerializeToString())\n"
        "assert any(text.startswith('CrossDiffusionAttention: ') for text in logger.errors), logger.errors\n"
    )
    environment = {**os.environ, "MUTUALFORMER_PLUGIN": str(plugin_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=support.ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CrossDiffusionAttention:" not in done.stderr
