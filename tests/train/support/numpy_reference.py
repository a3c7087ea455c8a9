"""DESIGN section 1 written out in float64 NumPy, one head at a time, every N × N matrix materialised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def softmax(x: Matrix) -> Matrix:
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def cda(
    qkv_r: Matrix,
    qkv_d: Matrix,
    heads: int,
    alpha: float = 0.6,
    iterations: int = 1,
    init: str = "identity",
    value_pairing: str = "released",
) -> tuple[Matrix, Matrix]:
    """(B, N, 3C) twice → y_r, y_d (B, N, 2C)."""
    batch, tokens, width = qkv_r.shape
    dim = width // 3
    size = dim // heads
    y_r, y_d = np.zeros((batch, tokens, 2 * dim)), np.zeros((batch, tokens, 2 * dim))
    for b in range(batch):
        for h in range(heads):
            here = slice(h * size, (h + 1) * size)
            q_r, k_r, v_r = (qkv_r[b, :, i * dim : (i + 1) * dim][:, here] for i in range(3))
            q_d, k_d, v_d = (qkv_d[b, :, i * dim : (i + 1) * dim][:, here] for i in range(3))
            s = size**-0.5
            p_r, p_d = softmax(s * q_r @ k_r.T), softmax(s * q_d @ k_d.T)

            def walk(p: Matrix) -> Matrix:
                root = p.sum(axis=1) ** -0.5  # the diagonal of D^-1/2
                return root[:, None] * p.T * root[None, :]

            s_r, s_d = walk(p_r), walk(p_d)
            a_rd = np.eye(tokens) if init == "identity" else softmax(s * q_r @ k_d.T)
            a_dr = np.eye(tokens) if init == "identity" else softmax(s * q_d @ k_r.T)
            for _ in range(iterations):
                a_rd = alpha * s_r @ a_rd @ s_d.T + (1 - alpha) * (p_r + p_d)
                a_dr = alpha * s_d @ a_dr @ s_r.T + (1 - alpha) * (p_r + p_d)
            first, second = (v_d, v_r) if value_pairing == "released" else (v_r, v_d)
            there = slice(dim + h * size, dim + (h + 1) * size)
            y_r[b][:, here], y_r[b][:, there] = p_r @ v_r, a_rd @ first
            y_d[b][:, here], y_d[b][:, there] = p_d @ v_d, a_dr @ second
    return y_r, y_d
