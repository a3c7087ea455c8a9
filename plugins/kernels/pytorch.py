"""CDA for PyTorch tensors through the Triton kernels: jitted on a GPU, with TRITON_INTERPRET=1 interpreted on a CPU.

Inference only (no gradients): training differentiates ``train.cda``. It makes the launches that
plugins/kernels/schedule.py lists, as the plugin does, so the two can be compared launch by launch.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Tensor

from mutualformer.plugins.architectures import TABLE
from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.kernels import schedule
from mutualformer.plugins.kernels.tiles import DTYPES, tiles_for, variant_for

SUPPORTED = {torch.float16: "fp16", torch.float32: "fp32", torch.bfloat16: "bf16"}
"""Types the kernels serve → their names in the tables."""

_INTERPRETED_AS = 80  # the interpreter has no architecture; any row of the table computes the same values

assert set(SUPPORTED.values()) == set(DTYPES)


def _capability(x: Tensor) -> int:
    if not x.is_cuda:
        return _INTERPRETED_AS
    major, minor = torch.cuda.get_device_capability(x.device)
    capability = 10 * int(major) + int(minor)
    # A GPU that the table does not know gets the tiles of the newest architecture that is not newer than it.
    return max((architecture for architecture in TABLE if architecture <= capability), default=min(TABLE))


@contextlib.contextmanager
def kernels(on_gpu: bool) -> Iterator[ModuleType]:
    """The module of the kernels inside the ``with``. Raises ValueError for a CPU where Triton does not interpret."""
    if not on_gpu and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError("on a CPU the kernels run in Triton's interpreter alone: set TRITON_INTERPRET=1 before import")
    from mutualformer.plugins.kernels import cda

    yield cda


def cross_diffusion_attention(
    qkv_r: Tensor, qkv_d: Tensor, attributes: CdaAttributes, tactic: int = 1
) -> tuple[Tensor, Tensor]:
    """(B, N, 3C) ×2, float16, float32 or bfloat16 → y_r = [out_r ‖ out_rd], y_d = [out_d ‖ out_dr], (B, N, 2C).

    ``tactic``: which of the tiles (plugins/kernels/tiles.py), the last where there are fewer.
    Raises ValueError for attributes, shapes or types the kernels do not serve.
    """
    with kernels(qkv_r.is_cuda) as module:
        return _Call(module, qkv_r, qkv_d, attributes, tactic).run()


class _Call:
    """One CDA: the tensors that a schedule's addresses stand for, and its launches."""

    def __init__(
        self, kernels: ModuleType, qkv_r: Tensor, qkv_d: Tensor, attributes: CdaAttributes, tactic: int
    ) -> None:
        if qkv_r.dim() != 3 or qkv_r.shape != qkv_d.shape or qkv_r.dtype != qkv_d.dtype or qkv_r.dtype not in SUPPORTED:
            raise ValueError(
                f"qkv_r is {tuple(qkv_r.shape)} {qkv_r.dtype} and qkv_d {tuple(qkv_d.shape)} {qkv_d.dtype}, "
                "expected one shape (B, N, 3C) and one type, float16, float32 or bfloat16"
            )
        self.kernels, self.attributes, self.tactic = kernels, attributes, tactic
        self.batch, self.tokens, width = qkv_r.shape
        self.head_dim, self.channels = attributes.head_dim(width), width // 3
        self.dtype = SUPPORTED[qkv_r.dtype]
        self.capability, self.compiled = _capability(qkv_r), qkv_r.is_cuda
        if not TABLE[self.capability].bf16 and self.dtype == "bf16":
            raise ValueError(f"qkv_r is {qkv_r.dtype}, which sm_{self.capability} does not have")
        variant_for("cda_rows", self.dtype, self.head_dim)  # refuses a head_dim before anything is allocated
        rows = (self.batch, self.tokens)
        pairs = schedule.workspace_pairs(attributes)
        self.memory: dict[str, Tensor] = {
            "qkv_r": qkv_r.contiguous(),
            "qkv_d": qkv_d.contiguous(),
            "y_r": qkv_r.new_empty(*rows, 2 * self.channels),
            "y_d": qkv_r.new_empty(*rows, 2 * self.channels),
            "workspace": qkv_r.new_empty(2 * pairs, *rows, self.channels),
        }
        self.lse = torch.empty(
            2, self.batch * attributes.num_heads, self.tokens, dtype=torch.float32, device=qkv_r.device
        )

    def run(self) -> tuple[Tensor, Tensor]:
        for launch in schedule.launches(self.attributes):
            self._launch(launch)
        return self.memory["y_r"], self.memory["y_d"]

    def _tensor(self, address: schedule.Address) -> Tensor:
        memory = self.memory[address.base]
        if address.base == "workspace":
            return memory[address.index]
        return memory[..., address.index * self.channels :]

    def _launch(self, launch: schedule.Launch) -> None:
        heads, alpha = self.attributes.num_heads, self.attributes.alpha
        variant = variant_for(launch.kernel, self.dtype, self.head_dim)
        tiles = tiles_for(launch.kernel, self.capability, self.dtype, variant.block_d, variant.unit)
        tile = tiles[min(self.tactic, len(tiles)) - 1]
        scale_log2 = self.head_dim**-0.5 * math.log2(math.e)
        weight = 2.0 ** -min(self.tokens.bit_length() - 1, 14)
        packed = schedule.TensorPair(schedule.Address("qkv_r", 0), schedule.Address("qkv_d", 0), 3)
        pairs = [packed, launch.keys, launch.x, launch.own, launch.following]
        if launch.result is not None:
            pairs.append(launch.result)
        tensors = [self._tensor(address) for pair in pairs for address in (pair.r, pair.d)]
        sizes = [self.tokens, heads, self.head_dim // variant.unit, *(pair.width for pair in pairs[1:])]
        numbers = [scale_log2, alpha * weight, 1.0 - alpha]
        if launch.kernel == "cda_rows":
            sizes.append(launch.writes)
            numbers = [scale_log2, weight]
        options = {"BLOCK_M": tile.block_m, "BLOCK_N": tile.block_n, "BLOCK_D": variant.block_d, "UNIT": variant.unit}
        options |= {"PEELED": tile.peeled}
        if self.compiled:
            options |= {"num_warps": tile.warps, "num_stages": tile.stages}
            if tile.registers is not None:
                options["maxnreg"] = tile.registers
        grid = (-(-self.tokens // tile.block_m), self.batch * heads, 2)
        getattr(self.kernels, launch.kernel)[grid](*tensors, self.lse, *sizes, *numbers, **options)
