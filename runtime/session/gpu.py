"""Is there an NVIDIA GPU? Asked of the driver itself, without any Python package."""

from __future__ import annotations

import ctypes


def compute_capabilities() -> list[str]:
    """Compute capability of every visible GPU, e.g. ["8.7"]; empty where there is no driver or no GPU."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count, capabilities = ctypes.c_int(0), []
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    major, minor = ctypes.c_int(0), ctypes.c_int(0)
    for device in range(count.value):
        # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR / MINOR = 75 / 76 (cuda.h)
        if cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device) == 0:
            if cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device) == 0:
                capabilities.append(f"{major.value}.{minor.value}")
    return capabilities
