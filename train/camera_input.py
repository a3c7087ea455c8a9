"""What a camera gives → what the backbones want, as a module, so that it is defined once and travels in the graph.

Colour: uint8 → [0, 1] → ImageNet mean and deviation, channels first.
Depth:  metres, 0 = no measurement → inverse depth 1/z with z clipped to ``depth_range_m`` → standardised per image
over the measured pixels → holes at 0, which is the mean. Inverse depth because both stereo and structured light
measure disparity, and near objects are what matters; standardised per image because a tabletop and a street differ
in scale and not in what stands out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Deviation (1/m) below which a depth map counts as flat: sensor noise alone must not be blown up to full contrast.
FLAT_INVERSE_DEPTH = 0.01
# A finger on the lens is thousands of deviations away; nothing beyond this many is informative.
MAX_DEVIATIONS = 4.0


def check_size(input_size: tuple[int, int], stride: int) -> None:
    """Raise ValueError unless ``input_size`` (height, width) are multiples of ``stride``, in pixels."""
    if len(input_size) != 2 or any(n < stride or n % stride for n in input_size):
        raise ValueError(f"input_size is {input_size}, expected (height, width), both multiples of {stride}")


class ColourInput(nn.Module):
    """(B, H, W, 3) uint8 RGB → (B, 3, H, W) float32, standardised with ImageNet's mean and deviation."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", 255.0 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1.0 / (255.0 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """``image`` (B, H, W, 3) uint8 RGB → (B, 3, H, W), in the type of the module's buffers."""
        # Cast first: TensorRT transposes floats, not bytes.
        return (image.to(self.mean.dtype).permute(0, 3, 1, 2) - self.mean) * self.scale


# Mean grey level that a picture is brought to: near ImageNet's. Gains above MOST_GAIN would enlarge noise only, and a
# picture is dimmed by a third at most, because a white thing is brighter than a grey one.
EXPOSURE, LEAST_GAIN, MOST_GAIN = 96.0, 0.67, 24.0


class ExposureInput(ColourInput):
    """As ColourInput, after a gain that brings the mean of every picture to EXPOSURE: night looks like day.

    One gain for all three channels, for a thing's colour tells it from others.
    """

    def forward(self, image: Tensor) -> Tensor:
        """``image`` (B, H, W, 3) uint8 → (B, 3, H, W), in the type of the module's buffers."""
        pixels = image.to(self.mean.dtype)
        gain = (EXPOSURE / (_mean(pixels.mean(dim=3)) + 1.0)).clamp(LEAST_GAIN, MOST_GAIN)
        return ((pixels * gain.unsqueeze(3)).permute(0, 3, 1, 2) - self.mean) * self.scale


def _mean(image: Tensor) -> Tensor:
    """Mean over height and width, (B, H, W) → (B, 1, 1), in blocks of 32 where the sides allow.

    One float32 sum of 10⁵ pixels loses four digits in a runtime that adds naively (6e-4 in the answer of ONNX
    Runtime); sums of 32 lose none.
    """
    rows = image.unflatten(2, (-1, math.gcd(image.shape[2], 32))).mean(dim=3).mean(dim=2)
    return rows.unflatten(1, (-1, math.gcd(image.shape[1], 32))).mean(dim=2).mean(dim=1)[:, None, None]


class DepthInput(nn.Module):
    """(B, H, W) float32 metres, 0 = hole → (B, 3, H, W) float32, holes 0, never NaN.

    Three equal channels; with ``validity`` the third is 1 at measurements and −1 in holes, which look like the mean in
    the other two.
    """

    unit: Tensor

    def __init__(self, depth_range_m: tuple[float, float], validity: bool = False) -> None:
        super().__init__()
        self.validity = validity
        near, far = depth_range_m
        if not 0.0 < near < far:
            raise ValueError(f"depth_range_m is {depth_range_m}, expected (near, far) in metres with 0 < near < far")
        self.near, self.far = float(near), float(far)
        self.register_buffer("unit", torch.ones(()), persistent=False)  # its type is the precision of the next layers

    def forward(self, depth: Tensor) -> Tensor:
        """``depth`` (B, H, W) float32 metres → (B, 3, H, W), in the type of the module's buffers.

        Inverse depth, clipped to near and far, standardised over the valid pixels of each image with a floor on
        the deviation, and clipped to MAX_DEVIATIONS of it.
        """
        valid = (depth > 0.0).to(depth.dtype)  # statistics in float32, whatever the precision of the next layers
        inverse = 1.0 / depth.clamp(self.near, self.far)  # holes clip to near: finite, then masked out
        # Means rather than sums: no large numbers, and an image of holes divides 0 by the guard instead of by 0.
        share = _mean(valid).clamp(min=1e-6)
        mean = _mean(valid * inverse) / share
        mean = mean + _mean(valid * (inverse - mean)) / share  # a second pass adds what rounding lost in the first
        centred = valid * (inverse - mean)
        variance = _mean(centred * centred) / share
        encoded = centred / torch.sqrt(variance + FLAT_INVERSE_DEPTH**2)
        encoded = encoded.clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        encoded = encoded.to(self.unit.dtype).unsqueeze(1)
        if not self.validity:
            return encoded.expand(-1, 3, -1, -1)
        measured = (valid * 2.0 - 1.0).to(self.unit.dtype).unsqueeze(1)
        return torch.cat([encoded, encoded, measured], dim=1)
