"""Named models: what there is, what each one is made of, and how to build one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mutualformer.plugins.attributes import DEFAULTS

if TYPE_CHECKING:
    from torch import nn

DEPTH_RANGE_M = (0.3, 10.0)


@dataclass(frozen=True)
class ModelSpec:
    """One registered model.

    ``input_size``: (height, width) in pixels. ``labels``: class names. ``depth_range_m``: metres, SOD only.
    ``architecture``: arguments of the model's class beyond the above, each of which is a valid override.
    """

    name: str
    task: str
    input_size: tuple[int, int]
    labels: tuple[str, ...] = ()
    depth_range_m: tuple[float, float] = DEPTH_RANGE_M
    architecture: Mapping[str, Any] = field(default_factory=dict)


_FUSION = {
    "fusion": "cda",
    "iterations": DEFAULTS.iterations,
    "alpha": DEFAULTS.alpha,
    "value_pairing": DEFAULTS.value_pairing,
}


def _sod(
    name: str,
    *,
    rgb: str,
    depth: str,
    width: int,
    heads: int,
    separable: bool = True,
    first_stride: int = 4,
    validity: bool = False,
) -> ModelSpec:
    architecture = {
        "rgb_backbone": rgb,
        "depth_backbone": depth,
        "dim": 64,
        "num_heads": heads,
        "decoder_width": width,
        "separable": separable,
        "first_stride": first_stride,
        "depth_validity": validity,
        **_FUSION,
    }
    return ModelSpec(name, "sod", (320, 320), ("salient",), architecture=architecture)


def _reid(name: str, size: int, patch: int, depth: int, dim: int, heads: int, stem: str, pooling: str) -> ModelSpec:
    architecture = {
        "backbone": "vit_base_patch16_224",
        "dim": dim,
        "num_heads": heads,
        "patch_size": patch,
        "depth": depth,
        "num_classes": 1,
        "drop_path": 0.0,
        "stem": stem,
        "pooling": pooling,
        **_FUSION,
    }
    return ModelSpec(name, "reid", (size, size), architecture=architecture)


_SMALL = "mobilenetv4_conv_small_050"  # half width, 0.34M parameters, pretrained by timm
_STEM = "mobilenetv4_conv_small"

_SPECS = {
    spec.name: spec
    for spec in (
        # All but its colour stream is sod-lite's, so that it can be taught by it (train/fitting/teacher.py).
        _sod("sod-nano", rgb=_SMALL, depth=_SMALL, width=32, heads=4, first_stride=8, validity=True),
        _sod(
            "sod-lite",
            rgb="tf_efficientnet_lite0",  # no swish, no squeeze-excite: made for INT8
            depth=_SMALL,
            width=32,
            heads=4,
            first_stride=8,
            validity=True,
        ),
        _sod("sod-r18", rgb="resnet18", depth="resnet18", width=64, heads=8, separable=False),
        _sod("sod-r50", rgb="resnet50", depth="resnet50", width=64, heads=8, separable=False),
        _reid("reid-tiny", size=64, patch=8, depth=0, dim=96, heads=3, stem=_STEM, pooling="mean"),
        _reid("reid-vit-b16", size=256, patch=16, depth=12, dim=768, heads=12, stem="", pooling="class"),
    )
}


def list_models() -> list[str]:
    """Registered names, each task's smallest first."""
    return list(_SPECS)


def spec(name: str) -> ModelSpec:
    """The registered model ``name``. Raises ValueError listing the known ones."""
    if name not in _SPECS:
        raise ValueError(f"model {name!r} is unknown, expected one of {', '.join(_SPECS)}")
    return _SPECS[name]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def build(name: str, **overrides: Any) -> nn.Module:
    """Build ``name``, untrained unless ``pretrained=True`` (then with timm's ImageNet backbones).

    ``overrides``: ``input_size``, ``depth_range_m`` (SOD), ``pretrained`` or any key of the spec's architecture. The
    module carries ``.spec`` (overrides applied) and ``.overrides`` (as given, JSON types; ``pretrained`` left out,
    since it says how weights start and not what the model is).
    """
    base = spec(name)
    common = {"input_size", "depth_range_m"} if base.task == "sod" else {"input_size"}
    known = common | {"pretrained"} | set(base.architecture)
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; its options are {', '.join(sorted(known))}")
    for key in common & set(overrides):
        overrides[key] = tuple(overrides[key])
    pretrained = bool(overrides.pop("pretrained", False))
    architecture = {**base.architecture, **{k: v for k, v in overrides.items() if k in base.architecture}}
    made = replace(base, architecture=architecture, **{k: v for k, v in overrides.items() if k in common})

    if made.task == "sod":
        from mutualformer.train.sod import SalientObjectDetector

        model: nn.Module = SalientObjectDetector(
            made.input_size, made.depth_range_m, pretrained=pretrained, **architecture
        )
    else:
        from mutualformer.train.reid import ReIdentifier

        model = ReIdentifier(made.input_size, pretrained=pretrained, **architecture)
    model.spec = made
    model.overrides = json.loads(json.dumps({key: _plain(value) for key, value in overrides.items()}))
    return model
