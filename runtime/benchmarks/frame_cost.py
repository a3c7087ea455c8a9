"""Compute a layer's time on a device: the largest of arithmetic, memory traffic and launch. Nothing is measured.

Peaks and bandwidths are published. What a network reaches of them, the shortest kernel and the gap between two kernels
of a CUDA graph are assumed, and checked against published times of known networks (docs/support.md has the error).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """Published: ``tensor_tflops``, dense FP16 on tensor cores (INT8 twice that), ``core_tflops``, FP16 on the ordinary
    cores (FP32 half that), ``gigabytes``, bandwidth a second. Assumed: the shares of them that a layer reaches, the
    shortest kernel, the gap to the next one in a CUDA graph, and the one where the processor launches each, in
    microseconds."""

    key: str
    name: str
    capability: str
    tensor_tflops: float
    core_tflops: float
    gigabytes: float
    tensor_share: float
    core_share: float
    bandwidth_share: float
    shortest_us: float
    gap_us: float
    eager_us: float


DEVICES = (
    Device("orin-nano", "Jetson Orin Nano 8GB, 15 W", "8.7", 10.2, 2.6, 68, 0.35, 0.30, 0.7, 4.0, 1.8, 9.0),
    Device("orin-nano-super", "Jetson Orin Nano Super", "8.7", 16.7, 4.2, 102, 0.35, 0.30, 0.7, 3.0, 1.5, 8.0),
    Device("orin-agx", "Jetson AGX Orin 64GB", "8.7", 42.6, 10.6, 204, 0.30, 0.30, 0.7, 2.6, 1.2, 5.0),
    Device("thor", "Jetson AGX Thor", "11.0", 258, 16.1, 273, 0.20, 0.30, 0.7, 2.2, 1.0, 3.0),
    Device("rtx4090", "GeForce RTX 4090", "8.9", 165, 82, 1008, 0.25, 0.25, 0.7, 1.6, 0.7, 2.2),
    Device("h200", "H200", "9.0", 989, 134, 4800, 0.15, 0.20, 0.6, 1.8, 0.9, 2.2),
)
BOUNDS = ("arithmetic", "memory", "launch")
ERROR = (
    "Against times published for Orin Nano and AGX Orin (FP16, no CUDA graph) it is off by -15 to +28 % for "
    "MobileNetV3-S and ResNet-50, by -45 and -19 % for MixNet-S, whose depthwise convolutions are like ours: "
    "read it as a lower bound."
)


def device_of(capability: str) -> Device:
    """The device to assume where only a compute capability is known: its smallest one, else a desktop's GPU."""
    desktop = next(device for device in DEVICES if device.key == "rtx4090")
    return next((device for device in DEVICES if device.capability == capability), desktop)


@dataclass(frozen=True)
class Work:
    """One layer. ``flops``: two for each multiplication and addition; ``moved``: bytes read and written; ``kind``:
    "Half", "Int8" or "Float", what it multiplies; ``depthwise``: whether its products are a depthwise convolution's,
    for which there are no tensor cores; ``launches``: how many kernels share the work."""

    name: str
    flops: float
    moved: float
    kind: str = "Half"
    depthwise: bool = False
    operators: str = ""
    launches: int = 1


@dataclass(frozen=True)
class Cost:
    """``us``: microseconds with the gap to the next kernel in a CUDA graph, ``eager_us`` without one; ``bound``:
    "arithmetic", "memory" or "launch"."""

    us: float
    eager_us: float
    bound: str


def cost(work: Work, device: Device) -> Cost:
    """Time of one layer on ``device``, and what bounds it."""
    if work.depthwise or work.kind == "Float":
        rate = device.core_tflops * device.core_share * (0.5 if work.kind == "Float" else 1.0)
    else:
        rate = device.tensor_tflops * device.tensor_share * (2.0 if work.kind == "Int8" else 1.0)
    times = {
        "arithmetic": work.flops / (rate * 1e6),
        "memory": work.moved / (device.gigabytes * device.bandwidth_share * 1e3),
        "launch": device.shortest_us * work.launches,
    }
    bound = max(times, key=lambda name: times[name])
    in_graph, eager = (times[bound] + gap * work.launches for gap in (device.gap_us, device.eager_us))
    return Cost(in_graph, eager, bound)


def total_us(works: Iterable[Work], device: Device) -> float:
    """Time of layers one after another in a CUDA graph, microseconds."""
    return sum(cost(work, device).us for work in works)
