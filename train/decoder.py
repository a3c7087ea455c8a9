"""The two-pass cascaded-feedback decoder (F3Net, Wei et al., AAAI 2020), with deep supervision.

Pass 1 runs from stride 32 to stride 4; its finest map is fed back to every level and pass 2 runs again. Each step
is a cross-feature module: left (finer) and below (coarser) are multiplied, so that only what both see survives, and
the product is added back to either.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

FINEST = {4: 0, 8: 1, 16: 2}  # stride at which the first pass may end → the level that has it


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; the size is kept."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def conv3x3(width: int, separable: bool) -> nn.Sequential:
    """3×3 convolution, batch norm, ReLU; separable: depthwise 3×3 then 1×1, at about 1/8 of the products."""
    if not separable:
        return conv_bn_relu(width, width, 3)
    depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
    return nn.Sequential(depthwise, *conv_bn_relu(width, width))


class LogitsHead(nn.Conv2d):
    """3×3 convolution to one channel, (B, C, h, w) → (B, h, w), as a sum of C depthwise ones.

    The same sums in another order. A CPU's blocked layout pads one output channel to sixteen and keeps them for what
    comes next; of depthwise ones it computes just what there is (ONNX Runtime, 80²: 0.18 ms instead of 0.6).
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → logits (B, h, w)."""
        maps = F.conv2d(x, self.weight.transpose(0, 1), padding=1, groups=self.in_channels)
        return maps.sum(dim=1) + self.bias


class CrossFeatureModule(nn.Module):
    """``left`` (B, C, 2h, 2w) and ``below`` (B, C, h, w) → refined left and below, both at left's size."""

    def __init__(self, width: int, separable: bool) -> None:
        super().__init__()
        self.left_in, self.left_gate = conv3x3(width, separable), conv3x3(width, separable)
        self.left_mix, self.left_out = conv3x3(width, separable), conv3x3(width, separable)
        self.below_in, self.below_gate = conv3x3(width, separable), conv3x3(width, separable)
        self.below_mix, self.below_out = conv3x3(width, separable), conv3x3(width, separable)

    def forward(self, left: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
        """``left`` (B, C, 2h, 2w), ``below`` (B, C, h, w) → both refined, (B, C, 2h, 2w) each."""
        below = F.interpolate(below, size=left.shape[-2:], mode="bilinear", align_corners=False)
        left, below = self.left_in(left), self.below_in(below)
        common = self.left_gate(left) * self.below_gate(below)
        return self.left_out(self.left_mix(common) + left), self.below_out(self.below_mix(common) + below)


class CascadePass(nn.Module):
    """One top-down pass over maps at strides 4, 8, 16, 32, down to stride ``2 ** (5 - steps)``.

    Returns the refined levels (those it did not reach unchanged) and its finest map.
    """

    def __init__(self, width: int, separable: bool, steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList([CrossFeatureModule(width, separable) for _ in range(steps)])  # strides 16, 8, 4

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Levels at strides 4, 8, 16, 32 → (levels with the refined ones in place, finest map)."""
        refined, below = list(levels), levels[3]
        for i, step in zip((2, 1, 0), self.steps, strict=False):
            refined[i], below = step(levels[i], below)
        return refined, below


def resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h, w) → (B, *size), bilinear."""
    return F.interpolate(logits.unsqueeze(1), size=size, mode="bilinear", align_corners=False).squeeze(1)


class FeedbackDecoder(nn.Module):
    """Maps at strides 4, 8, 16, 32, (B, C, h_i, w_i) each → logits (B, H, W).

    In training the list [second pass, first pass, stride 4, 8, 16, 32] for deep supervision, all but the first
    (B, H/4, W/4); otherwise only the second pass. ``first_stride``: where the first pass ends; 4 as in F3Net, 8 or 16
    for a fast network, since most of the work is at stride 4.
    """

    def __init__(self, width: int, separable: bool, first_stride: int = 4) -> None:
        super().__init__()
        if first_stride not in FINEST:
            raise ValueError(f"first_stride is {first_stride}, expected 4, 8 or 16")
        self.finest = FINEST[first_stride]
        self.first = CascadePass(width, separable, steps=3 - self.finest)
        self.second = CascadePass(width, separable, steps=3)
        self.heads = nn.ModuleList([LogitsHead(width) for _ in range(6)])

    def forward(self, levels: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Levels at strides 4, 8, 16, 32 and ``size`` (H, W) of the answer → list of logits.

        In training all that the class names, the first (B, H, W), the others (B, H/4, W/4); otherwise the first
        alone.
        """
        levels, rough = self.first(levels)
        # Average pooling rather than resampling: every position of the fed-back map has its say at stride 32.
        for i in range(self.finest, 4):
            levels[i] = levels[i] + (rough if i == self.finest else F.avg_pool2d(rough, 2 ** (i - self.finest)))
        levels, final = self.second(levels)
        maps = [final, rough, *levels] if self.training else [final]
        # Only the answer is compared at full size; the others steer the levels they come from, and stride 4 is the
        # finest of those. On a CPU this is a fifth of a training step.
        quarter = (size[0] // 4, size[1] // 4)
        return [
            resize(head(x), size if i == 0 else quarter)
            for i, (head, x) in enumerate(zip(self.heads, maps, strict=False))
        ]
