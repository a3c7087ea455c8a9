"""Cross-Diffusion Attention as two Triton kernels: one source for the interpreter, the JIT and the cubins.

With s = head_dim ** -0.5, P_m = softmax(s · Q_m K_mᵀ), o the modality that m is not, and a value x_m for each:

    cda_rows      self_m = P_m x_m      next_o = P_m x_o            lse_i = log2 (w · Σ_j 2^(s·log2(e)·q_i·k_j))
    cda_columns   y_m = α · P_mᵀ g_m + (1 − α)(self_m + next_m)     P_ij = w · 2^(s·log2(e)·q_i·k_j − lse_i)

One program works on one modality, so both kernels have the modality as their grid's third axis. (P_m + P_o) x_m, the
term that (1 − α) weighs, is self_m + next_m: the programs of the two modalities in cda_rows store one each, and
cda_columns adds them in the rows that it writes anyway.

One CDA with iterations = 1, init = identity, value_pairing = released is one launch of each, x_r = V_d and
x_d = V_r: then ``next`` is [out_r, out_d] and cda_columns completes ``self`` in place to [out_rd, out_dr]. Every other
variant is a longer list of the same two launches (plugins/kernels/schedule.py).

The weight w = 2^−⌊log2 N⌋ (at least 2^-14, so that fp16 can hold P / w) keeps the stored log-sum-exp near zero.
Without it, rounding the log-sum-exp would cost pass 2 a relative error of log2(N) · 2^-24, and small P would be
subnormal in fp16.

No tensor is transposed and no N × N matrix leaves the registers. Packed qkv (B, N, 3 · heads · head_dim) is read
in place. head_dim = head_units · UNIT: with UNIT = 8 the compiler knows that every row starts on a 16-byte
boundary and loads vectors; UNIT = 1 serves the other head dims. Tiles are padded to BLOCK_D columns with zeros.
Loops go over whole tiles of tokens, and only the remaining tile, if any, is masked. Without PEELED every tile is
masked, which halves the code for architectures short of registers.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl

from mutualformer.plugins.kernels import schedule

WRITE_NEXT: tl.constexpr = tl.constexpr(schedule.WRITE_NEXT)
WRITE_LSE: tl.constexpr = tl.constexpr(schedule.WRITE_LSE)


@triton.jit
def _rows_tile(
    q,
    k_ptr,
    x_m_ptr,
    x_o_ptr,
    start,
    tokens,
    k_stride,
    x_stride,
    head_dim,
    scale,
    row_max,
    row_sum,
    acc_m,
    acc_o,
    MASKED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One step of the online softmax: BLOCK_N more columns of P, times both values."""
    dims = tl.arange(0, BLOCK_D)
    cols = start + tl.arange(0, BLOCK_N)
    k_mask = (dims < head_dim)[:, None]
    x_mask = (dims < head_dim)[None, :]
    if MASKED:
        k_mask = k_mask & (cols < tokens)[None, :]
        x_mask = x_mask & (cols < tokens)[:, None]
    k = tl.load(k_ptr + cols[None, :] * k_stride + dims[:, None], mask=k_mask, other=0.0)
    scores = tl.dot(q, k, input_precision="ieee")
    if MASKED:
        # A token past the end would have score 0, not -inf, and would take a share of the softmax.
        scores = tl.where((cols < tokens)[None, :], scores, float("-inf"))
    # The online softmax (Milakov and Gimelshein, 2018): what was summed so far is in units of the old maximum and is
    # rescaled to the new one, so no exponential can overflow. The first rescale is 2^-inf = 0, which makes the empty
    # start harmless.
    new_max = tl.maximum(row_max, tl.max(scores, 1) * scale)
    p = tl.exp2(scores * scale - new_max[:, None])  # one fused multiply-add for each element
    rescale = tl.exp2(row_max - new_max)
    row_sum = row_sum * rescale + tl.sum(p, 1)
    x_offset = cols[:, None] * x_stride + dims[None, :]
    x_m = tl.load(x_m_ptr + x_offset, mask=x_mask, other=0.0)
    # Tensor cores multiply two operands of one type and add in float32; P lies in [0, 1], where fp16 has 11 bits.
    p = p.to(x_m.dtype)
    acc_m = tl.dot(p, x_m, acc_m * rescale[:, None], input_precision="ieee")
    # P is used twice while it is in registers. This is why one program computes both values of its modality: a second
    # program would have to compute the same P again.
    x_o = tl.load(x_o_ptr + x_offset, mask=x_mask, other=0.0)
    acc_o = tl.dot(p, x_o, acc_o * rescale[:, None], input_precision="ieee")
    return new_max, row_sum, acc_m, acc_o


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
    lse_ptr,
    tokens,
    heads,
    head_units,
    qk_width,
    x_width,
    self_width,
    next_width,
    writes,
    scale_log2,
    lse_weight,
    UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PEELED: tl.constexpr = True,
):
    """Pass 1: the softmax rows of modality m times both values. Grid (⌈N / BLOCK_M⌉, B · heads, 2).

    Every tensor is (B, N, width · C), C = heads · head_dim, its pointer moved to the first column in use; a width
    counts multiples of C. ``lse``: float32 (2, B · heads, N). ``writes``: bits WRITE_NEXT and WRITE_LSE store those
    two; self is always stored.
    """
    head_dim = head_units * UNIT
    channels = heads * head_dim
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads) * head_dim
    is_r = tl.program_id(2) == 0
    qk_stride = qk_width * channels
    x_stride = x_width * channels
    qk_base = batch * tokens * qk_stride + head
    x_base = batch * tokens * x_stride + head
    q_ptr = tl.where(is_r, q_r_ptr, q_d_ptr) + qk_base
    k_ptr = tl.where(is_r, k_r_ptr, k_d_ptr) + qk_base
    x_m_ptr = tl.where(is_r, x_r_ptr, x_d_ptr) + x_base
    x_o_ptr = tl.where(is_r, x_d_ptr, x_r_ptr) + x_base
    self_ptr = tl.where(is_r, self_r_ptr, self_d_ptr)
    # Pointers are chosen by value, not by a branch, so that both modalities run the same code and the compiler
    # pipelines the loads.
    next_ptr = tl.where(is_r, next_d_ptr, next_r_ptr)  # P_m x_o is the other direction's next

    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_ok = rows < tokens
    mask = row_ok[:, None] & (dims < head_dim)[None, :]
    q = tl.load(q_ptr + rows[:, None] * qk_stride + dims[None, :], mask=mask, other=0.0)
    scale = scale_log2
    if q.dtype == tl.float32:  # scaled before the product: one rounding less in every score
        q = q * scale_log2
        scale = 1.0

    row_max = tl.full([BLOCK_M], float("-inf"), tl.float32)
    row_sum = tl.zeros([BLOCK_M], tl.float32)
    acc_m = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    acc_o = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    whole = tokens
    if PEELED:
        whole = tokens // BLOCK_N * BLOCK_N
    for start in range(0, whole, BLOCK_N):
        row_max, row_sum, acc_m, acc_o = _rows_tile(
            q, k_ptr, x_m_ptr, x_o_ptr, start, tokens, qk_stride, x_stride, head_dim, scale,
            row_max, row_sum, acc_m, acc_o, not PEELED, BLOCK_N, BLOCK_D,
        )  # fmt: skip
    if PEELED:
        if whole < tokens:
            row_max, row_sum, acc_m, acc_o = _rows_tile(
                q, k_ptr, x_m_ptr, x_o_ptr, whole, tokens, qk_stride, x_stride, head_dim, scale,
                row_max, row_sum, acc_m, acc_o, True, BLOCK_N, BLOCK_D,
            )  # fmt: skip

    # Pass 2 needs one number for each row to recompute P: maximum and sum together as one base-2 logarithm.
    lse_row = lse_ptr + (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * tokens + rows
    tl.store(lse_row, row_max + tl.log2(row_sum * lse_weight), mask=row_ok & ((writes & WRITE_LSE) != 0))
    out_type = self_r_ptr.dtype.element_ty
    # One reciprocal for each row and a product for each element is cheaper than a division for each element. The row
    # sum is at least 1, because the row's maximum contributes 2^0.
    inverse = (1.0 / row_sum)[:, None]
    here = batch * tokens + rows[:, None]  # row of a (B · N, width) matrix, int64
    tl.store(
        self_ptr + here * (self_width * channels) + head + dims[None, :],
        (acc_m * inverse).to(out_type),
        mask=mask,
    )
    tl.store(
        next_ptr + here * (next_width * channels) + head + dims[None, :],
        (acc_o * inverse).to(out_type),
        mask=mask & ((writes & WRITE_NEXT) != 0),
    )


@triton.jit
def _columns_tile(
    k,
    q_ptr,
    g_ptr,
    lse_ptr,
    start,
    tokens,
    q_stride,
    g_stride,
    head_dim,
    scale_log2,
    acc,
    MASKED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """BLOCK_N more rows of P: acc + Pᵀ g.

    fp32: the scores are formed as q kᵀ with scaled queries, exactly as in pass 1 (where softmax is nearly one-hot, P
    is the exponential of a small difference of large scores), and P is transposed on its way to the second product
    (through shared memory, where that product's operands go anyway). fp16 and bf16: k qᵀ is the transpose right away,
    so P stays in the registers of the tensor cores.
    """
    dims = tl.arange(0, BLOCK_D)
    rows = start + tl.arange(0, BLOCK_N)
    g_mask = (dims < head_dim)[None, :]
    qt_mask = (dims < head_dim)[:, None]
    if MASKED:
        g_mask = g_mask & (rows < tokens)[:, None]
        qt_mask = qt_mask & (rows < tokens)[None, :]
        lse = tl.load(lse_ptr + rows, mask=rows < tokens, other=float("inf"))  # past the end P = 2^-inf = 0
    else:
        lse = tl.load(lse_ptr + rows)
    # The type is known when the kernel is compiled, so only one of the two forms is in the cubin.
    if k.dtype == tl.float32:
        q = tl.load(q_ptr + rows[:, None] * q_stride + dims[None, :], mask=g_mask, other=0.0)
        scores = tl.dot(q * scale_log2, k, input_precision="ieee")
        p = tl.trans(tl.exp2(scores - lse[:, None]))
    else:
        q = tl.load(q_ptr + rows[None, :] * q_stride + dims[:, None], mask=qt_mask, other=0.0)
        p = tl.exp2(tl.dot(k, q, input_precision="ieee") * scale_log2 - lse[None, :])
    g = tl.load(g_ptr + rows[:, None] * g_stride + dims[None, :], mask=g_mask, other=0.0)
    return tl.dot(p.to(g.dtype), g, acc, input_precision="ieee")


@triton.jit
def cda_columns(
    q_r_ptr,
    q_d_ptr,
    k_r_ptr,
    k_d_ptr,
    g_r_ptr,
    g_d_ptr,
    self_r_ptr,
    self_d_ptr,
    next_r_ptr,
    next_d_ptr,
    y_r_ptr,
    y_d_ptr,
    lse_ptr,
    tokens,
    heads,
    head_units,
    qk_width,
    g_width,
    self_width,
    next_width,
    y_width,
    scale_log2,
    weight,
    residual_weight,
    UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PEELED: tl.constexpr = True,
):
    """Pass 2: y_m = α · P_mᵀ g_m + (1 − α)(self_m + next_m), P recomputed from the row log-sum-exp of pass 1.

    Grid (⌈N / BLOCK_M⌉, B · heads, 2): the last axis is the modality m. Tensors and widths as in ``cda_rows``; y may
    be self or next. ``weight`` = α · w, because the product takes P / w; ``residual_weight`` = 1 − α. Needs no running
    maximum: every P_ij is at most 1.
    """
    head_dim = head_units * UNIT
    channels = heads * head_dim
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads) * head_dim
    is_r = tl.program_id(2) == 0
    qk_stride = qk_width * channels
    g_stride = g_width * channels
    q_ptr = tl.where(is_r, q_r_ptr, q_d_ptr) + batch * tokens * qk_stride + head
    k_ptr = tl.where(is_r, k_r_ptr, k_d_ptr) + batch * tokens * qk_stride + head
    g_ptr = tl.where(is_r, g_r_ptr, g_d_ptr) + batch * tokens * g_stride + head
    self_ptr = tl.where(is_r, self_r_ptr, self_d_ptr)
    next_ptr = tl.where(is_r, next_r_ptr, next_d_ptr)
    y_ptr = tl.where(is_r, y_r_ptr, y_d_ptr)
    lse_ptr += (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * tokens

    columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    mask = (columns < tokens)[:, None] & (dims < head_dim)[None, :]
    # fp32 multiplies q kᵀ and needs K transposed; fp16 and bf16 multiply k qᵀ and take K as it lies in memory.
    if g_r_ptr.dtype.element_ty == tl.float32:
        k_mask = (dims < head_dim)[:, None] & (columns < tokens)[None, :]
        k = tl.load(k_ptr + columns[None, :] * qk_stride + dims[:, None], mask=k_mask, other=0.0)
    else:
        k = tl.load(k_ptr + columns[:, None] * qk_stride + dims[None, :], mask=mask, other=0.0)
    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    whole = tokens
    if PEELED:
        whole = tokens // BLOCK_N * BLOCK_N
    for start in range(0, whole, BLOCK_N):
        acc = _columns_tile(
            k, q_ptr, g_ptr, lse_ptr, start, tokens, qk_stride, g_stride, head_dim, scale_log2,
            acc, not PEELED, BLOCK_N, BLOCK_D,
        )  # fmt: skip
    if PEELED:
        if whole < tokens:
            acc = _columns_tile(
                k, q_ptr, g_ptr, lse_ptr, whole, tokens, qk_stride, g_stride, head_dim, scale_log2,
                acc, True, BLOCK_N, BLOCK_D,
            )  # fmt: skip

    here = batch * tokens + columns[:, None]
    offset = head + dims[None, :]
    # y may be self or next, so this program reads its rows of both before it writes
    # them. No other program reads these rows.
    own = tl.load(self_ptr + here * (self_width * channels) + offset, mask=mask, other=0.0).to(tl.float32)
    # The sum is formed in float32 and rounded once, when it is stored.
    following = tl.load(next_ptr + here * (next_width * channels) + offset, mask=mask, other=0.0).to(tl.float32)
    y = weight * acc + residual_weight * (own + following)
    tl.store(y_ptr + here * (y_width * channels) + offset, y.to(y_ptr.dtype.element_ty), mask=mask)
