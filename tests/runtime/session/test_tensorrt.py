"""The engine session against recording stand-ins: order of calls, lifetimes, contexts, and what is allocated when."""

from __future__ import annotations

import hashlib
import importlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.preprocess import InputError
from mutualformer.runtime.session import ModelFileError, ModelOutputError, engine_card, load
from mutualformer.runtime.session.cuda import CudaError, Driver, PycudaDriver, open_driver
from mutualformer.runtime.session.engine_card import EngineCard, card_path
from mutualformer.runtime.session.gpu import compute_capabilities
from mutualformer.runtime.session.tensorrt import EngineSession
from tests.runtime.session.fake_gpu import OUTSIDE, Gpu, Trt, bindings, pycuda

SIZE = (8, 12)
GPUS = compute_capabilities()  # asked while collecting: later the plugin's tests put a test driver in this process
DATA = b"engine"


Make = Callable[[Gpu], Driver]


def over_bindings(gpu: Gpu) -> Driver:
    return Driver(bindings(gpu))


def over_pycuda(gpu: Gpu) -> Driver:
    return PycudaDriver(pycuda(gpu))


def over_shared_memory(gpu: Gpu) -> Driver:
    gpu.integrated = True
    return Driver(bindings(gpu))


both = pytest.mark.parametrize("make", [over_bindings, over_pycuda, over_shared_memory])


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    """A GPU on which another library's context is current before, and must still be after."""
    gpu = Gpu()
    gpu.stack.append(OUTSIDE)
    yield gpu
    assert gpu.stack == [OUTSIDE]
    assert gpu.faults == []


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A file with a valid card; its bytes mean something to the stand-in only."""
    path = tmp_path / "model.engine"
    path.write_bytes(DATA)
    EngineCard(
        contract=Contract("sod", "sod-nano", SIZE),
        flavor="rtx",
        builder_version="1.7.1.116",
        onnx_sha256="",
        plugin_sha256="",
        engine_sha256=hashlib.sha256(DATA).hexdigest(),
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


def opened(path: Path, driver: Driver, trt: Trt, slots: int = 2) -> EngineSession:
    return EngineSession(path, engine_card.read(path), DATA, trt, driver, slots)  # type: ignore[arg-type]


def open_and_run(sessions: list[EngineSession], path: Path, driver: Driver, trt: Trt) -> None:
    """Open a session, put it into ``sessions``, call it once."""
    sessions.append(opened(path, driver, trt))
    sessions[0].run(**frame(0))


def frame(seed: int, batch: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "rgb": random.integers(0, 256, (batch, *SIZE, 3), np.uint8),
        "depth": np.where(random.random((batch, *SIZE)) < 0.3, 0, 1).astype(np.float32),
    }


def expected(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return (inputs["rgb"].mean(axis=3) / 255 * (inputs["depth"] > 0)).astype(np.float32)


@both
def test_one_call_is_copy_run_copy_wait_and_allocates_nothing(engine: Path, gpu: Gpu, make: Make) -> None:
    with opened(engine, make(gpu), Trt(gpu, SIZE), slots=1) as session:
        gpu.calls.clear()
        inputs = frame(0)
        np.testing.assert_allclose(session.run(**inputs)["saliency"], expected(inputs), rtol=1e-6)
        copies = ([], []) if gpu.integrated else (["htod", "htod"], ["dtoh"])
        assert gpu.calls == ["shape rgb 1", "shape depth 1", *copies[0], "execute", *copies[1], "synchronize"]
        for seed in range(1, 6):
            gpu.calls.clear()
            session.run(**frame(seed))
            assert "alloc" not in gpu.calls
            assert "host" not in gpu.calls
            assert gpu.calls.count("synchronize") == 1


def test_classic_tensorrt_replays_a_cuda_graph_from_the_third_call_on(engine: Path, gpu: Gpu) -> None:
    with opened(engine, over_bindings(gpu), Trt(gpu, SIZE), slots=1) as session:
        for seed, calls in (
            (0, ["shape rgb 1", "shape depth 1", "htod", "htod", "execute", "dtoh", "synchronize"]),
            (1, ["capture", "htod", "htod", "execute", "dtoh", "end capture", "destroy graph", "launch"]),
            (2, ["launch", "synchronize"]),
            (3, ["launch", "synchronize"]),
        ):
            gpu.calls.clear()
            inputs = frame(seed)
            np.testing.assert_allclose(session.run(**inputs)["saliency"], expected(inputs), rtol=1e-6)
            assert gpu.calls[: len(calls)] == calls
        gpu.calls.clear()
        for batch in (2, 2, 2, 1):  # another shape: the graph goes, a new one is recorded
            inputs = frame(batch, batch)
            np.testing.assert_allclose(session.run(**inputs)["saliency"], expected(inputs), rtol=1e-6)
        assert gpu.calls.count("capture") == 1
        assert gpu.calls.count("destroy exec") == 2


def test_graphs_can_be_switched_off(engine: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUTUALFORMER_CUDA_GRAPHS", "off")
    with opened(engine, over_bindings(gpu), Trt(gpu, SIZE)) as session:
        for seed in range(6):
            session.run(**frame(seed))
    assert "capture" not in gpu.calls
    trt = Trt(gpu, SIZE, rtx=True)
    with opened(engine, over_bindings(gpu), trt):
        assert {config.pop("cuda_graph_strategy") for config in trt.configs} == {"none"}
        trt.configs.clear()


def test_rtx_records_its_own_graphs(engine: Path, gpu: Gpu) -> None:
    with opened(engine, over_bindings(gpu), Trt(gpu, SIZE, rtx=True)) as session:
        for seed in range(6):
            session.run(**frame(seed))
    assert "capture" not in gpu.calls


def test_engine_that_cannot_be_captured_runs_without_and_says_so_once(
    engine: Path, gpu: Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    trt = Trt(gpu, SIZE, refuse="capture")
    with opened(engine, over_bindings(gpu), trt, slots=1) as session, caplog.at_level(logging.WARNING):
        for seed in range(5):
            inputs = frame(seed)
            np.testing.assert_allclose(session.run(**inputs)["saliency"], expected(inputs), rtol=1e-6)
    assert "launch" not in gpu.calls
    assert [record.message[:34] for record in caplog.records] == ["no CUDA graph of this engine, its "]


@both
def test_results_belong_to_the_caller(engine: Path, gpu: Gpu, make: Make) -> None:
    with opened(engine, make(gpu), Trt(gpu, SIZE), slots=1) as session:
        first = session.run(**frame(1))["saliency"]
        kept = first.copy()
        session.run(**frame(2))
        np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(first, kept)


@both
def test_two_calls_in_flight_do_not_share_buffers(engine: Path, gpu: Gpu, make: Make) -> None:
    with opened(engine, make(gpu), Trt(gpu, SIZE)) as session:
        assert session.in_flight == 2
        for seed in range(0, 10, 2):
            one, two = frame(seed), frame(seed + 1)
            session.submit(**one)
            session.submit(**two)
            np.testing.assert_allclose(session.collect()["saliency"], expected(one), rtol=1e-6)
            np.testing.assert_allclose(session.collect()["saliency"], expected(two), rtol=1e-6)
        with pytest.raises(InputError, match="no call is in flight"):
            session.collect()
        session.submit(**frame(0))
        session.submit(**frame(1))
        with pytest.raises(InputError, match="2 calls are in flight"):
            session.submit(**frame(2))


@both
def test_batches_up_to_the_profile(engine: Path, gpu: Gpu, make: Make) -> None:
    with opened(engine, make(gpu), Trt(gpu, SIZE)) as session:
        for batch in (1, 3, 4, 2):
            inputs = frame(batch, batch)
            np.testing.assert_allclose(session.run(**inputs)["saliency"], expected(inputs), rtol=1e-6)
        with pytest.raises(InputError, match="built for 1 to 4"):
            session.run(**frame(0, 5))


@both
def test_any_thread_may_call(engine: Path, gpu: Gpu, make: Make) -> None:
    session = opened(engine, make(gpu), Trt(gpu, SIZE))
    wrong: list[object] = []

    def work(seed: int) -> None:
        for step in range(50):
            inputs = frame(seed * 100 + step)
            if not np.allclose(session.run(**inputs)["saliency"], expected(inputs), rtol=1e-5):
                wrong.append(seed)
        if gpu.stack:
            wrong.append(gpu.stack)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    session.close()


@both
def test_close_destroys_in_order_and_keeps_the_primary_context(engine: Path, gpu: Gpu, make: Make) -> None:
    driver = make(gpu)
    for _ in range(3):  # the second session must find the context that the first one used
        trt = Trt(gpu, SIZE, rtx=True)
        session = opened(engine, driver, trt)
        session.submit(**frame(0))  # still in flight
        gpu.calls.clear()
        trt.configs.clear()
        session.close()
        session.close()
        destroyed = [call for call in gpu.calls if call.startswith("destroy") and "stream" not in call]
        assert destroyed == ["destroy context"] * 2 + ["destroy cache", "destroy engine", "destroy runtime"]
        first_free = next(i for i, call in enumerate(gpu.calls) if call.startswith("free"))
        assert gpu.calls.index("synchronize") < first_free < gpu.calls.index("destroy engine")
        with pytest.raises(InputError, match="the session is closed"):
            session.run(**frame(1))
    assert gpu.pending == 0
    assert all(memory.freed for memory in gpu.memory.values())
    assert not gpu.hosts
    assert gpu.retained == 1
    assert set(gpu.alive.values()) == {0}


@pytest.mark.parametrize(
    ("refuse", "says"),
    [
        ("engine", "cannot load it"),
        ("context", "could not make an execution context"),
        ("address", "address of tensor"),
        ("shape", "refused shape"),
        ("execute", "could not enqueue"),
    ],
)
def test_what_tensorrt_refuses_is_said_and_leaves_nothing(engine: Path, gpu: Gpu, refuse: str, says: str) -> None:
    trt = Trt(gpu, SIZE, refuse=refuse)
    sessions: list[EngineSession] = []
    with pytest.raises((ModelFileError, RuntimeError), match=says):
        open_and_run(sessions, engine, over_bindings(gpu), trt)
    assert gpu.pending == 0  # nothing that a later call, or the next owner of the memory, could trip over
    for session in sessions:
        trt.refuse = ""
        for seed in range(4):
            inputs = frame(seed)
            np.testing.assert_allclose(session.run(**inputs)["saliency"], expected(inputs), rtol=1e-6)
        session.close()
    assert all(memory.freed for memory in gpu.memory.values())
    assert set(gpu.alive.values()) == {0}


@pytest.mark.parametrize("call", ["cuMemAlloc", "cuMemHostAlloc", "cuStreamCreate", "cuMemcpyHtoDAsync"])
def test_driver_failure_names_the_call_and_leaves_nothing(engine: Path, gpu: Gpu, call: str) -> None:
    driver = Driver(bindings(gpu, fail=call))
    sessions: list[EngineSession] = []
    with pytest.raises(CudaError, match=f"{call} failed: CUDA_ERROR_OUT_OF_MEMORY"):
        open_and_run(sessions, engine, driver, Trt(gpu, SIZE))
    assert gpu.pending == 0
    for session in sessions:
        session.close()
    assert all(memory.freed for memory in gpu.memory.values())
    assert not gpu.hosts
    assert set(gpu.alive.values()) == {0}


def test_nan_stops_with_a_sentence(engine: Path, gpu: Gpu) -> None:
    with opened(engine, over_bindings(gpu), Trt(gpu, SIZE, poison=True)) as session:
        with pytest.raises(ModelOutputError, match=r"sod-nano \(fp32\) answered with NaN: 1 of 96 values of"):
            session.run(**frame(0))
        session.submit(**frame(0))
        with pytest.raises(ModelOutputError, match="NaN"):
            session.collect()
        assert np.isnan(session.run_unchecked(**frame(0))["saliency"]).any()


def test_wrong_version_and_wrong_gpu_are_found_before_loading(engine: Path, gpu: Gpu) -> None:
    with pytest.raises(ModelFileError, match=r"this machine has 2\.0; rebuild it with: mutualformer to_trt"):
        opened(engine, over_bindings(gpu), Trt(gpu, SIZE, version="2.0"))
    gpu.capability = (7, 5)
    with pytest.raises(ModelFileError, match=r"this GPU is 7\.5"):
        opened(engine, over_bindings(gpu), Trt(gpu, SIZE))
    assert gpu.calls == []


def test_rtx_is_eager_and_keeps_compiled_kernels(engine: Path, gpu: Gpu) -> None:
    cache = engine.with_name("model.engine.cache")
    for turn in range(2):
        trt = Trt(gpu, SIZE, rtx=True)
        with opened(engine, over_bindings(gpu), trt) as session:
            assert len(trt.configs) == 2
            assert trt.configs[0]["cache"] is trt.configs[1]["cache"]  # one for both contexts
            assert trt.configs[0]["cache"].content == (b"" if turn == 0 else b"kernels of this GPU")
            assert trt.configs[0]["dynamic_shapes_kernel_specialization_strategy"] == "eager"
            assert trt.configs[0]["cuda_graph_strategy"] == "whole graph"
            trt.configs.clear()
            session.warm_up()
    assert cache.read_bytes().endswith(b"kernels of this GPU")


@pytest.mark.parametrize("fault", ["flipped", "cut", "empty", "other engine"])
def test_foreign_or_damaged_kernels_are_compiled_again(engine: Path, gpu: Gpu, fault: str) -> None:
    cache = engine.with_name("model.engine.cache")
    with opened(engine, over_bindings(gpu), Trt(gpu, SIZE, rtx=True)) as session:
        session.warm_up()
    good = cache.read_bytes()
    bad = {"flipped": good[:-1] + b"!", "cut": good[:-3], "empty": b"", "other engine": bytes(32) + good[32:]}
    cache.write_bytes(bad[fault])
    trt = Trt(gpu, SIZE, rtx=True)
    with opened(engine, over_bindings(gpu), trt) as session:
        assert trt.configs[0]["cache"].content == b""
        trt.configs.clear()
        session.warm_up()
    assert cache.read_bytes() == good


def test_pycuda_has_no_graphs(engine: Path, gpu: Gpu) -> None:
    with opened(engine, over_pycuda(gpu), Trt(gpu, SIZE), slots=1) as session:
        for seed in range(6):
            session.run(**frame(seed))
    assert "capture" not in gpu.calls


def test_one_driver_per_process_and_a_choice_of_package(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu()
    packages = {"cuda.bindings.driver": bindings(gpu), "pycuda.driver": pycuda(gpu)}

    def importing(name: str) -> object:
        if name not in packages:
            raise ModuleNotFoundError(name)
        return packages[name]

    monkeypatch.setattr(importlib, "import_module", importing)
    open_driver.cache_clear()
    assert open_driver() is open_driver()
    assert (open_driver().package, gpu.retained) == ("cuda-bindings", 1)
    monkeypatch.setenv("MUTUALFORMER_CUDA", "pycuda")
    open_driver.cache_clear()
    assert open_driver().package == "pycuda"
    del packages["pycuda.driver"]
    open_driver.cache_clear()
    assert open_driver().package == "cuda-bindings"
    packages.clear()
    open_driver.cache_clear()
    with pytest.raises(CudaError, match=r"\[cuda\]"):
        open_driver()
    monkeypatch.setenv("MUTUALFORMER_CUDA", "cupy")
    with pytest.raises(CudaError, match="expected cuda-bindings or pycuda"):
        open_driver()


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
        for _ in range(4):
            inputs = {
                "rgb": random.integers(0, 256, (1, height, width, 3), np.uint8),
                "depth": random.uniform(0.5, 5, (1, height, width)).astype(np.float32),
            }
            outputs, reference = (session.run(**inputs)["saliency"] for session in (engine, onnx))
            assert np.abs(outputs - reference).max() < 1e-2
