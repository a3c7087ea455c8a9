"""What the plugin promises TensorRT besides numbers: fields, workspace, refusals, errors instead of crashes."""

from __future__ import annotations

import ctypes
import re
import threading
from dataclasses import asdict

import numpy as np
import pytest
import torch

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.harness.harness import RUNTIME_PHASE
from tests.plugins.support import assert_two_times, random_pair, random_qkv
from tests.standins.driver import Driver
from tests.standins.engine import Engine
from tests.standins.harness import Harness

FP32, FP16, INT8, BF16 = 0, 1, 2, 7
SHAPE = (2, 33, 3 * 2 * 8)


def _run(engine: Engine, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    qkv = random_pair(engine.in_shape, engine.dtype, seed)
    assert engine.run(*qkv) == 0, engine.harness.log()
    engine.assert_nothing_else_written(*qkv)
    assert_two_times(engine.result(), *qkv, engine.attributes)
    return engine.result()


def _align(size: int) -> int:
    return -(-size // 256) * 256


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("iterations", "init", "value_pairing", "pairs"),
    [
        (1, "identity", "released", 0),
        (1, "cross", "released", 1),
        (1, "identity", "figure", 1),
        (1, "cross", "figure", 1),
        (2, "identity", "released", 2),
        (3, "identity", "released", 4),
        (3, "cross", "figure", 5),
        (16, "cross", "released", 31),
    ],
)
def test_workspace_is_what_the_readme_says(
    iterations: int, init: str, value_pairing: str, pairs: int, dtype: torch.dtype, harness: Harness
) -> None:
    batch, tokens, heads, head_dim = 3, 37, 5, 24
    attributes = CdaAttributes(heads, 0.6, iterations, init, value_pairing)
    engine = Engine(harness, attributes, (batch, tokens, 3 * heads * head_dim), dtype)
    lse = 2 * batch * heads * tokens * 4
    tensor = batch * tokens * heads * head_dim * (4 if dtype == torch.float32 else 2)
    assert engine.workspace_bytes == (lse if pairs == 0 else _align(lse) + pairs * 2 * _align(tensor))
    engine.close()


def test_workspace_does_not_depend_on_configure_having_been_called(harness: Harness) -> None:
    plugin = harness.create({"num_heads": 2, "iterations": 2})
    assert plugin
    before = harness.workspace(plugin, FP16, SHAPE)
    assert harness.configure(plugin, FP16, SHAPE) == 0
    assert before == harness.workspace(plugin, FP16, SHAPE) > 2 * 2 * 2 * 33 * 4
    harness.destroy(plugin)


def test_default_path_is_two_launches_and_only_the_log_sum_exp(driver: Driver, harness: Harness) -> None:
    engine = Engine(harness, CdaAttributes(2), SHAPE, torch.float16)
    _run(engine)
    assert [name for name, _, _ in driver.launches] == ["cda_rows_fp16_d16_u8", "cda_columns_fp16_d16_u8"]
    assert [grid for _, grid, _ in driver.launches] == [(1, 4, 2), (1, 4, 2)]
    assert engine.workspace_bytes == 2 * 2 * 2 * 33 * 4
    engine.close()


@pytest.mark.slow
def test_one_engine_serves_every_batch_of_its_profile(driver: Driver, harness: Harness) -> None:
    engine = Engine(harness, CdaAttributes(2, iterations=2, init="cross"), (4, 33, 48), torch.float32)
    for batch in (1, 3, 4, 2):
        engine.reshape((batch, 33, 48))
        _run(engine, seed=batch)
    assert driver.calls("cuModuleLoadData") <= 2, "changing the batch must not load modules again"
    engine.close()


def test_modules_are_loaded_once_per_context_and_used_in_theirs(driver: Driver, harness: Harness) -> None:
    for context in (101, 102):
        driver.library.test_driver_set_context(context)
        for _ in range(2):
            engine = Engine(harness, CdaAttributes(2), SHAPE, torch.float32)
            _run(engine)
            engine.close()
    assert driver.calls("cuModuleLoadData") == 4, "two kernels in each of two contexts"


def test_fields_arrive_in_every_form_the_parsers_use(harness: Harness) -> None:
    plugin = harness.create(
        {
            "num_heads": np.array([2], np.int64),
            "alpha": np.array([0.25], np.float32),
            "init": "cross\0",
            "plugin_version": "1",
            "plugin_namespace": "",
        }
    )
    assert plugin, harness.log()
    names = (ctypes.c_char_p * 16)()
    count = harness.library.harness_field_names(names, 16)
    assert [names[i] for i in range(count)] == [name.encode() for name in asdict(CdaAttributes(1))]
    harness.destroy(plugin)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "num_heads is missing"),
        ({"num_heads": 0}, r"num_heads is 0.* expected an integer in \[1, 65535\]"),
        ({"num_heads": 8, "alpha": 1.5}, r"alpha is 1.5.* expected a number in \[0, 1\]"),
        ({"num_heads": 8, "alpha": float("nan")}, r"alpha is .*nan.* expected a number in \[0, 1\]"),
        ({"num_heads": 8, "iterations": 17}, r"iterations is 17.* expected an integer in \[1, 16\]"),
        ({"num_heads": 8, "init": "random"}, "init is 'random', expected one of identity, cross"),
        ({"num_heads": 8, "init": 3}, "init is '', expected one of identity, cross"),
        ({"num_heads": 8, "value_pairing": ""}, "value_pairing is '', expected one of released, figure"),
    ],
)
@pytest.mark.parametrize("phase", [0, RUNTIME_PHASE])
def test_bad_attributes_are_refused_with_a_sentence(
    fields: dict[str, int | float | str], message: str, phase: int, harness: Harness
) -> None:
    assert harness.create(dict(fields), phase) is None
    assert re.search(message, harness.log())


