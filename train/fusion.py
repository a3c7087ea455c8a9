"""Fusion of two modalities: the paper's block and, with the same parameters, what the paper compares it with.

    concat               y_r = [V_r ‖ V_d]                        the values side by side, no affinity
    cross_attention      y_r = [P_r V_r ‖ softmax(s·Q_r K_dᵀ) V_d]
    cda                  y_r = [P_r V_r ‖ A_rd V_d]                A_0 = I
    cross_attention+cda  the same with A_0 = softmax(s·Q_r K_dᵀ)   CDA as post-optimisation of cross-attention

(y_d with r and d exchanged.) Every arm is a MutualFormer block; only the parameter-free operator in the middle
differs, so a comparison changes nothing else, not even the initial weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutualformer.train.cda import merge_heads, split_heads
from mutualformer.train.mutualformer import MutualFormer

FUSIONS = ("concat", "cross_attention", "cda", "cross_attention+cda")


class ValueConcatenation(nn.Module):
    """``qkv_r``, ``qkv_d`` (B, N, 3C) → [V_r ‖ V_d], [V_d ‖ V_r], (B, N, 2C) each."""

    def forward(self, qkv_r: Tensor, qkv_d: Tensor) -> tuple[Tensor, Tensor]:
        """No attention at all: [V_r ‖ V_d] and [V_d ‖ V_r]."""
        v_r, v_d = qkv_r.chunk(3, dim=-1)[2], qkv_d.chunk(3, dim=-1)[2]
        return torch.cat([v_r, v_d], dim=-1), torch.cat([v_d, v_r], dim=-1)


class CrossAttention(nn.Module):
    """``qkv_r``, ``qkv_d`` (B, N, 3C) → [own ‖ cross] attention for either modality, (B, N, 2C) each."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads

    def forward(self, qkv_r: Tensor, qkv_d: Tensor) -> tuple[Tensor, Tensor]:
        """Self-attention of each modality ‖ its queries on the other's keys and values."""
        q_r, k_r, v_r = split_heads(qkv_r, self.num_heads)
        q_d, k_d, v_d = split_heads(qkv_d, self.num_heads)

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return merge_heads(F.scaled_dot_product_attention(query, key, value))

        y_r = torch.cat([attend(q_r, k_r, v_r), attend(q_r, k_d, v_d)], dim=-1)
        y_d = torch.cat([attend(q_d, k_d, v_d), attend(q_d, k_r, v_r)], dim=-1)
        return y_r, y_d


def create_fusion(dim: int, num_heads: int, fusion: str = "cda", **options: Any) -> MutualFormer:
    """A MutualFormer block whose operator is the one ``fusion`` names; ``options`` go to the block."""
    if fusion not in FUSIONS:
        raise ValueError(f"fusion is {fusion!r}, expected one of {', '.join(FUSIONS)}")
    if fusion == "cross_attention+cda":
        options["init"] = "cross"
    block = MutualFormer(dim, num_heads, **options)
    if fusion == "concat":
        block.attn.cda = ValueConcatenation()  # type: ignore[assignment]  # same call, another operator
    elif fusion == "cross_attention":
        block.attn.cda = CrossAttention(num_heads)  # type: ignore[assignment]
    return block


class TokenFusion(nn.Module):
    """Fuses two maps (B, C, h, w) through a MutualFormer block over their h·w tokens; returns (B, C, h, w).

    The fused stream starts as x_rd = W [X_r ‖ X_d]. ``options``: as of :func:`create_fusion`.
    """

    def __init__(self, dim: int, num_heads: int, **options: Any) -> None:
        super().__init__()
        self.start = nn.Linear(2 * dim, dim)
        self.block = create_fusion(dim, num_heads, **options)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """``rgb``, ``depth`` (B, C, h, w) → the fused map (B, C, h, w)."""
        height, width = rgb.shape[-2:]
        both = torch.cat([rgb, depth], dim=1).flatten(2).transpose(1, 2)
        fused = self.block(both, self.start(both))
        return fused.transpose(1, 2).unflatten(2, (height, width))
