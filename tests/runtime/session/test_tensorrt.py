"""The engine session against recording stand-ins: order of calls, buffer lifetimes, what is allocated and when."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import sha256
from mutualformer.runtime.gpu import compute_capabilities
from mutualformer.runtime.preprocess import InputError
from mutualformer.runtime.session import ModelFileError, load
from mutualformer.runtime.session.engine_card import EngineCard, card_path
from mutualformer.runtime.session.tensorrt import EngineSession
from tests.runtime.session.fake_gpu import Cuda, Trt

SIZE = (8, 12)
GPUS = compute_capabilities()  # asked while collecting: later the plugin's tests put a test driver in this process


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A file with a valid card; its bytes mean something to the stand-in only."""
    path = tmp_path / "model.engine"
    path.write_bytes(b"engine")
    EngineCard(
        contract=Contract("sod", "sod-nano", SIZE),
        flavor="rtx",
        builder_version="1.7.1.116",
        onnx_sha256="",
        plugin_sha256="",
        engine_sha256=sha256(path),
        requested_precision="fp32",
        actual_precision={},
        profile=(1, 1, 4),
        cda_nodes=0,
        plugin_layers=0,
        targets=("8.6",),
        built_on="",
        rebuild="mutualformer to_trt model.onnx -o model.engine",
    ).write_to(card_path(path))
    return path


def opened(path: Path, cuda: Cuda, trt: Trt, slots: int = 2) -> EngineSession:
    from mutualformer.runtime.session import engine_card

    return EngineSession(path, engine_card.read(path), trt, cuda, slots)  # type: ignore[arg-type]


def frame(seed: int, batch: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "rgb": random.integers(0, 256, (batch, *SIZE, 3), np.uint8),
        "depth": np.where(random.random((batch, *SIZE)) < 0.3, 0, 1).astype(np.float32),
    }


def expected(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return (inputs["rgb"].mean(axis=3) / 255 * (inputs["depth"] > 0)).astype(np.float32)


def test_one_call_is_copy_run_copy_wait_and_allocates_nothing(engine: Path) -> None:
    cuda = Cuda()
    session = opened(engine, cuda, Trt(cuda, SIZE))
    assert cuda.depth == 0
    cuda.calls.clear()
    inputs = frame(0)
    np.testing.assert_allclose(session.run(**inputs)["saliency"], expected(inputs), rtol=1e-6)
    assert cuda.calls == ["shape rgb 1", "htod", "shape depth 1", "htod", "execute", "dtoh", "synchronize"]
    for seed in range(1, 6):
        cuda.calls.clear()
        session.run(**frame(seed))
        assert "mem_alloc" not in cuda.calls
        assert "pagelocked_empty" not in cuda.calls
        assert cuda.calls.count("synchronize") == 1
    assert cuda.depth == 0


def test_results_belong_to_the_caller(engine: Path) -> None:
    cuda = Cuda()
    session = opened(engine, cuda, Trt(cuda, SIZE), slots=1)
    first = session.run(**frame(1))["saliency"]
    kept = first.copy()
    session.run(**frame(2))
    np.testing.assert_array_equal(first, kept)


def test_two_calls_in_flight_do_not_share_buffers(engine: Path) -> None:
    cuda = Cuda()
    session = opened(engine, cuda, Trt(cuda, SIZE))
    for seed in range(0, 10, 2):
        one, two = frame(seed), frame(seed + 1)
        session.submit(**one)
        session.submit(**two)
        np.testing.assert_allclose(session.collect()["saliency"], expected(one), rtol=1e-6)
        np.testing.assert_allclose(session.collect()["saliency"], expected(two), rtol=1e-6)
    session.submit(**frame(0))
    session.submit(**frame(1))
    with pytest.raises(InputError, match="2 calls are in flight"):
        session.submit(**frame(2))


def test_batches_up_to_the_profile(engine: Path) -> None:
    cuda = Cuda()
    session = opened(engine, cuda, Trt(cuda, SIZE))
    for batch in (1, 3, 4, 2):
        inputs = frame(batch, batch)
        np.testing.assert_allclose(session.run(**inputs)["saliency"], expected(inputs), rtol=1e-6)
    with pytest.raises(InputError, match="built for 1 to 4"):
        session.run(**frame(0, 5))


def test_any_thread_may_call(engine: Path) -> None:
    cuda = Cuda()
    session = opened(engine, cuda, Trt(cuda, SIZE))
    wrong: list[int] = []

    def work(seed: int) -> None:
        for step in range(50):
            inputs = frame(seed * 100 + step)
            if not np.allclose(session.run(**inputs)["saliency"], expected(inputs), rtol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_close_frees_everything_once(engine: Path) -> None:
    cuda = Cuda()
    session = opened(engine, cuda, Trt(cuda, SIZE))
    session.run(**frame(0))
    session.close()
    session.close()
    assert all(memory.freed for memory in cuda.memory.values())
    assert cuda.calls.count("detach") == 1
    assert cuda.depth == 0


@pytest.mark.parametrize(
    ("refuse", "says"),
    [("engine", "cannot load it"), ("address", "address of tensor"), ("execute", "could not enqueue")],
)
def test_what_tensorrt_refuses_is_said(engine: Path, refuse: str, says: str) -> None:
    cuda = Cuda()
    with pytest.raises((ModelFileError, RuntimeError), match=says):
        opened(engine, cuda, Trt(cuda, SIZE, refuse=refuse)).run(**frame(0))
    assert cuda.depth == 0


def test_wrong_version_and_wrong_gpu_are_found_before_loading(engine: Path) -> None:
    cuda = Cuda()
    with pytest.raises(ModelFileError, match=r"this machine has 2\.0; rebuild it with: mutualformer to_trt"):
        opened(engine, cuda, Trt(cuda, SIZE, version="2.0"))
    cuda = Cuda(capability=(7, 5))
    with pytest.raises(ModelFileError, match=r"this GPU is 7\.5"):
        opened(engine, cuda, Trt(cuda, SIZE))
    assert cuda.calls == []


@pytest.mark.gpu
def test_real_gpu_agrees_with_onnx_runtime() -> None:
    if not GPUS:
        pytest.skip("needs an NVIDIA GPU")
    folder = Path("out/demo")
    if not (folder / "model.engine").is_file():
        pytest.skip("run `make demo` first")
    with load(folder / "model.engine") as engine, load(folder / "model.onnx", "cpu") as onnx:
        height, width = onnx.contract.input_size
        random = np.random.default_rng(0)
        inputs = {
            "rgb": random.integers(0, 256, (2, height, width, 3), np.uint8),
            "depth": random.uniform(0.5, 5, (2, height, width)).astype(np.float32),
        }
        found, reference = (session.run(**inputs)["saliency"] for session in (engine, onnx))
        assert np.abs(found - reference).max() < 1e-2