@pytest.mark.parametrize(
    ("dtype", "shape", "message"),
    [
        (INT8, (1, 7, 48), "qkv_r is INT8 and qkv_d INT8, supported are FP32, FP16 and BF16"),
        (FP32, (1, 7, 50), "packed qkv width is 50, expected a positive multiple of 3 · num_heads = 6"),
        (FP32, (1, 7, 18), "head_dim is 3, supported are 4 to 128"),
        (FP16, (1, 7, 6 * 129), "head_dim is 129, supported are 4 to 128"),
    ],
)
def test_unsupported_tensors_are_refused_when_building(
    dtype: int, shape: tuple[int, int, int], message: str, harness: Harness
) -> None:
    plugin = harness.create({"num_heads": 2})
    assert plugin
    assert harness.configure(plugin, dtype, shape) != 0
    assert message in harness.log()
    harness.destroy(plugin)


def test_too_large_shapes_are_refused(harness: Harness) -> None:
    plugin = harness.create({"num_heads": 2})
    assert plugin
    for shape in ((40000, 7, 48), (1, 50_000_000, 48)):
        assert harness.shape(plugin, FP32, shape) != 0
        assert "is too large: B · num_heads may be 65535" in harness.log()
    harness.destroy(plugin)


def test_unknown_architecture_is_refused_when_attaching(driver: Driver, harness: Harness) -> None:
    plugin = harness.create({"num_heads": 2})
    assert plugin
    assert harness.configure(plugin, FP32, SHAPE) == 0
    driver.library.test_driver_set_capability(72)
    driver.library.test_driver_set_context(72)
    assert harness.attach(plugin) is None
    assert "this GPU is sm_72, the plugin has kernels for sm_75, sm_80" in harness.log()
    harness.destroy(plugin)


def test_turing_has_no_bf16(driver: Driver, harness: Harness) -> None:
    plugin = harness.create({"num_heads": 2})
    assert plugin
    assert harness.configure(plugin, BF16, SHAPE) == 0, "the builder may run elsewhere"
    driver.library.test_driver_set_capability(75)
    driver.library.test_driver_set_context(75)
    assert harness.attach(plugin) is None
    assert "this GPU is sm_75" in (log := harness.log())
    assert "BF16 from sm_80 on; none of these fits BF16 with head_dim 8" in log
    harness.destroy(plugin)


@pytest.mark.parametrize("capability", [103, 88, 130])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
def test_a_newer_gpu_compiles_the_embedded_ptx(
    capability: int, dtype: torch.dtype, driver: Driver, harness: Harness
) -> None:
    driver.reset(capability=capability, context=2000 + capability)
    engine = Engine(harness, CdaAttributes(2, iterations=2), SHAPE, dtype, tactic=1)
    _run(engine)
    assert all(name in driver.ptx for name, _, _ in driver.launches)
    engine.close()


