"""RGB-NIR re-identification: two vision transformers, one MutualFormer block, BNNeck.

    rgb → ViT ─ tokens X_r ─┐
                            ├─ x_rd = W [X_r ‖ X_d] → MutualFormer → fused tokens
    nir → ViT ─ tokens X_d ─┘
    feature = [X_r ‖ X_d ‖ fused], pooled over tokens, each before its batch norm, unit length together

257 tokens at 256² with 16-pixel patches: the class token and a 16 × 16 grid, as TransReID has them; pooling takes the
class token. A small transformer that starts from nothing is a hybrid (Dosovitskiy et al., 2021): its patches are the
last map of a convolutional backbone at their stride (``stem``, a name of timm), its feature the mean of its tokens
(``pooling="mean"``). ``reid-tiny`` has no layers between those and the MutualFormer block: after 200 steps from nothing
it reaches mAP 0.44 so, with one transformer layer in each stream 0.15.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from timm.layers import HybridEmbed
from torch import Tensor, nn
from torch.nn import functional as F

from mutualformer.train.backbone import create_backbone, create_stage
from mutualformer.train.camera_input import ColourInput, check_size
from mutualformer.train.fusion import create_fusion

STREAMS = ("rgb", "nir", "fused")
POOLINGS = ("class", "mean")


class ReidOutput(NamedTuple):
    """Training output, in the order of STREAMS: features (B, C) before and after the batch norm of the BNNeck, and its
    class scores (B, K)."""

    features: list[Tensor]
    normed: list[Tensor]
    scores: list[Tensor]


class BNNeck(nn.Module):
    """Batch norm between the metric space and the classifier (Luo et al., 2019); its bias stays at zero."""

    def __init__(self, dim: int, num_classes: int, deviation: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.norm.bias.requires_grad_(False)
        self.classifier = nn.Linear(dim, num_classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=deviation)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C) → the same after the norm, class scores (B, num_classes)."""
        normed = self.norm(feature)
        return normed, self.classifier(normed)


class ReIdentifier(nn.Module):
    """``rgb``, ``nir`` uint8 (B, H, W, 3) → unit-length feature (B, 3C) float32; in training ReidOutput.

    ``fusion``: options of ``create_fusion``.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        backbone: str,
        dim: int,
        num_heads: int,
        patch_size: int,
        depth: int,
        num_classes: int,
        drop_path: float,
        stem: str,
        pooling: str,
        pretrained: bool = False,
        **fusion: Any,
    ) -> None:
        super().__init__()
        check_size(input_size, patch_size)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}, expected one of {', '.join(POOLINGS)}")
        options = {
            "img_size": tuple(input_size),
            "patch_size": patch_size,
            "depth": depth,
            "num_classes": 0,
            "drop_path_rate": drop_path,
        }
        if pooling == "mean":
            options |= {"class_token": False, "global_pool": ""}
        if stem:  # convolutions that pad with zeros know where they are
            options["pos_embed"] = "none"
        if not pretrained:  # a named checkpoint fixes these two
            options |= {"embed_dim": dim, "num_heads": num_heads}
        self.input_size = tuple(input_size)
        self.colour_input = ColourInput()
        self.rgb_backbone = create_backbone(backbone, pretrained, **options)
        self.nir_backbone = create_backbone(backbone, pretrained, **options)
        if stem:
            for stream in (self.rgb_backbone, self.nir_backbone):
                stage = create_stage(stem, pretrained, patch_size)
                stream.patch_embed = HybridEmbed(stage, self.input_size, patch_size=1, embed_dim=dim)
        self.pooling = pooling
        self.start = nn.Linear(2 * dim, dim)
        self.block = create_fusion(dim, num_heads, qkv_bias=True, drop_path=drop_path, **fusion)
        # Pretrained features start with a classifier near 0 (TransReID); random ones need its gradient at once.
        deviation = 0.001 if pretrained else dim**-0.5
        self.necks = nn.ModuleList([BNNeck(dim, num_classes, deviation) for _ in STREAMS])

    def forward(self, rgb: Tensor, nir: Tensor) -> Tensor | ReidOutput:
        """``rgb``, ``nir`` uint8 (B, H, W, 3) → unit-length (B, 3C) float32; ReidOutput in training."""
        x_r = self.rgb_backbone.forward_features(self.colour_input(rgb))
        x_d = self.nir_backbone.forward_features(self.colour_input(nir))
        both = torch.cat([x_r, x_d], dim=-1)
        fused = self.block(both, self.start(both))
        features = [x[:, 0] if self.pooling == "class" else x.mean(dim=1) for x in (x_r, x_d, fused)]
        if self.training:
            normed, scores = zip(*(neck(x) for neck, x in zip(self.necks, features, strict=True)), strict=True)
            return ReidOutput(features, list(normed), list(scores))
        return F.normalize(torch.cat(features, dim=-1).float(), dim=-1)
