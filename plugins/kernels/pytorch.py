"""CDA for PyTorch tensors through the Triton kernels: jitted on a GPU, in Triton's interpreter on a CPU.

Inference only (no gradients): training differentiates ``train/cda.py``. The schedule of launches is that of the
plugin (plugins/cpp/cda_schedule.cpp), so the two can be compared launch by launch.
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.kernels.interpreted import interpreting
from mutualformer.plugins.kernels.tiles import Tile, tile_for, variant_for

WRITE_SELF, WRITE_NEXT, WRITE_RESIDUAL, WRITE_LSE = 1, 2, 4, 8
_DEFAULTS = CdaAttributes(num_heads=1)
_DTYPES = {torch.float16: "fp16", torch.float32: "fp32"}


def _capability(x: Tensor) -> int:
    if x.is_cuda:
        major, minor = torch.cuda.get_device_capability(x.device)
        return 10 * major + minor
    return 80  # the interpreter has no architecture; any row of the table computes the same values


def cross_diffusion_attention(
    qkv_r: Tensor,
    qkv_d: Tensor,
    num_heads: int,
    alpha: float = _DEFAULTS.alpha,
    iterations: int = _DEFAULTS.iterations,
    init: str = _DEFAULTS.init,
    value_pairing: str = _DEFAULTS.value_pairing,
) -> tuple[Tensor, Tensor]:
    """(B, N, 3C) ×2, float16 or float32 → y_r = [out_r ‖ out_rd], y_d = [out_d ‖ out_dr], (B, N, 2C).

    Raises ValueError for attributes, shapes or types the kernels do not serve.
    """
    attributes = CdaAttributes(num_heads, alpha, iterations, init, value_pairing)
    if qkv_r.is_cuda:
        from mutualformer.plugins.kernels import cda

        return _launch(cda, qkv_r, qkv_d, attributes)
    with interpreting() as kernels:
        return _launch(kernels, qkv_r, qkv_d, attributes)


def _launch(kernels: ModuleType, qkv_r: Tensor, qkv_d: Tensor, attributes: CdaAttributes) -> tuple[Tensor, Tensor]:
    if qkv_r.dim() != 3 or qkv_r.shape != qkv_d.shape or qkv_r.dtype != qkv_d.dtype or qkv_r.dtype not in _DTYPES:
        raise ValueError(
            f"qkv_r is {tuple(qkv_r.shape)} {qkv_r.dtype} and qkv_d {tuple(qkv_d.shape)} {qkv_d.dtype}, "
            "expected one shape (B, N, 3C) and one type, float16 or float32"
        )
    batch, tokens, width = qkv_r.shape
    num_heads, alpha = attributes.num_heads, attributes.alpha
    head_dim = attributes.head_dim(width)
    c = width // 3
    qkv_r, qkv_d = qkv_r.contiguous(), qkv_d.contiguous()
    dtype = _DTYPES[qkv_r.dtype]
    variant = variant_for("cda_rows", dtype, head_dim)
    block_d, unit = variant.block_d, variant.unit
    capability = _capability(qkv_r)
    scale_log2 = head_dim**-0.5 * math.log2(math.e)
    lse_weight = 2.0 ** -min(tokens.bit_length() - 1, 14)

    def options(tile: Tile) -> dict[str, int]:
        found = {"BLOCK_M": tile.block_m, "BLOCK_N": tile.block_n, "BLOCK_D": block_d, "UNIT": unit}
        return {**found, "num_warps": tile.warps, "num_stages": tile.stages} if qkv_r.is_cuda else found

    row_tile = tile_for("cda_rows", capability, dtype, block_d, unit)
    column_tile = tile_for("cda_columns", capability, dtype, block_d, unit)
    y_r, y_d = qkv_r.new_empty(batch, tokens, 2 * c), qkv_d.new_empty(batch, tokens, 2 * c)
    lse = torch.empty(2, batch * num_heads, tokens, dtype=torch.float32, device=qkv_r.device)
    q_r, k_r, v_r = (qkv_r[..., i * c : (i + 1) * c] for i in range(3))
    q_d, k_d, v_d = (qkv_d[..., i * c : (i + 1) * c] for i in range(3))

    def pair() -> tuple[Tensor, Tensor]:
        return qkv_r.new_empty(batch, tokens, c), qkv_r.new_empty(batch, tokens, c)

    def units(t: tuple[Tensor, Tensor]) -> int:
        return t[0].stride(1) // c  # a row's length as a multiple of C

    Pair = tuple[Tensor, Tensor]

    def rows(keys: Pair, x: Pair, own: Pair, following: Pair, residual: Pair, writes: int) -> None:
        grid = (_cdiv(tokens, row_tile.block_m), batch * num_heads)
        kernels.cda_rows[grid](
            q_r, q_d, *keys, *x, *own, *following, *residual, lse, tokens, num_heads, head_dim // unit, 3,
            units(x), units(own), units(following), units(residual), writes, scale_log2, lse_weight, 1.0 - alpha,
            **options(row_tile),
        )  # fmt: skip

    def columns(g: Pair, y: Pair) -> None:
        grid = (_cdiv(tokens, column_tile.block_m), batch * num_heads, 2)
        kernels.cda_columns[grid](
            q_r, q_d, k_r, k_d, *g, *y, lse, tokens, num_heads, head_dim // unit, 3, units(g), units(y),
            scale_log2, alpha * lse_weight, **options(column_tile),
        )  # fmt: skip

    outputs = (y_r[..., :c], y_d[..., :c])
    diffused = (y_r[..., c:], y_d[..., c:])
    residuals = [diffused]
    if attributes.value_pairing == "released":
        x, u = (v_d, v_r), (y_d[..., :c], y_r[..., :c])  # u_1 of direction r is P_d V_d = out_d
        rows((k_r, k_d), x, u, u, diffused, WRITE_NEXT | WRITE_RESIDUAL | WRITE_LSE)
    else:
        x, u = (v_r, v_d), pair()
        rows((k_r, k_d), x, outputs, u, diffused, WRITE_SELF | WRITE_NEXT | WRITE_RESIDUAL | WRITE_LSE)
    for _ in range(1, attributes.iterations):
        following, residual = pair(), pair()
        rows((k_r, k_d), u, u, following, residual, WRITE_NEXT | WRITE_RESIDUAL)
        residuals.append(residual)
        u = following
    g = u
    if attributes.init == "cross":
        g = pair()
        rows((k_d, k_r), u, g, u, u, WRITE_SELF)
    for residual in reversed(residuals):
        columns(g, residual)
        g = residual
    return y_r, y_d


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)