def test_ptx_can_be_tried_where_there_are_cubins(
    driver: Driver, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MUTUALFORMER_KERNELS=ptx, through the C library's environment: what os.environ writes."""
    monkeypatch.setenv("MUTUALFORMER_KERNELS", "ptx")
    driver.reset(capability=90, context=2900)
    engine = Engine(harness, CdaAttributes(2), SHAPE, torch.float16)
    _run(engine)
    assert all(driver.ptx[name]["warps"] for name, _, _ in driver.launches)
    engine.close()
    plugin = harness.create({"num_heads": 1})
    assert plugin
    assert harness.configure(plugin, FP16, (1, 5, 3 * 20)) == 0
    assert harness.attach(plugin) is None, "PTX covers head_dims that are multiples of 8"
    assert "PTX for newer GPUs (head_dim a multiple of 8)" in harness.log()
    harness.destroy(plugin)


def test_ptx_that_the_driver_refuses_is_an_error(driver: Driver, harness: Harness) -> None:
    plugin = harness.create({"num_heads": 1})
    assert plugin
    assert harness.configure(plugin, FP16, (1, 7, 3 * 64)) == 0
    driver.reset(capability=103, context=2999)
    driver.fail("cuModuleLoadData", 218)
    assert harness.attach(plugin) is None
    assert (
        "cuModuleLoadData failed: CUDA_ERROR_INVALID_PTX (218) while the driver compiled the embedded PTX for sm_103"
        in (harness.log())
    )
    harness.destroy(plugin)


@pytest.mark.parametrize(
    ("head_dim", "dtype", "count"),
    [
        (8, FP16, 2),
        (32, FP16, 2),
        (64, FP16, 3),
        (128, FP16, 1),
        (64, BF16, 3),
        (8, BF16, 1),
        (64, FP32, 1),
        (20, FP16, 1),
    ],
)
def test_tactics_are_the_tiles(head_dim: int, dtype: int, count: int, harness: Harness) -> None:
    plugin = harness.create({"num_heads": 2})
    assert plugin
    assert harness.configure(plugin, dtype, (1, 7, 6 * head_dim)) == 0
    assert harness.tactics(plugin) == list(range(1, count + 1))
    assert f"tactic=1/{count}" in harness.metadata(plugin)
    for tactic in (-1, count + 1):
        assert harness.set_tactic(plugin, tactic) != 0
        assert f"setTactic: tactic is {tactic}, expected 0 to {count}" in harness.log()
    harness.destroy(plugin)


def test_the_chosen_tactic_runs_is_named_and_survives_serialisation(driver: Driver, harness: Harness) -> None:
    shape = (1, 70, 3 * 2 * 64)
    for tactic in (3, 2, 1):
        engine = Engine(harness, CdaAttributes(2), shape, torch.float16)
        assert harness.set_tactic(engine.plugin, tactic) == 0  # after attachToContext and onShapeChange
        _run(engine)
        entry = "cda_rows_fp16_d64_u8" + (f"_t{tactic}" if tactic > 1 else "")
        assert driver.launches[-2][0] == entry
        assert f"tactic={tactic}/3" in (metadata := harness.metadata(engine.plugin))
        assert f"{entry}={(64, 32, 128)[tactic - 1]}x64x{(4, 2, 8)[tactic - 1]}warps" in metadata
        again = harness.deserialize(engine.plugin)
        assert again
        assert f"tactic={tactic}/3" in harness.metadata(again)
        harness.destroy(again)
        engine.close()


def test_an_architecture_with_fewer_tiles_takes_the_nearest(driver: Driver, harness: Harness) -> None:
    """An engine for several architectures is built with one tactic, and sm_75 has one tile."""
    driver.reset(capability=75, context=2075)
    engine = Engine(harness, CdaAttributes(2), SHAPE, torch.float16, tactic=2)
    _run(engine)
    assert [name for name, _, _ in driver.launches] == ["cda_rows_fp16_d16_u8", "cda_columns_fp16_d16_u8"]
    engine.close()


def test_the_timing_cache_tells_variants_and_kernels_apart(harness: Harness) -> None:
    ids = set()
    for attributes in (
        CdaAttributes(2),
        CdaAttributes(4),
        CdaAttributes(2, iterations=2),
        CdaAttributes(2, init="cross"),
    ):
        plugin = harness.create(dict(attributes.as_dict()))
        assert plugin
        ids.add(harness.timing_cache_id(plugin))
        harness.destroy(plugin)
    assert len(ids) == 4
    assert all(re.search(r"kernels=[0-9a-f]{12}$", text) for text in ids)


def test_enqueue_believes_its_descriptions(driver: Driver, harness: Harness) -> None:
    """A shape and a type other than those of the last onShapeChange: what is described is what is computed."""
    engine = Engine(harness, CdaAttributes(2, iterations=2), (4, 33, 48), torch.float16)
    _run(engine)
    for shape, dtype in (((2, 70, 48), torch.float16), ((1, 20, 96), torch.float16), ((1, 20, 48), torch.float32)):
        fresh = Engine(harness, CdaAttributes(2, iterations=2), shape, dtype)
        qkv = random_pair(shape, dtype, 3)
        fresh.write(*qkv)
        assert harness.enqueue(engine.plugin, *fresh.addresses, 7, described=(fresh.kind, shape)) == 0, harness.log()
        fresh.assert_nothing_else_written(*qkv)
        assert_two_times(fresh.result(), *qkv, fresh.attributes)
        fresh.close()
    assert harness.enqueue(engine.plugin, 0, 0, 0, 0, 0, 0, described=(FP16, (1, 7, 50))) != 0
    assert "enqueue: packed qkv width is 50" in harness.log()
    engine.close()


def test_a_clone_keeps_what_was_prepared(driver: Driver, harness: Harness) -> None:
    engine = Engine(harness, CdaAttributes(2), SHAPE, torch.float32)
    copy = harness.clone(engine.plugin)
    assert copy
    modules = driver.calls("cuModuleLoadData")
    original, engine.plugin = engine.plugin, copy
    harness._shapes[copy] = (FP32, SHAPE)
    _run(engine)
    assert driver.calls("cuModuleLoadData") == modules
    harness.destroy(original)
    engine.close()


@pytest.mark.parametrize("capability", [75, 80, 86, 87, 89, 90, 100, 110, 120, 121])
def test_every_architecture_finds_its_cubin(capability: int, driver: Driver, harness: Harness) -> None:
    driver.reset(capability=capability, context=1000 + capability)
    for head_dim, dtype in ((4, torch.float16), (8, torch.float16), (24, torch.float32), (100, torch.float32)):
        engine = Engine(harness, CdaAttributes(1), (1, 5, 3 * head_dim), dtype)
        driver.library.test_driver_on_launch(None)  # this test is about loading
        engine.close()
    assert driver.calls("cuModuleLoadData") == 8


@pytest.mark.parametrize(
    ("call", "code", "name"),
    [
        ("cuCtxGetCurrent", 1, "CUDA_ERROR_INVALID_VALUE"),
        ("cuCtxGetDevice", 201, "CUDA_ERROR_INVALID_CONTEXT"),
        ("cuDeviceGetAttribute", 1, "CUDA_ERROR_INVALID_VALUE"),
        ("cuModuleLoadData", 2, "CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuModuleLoadData", 200, "CUDA_ERROR_INVALID_IMAGE"),
        ("cuModuleGetFunction", 500, "CUDA_ERROR_NOT_FOUND"),
        ("cuFuncSetAttribute", 1, "CUDA_ERROR_INVALID_VALUE"),
    ],
)
def test_a_failing_call_while_loading_is_an_error_naming_it(
    call: str, code: int, name: str, driver: Driver, harness: Harness
) -> None:
    shape = (1, 7, 3 * 128)  # its fp16 columns kernel asks for more than 48 KiB of shared memory
    plugin = harness.create({"num_heads": 1})
    assert plugin
    assert harness.configure(plugin, FP16, shape) == 0
    driver.library.test_driver_set_context(5000 + code + len(call))  # a context nothing is loaded in
    driver.fail(call, code)
    assert harness.attach(plugin) is None
    assert f"attachToContext: {call} failed: {name} ({code})" in harness.log()
    assert harness.shape(plugin, FP16, shape) != 0
    assert f"onShapeChange: {call} failed: {name} ({code})" in harness.log()
    loaded = driver.calls("cuModuleUnload")
    assert loaded == (2 if call in ("cuModuleGetFunction", "cuFuncSetAttribute") else 0), "half-loaded modules leak"
    harness.destroy(plugin)


@pytest.mark.parametrize("skip", [0, 1])
def test_a_failing_launch_is_an_error_naming_it(skip: int, driver: Driver, harness: Harness) -> None:
    engine = Engine(harness, CdaAttributes(2), SHAPE, torch.float16)
    driver.fail("cuLaunchKernel", 719, skip)
    qkv = random_qkv(SHAPE, torch.float16, 0)
    assert engine.run(qkv, qkv) != 0
    kernel = ("cda_rows", "cda_columns")[skip]
    assert f"enqueue: cuLaunchKernel failed: CUDA_ERROR_LAUNCH_FAILED (719) for {kernel}_fp16_d16_u8" in harness.log()
    assert len(driver.launches) == skip, "nothing may be launched after a failure"
    engine.close()


def test_enqueue_before_a_shape_is_an_error(harness: Harness) -> None:
    plugin = harness.create({"num_heads": 2})
    assert plugin
    assert harness.enqueue(plugin, 0, 0, 0, 0, 0, 0, described=(FP32, SHAPE)) != 0
    assert "enqueue: called before a successful onShapeChange" in harness.log()
    harness.destroy(plugin)


def test_no_context_is_an_error(driver: Driver, harness: Harness) -> None:
    driver.library.test_driver_set_context(0)
    plugin = harness.create({"num_heads": 2})
    assert plugin
    assert harness.shape(plugin, FP32, SHAPE) != 0
    assert "found no CUDA context on this thread" in harness.log()
    harness.destroy(plugin)


@pytest.mark.slow
def test_threads_enqueue_at_once(driver: Driver, harness: Harness) -> None:
    """Execution contexts in two threads, each with its own CUDA context and stream, interleaving their launches."""
    variants = [CdaAttributes(2, iterations=2), CdaAttributes(2, value_pairing="figure", init="cross")]
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(variants))

    def work(index: int) -> None:
        try:
            driver.library.test_driver_set_context(7000 + index)
            engine = Engine(harness, variants[index], (2, 70, 3 * 2 * 16), torch.float16)
            for round_ in range(3):
                qkv = random_pair(engine.in_shape, torch.float16, 10 * round_ + index)
                barrier.wait(60)
                assert engine.run(*qkv, stream=index + 1) == 0, harness.log()
                engine.assert_nothing_else_written(*qkv)
                assert_two_times(engine.result(), *qkv, engine.attributes)
            engine.close()
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(variants))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert driver.calls("cuModuleLoadData") == 4
    assert {stream for _, _, stream in driver.launches} == {1, 2}


