"""Loading and running model files: the good one works, every bad one gets one clear sentence."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mutualformer.runtime import session, zoo
from mutualformer.runtime.preprocess import InputError, prepare
from mutualformer.runtime.session import ModelFileError
from mutualformer.runtime.session.base import KEEP_FP16
from mutualformer.runtime.session.onnx_file import read_onnx_file, widened
from tests.conftest import NANO_SIZE, ModelFiles

OPTIONAL = ["pyorbbecsdk", "depthai", "pyrealsense2", "rosbags", "mcap", "rerun"]
ROOT = Path(__file__).resolve().parents[3]


def frame(height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (height, width, 3), np.uint8), random.uniform(0.5, 4, (height, width)).astype("f4")


def test_runs_a_camera_frame(nano: ModelFiles) -> None:
    with session.load(nano.onnx, "cpu") as loaded:
        result = loaded.run(**prepare(loaded.contract, *frame()))
        assert result["saliency"].shape == (1, *NANO_SIZE)
        assert result["saliency"].dtype == np.float32
        assert 0 <= result["saliency"].min() <= result["saliency"].max() <= 1
        about = loaded.describe()
        assert about["device"] == "cpu"
        assert len(about["sha256"]) == 64


def test_bad_tensors_are_named(nano: ModelFiles) -> None:
    with session.load(nano.onnx, "cpu") as loaded:
        good = prepare(loaded.contract, *frame())
        poisoned = good["depth"].copy()
        poisoned[0, 0, 0] = np.nan
        for change, says in (
            ({"depth": good["depth"][:, :-1]}, "input 'depth' is float32"),
            ({"depth": good["depth"].astype(np.float64)}, "expected float32"),
            ({"depth": poisoned}, "expected finite metres"),
            ({"rgb": good["rgb"].astype(np.float32)}, "expected uint8"),
            ({"rgb": np.repeat(good["rgb"], 2, 0)}, "one batch for all"),
        ):
            with pytest.raises(InputError, match=says):
                loaded.run(**{**good, **change})
        with pytest.raises(InputError, match="expected rgb, depth"):
            loaded.run(rgb=good["rgb"])


def test_bad_files_are_named(nano: ModelFiles, tmp_path: Path) -> None:
    empty, truncated, foreign, text, renamed = (tmp_path / f"{n}.onnx" for n in ("empty", "cut", "other", "text", "re"))
    empty.touch()
    truncated.write_bytes(nano.onnx.read_bytes()[:5000])
    text.write_text("not a model")
    model = onnx.load(nano.onnx)
    del model.metadata_props[:]
    onnx.save(model, foreign)
    model = onnx.load(nano.onnx)
    for prop in model.metadata_props:
        if prop.key == "mutualformer.input_size":
            prop.value = "[128, 128]"
    onnx.save(model, renamed)
    for path, says in (
        (tmp_path / "missing.onnx", "no such model file"),
        (empty, "empty"),
        (truncated, "cannot load"),
        (text, "cannot load"),
        (foreign, "not a model exported by this project"),
        (renamed, r"graph input 'rgb' is .* expected"),
        (tmp_path, "no such model file"),
    ):
        with pytest.raises(ModelFileError, match=says) as error:
            session.load(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_runtime_needs_neither_torch_nor_train_nor_export(nano: ModelFiles) -> None:
    program = textwrap.dedent(
        f"""
        import importlib, importlib.abc, pkgutil, sys
        import numpy as np

        class Block(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                ours = name.startswith(("mutualformer.train", "mutualformer.export"))
                if ours or name.split(".")[0] in ("torch", "triton", "timm", "lightning"):
                    raise ImportError("blocked: " + name)

        sys.meta_path.insert(0, Block())
        from mutualformer import runtime
        for module in pkgutil.walk_packages(runtime.__path__, "mutualformer.runtime."):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:  # an optional SDK; nothing else may be missing
                if error.name.split(".")[0] not in {OPTIONAL!r}:
                    raise
        from mutualformer.runtime.session import load
        from mutualformer.runtime.preprocess import prepare
        session = load({str(nano.onnx)!r}, "cpu")
        frame = prepare(session.contract, np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.float32))
        print(session.run(**frame)["saliency"].shape)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    # the last line: depthai writes about USB to standard output when imported in a container
    assert done.stdout.strip().splitlines()[-1] == f"(1, {NANO_SIZE[0]}, {NANO_SIZE[1]})"


def test_half_precision_weights_are_widened_once_where_the_processor_computes_in_single(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = zoo.resolve("sod-nano")
    with session.load(path, "cpu") as wide:
        inputs = prepare(wide.contract, *frame())
        answer, about = wide.run(**inputs)["saliency"], wide.describe()
    monkeypatch.setenv(KEEP_FP16, "1")
    with session.load(path, "cpu") as half:
        kept, told = half.run(**inputs)["saliency"], half.describe()
    assert (about["precision"], about["computes"], told["computes"]) == ("fp16", "fp32", "fp16")
    assert about["sha256"] == told["sha256"]
    assert 0 < float(np.abs(answer - kept).max()) < 1e-3  # the islands' roundings
    file = read_onnx_file(path)
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.model.graph.initializer}
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in widened(file).model.graph.initializer}
    assert {value.dtype for value in before.values()} > {np.dtype(np.float16)}
    assert np.dtype(np.float16) not in {value.dtype for value in after.values()}
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
