"""1 × 1 convolutions as matrix products while training on a CPU.

oneDNN's gradients of a small 1 × 1 convolution take several times as long as its arithmetic; in channels-last memory
the same convolution is a product of two matrices that lie there already. A training step of ``sod-nano`` on two cores
takes half the time. The parameters stay what and where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

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


def _like(convolution: nn.Conv2d, kind: type[nn.Conv2d]) -> nn.Conv2d:
    """A module of ``kind`` around the same parameters, not copies of them."""
    other = kind(
        convolution.in_channels,
        convolution.out_channels,
        1,
        padding=convolution.padding,  # type: ignore[arg-type]  # a tuple of two, or a word
        bias=convolution.bias is not None,
        device="meta",
    )
    other.weight, other.bias = convolution.weight, convolution.bias
    return other.train(convolution.training)


def _replace(model: nn.Module, chosen: Callable[[nn.Module], bool], kind: type[nn.Conv2d]) -> int:
    count = 0
    for parent in model.modules():
        for name, child in parent.named_children():
            if chosen(child):
                setattr(parent, name, _like(cast("nn.Conv2d", child), kind))
                count += 1
    return count


def use_products(model: nn.Module) -> int:
    """Replace the 1 × 1 convolutions inside ``model`` by products; returns how many there were."""
    return _replace(model, _is_pointwise, PointwiseProduct)


def lay_out(model: nn.Module) -> nn.Module:
    """``model`` as it computes fastest here: channels-last, and on a CPU with products; returns ``model``."""
    model = model.to(memory_format=torch.channels_last)
    if not torch.cuda.is_available():
        use_products(model)
    return model


def use_convolutions(model: nn.Module) -> None:
    """Undo :func:`use_products`: what is evaluated and exported has convolutions."""
    _replace(model, lambda module: type(module) is PointwiseProduct, nn.Conv2d)
