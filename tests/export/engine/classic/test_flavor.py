"""Flavour ``tensorrt`` from an ONNX file to an engine, with the bindings of TensorRT 11.

Behind them stands the builder of TensorRT-RTX, whose library has the ABI of TensorRT 11, through a forwarder of names:
what is executed is our side (plugin registry, parser, profile, workspace, layer list, proof, card) and
that of the bindings. It says nothing about the kernels that classic TensorRT would choose, nor about 10.x.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mutualformer.plugins import library
from mutualformer.plugins.compile.headers import rtx_library
from mutualformer.runtime import zoo
from tests.export.engine.classic.bindings import download, libraries, run

VERSION = "11.4.0.106"
CODE = """
import json, sys
from pathlib import Path
from mutualformer.export import to_trt
from mutualformer.export.engine import compile as compiling
from mutualformer.plugins import library
from mutualformer.runtime.session import engine_card
compiling.compute_capabilities = lambda: ["8.7"]  # as on the device; the inspector, which needs its GPU, stays off
plugin = library.find()
library._preload_rtx(plugin, library.read(plugin)[1])  # the builder behind the forwarder opens its own name
source, out = SOURCES
command = [source, "-o", out, "--flavor", "tensorrt", "--workspace", "256"]
assert to_trt.main(command) == 0
card = engine_card.read(Path(out))
engine_card.verify_bytes(Path(out), card, Path(out).read_bytes())
print("CARD " + json.dumps([card.flavor, card.builder_version, card.plugin_layers, card.cda_nodes, card.heavy_nodes,
    card.targets, card.folds, card.kernels, card.rebuild]))
"""


@pytest.mark.slow
def test_engine_of_the_classic_flavour(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    wheel, runtime = download(VERSION), rtx_library()
    assert runtime is not None
    out = tmp_path / "model.engine"
    code = CODE.replace("SOURCES", repr((str(zoo.resolve("sod-nano")), str(out))))
    forward = {
        "FORWARD_TENSORRT": str(runtime),
        "FORWARD_PARSER": str(next(runtime.parent.glob("libtensorrt_onnxparser_rtx.so.*"))),
        "MUTUALFORMER_PLUGIN": str(library.find()),
    }
    forwarder = libraries("forwarder.c", VERSION, tmp_path / "lib")
    done = run(code, wheel, forwarder, **forward)
    assert done.returncode == 0, done.stderr[-2000:]
    text = next(line for line in done.stdout.splitlines() if line.startswith("CARD "))
    flavor, version, plugins, nodes, heavy, targets, folds, kernels, rebuild = json.loads(text[5:])
    assert (flavor, version) == ("tensorrt", VERSION)
    assert plugins == nodes > 0
    assert heavy["Half"] > 100
    assert set(heavy) == {"Half", "unnamed"}
    assert targets == ["8.7"]
    assert folds["depth statistics"] == 1
    assert folds["products"] == nodes
    assert 50 < kernels < 300
    assert "--flavor tensorrt" in rebuild
    assert "--workspace 256" in rebuild
