"""timm backbones as the models use them: pretrained weights on request, with a sentence when they cannot be had."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn


class PretrainedUnavailable(RuntimeError):
    """Pretrained weights were asked for and cannot be downloaded here."""


def create_backbone(name: str, pretrained: bool, **options: Any) -> nn.Module:
    """``timm.create_model`` with the failure to reach the weights told in one sentence."""
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise
        raise PretrainedUnavailable(
            f"pretrained weights of backbone {name!r} cannot be had ({type(error).__name__}: {str(error)[:120]}); "
            "connect to huggingface.co once, fill its cache (HF_HOME), or train from scratch with pretrained=False"
        ) from error


def create_pyramid(name: str, pretrained: bool) -> tuple[nn.Module, list[int]]:
    """A convolutional backbone returning maps at strides 4, 8, 16 and 32, with their channel counts."""
    backbone = create_backbone(name, pretrained, features_only=True, out_indices=(1, 2, 3, 4))
    strides = backbone.feature_info.reduction()
    if strides != [4, 8, 16, 32]:
        raise ValueError(f"backbone {name!r} has strides {strides}, expected [4, 8, 16, 32]")
    return backbone, backbone.feature_info.channels()


def create_stage(name: str, pretrained: bool, stride: int) -> nn.Module:
    """A convolutional backbone up to its last map at ``stride``; what comes after it is cut off, not only unused."""
    whole = timm.create_model(name, pretrained=False, features_only=True).feature_info.reduction()
    if stride not in whole:
        raise ValueError(f"backbone {name!r} has strides {whole}, expected {stride} among them")
    chosen = (len(whole) - 1 - whole[::-1].index(stride),)
    return create_backbone(name, pretrained, features_only=True, feature_cls="getter", out_indices=chosen)
