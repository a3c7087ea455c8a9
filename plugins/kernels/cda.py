"""Cross-Diffusion Attention as two Triton kernels: one source for the interpreter, the JIT and the cubins.

With s = head_dim ** -0.5, P_m = softmax(s · Q_m K_mᵀ) and values x_r, x_d (one per modality's direction),

    cda_rows      next_d = P_r x_d      next_r = P_d x_r                (u_{k+1} = P_o u_k, o the other modality)
                  residual_m = (1 − α)(P_r + P_d) x_m                   lse_i = log2 (w · Σ_j 2^(s·log2(e)·q_i·k_j))
    cda_columns   y_m += α · P_mᵀ g_m                                   P_ij = w · 2^(s·log2(e)·q_i·k_j − lse_i)

One CDA with iterations = 1, init = identity, value_pairing = released is one launch of each, x_r = V_d and
x_d = V_r: then ``next`` is [out_r, out_d] and ``residual`` is what cda_columns completes in place to [out_rd,
out_dr]. Every other variant is a longer list of the same two launches (plugins/cpp/cda_schedule.cpp, pytorch.py).

The weight w = 2^−⌊log2 N⌋ (at least 2^-14, so that fp16 holds P / w) keeps the stored log-sum-exp near zero: its
rounding would otherwise cost pass 2 a relative error of log2(N) · 2^-24, and small P would be fp16 subnormals.

No tensor is transposed and no N × N matrix leaves the registers. Packed qkv (B, N, 3 · heads · head_dim) is read
in place. head_dim = head_units · UNIT: with UNIT = 8 the compiler knows that every row starts on a 16-byte
boundary and loads vectors; UNIT = 1 serves the other head dims. Tiles are padded to BLOCK_D columns with zeros.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _scaled(q, scale_log2):
    """fp32 queries are scaled before the product: one rounding less in every score. fp16 has no digits to spare.

    Both passes scale the queries, so that they see the same scores: where softmax is nearly one-hot, P is the
    exponential of a small difference of large scores.
    """
    if q.dtype == tl.float32:
        q = q * scale_log2
    return q


@triton.jit
def _scores(a, b, scale_log2):
    """s · log2(e) · q kᵀ or its transpose, float32; fp32 queries come scaled."""
    scores = tl.dot(a, b, input_precision="ieee")
    if a.dtype != tl.float32:
        scores = scores * scale_log2
    return scores


@triton.jit
def _attend(
    q,
    k_ptr,
    xr_ptr,
    xd_ptr,
    tokens,
    k_stride,
    x_stride,
    head_dim,
    scale_log2,
    lse_weight,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """softmax(q kᵀ) [x_r, x_d] for BLOCK_M rows with an online softmax.

    ``q``: (BLOCK_M, BLOCK_D). Returns two (BLOCK_M, BLOCK_D) float32 products and the weighted row log2-sum-exp2.
    """
    dims = tl.arange(0, BLOCK_D)
    dim_ok = dims < head_dim
    row_max = tl.full([BLOCK_M], float("-inf"), tl.float32)
    row_sum = tl.zeros([BLOCK_M], tl.float32)
    acc_r = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    acc_d = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for start in range(0, tokens, BLOCK_N):
        cols = start + tl.arange(0, BLOCK_N)
        col_ok = cols < tokens
        k = tl.load(k_ptr + cols[None, :] * k_stride + dims[:, None], mask=dim_ok[:, None] & col_ok[None, :], other=0.0)
        scores = _scores(q, k, scale_log2)
        scores = tl.where(col_ok[None, :], scores, float("-inf"))
        new_max = tl.maximum(row_max, tl.max(scores, 1))
        p = tl.exp2(scores - new_max[:, None])
        rescale = tl.exp2(row_max - new_max)
        row_sum = row_sum * rescale + tl.sum(p, 1)
        row_max = new_max
        x_offset = cols[:, None] * x_stride + dims[None, :]
        x_mask = col_ok[:, None] & dim_ok[None, :]
        x_r = tl.load(xr_ptr + x_offset, mask=x_mask, other=0.0)
        p = p.to(x_r.dtype)
        acc_r = tl.dot(p, x_r, acc_r * rescale[:, None], input_precision="ieee")
        x_d = tl.load(xd_ptr + x_offset, mask=x_mask, other=0.0)
        acc_d = tl.dot(p, x_d, acc_d * rescale[:, None], input_precision="ieee")
    return acc_r / row_sum[:, None], acc_d / row_sum[:, None], row_max + tl.log2(row_sum * lse_weight)


@triton.jit
def cda_rows(
    q_r_ptr,
    q_d_ptr,
    k_r_ptr,
    k_d_ptr,
    x_r_ptr,
    x_d_ptr,
    self_r_ptr,
    self_d_ptr,
    next_r_ptr,
    next_d_ptr,
    residual_r_ptr,
    residual_d_ptr,
    lse_ptr,
    tokens,
    heads,
    head_units,
    qk_width,
    x_width,
    self_width,
    next_width,
    residual_width,
    writes,
    scale_log2,
    lse_weight,
    residual_weight,
    UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Pass 1: both modalities' softmax rows times both values. Grid (⌈N / BLOCK_M⌉, B · heads).

    Every tensor is (B, N, width · C), C = heads · head_dim, its pointer moved to the first column in use; a width
    counts multiples of C. ``lse``: float32 (2, B · heads, N). ``writes`` is a set of bits, what to store:
    1 self_m = P_m x_m, 2 next_m = P_o x_m, 4 residual_m = residual_weight · (P_r + P_d) x_m, 8 lse.
    """
    head_dim = head_units * UNIT
    channels = heads * head_dim
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads) * head_dim
    qk_stride = qk_width * channels
    x_stride = x_width * channels
    qk_base = batch * tokens * qk_stride + head
    x_base = batch * tokens * x_stride + head

    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_ok = rows < tokens
    mask = row_ok[:, None] & (dims < head_dim)[None, :]
    q_offset = qk_base + rows[:, None] * qk_stride + dims[None, :]

    q = _scaled(tl.load(q_r_ptr + q_offset, mask=mask, other=0.0), scale_log2)
    rr, rd, lse_r = _attend(
        q, k_r_ptr + qk_base, x_r_ptr + x_base, x_d_ptr + x_base,
        tokens, qk_stride, x_stride, head_dim, scale_log2, lse_weight, BLOCK_M, BLOCK_N, BLOCK_D,
    )  # fmt: skip
    lse_row = lse_ptr + tl.program_id(1).to(tl.int64) * tokens + rows
    tl.store(lse_row, lse_r, mask=row_ok & ((writes & 8) != 0))
    q = _scaled(tl.load(q_d_ptr + q_offset, mask=mask, other=0.0), scale_log2)
    dr, dd, lse_d = _attend(
        q, k_d_ptr + qk_base, x_r_ptr + x_base, x_d_ptr + x_base,
        tokens, qk_stride, x_stride, head_dim, scale_log2, lse_weight, BLOCK_M, BLOCK_N, BLOCK_D,
    )  # fmt: skip
    lse_row += tl.num_programs(1).to(tl.int64) * tokens
    tl.store(lse_row, lse_d, mask=row_ok & ((writes & 8) != 0))

    out_type = self_r_ptr.dtype.element_ty
    here = batch * tokens + rows[:, None]  # row of a (B · N, width) matrix, int64

    offset = here * (self_width * channels) + head + dims[None, :]
    self_mask = mask & ((writes & 1) != 0)
    tl.store(self_r_ptr + offset, rr.to(out_type), mask=self_mask)
    tl.store(self_d_ptr + offset, dd.to(out_type), mask=self_mask)

    offset = here * (next_width * channels) + head + dims[None, :]
    next_mask = mask & ((writes & 2) != 0)
    tl.store(next_r_ptr + offset, dr.to(out_type), mask=next_mask)
    tl.store(next_d_ptr + offset, rd.to(out_type), mask=next_mask)

    offset = here * (residual_width * channels) + head + dims[None, :]
    residual_mask = mask & ((writes & 4) != 0)
    tl.store(residual_r_ptr + offset, (residual_weight * (rr + dr)).to(out_type), mask=residual_mask)
    tl.store(residual_d_ptr + offset, (residual_weight * (rd + dd)).to(out_type), mask=residual_mask)


