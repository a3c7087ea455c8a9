"""ONNX → engine with the real TensorRT-RTX and the real plugin, on a CPU; and every way it must refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mutualformer.export import to_trt
from mutualformer.export.engine.builder import BuildOptions, _config, build
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.plugins import library
from mutualformer.runtime import session
from mutualformer.runtime.session import ModelFileError, engine_card
from mutualformer.runtime.session.gpu import compute_capabilities
from mutualformer.runtime.untrusted.seal import SEAL
from tests.conftest import ModelFiles

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")


@pytest.fixture(scope="module")
def engine(nano: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("engine") / "model.engine"
    assert to_trt.main([str(nano.onnx), "-o", str(out), "--flavor", "rtx", "--precision", "fp32"]) == 0
    return out


def test_every_cda_became_a_plugin_layer(nano: ModelFiles, engine: Path) -> None:
    nodes = sum(map(is_cda, onnx.load(nano.onnx).graph.node))
    card = engine_card.read(engine)
    assert card.cda_nodes == card.plugin_layers == nodes > 0
    assert sum(layer["kind"] == "custom_layer" for layer in card.layers) == nodes
    assert card.requested_precision == "fp32"
    assert "Half" not in card.actual_precision
    assert card.heavy_nodes["unnamed"] == 0
    assert card.heavy_nodes["Float"] > 100
    assert card.profile == (1, 1, 1)
    assert card.tf32 is False
    assert 100 < card.kernels < len(card.layers)
    assert card.layers_from == "builder log"
    assert card.contract.model == "sod-nano"
    engine_card.verify_bytes(engine, card, engine.read_bytes())
    engine_card.verify_plugin(engine, card, library.find())


def test_engine_without_gpu_says_what_to_do(engine: Path) -> None:
    if compute_capabilities():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelFileError, match=r"run the \.onnx file instead"):
        session.load(engine)


def test_one_flipped_bit_is_refused_before_tensorrt_sees_it(engine: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.engine"
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    shutil.copy(engine_card.card_path(engine), engine_card.card_path(copy))
    with pytest.raises(ModelFileError, match=r"altered.*; rebuild it with: mutualformer to_trt"):
        session.load(copy)


def test_altered_plugin_is_refused(engine: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.so"
    data = bytearray(library.find().read_bytes())
    data[-1] ^= 1
    plugin.write_bytes(data)
    with pytest.raises(ModelFileError, match="built with plugin"):
        engine_card.verify_plugin(engine, engine_card.read(engine), plugin)


@pytest.mark.parametrize(
    ("version", "capability", "says"),
    [("9.9.9", "8.6", "built by rtx"), (None, "7.5", "this GPU is 7.5"), (None, "8.7", "this GPU is 8.7")],
)
def test_foreign_host_is_refused(engine: Path, version: str | None, capability: str, says: str) -> None:
    card = engine_card.read(engine)
    with pytest.raises(ModelFileError, match=says) as error:
        engine_card.verify_host(engine, card, version or card.builder_version, capability)
    assert card.rebuild in str(error.value)


@pytest.mark.parametrize("capability", ["8.0", "8.6", "8.9", "12.0", "12.1"])
def test_served_hosts_pass(engine: Path, capability: str) -> None:
    card = engine_card.read(engine)
    engine_card.verify_host(engine, card, card.builder_version, capability)


def test_damaged_card_is_refused(engine: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.engine"
    shutil.copy(engine, copy)
    with pytest.raises(ModelFileError, match="no such engine card"):
        session.load(copy)
    engine_card.card_path(copy).write_text("{")
    with pytest.raises(ModelFileError, match="not a readable engine card"):
        session.load(copy)
    card = json.loads(engine_card.card_path(engine).read_text())
    engine_card.card_path(copy).write_text(json.dumps({**card, "schema_version": 7}))
    with pytest.raises(ModelFileError, match="schema_version is 7"):
        session.load(copy)


def test_card_with_one_flipped_bit_is_refused(engine: Path, tmp_path: Path) -> None:
    """Any byte of it: numbers that stay numbers, keys that become others, braces that vanish."""
    copy = tmp_path / "model.engine"
    shutil.copy(engine, copy)
    data = engine_card.card_path(engine).read_bytes()
    profile, depth, layer = data.index(b'"profile"'), data.index(b'"depth_range_m"'), data.index(b'"layers"')
    digits = [data.index(b"8", profile), data.index(b"3", depth)]
    for position in (0, profile + 2, *digits, layer + 1, len(data) // 2, data.rindex(SEAL.encode()) + 20):
        for bit in (0, 2):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            engine_card.card_path(copy).write_bytes(flipped)
            with pytest.raises(ModelFileError, match="not a readable engine card"):
                session.load(copy)


def _refused(arguments: list[str], out: Path, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert to_trt.main([*arguments, "-o", str(out)]) == 1
    message = capsys.readouterr().err
    assert says in message
    assert message.strip().count("\n") == 0
    assert not list(out.parent.glob(f"*{out.stem}*"))


def test_bad_sources_are_one_sentence_and_leave_nothing(
    nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    out = tmp_path / "bad" / "bad.engine"
    out.parent.mkdir()
    empty, cut, text = (tmp_path / "in" / f"{name}.onnx" for name in ("empty", "cut", "text"))
    empty.touch()
    cut.write_bytes(nano.onnx.read_bytes()[:20000])
    text.write_text("hello")
    foreign = tmp_path / "in" / "foreign.onnx"
    model = onnx.load(nano.onnx)
    del model.metadata_props[:]
    onnx.save(model, foreign)
    for source, says in (
        (tmp_path / "in" / "none.onnx", "no such ONNX file"),
        (empty, "empty"),
        (cut, "not an ONNX file or truncated"),
        (text, "not an ONNX file or truncated"),
        (foreign, "not a model exported by this project"),
    ):
        _refused([str(source), "--flavor", "rtx"], out, says, capsys)
    _refused([str(nano.onnx), "--flavor", "rtx", "--batch", "4", "2", "8"], out, "expected 1 ≤ MIN ≤ OPT ≤ MAX", capsys)
    int8 = [str(nano.onnx), "--flavor", "rtx", "--precision", "int8", "--calibration"]
    _refused([*int8, "nowhere"], out, "nowhere", capsys)
    _refused([str(nano.onnx), "--flavor", "rtx", "--precision", "fp32", *int8[-1:], "x"], out, "has no use", capsys)
    _refused([str(nano.onnx), "--flavor", "rtx", "--target", "orin-nano"], out, "--flavor tensorrt", capsys)


@pytest.mark.parametrize("fault", ["missing", "truncated", "flipped", "not a library"])
def test_bad_plugin_is_explained(
    fault: str, nano: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = library.find()
    bad = tmp_path / "plugin" / good.name
    bad.parent.mkdir()
    for beside in good.parent.glob("lib*"):
        shutil.copy(beside, bad.parent / beside.name)
    data = bytearray(good.read_bytes())
    if fault == "missing":
        bad.unlink()
    elif fault == "truncated":
        bad.write_bytes(data[: len(data) // 2])
    elif fault == "flipped":
        data[len(data) // 2] ^= 4
        bad.write_bytes(data)
    else:
        bad.write_text("#!/bin/sh\n")
    monkeypatch.setenv("MUTUALFORMER_PLUGIN", str(bad))
    out = tmp_path / "out" / "x.engine"
    out.parent.mkdir()
    _refused([str(nano.onnx), "--flavor", "rtx", "--precision", "fp32"], out, str(bad), capsys)


def test_classic_flavor_without_gpu_refuses(
    nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if compute_capabilities():
        pytest.skip("this machine has a GPU")
    _refused([str(nano.onnx), "--flavor", "tensorrt"], tmp_path / "x.engine", "no NVIDIA GPU or driver here", capsys)


def test_named_targets_reach_the_builder(nano: ModelFiles, tmp_path: Path) -> None:
    out = tmp_path / "t.engine"
    arguments = [str(nano.onnx), "-o", str(out), "--flavor", "rtx", "--target", "rtx40", "--batch", "1", "2", "4"]
    assert to_trt.main([*arguments, "--precision", "fp32", "--tf32"]) == 0
    card = engine_card.read(out)
    assert card.targets == ("8.9",)
    assert card.tf32 is True
    assert card.rebuild == "mutualformer to_trt model.onnx -o t.engine --flavor rtx --batch 1 2 4 --tf32 --target rtx40"
    assert card.profile == (1, 2, 4)


def test_expanded_function_is_noticed(nano: ModelFiles) -> None:
    import tensorrt_rtx as trt

    model, contract = read_onnx(nano.onnx)
    library.load("rtx")
    handle = library._registered.pop("rtx").handle
    # Without it the parser falls back to the function that the file carries.
    trt.get_plugin_registry().deregister_library(handle)
    try:
        with pytest.raises(ExportError, match="function was expanded instead of our plugin"):
            build(trt, model, contract.inputs, BuildOptions("rtx"))
    finally:
        library.load("rtx")


@pytest.mark.slow
def test_rtx_takes_half_precision_by_default_and_warns_of_int8(
    nano: ModelFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, int8 = tmp_path / "half.engine", tmp_path / "int8.engine"
    assert to_trt.main([str(nano.onnx), "-o", str(out), "--flavor", "rtx"]) == 0
    half = engine_card.read(out)
    assert (half.requested_precision, half.contract.precision) == ("fp16", "fp16")
    assert half.heavy_nodes.get("Float", 0) == 0
    assert "half.fp16.onnx" in half.rebuild
    assert "int8" not in caplog.text
    arguments = [str(nano.onnx), "-o", str(int8), "--flavor", "rtx", "--precision", "int8"]
    assert to_trt.main([*arguments, "--calibration", "synthetic:16?seed=9"]) == 0
    card = engine_card.read(int8)
    assert f"int8 on TensorRT-RTX: {card.kernels} kernels a frame" in caplog.text
    assert card.kernels > half.kernels


def test_weights_that_are_not_finite_are_refused(
    nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(nano.onnx)
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(weight).copy()
    values[0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    (tmp_path / "in").mkdir()
    onnx.save(model, tmp_path / "in" / "nan.onnx")
    arguments = [str(tmp_path / "in" / "nan.onnx"), "--flavor", "rtx", "--precision", "fp32"]
    _refused(arguments, tmp_path / "x.engine", f"of weight '{weight.name}' are NaN or infinite", capsys)


def test_full_precision_forbids_tf32(nano: ModelFiles) -> None:
    import tensorrt_rtx as trt

    _, contract = read_onnx(nano.onnx)
    for allowed in (False, True):
        builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
        config = _config(trt, builder, contract.inputs, BuildOptions("rtx", tf32=allowed))
        assert config.get_flag(trt.BuilderFlag.TF32) is allowed
