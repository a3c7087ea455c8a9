"""What one CDA must move and compute, from the loop structure of the kernels, and how fast a device could do it.

    cda_rows      per tile and modality: q kᵀ, p x_r, p x_d         6 · block_m · block_n · block_d flops
    cda_columns   per tile and modality: k qᵀ, p g                  4 · block_m · block_n · block_d flops
    both          one exponential per element of P                  block_m · block_n

"Useful" flops are those of the formula with N tokens and head_dim columns, 20 · N² · head_dim per head; "issued"
ones include the padding to whole tiles. Every number here is computed, none is measured. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.kernels.usage import KernelUsage

PRODUCTS = {"cda_rows": 3, "cda_columns": 2}
"""Matrix products per tile."""


@dataclass(frozen=True)
class Device:
    """Published numbers: ``multiprocessors``; dense FP16 tensor-core Tflop/s with FP32 accumulation (BF16 has
    the same), FP32 Tflop/s, memory bandwidth in GB/s, and 10⁹ exponentials per second (16 per cycle and
    multiprocessor, CUDA C++ Programming Guide, x clock)."""

    name: str
    arch: int
    multiprocessors: int
    fp16_tflops: float
    fp32_tflops: float
    bandwidth: float
    exponentials: float
    source: str

    @property
    def clock(self) -> float:
        """Cycles per second that the number of exponentials was computed with."""
        return self.exponentials * 1e9 / (16 * self.multiprocessors)


_ORIN = "NVIDIA Jetson Orin Technical Brief and module data sheets: SMs x 2048 dense FP16 flop/cycle x GPU clock"
_GEFORCE_30 = "NVIDIA Ampere GA102 whitepaper (FP16 tensor with FP32 accumulation); GeForce RTX 3060 specifications"
_GEFORCE_40 = "NVIDIA Ada GPU architecture whitepaper, appendix A"
_GEFORCE_50 = "NVIDIA RTX Blackwell GPU architecture whitepaper, appendix A"
_THOR = "NVIDIA Jetson Thor data sheet: 2070 sparse FP4 Tflop/s = 258 dense FP16; 2560 FP32 cores x 1.575 GHz"
_HOPPER = "NVIDIA H100 Tensor Core GPU Architecture whitepaper, H100 SXM5 (boost clock 1.83 GHz)"

DEVICES = (
    Device("Jetson Orin Nano 8GB", 87, 8, 8 * 2048 * 0.625e-3, 1024 * 2 * 0.625e-3, 68.0, 80.0, _ORIN),
    Device("Jetson Orin NX 16GB", 87, 8, 8 * 2048 * 0.918e-3, 1024 * 2 * 0.918e-3, 102.4, 117.5, _ORIN),
    Device("Jetson AGX Orin 64GB", 87, 16, 16 * 2048 * 1.3e-3, 2048 * 2 * 1.3e-3, 204.8, 332.8, _ORIN),
    Device("Jetson AGX Thor", 110, 20, 258.0, 2560 * 2 * 1.575e-3, 273.0, 504.0, _THOR),
    Device("GeForce RTX 3060", 86, 28, 25.5, 12.7, 360.0, 796.1, _GEFORCE_30),
    Device("GeForce RTX 4090", 89, 128, 165.2, 82.6, 1008.0, 5161.0, _GEFORCE_40),
    Device("H100 SXM", 90, 132, 989.4, 66.9, 3352.0, 132 * 16 * 1.83, _HOPPER),
    Device("GeForce RTX 5090", 120, 170, 209.5, 104.8, 1792.0, 6547.0, _GEFORCE_50),
)


@dataclass(frozen=True)
class Workload:
    """One CDA call."""

    name: str
    batch: int
    tokens: int
    heads: int
    head_dim: int


WORKLOADS = (
    Workload("sod-lite, stride 32", 1, 100, 4, 16),
    Workload("sod-lite, stride 16", 1, 400, 4, 16),
    Workload("sod-nano, stride 32", 1, 100, 2, 32),
    Workload("sod-nano, stride 16", 1, 400, 2, 32),
    Workload("ReID ViT-B/16 256²", 1, 257, 12, 64),
    Workload("1936 tokens, 8 x 64", 1, 1936, 8, 64),
)


@dataclass(frozen=True)
class Cost:
    """One launch of the default path (iterations = 1, init = identity, value_pairing = released)."""

    useful_flops: float
    issued_flops: float
    compulsory_bytes: float  # every operand once
    issued_bytes: float  # loads and stores of the loops; caches serve what exceeds the compulsory part
    exponentials: float
    programs: int

    @property
    def intensity(self) -> float:
        """Flops per byte of memory traffic."""
        return self.useful_flops / self.compulsory_bytes


def cost(report: KernelUsage, work: Workload) -> Cost:
    """Flops and bytes of the launch that ``report``'s kernel serves in ``work``."""
    products = PRODUCTS[report.kernel]
    size = 4 if report.dtype == "fp32" else 2
    matrices = work.batch * work.heads
    rows, steps = -(-work.tokens // report.block_m), -(-work.tokens // report.block_n)
    useful = 2.0 * matrices * products * 2 * work.tokens**2 * work.head_dim
    issued = 2.0 * matrices * products * 2 * rows * steps * report.block_m * report.block_n * report.block_d
    exponentials = 2.0 * matrices * rows * steps * report.block_m * report.block_n
    tensor = matrices * work.tokens * work.head_dim * size  # one of Q, K, V, or an output, one modality
    lse = 2 * matrices * work.tokens * 4
    stationary = 2 * tensor  # q (or k), both modalities
    streamed = 2 * products * tensor  # per row of blocks: k, x_r, x_d (or q, g), both modalities
    if report.kernel == "cda_rows":
        once = 6 * tensor + 4 * tensor + lse  # Q, K, V; self and next: both modalities
        moved = stationary + rows * streamed + 4 * tensor + lse
    else:
        once = 4 * tensor + 2 * tensor + 4 * tensor + lse  # Q, K; g, which is next; self read, y written in its place
        moved = stationary + rows * (streamed + lse) + 6 * tensor
    programs = 2 * rows * matrices  # one for each modality
    return Cost(useful, issued, float(once), float(moved), exponentials, programs)


def waves(work_cost: Cost, report: KernelUsage, device: Device) -> float:
    """How often the device is filled: programs over those that it holds at a time. Below 1 part of it idles."""
    return work_cost.programs / (device.multiprocessors * report.blocks)


def roofline_seconds(work_cost: Cost, device: Device, dtype: str) -> float:
    """The largest of compute time (issued flops at peak), exponential time and memory time (compulsory bytes)."""
    peak = device.fp32_tflops if dtype == "fp32" else device.fp16_tflops
    return max(
        work_cost.issued_flops / (peak * 1e12),
        work_cost.exponentials / (device.exponentials * 1e9),
        work_cost.compulsory_bytes / (device.bandwidth * 1e9),
    )
