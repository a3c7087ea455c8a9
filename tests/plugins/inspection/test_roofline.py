"""A GPU is known by what it has, not by what it calls itself."""

from __future__ import annotations

import pytest

from mutualformer.plugins.inspection.roofline import DEVICES, device_of


@pytest.mark.parametrize(
    ("arch", "multiprocessors", "clock", "bandwidth", "like"),
    [
        (87, 16, 1.3e9, 0, "AGX Orin"),  # every Orin calls itself "Orin"
        (87, 8, 0.625e9, 0, "Orin Nano"),
        (90, 114, 1.755e9, 2.0e12, "H100"),  # H100 PCIe
        (90, 132, 1.98e9, 4.8e12, "H100"),  # H200, GH200
        (89, 76, 2.0e9, 5.7e11, "RTX 4090"),  # the laptop's
        (120, 170, 2.41e9, 1.79e12, "RTX 5090"),
    ],
)
def test_peaks_follow_multiprocessors_and_clock(
    arch: int, multiprocessors: int, clock: float, bandwidth: float, like: str
) -> None:
    device = device_of(arch, multiprocessors, clock, bandwidth)
    assert device is not None
    assert like in device.source
    known = next(known for known in DEVICES if like in known.name)
    scale = multiprocessors * clock / (known.multiprocessors * known.clock)
    assert device.fp16_tflops == pytest.approx(scale * known.fp16_tflops)
    assert device.clock == pytest.approx(clock)
    assert device.bandwidth == (bandwidth / 1e9 or known.bandwidth)


def test_an_architecture_without_published_peaks_has_none() -> None:
    assert device_of(75, 40, 1.5e9, 3e11) is None
    assert device_of(87, 0, 1.3e9, 0) is None
