"""RGB-D salient object detection: two backbones, MutualFormer at strides 32 and 16, F3Net's decoder.

    rgb   → ColourInput → backbone ─ strides 4, 8 ──── concat + conv ───┐
                                   ─ strides 16, 32 ── MutualFormer ────┤→ two-pass decoder → saliency
    depth → DepthInput  → backbone ─ …                                  ┘

The released repository has no task network; this one follows the paper's description (F3Net base, 64-channel
squeeze) and is ours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mutualformer.train.backbone import create_pyramid
from mutualformer.train.camera_input import ColourInput, DepthInput, check_size
from mutualformer.train.decoder import FeedbackDecoder, conv3x3, conv_bn_relu
from mutualformer.train.fusion import TokenFusion

STRIDE = 32


class SalientObjectDetector(nn.Module):
    """``rgb`` uint8 (B, H, W, 3), ``depth`` float32 metres (B, H, W), 0 = no measurement.

    Returns the saliency (B, H, W) float32 in [0, 1]; in training the list of logits of FeedbackDecoder.
    H and W are any multiples of 32 in training; exported files have ``input_size``. ``fusion``: options of
    ``create_fusion``.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        depth_range_m: tuple[float, float],
        rgb_backbone: str,
        depth_backbone: str,
        dim: int,
        num_heads: int,
        decoder_width: int,
        separable: bool,
        first_stride: int,
        depth_validity: bool,
        pretrained: bool = False,
        **fusion: Any,
    ) -> None:
        super().__init__()
        check_size(input_size, STRIDE)
        self.colour_input = ColourInput()
        self.depth_input = DepthInput(depth_range_m, depth_validity)
        self.rgb_backbone, rgb_channels = create_pyramid(rgb_backbone, pretrained)
        # Pretrained colour where the same weights make no sense for depth: only a shared architecture gets them.
        twins = pretrained and depth_backbone == rgb_backbone
        self.depth_backbone, depth_channels = create_pyramid(depth_backbone, twins)
        widths = (decoder_width, decoder_width, dim, dim)  # tokens keep the paper's width, fine maps the decoder's
        self.rgb_squeeze = nn.ModuleList(
            [conv_bn_relu(channels, width) for channels, width in zip(rgb_channels, widths, strict=True)]
        )
        self.depth_squeeze = nn.ModuleList(
            [conv_bn_relu(channels, width) for channels, width in zip(depth_channels, widths, strict=True)]
        )
        self.fine_fusion = nn.ModuleList(
            [
                nn.Sequential(conv_bn_relu(2 * decoder_width, decoder_width), conv3x3(decoder_width, separable))
                for _ in range(2)
            ]
        )
        self.token_fusion = nn.ModuleList([TokenFusion(dim, num_heads, **fusion) for _ in range(2)])
        self.token_out = nn.ModuleList([conv_bn_relu(dim, decoder_width) for _ in range(2)])
        self.decoder = FeedbackDecoder(decoder_width, separable, first_stride)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor | list[Tensor]:
        """``rgb`` uint8 (B, H, W, 3), ``depth`` float32 metres (B, H, W) → (B, H, W) in [0, 1].

        In training the logits of FeedbackDecoder before the sigmoid.
        """
        size = (depth.shape[1], depth.shape[2])
        rgb_maps = self.rgb_backbone(self.colour_input(rgb))
        depth_maps = self.depth_backbone(self.depth_input(depth))
        rgb_maps = [squeeze(x) for squeeze, x in zip(self.rgb_squeeze, rgb_maps, strict=True)]
        depth_maps = [squeeze(x) for squeeze, x in zip(self.depth_squeeze, depth_maps, strict=True)]
        levels = [fuse(torch.cat([rgb_maps[i], depth_maps[i]], dim=1)) for i, fuse in enumerate(self.fine_fusion)]
        for i, (fuse, out) in enumerate(zip(self.token_fusion, self.token_out, strict=True), start=2):
            levels.append(out(fuse(rgb_maps[i], depth_maps[i])))
        logits = self.decoder(levels, size)
        return logits if self.training else torch.sigmoid(logits[0])