@triton.jit
def cda_columns(
    q_r_ptr,
    q_d_ptr,
    k_r_ptr,
    k_d_ptr,
    g_r_ptr,
    g_d_ptr,
    y_r_ptr,
    y_d_ptr,
    lse_ptr,
    tokens,
    heads,
    head_units,
    qk_width,
    g_width,
    y_width,
    scale_log2,
    weight,
    UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Pass 2: y_m += α · P_mᵀ g_m, P recomputed tile by tile from the row log-sum-exp of pass 1.

    Grid (⌈N / BLOCK_M⌉, B · heads, 2): the last axis is the modality m. Tensors and widths as in ``cda_rows``.
    ``weight`` = α · w: P / w is what is multiplied. Needs no running maximum: every P_ij is at most 1.
    """
    head_dim = head_units * UNIT
    channels = heads * head_dim
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads) * head_dim
    qk_stride = qk_width * channels
    g_stride = g_width * channels
    is_r = tl.program_id(2) == 0
    q_ptr = tl.where(is_r, q_r_ptr, q_d_ptr) + batch * tokens * qk_stride + head
    k_ptr = tl.where(is_r, k_r_ptr, k_d_ptr) + batch * tokens * qk_stride + head
    g_ptr = tl.where(is_r, g_r_ptr, g_d_ptr) + batch * tokens * g_stride + head
    y_ptr = tl.where(is_r, y_r_ptr, y_d_ptr)
    lse_ptr += (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * tokens

    # fp32: the scores are formed as q kᵀ, exactly as in pass 1, and P is transposed on its way to the second product
    # (through shared memory, where that product's operands go anyway). fp16: k qᵀ is the transpose right away, so P
    # stays in the registers of the tensor cores.
    TRANSPOSE: tl.constexpr = g_r_ptr.dtype.element_ty == tl.float32
    columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    dim_ok = dims < head_dim
    column_ok = columns < tokens
    mask = column_ok[:, None] & dim_ok[None, :]
    if TRANSPOSE:
        k = tl.load(
            k_ptr + columns[None, :] * qk_stride + dims[:, None], mask=dim_ok[:, None] & column_ok[None, :], other=0.0
        )
    else:
        k = tl.load(k_ptr + columns[:, None] * qk_stride + dims[None, :], mask=mask, other=0.0)
    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for start in range(0, tokens, BLOCK_N):
        rows = start + tl.arange(0, BLOCK_N)
        row_ok = rows < tokens
        row_mask = row_ok[:, None] & dim_ok[None, :]
        lse = tl.load(lse_ptr + rows, mask=row_ok, other=float("inf"))  # rows past the end get P = 2^-inf = 0
        if TRANSPOSE:
            q = tl.load(q_ptr + rows[:, None] * qk_stride + dims[None, :], mask=row_mask, other=0.0)
            p = tl.trans(tl.exp2(_scores(_scaled(q, scale_log2), k, scale_log2) - lse[:, None]))
        else:
            q = tl.load(
                q_ptr + rows[None, :] * qk_stride + dims[:, None], mask=dim_ok[:, None] & row_ok[None, :], other=0.0
            )
            p = tl.exp2(_scores(k, q, scale_log2) - lse[None, :])
        g = tl.load(g_ptr + rows[:, None] * g_stride + dims[None, :], mask=row_mask, other=0.0)
        acc = tl.dot(p.to(g.dtype), g, acc, input_precision="ieee")
    y_ptr += (batch * tokens + columns[:, None]) * (y_width * channels) + head + dims[None, :]
    y = tl.load(y_ptr, mask=mask, other=0.0).to(tl.float32) + weight * acc
    tl.store(y_ptr, y.to(y_ptr.dtype.element_ty), mask=mask)
