"""RGB-NIR re-identification: two vision transformers, one MutualFormer block, BNNeck.

    rgb → ViT ─ tokens X_r ─┐
                            ├─ x_rd = W [X_r ‖ X_d] → MutualFormer → fused tokens
    nir → ViT ─ tokens X_d ─┘
    feature = [X_r ‖ X_d ‖ fused], pooled over tokens, each before its batch norm, unit length together

257 tokens at 256² with 16-pixel patches: the class token and a 16 × 16 grid, as TransReID has them; pooling takes the
class token. A small transformer that starts from nothing learns faster with a convolutional stem (Xiao et al., 2021)
and the mean of its tokens: ``stem="conv"``, ``pooling="mean"``.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.backbone import create_backbone
from train.camera_input import ColourInput
from train.fusion import create_fusion

STREAMS = ("rgb", "nir", "fused")
STEMS, POOLINGS = ("patch", "conv"), ("class", "mean")


class ReidOutput(NamedTuple):
    """Training output, in the order of STREAMS: features (B, C) before and class scores (B, K) after the BNNeck."""

    features: list[Tensor]
    scores: list[Tensor]


class ConvStem(nn.Module):
    """(B, 3, H, W) → (B, H·W / patch², dim): 3 × 3 convolutions of stride 2, the last step a small patch embedding."""

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        if patch_size < 4 or patch_size & (patch_size - 1):
            raise ValueError(f"patch_size is {patch_size}, expected a power of two of at least 4 for a conv stem")
        halvings = patch_size.bit_length() - 2
        widths = [3, *(max(dim >> (halvings - i), 16) for i in range(1, halvings + 1))]
        steps: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            steps += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.steps = nn.Sequential(*steps, nn.Conv2d(widths[-1], dim, 2, 2))

    def forward(self, image: Tensor) -> Tensor:
        return self.steps(image).flatten(2).transpose(1, 2)


class BNNeck(nn.Module):
    """Batch norm between the metric space and the classifier (Luo et al., 2019); its bias stays at zero."""

    def __init__(self, dim: int, num_classes: int, deviation: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.norm.bias.requires_grad_(False)
        self.classifier = nn.Linear(dim, num_classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=deviation)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C) → class scores (B, num_classes)."""
        return self.classifier(self.norm(feature))


class ReIdentifier(nn.Module):
    """``rgb``, ``nir`` uint8 (B, H, W, 3) → unit-length feature (B, 3C) float32; in training ReidOutput."""

    def __init__(
        self,
        input_size: tuple[int, int],
        backbone: str,
        dim: int,
        num_heads: int,
        patch_size: int = 16,
        depth: int = 12,
        num_classes: int = 1,
        drop_path: float = 0.0,
        stem: str = "patch",
        pooling: str = "class",
        fusion: str = "cda",
        iterations: int = 1,
        alpha: float = 0.6,
        value_pairing: str = "released",
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if len(input_size) != 2 or any(n < patch_size or n % patch_size for n in input_size):
            raise ValueError(f"input_size is {input_size}, expected (height, width), multiples of {patch_size}")
        if stem not in STEMS or pooling not in POOLINGS:
            raise ValueError(
                f"stem is {stem!r} and pooling {pooling!r}, expected one of {', '.join(STEMS)} and one of "
                f"{', '.join(POOLINGS)}"
            )
        options = {
            "img_size": tuple(input_size),
            "patch_size": patch_size,
            "depth": depth,
            "num_classes": 0,
            "drop_path_rate": drop_path,
        }
        if not pretrained:  # a named checkpoint fixes these two
            options |= {"embed_dim": dim, "num_heads": num_heads}
        self.input_size = tuple(input_size)
        self.colour_input = ColourInput()
        self.rgb_backbone = create_backbone(backbone, pretrained, **options)
        self.nir_backbone = create_backbone(backbone, pretrained, **options)
        if stem == "conv":
            for stream in (self.rgb_backbone, self.nir_backbone):
                stream.patch_embed = ConvStem(dim, patch_size)
        self.pooling = pooling
        self.start = nn.Linear(2 * dim, dim)
        self.block = create_fusion(
            fusion,
            dim,
            num_heads,
            qkv_bias=True,
            drop_path=drop_path,
            iterations=iterations,
            alpha=alpha,
            value_pairing=value_pairing,
        )
        # Pretrained features begin with a silent classifier (TransReID); from nothing they need its gradient at once.
        deviation = 0.001 if pretrained else dim**-0.5
        self.necks = nn.ModuleList([BNNeck(dim, num_classes, deviation) for _ in STREAMS])

    def forward(self, rgb: Tensor, nir: Tensor) -> Tensor | ReidOutput:
        x_r = self.rgb_backbone.forward_features(self.colour_input(rgb))
        x_d = self.nir_backbone.forward_features(self.colour_input(nir))
        both = torch.cat([x_r, x_d], dim=-1)
        fused = self.block(both, self.start(both))
        features = [x[:, 0] if self.pooling == "class" else x[:, 1:].mean(dim=1) for x in (x_r, x_d, fused)]
        if self.training:
            return ReidOutput(features, [neck(x) for neck, x in zip(self.necks, features, strict=True)])
        return F.normalize(torch.cat(features, dim=-1).float(), dim=-1)
