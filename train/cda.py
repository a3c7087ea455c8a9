"""Cross-Diffusion Attention (CDA), the one reference implementation (MutualFormer, IJCV 2024, section 3.2).

For a modality pair r (RGB) and d (depth or NIR), per head, with s = head_dim ** -0.5:

    P_m   = softmax(s · Q_m K_mᵀ)                                   N × N, rows sum to 1
    A_rd  ← α S_r A_rd S_dᵀ + (1 − α)(P_r + P_d)                    T times, S_m = P_mᵀ since rows sum to 1
    A_dr  ← α S_d A_dr S_rᵀ + (1 − α)(P_r + P_d)
    out_m = P_m V_m      out_rd = A_rd V_d      out_dr = A_dr V_r

No N × N product is needed: with u_0 = V, u_{k+1} = P_o u_k (o the other modality) and g = A_0 u_T,

    g ← α P_mᵀ g + (1 − α)(P_r + P_d) u_{T−t}      for t = 1 … T           gives A_T V

at O(T · N² · head_dim) per head. ``lab/operator/released.py`` has the N³ formulation of the released code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mutualformer.plugins.attributes import CdaAttributes

BY_HEAD_FROM = 450
"""Number of tokens from which a CPU computes one head after the other: the affinities of one head fit in its cache,
those of all heads together do not. Measured on two cores (plugins/README.md has the numbers)."""


def split_heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Packed (B, N, 3 · heads · head_dim), order (3, heads, head_dim) → query, key, value (B, heads, N, head_dim)."""
    batch, tokens, width = qkv.shape
    head_dim = width // (3 * num_heads)
    # The packed order is that of timm and of the released code: all queries of all heads, then all keys, then all
    # values.
    q, k, v = qkv.reshape(batch, tokens, 3, num_heads, head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, head_dim) → (B, N, heads · head_dim)."""
    batch, heads, tokens, head_dim = x.shape
    return x.transpose(1, 2).reshape(batch, tokens, heads * head_dim)


def check(qkv_r: Tensor, qkv_d: Tensor, attributes: CdaAttributes) -> None:
    """Raise ValueError unless both are (B, N, 3C) of one floating type, and 3C suits ``attributes``."""
    if qkv_r.dim() != 3 or qkv_r.shape != qkv_d.shape:
        raise ValueError(
            f"qkv_r is {tuple(qkv_r.shape)} and qkv_d {tuple(qkv_d.shape)}, expected one shape (B, N, 3C) for both"
        )
    if qkv_r.dtype != qkv_d.dtype or not qkv_r.is_floating_point():
        raise ValueError(f"qkv_r is {qkv_r.dtype} and qkv_d {qkv_d.dtype}, expected one floating type for both")
    attributes.head_dim(qkv_r.shape[-1])


def cross_diffusion_attention(qkv_r: Tensor, qkv_d: Tensor, attributes: CdaAttributes) -> tuple[Tensor, Tensor]:
    """CDA in its linear-cost form.

    ``qkv_r``, ``qkv_d``: (B, N, 3C), one floating type. Returns ``y_r = [out_r ‖ out_rd]`` and
    ``y_d = [out_d ‖ out_dr]``, (B, N, 2C) each, heads merged. Differentiable.
    Raises ValueError on shapes that do not fit.
    """
    check(qkv_r, qkv_d, attributes)
    num_heads = attributes.num_heads
    heads = [*split_heads(qkv_r, num_heads), *split_heads(qkv_d, num_heads)]
    if qkv_r.device.type == "cpu" and qkv_r.shape[1] >= BY_HEAD_FROM:
        each = [_diffuse_heads(attributes, *(x[:, head] for x in heads)) for head in range(num_heads)]
        outputs = [torch.stack(parts, dim=1) for parts in zip(*each, strict=True)]
    else:
        outputs = list(_diffuse_heads(attributes, *heads))
    own_r, out_rd, own_d, out_dr = map(merge_heads, outputs)
    return torch.cat([own_r, out_rd], dim=-1), torch.cat([own_d, out_dr], dim=-1)


def _diffuse_heads(
    attributes: CdaAttributes, q_r: Tensor, k_r: Tensor, v_r: Tensor, q_d: Tensor, k_d: Tensor, v_d: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """out_r, out_rd, out_d, out_dr of queries, keys and values (…, N, head_dim) each."""
    iterations, alpha, scale = attributes.iterations, attributes.alpha, q_r.shape[-1] ** -0.5
    p_r = torch.softmax((q_r * scale) @ k_r.transpose(-2, -1), dim=-1)
    p_d = torch.softmax((q_d * scale) @ k_d.transpose(-2, -1), dim=-1)
    values = torch.cat([v_r, v_d], dim=-1)  # P_m [V_r ‖ V_d] in one product: every P_m V_x is needed
    p_r_v = dict(zip("rd", (p_r @ values).chunk(2, dim=-1), strict=True))
    p_d_v = dict(zip("rd", (p_d @ values).chunk(2, dim=-1), strict=True))
    cross_rd = cross_dr = None
    if attributes.init == "cross":
        cross_rd = torch.softmax((q_r * scale) @ k_d.transpose(-2, -1), dim=-1)
        cross_dr = torch.softmax((q_d * scale) @ k_r.transpose(-2, -1), dim=-1)

    def diffuse(p_m: Tensor, p_o: Tensor, p_m_v: Tensor, p_o_v: Tensor, a_0: Tensor | None) -> Tensor:
        """A_T V without ever forming A_T; ``p_m_v`` = P_m V and ``p_o_v`` = P_o V = u_1."""
        powers = [p_o_v]  # u_1 … u_T, u_k = P_o^k V
        for _ in range(iterations - 1):
            powers.append(p_o @ powers[-1])
        g = powers[-1] if a_0 is None else a_0 @ powers[-1]
        # The recurrence A ← α S_m A S_oᵀ + (1 − α)(P_m + P_o), applied to V from the right, so every product is with N
        # × head_dim. S_oᵀ = P_o moves into the powers u_k = P_o^k V, which are computed first.
        for t in range(1, iterations + 1):
            # (P_m + P_o) u_{T−t}: the second product is u_{T−t+1}; of the last step both are known
            p_m_u = p_m_v if t == iterations else p_m @ powers[iterations - t - 1]
            g = alpha * (p_m.transpose(-2, -1) @ g) + (1.0 - alpha) * (p_m_u + powers[iterations - t])
        return g

    # The released code diffuses the other modality's values, figure 2 of the paper draws one's own.
    x_rd, x_dr = ("d", "r") if attributes.value_pairing == "released" else ("r", "d")
    out_rd = diffuse(p_r, p_d, p_r_v[x_rd], p_d_v[x_rd], cross_rd)
    out_dr = diffuse(p_d, p_r, p_d_v[x_dr], p_r_v[x_dr], cross_dr)
    return p_r_v["r"], out_rd, p_d_v["d"], out_dr
