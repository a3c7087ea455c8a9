"""The table of checks. It imports nothing that computes, because the command line's help needs it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """``about``: one line for the help. ``share``: the part of ``--minutes`` it plans with. ``module``: its file in
    this package, with ``check(machine) -> (sentence, numbers)``, "" for TensorRT's. ``environment``: of its process."""

    about: str
    share: float
    module: str = ""
    environment: dict[str, str] = field(default_factory=dict)


CHECKS = {
    "machine": Check("what is here: GPU, driver, versions, plugin", 0.02, "facts"),
    "cubins": Check("every cubin is the one that was built, loads and does not spill", 0.06, "images"),
    "numerics": Check(
        "enqueue against float64 over a covering array, in poisoned and guarded memory", 0.22, "launches.numerics"
    ),
    "portable": Check(
        "the same from the PTX that the mma.sync family of GPUs runs",
        0.06,
        "launches.portable",
        {"MUTUALFORMER_KERNELS": "ptx"},
    ),
    "concurrency": Check("two streams, two threads, two contexts", 0.05, "launches.concurrency"),
    "graph": Check("CUDA graph capture, replays bit-equal, another shape", 0.04, "launches.graphs"),
    "pytorch": Check("PyTorch runs the kernels, jitted, also inside a MutualFormer", 0.06, "launches.jit"),
    "timing": Check("median times beside PyTorch's attention", 0.06, "launches.timing"),
    "sanitizer": Check("compute-sanitizer: memcheck, racecheck, synccheck, initcheck", 0.13, "sanitizer"),
    "tensorrt": Check("per flavour and precision: build, proof, parity, bench, stream", 0.30),
}
