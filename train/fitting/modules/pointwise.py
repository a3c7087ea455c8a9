"""1 × 1 convolutions as matrix products while training on a CPU.

oneDNN's gradients of a small 1 × 1 convolution take several times as long as its arithmetic; in channels-last memory
the same convolution is a product of two matrices that lie there already. A training step of ``sod-nano`` on two cores
takes half the time. The parameters stay what and where they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PointwiseProduct(nn.Conv2d):
    """``nn.Conv2d`` of kernel 1, stride 1, one group: (B, I, h, w) → (B, O, h, w), both channels-last."""

    def forward(self, x: Tensor) -> Tensor:
        """The product over channels; ``x`` (B, I, h, w), any floating type."""
        weight = self.weight.view(self.out_channels, self.in_channels)
        return F.linear(x.permute(0, 2, 3, 1), weight, self.bias).permute(0, 3, 1, 2)


def _is_pointwise(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == module.stride == (1, 1)
        and module.padding in ((0, 0), "valid", "same")
        and module.groups == 1
    )


def use_products(model: nn.Module) -> int:
    """Let the 1 × 1 convolutions of ``model`` compute as products; returns how many there are.

    Only their class changes, which has nothing but another ``forward``: parameters, names and hooks stay.
    """
    chosen = [module for module in model.modules() if _is_pointwise(module)]
    for module in chosen:
        module.__class__ = PointwiseProduct  # type: ignore[assignment]
    return len(chosen)


def lay_out(model: nn.Module) -> nn.Module:
    """``model`` as it computes fastest here: channels-last, and on a CPU with products; returns ``model``."""
    model = model.to(memory_format=torch.channels_last)
    if not torch.cuda.is_available():
        use_products(model)
    return model


def use_convolutions(model: nn.Module) -> None:
    """Undo :func:`use_products`: what is evaluated and exported has convolutions."""
    for module in model.modules():
        if type(module) is PointwiseProduct:
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
