"""The released N³ formulation of Cross-Diffusion Attention, written from its mathematics, for tests and the study."""

from __future__ import annotations

import torch
from torch import Tensor

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.train.cda import check, merge_heads, split_heads


def cross_diffusion_attention_released(
    qkv_r: Tensor, qkv_d: Tensor, attributes: CdaAttributes
) -> tuple[Tensor, Tensor]:
    """With S_m = D^-½ P_mᵀ D^-½ and all; arguments and results as ``train.cda.cross_diffusion_attention``'s.

    The released loop never feeds A back, so it equals ``iterations=1``; for more this follows the paper's recurrence.
    """
    check(qkv_r, qkv_d, attributes)
    q_r, k_r, v_r = split_heads(qkv_r, attributes.num_heads)
    q_d, k_d, v_d = split_heads(qkv_d, attributes.num_heads)
    scale, alpha = q_r.shape[-1] ** -0.5, attributes.alpha

    def affinity(q: Tensor, k: Tensor) -> Tensor:
        return torch.softmax((q * scale) @ k.transpose(-2, -1), dim=-1)

    def normalised(p: Tensor) -> Tensor:
        inverse_root = torch.diag_embed(p.sum(dim=-1).rsqrt())
        return inverse_root @ p.transpose(-2, -1) @ inverse_root

    p_r, p_d = affinity(q_r, k_r), affinity(q_d, k_d)
    s_r, s_d = normalised(p_r), normalised(p_d)
    eye = torch.eye(p_r.shape[-1], dtype=p_r.dtype, device=p_r.device).expand_as(p_r)
    a_rd = affinity(q_r, k_d) if attributes.init == "cross" else eye
    a_dr = affinity(q_d, k_r) if attributes.init == "cross" else eye
    for _ in range(attributes.iterations):
        a_rd = alpha * (s_r @ a_rd @ s_d.transpose(-2, -1)) + (1.0 - alpha) * (p_r + p_d)
        a_dr = alpha * (s_d @ a_dr @ s_r.transpose(-2, -1)) + (1.0 - alpha) * (p_r + p_d)
    pair_rd, pair_dr = (v_d, v_r) if attributes.value_pairing == "released" else (v_r, v_d)
    y_r = torch.cat([merge_heads(p_r @ v_r), merge_heads(a_rd @ pair_rd)], dim=-1)
    y_d = torch.cat([merge_heads(p_d @ v_d), merge_heads(a_dr @ pair_dr)], dim=-1)
    return y_r, y_d
