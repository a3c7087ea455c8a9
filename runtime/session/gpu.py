"""Ask the NVIDIA driver itself for GPUs, without any Python package and without a CUDA context."""

from __future__ import annotations

import ctypes
import os

DEVICE_NODES = ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvhost-ctrl-gpu", "/dev/nvgpu/igpu0", "/dev/nvmap", "/dev/dxg")
"""Device nodes, one of which exists where the kernel has an NVIDIA GPU: desktops, Jetsons, WSL."""


def device_node() -> str:
    """The first device node of a GPU, "" where there is none."""
    return next((node for node in DEVICE_NODES if os.path.exists(node)), "")


def ask_driver() -> tuple[list[str], str]:
    """Compute capability of every visible GPU, e.g. ["8.7"], and where there is none, the reason."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return [], f"the NVIDIA driver's library cannot be loaded: {error}"
    count, capabilities = ctypes.c_int(0), []
    for name, arguments in (("cuInit", (0,)), ("cuDeviceGetCount", (ctypes.byref(count),))):
        result = getattr(cuda, name)(*arguments)
        if result != 0:
            return [], f"the NVIDIA driver's {name} answers {result}{_name(cuda, result)}"
    major, minor = ctypes.c_int(0), ctypes.c_int(0)
    for device in range(count.value):
        # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR / MINOR = 75 / 76 (cuda.h)
        if cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device) == 0:
            if cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device) == 0:
                capabilities.append(f"{major.value}.{minor.value}")
    return capabilities, "" if capabilities else "the NVIDIA driver shows no device"


def _name(cuda: ctypes.CDLL, result: int) -> str:
    text = ctypes.c_char_p()
    if cuda.cuGetErrorName(result, ctypes.byref(text)) != 0 or not text.value:
        return ""
    return f" ({text.value.decode(errors='replace')})"


def compute_capabilities() -> list[str]:
    """Compute capability of every visible GPU, e.g. ["8.7"]; empty where there is no driver or no GPU."""
    return ask_driver()[0]
