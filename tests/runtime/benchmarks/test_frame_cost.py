"""A layer's cost on paper: what binds it, and that each part of the formula counts."""

from __future__ import annotations

import dataclasses

import pytest

from mutualformer.runtime.benchmarks.frame_cost import DEVICES, Device, Work, cost, device_of, total_us

PLAIN = Device("x", "one of everything", "8.7", 10.0, 2.0, 100.0, 0.5, 0.5, 0.5, 4.0, 1.0, 7.0)


@pytest.mark.parametrize(
    ("work", "us", "bound"),
    [
        (Work("tensor cores", 50e6, 0), 10.0, "arithmetic"),  # 5 Tflop/s
        (Work("int8", 50e6, 0, "Int8"), 5.0, "arithmetic"),
        (Work("depthwise", 50e6, 0, depthwise=True), 50.0, "arithmetic"),
        (Work("fp32", 50e6, 0, "Float"), 100.0, "arithmetic"),
        (Work("copy", 0, 1e6), 20.0, "memory"),  # 50 GB/s
        (Work("small", 1e3, 1e3), 4.0, "launch"),
        (Work("cda", 1e3, 1e3, launches=2), 8.0, "launch"),
    ],
)
def test_largest_of_the_three_binds(work: Work, us: float, bound: str) -> None:
    found = cost(work, PLAIN)
    assert found.us == pytest.approx(us + work.launches)
    assert found.eager_us == pytest.approx(us + 7 * work.launches)
    assert found.bound == bound


def test_frame_is_the_sum_of_its_layers() -> None:
    works = [Work("a", 50e6, 0), Work("b", 0, 1e6)]
    assert total_us(works, PLAIN) == pytest.approx(32.0)


def test_capability_names_the_least_device_or_a_desktop() -> None:
    assert device_of("8.7").key == "orin-nano"
    assert device_of("11.0").key == "thor"
    assert device_of("").key == device_of("8.6").key == "rtx4090"
    assert len({device.key for device in DEVICES}) == len(DEVICES)


@pytest.mark.parametrize("field", ["tensor_tflops", "core_tflops", "gigabytes"])
def test_more_power_is_never_slower(field: str) -> None:
    works = [Work("a", 50e6, 1e5), Work("b", 1e6, 1e6), Work("c", 30e6, 0, depthwise=True)]
    faster = dataclasses.replace(PLAIN, **{field: 2 * getattr(PLAIN, field)})
    assert total_us(works, faster) < total_us(works, PLAIN)
