"""RGB-NIR re-identification on two convolutional pyramids: ``reid-lite``.

    rgb → ExposureInput → backbone ─ strides 16, 32 ─┐
                                                     ├─ MutualFormer ─ fused tokens, and where the thing is
    nir → ExposureInput → backbone ─ strides 16, 32 ─┘
    feature = trust · [rgb ‖ nir ‖ fused], each pooled over the thing and behind its batch norm, unit length together

The near-infrared stream starts from the colour stream's weights with the first layer summed over its channels. The
fused tokens weigh the positions that all three are pooled over, since a box holds background too. ``trust`` is learned:
a picture without light, or a sensor that is missing, must not outvote the other one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutualformer.train.backbone import create_backbone
from mutualformer.train.camera_input import ExposureInput, check_size
from mutualformer.train.decoder import conv_bn_relu
from mutualformer.train.fusion import TokenFusion
from mutualformer.train.reid import STREAMS, BNNeck, ReidOutput

STRIDE, LEVELS = 32, (3, 4)  # levels of a pyramid with strides 16 and 32


def _tokens(x: Tensor) -> Tensor:
    """(B, C, h, w) → (B, h·w, C)."""
    return x.flatten(2).transpose(1, 2)


class PyramidReIdentifier(nn.Module):
    """``rgb``, ``nir`` uint8 (B, H, W, 3) → unit-length feature (B, 6·dim) float32; in training ReidOutput.

    H and W are any multiples of 32 in training; exported files have ``input_size``. ``fusion``: options of
    ``create_fusion``.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        backbone: str,
        dim: int,
        num_heads: int,
        num_classes: int,
        pretrained: bool = False,
        **fusion: Any,
    ) -> None:
        super().__init__()
        check_size(input_size, STRIDE)
        self.camera_input = ExposureInput()
        levels = {"features_only": True, "out_indices": LEVELS}
        self.rgb_backbone = create_backbone(backbone, pretrained, **levels)
        self.nir_backbone = create_backbone(backbone, pretrained, in_chans=1, **levels)
        channels = self.rgb_backbone.feature_info.channels()
        self.rgb_squeeze = nn.ModuleList([conv_bn_relu(n, dim) for n in channels])
        self.nir_squeeze = nn.ModuleList([conv_bn_relu(n, dim) for n in channels])
        self.token_fusion = nn.ModuleList([TokenFusion(dim, num_heads, **fusion) for _ in channels])
        self.place = nn.ModuleList([nn.Linear(dim, 1) for _ in channels])
        self.project = nn.ModuleList([nn.Linear(n, 2 * dim, bias=False) for n in (*2 * [sum(channels)], 2 * dim)])
        self.necks = nn.ModuleList([BNNeck(2 * dim, num_classes, dim**-0.5) for _ in STREAMS])
        self.trust = nn.Linear(len(STREAMS) * 2 * dim, len(STREAMS))
        for layer in (*self.place, self.trust):  # at first every position and every stream counts alike
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for weight in self.project.parameters():  # at first ImageNet's similarities are kept
            nn.init.orthogonal_(weight)

    def forward(self, rgb: Tensor, nir: Tensor) -> Tensor | ReidOutput:
        """``rgb``, ``nir`` uint8 (B, H, W, 3) → unit-length (B, 6·dim) float32; ReidOutput in training.

        The fourth feature of ReidOutput is the whole.
        """
        maps_r = self.rgb_backbone(self.camera_input(rgb))
        return self.identify(maps_r, self.nir_backbone(self.camera_input(nir).mean(dim=1, keepdim=True)))

    def identify(self, maps_r: list[Tensor], maps_d: list[Tensor]) -> Tensor | ReidOutput:
        """The pyramids' maps (B, C, h, w) at strides 16 and 32 → as :meth:`forward`."""
        pooled: list[list[Tensor]] = [[], [], []]
        for i, (fuse, place) in enumerate(zip(self.token_fusion, self.place, strict=True)):
            fused = _tokens(fuse(self.rgb_squeeze[i](maps_r[i]), self.nir_squeeze[i](maps_d[i])))
            weight = torch.softmax(place(fused).transpose(1, 2), dim=-1)  # (B, 1, N)
            for found, tokens in zip(pooled, (_tokens(maps_r[i]), _tokens(maps_d[i]), fused), strict=True):
                found.append((weight @ tokens).squeeze(1))
        features = [project(torch.cat(x, dim=-1)) for project, x in zip(self.project, pooled, strict=True)]
        normed, scores = zip(*(neck(x) for neck, x in zip(self.necks, features, strict=True)), strict=True)
        trust = torch.softmax(self.trust(torch.cat(normed, dim=-1)).float(), dim=-1)
        parts = [F.normalize(x.float(), dim=-1) * trust[:, i : i + 1] for i, x in enumerate(normed)]
        whole = F.normalize(torch.cat(parts, dim=-1), dim=-1)
        if self.training:
            return ReidOutput([*features, whole], [*normed, whole], list(scores))
        return whole
