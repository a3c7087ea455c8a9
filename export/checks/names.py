"""Names of the checks and of the faults that can be planted; the command line needs them before it needs PyTorch."""

from __future__ import annotations

CHECKS = {
    "machine": "what is here: GPU, driver, versions, plugin",
    "cubins": "every cubin is the one that was built, loads, and needs what the build said",
    "numerics": "enqueue against float64 over a covering array, in poisoned and guarded memory",
    "portable": "the same from the PTX that the mma.sync family of GPUs runs",
    "concurrency": "two streams, two threads, two contexts",
    "graph": "CUDA graph capture, replays bit-equal, another shape",
    "pytorch": "PyTorch runs the kernels, jitted, also inside a MutualFormer",
    "session": "engine sessions: order of destruction, CUDA context, memory",
    "timing": "medians beside an empty graph, PyTorch's attention and the roofline",
    "sanitizer": "compute-sanitizer: memcheck, racecheck, synccheck, initcheck",
    "tensorrt": "with TensorRT, per precision: build, proof, parity, kernels, bench, stream",
}

FAULTS = (
    "wrong-cubin",
    "dropped-launch",
    "wrong-stride",
    "drifting-launch",
    "one-token-more",
    "kernels-unused",
    "wrong-close-order",
    "leaked-context",
    "leaked-memory",
)