def test_many_threads_share_the_module_cache(driver: Driver, harness: Harness) -> None:
    """Eight threads in four contexts create, attach and enqueue at once; every kernel is loaded once per context."""
    driver.library.test_driver_on_launch(None)  # launches succeed at once, so that the C++ parts contend
    failures: list[BaseException] = []
    barrier = threading.Barrier(8)

    def work(index: int) -> None:
        try:
            driver.library.test_driver_set_context(9000 + index % 4)
            barrier.wait(60)
            for round_ in range(10):
                engine = Engine(harness, CdaAttributes(2, iterations=1 + round_ % 3), SHAPE, torch.float32)
                qkv = random_qkv(SHAPE, torch.float32, index)
                for _ in range(5):
                    assert engine.run(qkv, qkv) == 0, harness.log()
                engine.close()
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert driver.calls("cuModuleLoadData") == 2 * 4
    assert driver.calls("cuLaunchKernel") == 8 * 5 * sum(2 * (1 + r % 3) for r in range(10))


def test_cuda_graph_capture_sees_launches_only(driver: Driver, harness: Harness) -> None:
    """Between onShapeChange and the end of enqueue the driver is asked for nothing but launches."""
    engine = Engine(harness, CdaAttributes(2, iterations=3, init="cross"), SHAPE, torch.float16)
    watched = ("cuCtxGetCurrent", "cuCtxGetDevice", "cuDeviceGetAttribute", "cuModuleLoadData", "cuModuleGetFunction")
    before = [driver.calls(call) for call in watched]
    for seed in range(2):
        _run(engine, seed)
    assert [driver.calls(call) for call in watched] == before
    assert driver.calls("cuLaunchKernel") == 2 * 7
    engine.close()
