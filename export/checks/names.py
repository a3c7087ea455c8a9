"""Names of the checks; the command line needs them before anything is imported that computes."""

from __future__ import annotations

CHECKS = {
    "machine": "what is here: GPU, driver, versions, plugin",
    "cubins": "every cubin is the one that was built, loads, and needs what the build said",
    "numerics": "enqueue against float64 over a covering array, in poisoned and guarded memory",
    "portable": "the same from the PTX that the mma.sync family of GPUs runs",
    "concurrency": "two streams, two threads, two contexts",
    "graph": "CUDA graph capture, replays bit-equal, another shape",
    "pytorch": "PyTorch runs the kernels, jitted, also inside a MutualFormer",
    "timing": "medians beside an empty graph, PyTorch's attention and the roofline",
    "sanitizer": "compute-sanitizer: memcheck, racecheck, synccheck, initcheck",
    "tensorrt": "with TensorRT, per flavour and precision: build, proof, parity, sessions, bench, stream",
}

SHARES = {
    "machine": 0.02,
    "cubins": 0.06,
    "numerics": 0.22,
    "portable": 0.06,
    "concurrency": 0.05,
    "graph": 0.04,
    "pytorch": 0.06,
    "timing": 0.06,
    "sanitizer": 0.13,
    "tensorrt": 0.30,
}
"""What part of ``--minutes`` each check plans with."""
