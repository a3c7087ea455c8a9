"""The MutualFormer block (IJCV 2024, figure 2; released behaviour, parameter names kept so released weights load).

    [X̂_r ‖ X̂_d] = norm1([X_r ‖ X_d])                     one LayerNorm over both modalities together
    x̂_rd = norm1_rd(x_rd)
    attn  = proj(SA(x̂_rd)) + proj_rd([proj_r[out_r ‖ out_rd] ‖ proj_d[out_d ‖ out_dr]])
    x     = x_rd + drop_path(attn)
    x     = x + drop_path(mlp(norm2(x)))

24C² + 17C parameters with ``qkv_bias=False``.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.kernels import dispatch
from mutualformer.train.cda import cross_diffusion_attention, merge_heads, split_heads


class DropPath(nn.Module):
    """Stochastic depth: drops whole samples of a residual branch in training and rescales the rest by 1 / (1 - p)."""

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"drop_path is {probability}, expected a number in [0, 1)")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …); the identity outside training."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        shape = (x.shape[0],) + (1,) * (x.dim() - 1)
        # One number for each sample, broadcast over its tokens: a sample's branch is kept or dropped as a whole.
        # Dividing by keep leaves the mean unchanged, so inference needs no factor.
        return x * torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(keep).div_(keep)


class CrossDiffusionAttention(nn.Module):
    """The parameter-free CDA operator as a module, so that the exporter finds it by its class.

    Inputs ``qkv_r``, ``qkv_d`` (B, N, 3C); outputs ``[out_r ‖ out_rd]``, ``[out_d ‖ out_dr]`` (B, N, 2C).
    """

    def __init__(self, attributes: CdaAttributes) -> None:
        super().__init__()
        self.attributes = attributes

    def forward(self, qkv_r: Tensor, qkv_d: Tensor) -> tuple[Tensor, Tensor]:
        """Inference on a GPU runs our Triton kernels where they serve (``plugins.kernels.dispatch``)."""
        # Training needs gradients, which the kernels do not have; there the reference runs.
        if dispatch.serves(qkv_r, qkv_d, self.attributes):
            from mutualformer.plugins.kernels import pytorch as kernels

            return kernels.cross_diffusion_attention(qkv_r, qkv_d, self.attributes)
        return cross_diffusion_attention(qkv_r, qkv_d, self.attributes)


class MutualAttention(nn.Module):
    """Self-attention on the fused stream plus CDA between the modalities."""

    def __init__(self, dim: int, attributes: CdaAttributes, qkv_bias: bool) -> None:
        super().__init__()
        if dim % attributes.num_heads:
            raise ValueError(f"dim is {dim}, expected a multiple of num_heads = {attributes.num_heads}")
        self.num_heads = attributes.num_heads
        # The names of the parameters are the released repository's, so its state dict loads without a table of names.
        self.qkv_r = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.qkv_d = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj_r = nn.Linear(2 * dim, dim)
        self.proj_d = nn.Linear(2 * dim, dim)
        self.proj_rd = nn.Linear(2 * dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.cda = CrossDiffusionAttention(attributes)

    def forward(self, x_r: Tensor, x_d: Tensor, x_rd: Tensor) -> Tensor:
        """``x_r``, ``x_d``, ``x_rd``: (B, N, C), normalised; returns (B, N, C)."""
        y_r, y_d = self.cda(self.qkv_r(x_r), self.qkv_d(x_d))
        # Four linear layers in a row without an activation. Training keeps them apart, as released; the engine gets
        # them as one product (export/graph/folds/products.py).
        mutual = self.proj_rd(torch.cat([self.proj_r(y_r), self.proj_d(y_d)], dim=-1))
        query, key, value = split_heads(self.qkv(x_rd), self.num_heads)
        # The fused stream attends to itself as in any transformer; only the mutual part is new.
        return self.proj(merge_heads(F.scaled_dot_product_attention(query, key, value))) + mutual


class MutualFormer(nn.Module):
    """One MutualFormer block. ``x``: [X_r ‖ X_d] (B, N, 2C); ``x_rd``: fused stream (B, N, C); returns (B, N, C).

    ``cda``: attributes of the operator other than their defaults (:class:`CdaAttributes`).
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = False, drop_path: float = 0.0, **cda: Any) -> None:
        super().__init__()
        self.dim = dim
        self.norm1 = nn.LayerNorm(2 * dim)
        self.norm1_rd = nn.LayerNorm(dim)
        self.attn = MutualAttention(dim, CdaAttributes(num_heads, **cda), qkv_bias)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        layers = {"fc1": nn.Linear(dim, 4 * dim), "act": nn.GELU(), "fc2": nn.Linear(4 * dim, dim)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, x_rd: Tensor) -> Tensor:
        """``x`` (B, N, 2C), ``x_rd`` (B, N, C) → (B, N, C). Raises ValueError where shapes do not fit."""
        if x.shape[-1] != 2 * self.dim or x_rd.shape != (*x.shape[:-1], self.dim):
            raise ValueError(
                f"x is {tuple(x.shape)} and x_rd {tuple(x_rd.shape)}, "
                f"expected (B, N, {2 * self.dim}) and (B, N, {self.dim})"
            )
        # One LayerNorm over both modalities, as released: where one of them is silent (no depth), the other sets mean
        # and variance.
        x_r, x_d = self.norm1(x).split(self.dim, dim=-1)
        # The residual is the fused stream, not the two modalities: they reach the result only through attention.
        x = x_rd + self.drop_path(self.attn(x_r, x_d, self.norm1_rd(x_rd)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
