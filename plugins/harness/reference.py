"""The operator in NumPy (plugins/README.md has its formulas), and the two-times rule that kernels must keep.

Our error may be at most twice that of plain arithmetic in the same precision, both against float64 (the rule of
flash-attention's tests). The largest error may always reach half a unit in the last place of the largest output:
storing a result in that type costs as much, and with few outputs the plain form's own largest error varies by chance.
For the root mean square error this floor applies only below 1000 outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.harness.numbers import EPSILON, decode, encode

_FEW_OUTPUTS = 1000
_ORDERS = 3
Array = NDArray[Any]
Rounding = Callable[[Array], Array]


def cross_diffusion_attention(
    qkv_r: Array, qkv_d: Array, attributes: CdaAttributes, rounding: Rounding = lambda x: x
) -> tuple[Array, Array]:
    """``y_r``, ``y_d`` (B, N, 2C) of (B, N, 3C) twice, in the type of the inputs, with products of vectors only.

    ``rounding``: applied to the result of every operation, as hardware of lower precision rounds.
    """
    heads = attributes.num_heads
    batch, tokens, width = qkv_r.shape
    parts = [x.reshape(batch, tokens, 3, heads, -1).transpose(2, 0, 3, 1, 4) for x in (qkv_r, qkv_d)]
    # Modality, batch, token, own or mutual, head, channel: in this order the last three axes are the packed 2C columns.
    y = np.empty((2, batch, tokens, 2, heads, width // 3 // heads), qkv_r.dtype)
    for b in range(batch):
        for h in range(heads):
            outputs = _head(attributes, parts[0][:, b, h], parts[1][:, b, h], rounding)
            y[0, b, :, 0, h], y[0, b, :, 1, h], y[1, b, :, 0, h], y[1, b, :, 1, h] = outputs
    merged = y.reshape(2, batch, tokens, width // 3 * 2)
    return merged[0], merged[1]


def _head(attributes: CdaAttributes, r: Array, d: Array, rounding: Rounding) -> list[Array]:
    """out_r, out_rd, out_d, out_dr of one head; ``r``, ``d``: queries, keys and values (3, N, head_dim)."""
    (q_r, k_r, v_r), (q_d, k_d, v_d) = r, d
    scale, alpha = float(q_r.shape[-1]) ** -0.5, attributes.alpha

    def affinity(q: Array, k: Array) -> Array:
        # The product itself is summed in the array's type and rounded once, as tensor cores do, which add in float32.
        scores = rounding(rounding(q * scale) @ k.T)
        # Without subtracting the maximum, scores above 88 would overflow float32.
        exponentials = np.exp(scores - scores.max(-1, keepdims=True))
        return rounding(exponentials / exponentials.sum(-1, keepdims=True))

    def diffused(p_m: Array, p_o: Array, v: Array, first: Array | None) -> Array:
        u = [v]  # u_k = P_o^k V
        for _ in range(attributes.iterations):
            u.append(rounding(p_o @ u[-1]))
        g = u[-1] if first is None else rounding(first @ u[-1])
        for k in range(attributes.iterations - 1, -1, -1):
            both = rounding(rounding(p_m @ u[k]) + u[k + 1])
            g = rounding(rounding(alpha * rounding(p_m.T @ g)) + rounding((1 - alpha) * both))
        return g

    p_r, p_d = affinity(q_r, k_r), affinity(q_d, k_d)
    cross = attributes.init == "cross"
    v_rd, v_dr = (v_d, v_r) if attributes.value_pairing == "released" else (v_r, v_d)
    return [
        rounding(p_r @ v_r),
        diffused(p_r, p_d, v_rd, affinity(q_r, k_d) if cross else None),
        rounding(p_d @ v_d),
        diffused(p_d, p_r, v_dr, affinity(q_d, k_r) if cross else None),
    ]


@dataclass(frozen=True)
class TwoTimes:
    """Errors and their limits, floor included. ``not_finite``: number of outputs that are NaN or infinite."""

    worst: float
    worst_allowed: float
    rms: float
    rms_allowed: float
    not_finite: int

    @property
    def ratio(self) -> float:
        """The worse error as a share of its limit: up to 1 the rule holds."""
        if self.not_finite:
            return float("inf")
        return max(_share(self.worst, self.worst_allowed), _share(self.rms, self.rms_allowed))

    @property
    def sentence(self) -> str:
        """Both errors and their limits, or how many outputs are not finite."""
        if self.not_finite:
            return f"{self.not_finite} outputs are not finite"
        return (
            f"largest error {self.worst:.3e}, allowed {self.worst_allowed:.3e}; "
            f"rms error {self.rms:.3e}, allowed {self.rms_allowed:.3e}"
        )


def _share(error: float, allowed: float) -> float:
    # Where plain arithmetic is exact, nothing but exact is allowed.
    return error / allowed if allowed else (0.0 if error == 0 else float("inf"))


def rule(ours: Array, exact: Array, peers: Sequence[Array], dtype: str) -> TwoTimes:
    """The two-times rule for arrays of one shape: ours, float64, and results of plain arithmetic in ``dtype``.

    The worst of the peers counts.
    """
    with np.errstate(invalid="ignore"):
        # Errors are formed in float64; NaN and infinity are counted apart, because no comparison with NaN is true.
        error, *others = (np.abs(result.astype(np.float64) - exact) for result in (ours, *peers))
    half_ulp = EPSILON[dtype] / 2
    rms_floor = half_ulp * _rms(exact) if exact.size < _FEW_OUTPUTS else 0.0
    return TwoTimes(
        worst=float(error.max()),
        worst_allowed=2 * max(float(other.max()) for other in others) + half_ulp * float(np.abs(exact).max()),
        rms=_rms(error),
        rms_allowed=2 * max(map(_rms, others)) + rms_floor,
        not_finite=int((~np.isfinite(ours)).sum()),
    )


def _rms(x: Array) -> float:
    return float(np.sqrt(np.square(x).mean()))


def two_times(ours: tuple[Array, Array], qkv_r: Array, qkv_d: Array, attributes: CdaAttributes, dtype: str) -> TwoTimes:
    """Compare y_r, y_d of any implementation with float64; all arrays in the stored form of ``dtype``."""
    r, d = decode(qkv_r, dtype), decode(qkv_d, dtype)
    exact = np.stack(cross_diffusion_attention(r.astype(np.float64), d.astype(np.float64), attributes))
    rounding = lambda x: decode(encode(x, dtype), dtype)  # noqa: E731
    peers = [np.stack(cross_diffusion_attention(r, d, attributes, rounding))]
    tokens = r.shape[1]
    # In FP32 the largest error depends on the order of the sums, so the tokens are taken in other orders as well.
    for seed in range(_ORDERS if dtype == "fp32" else 0):
        order = np.random.default_rng(seed).permutation(tokens)
        y = np.stack(cross_diffusion_attention(r[:, order], d[:, order], attributes))
        peers.append(y[:, :, np.argsort(order)])
    return rule(np.stack([decode(y, dtype) for y in ours]), exact, peers, dtype)
