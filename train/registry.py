"""Named models: what there is, what each one is made of, and how to build one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from mutualformer.plugins.attributes import DEFAULTS
from mutualformer.runtime.untrusted.typed_json import Fields, plain
from mutualformer.train.tasks import TASKS, load

if TYPE_CHECKING:
    from torch import nn

DEPTH_RANGE_M = (0.3, 10.0)


@dataclass(frozen=True)
class ModelSpec:
    """One registered model.

    ``input_size``: (height, width) in pixels. ``labels``: class names. ``depth_range_m``: metres, SOD only.
    ``model``: place ("module:name") of its class, "" = the task's.
    ``architecture``: arguments of the model's class beyond the above, each of which is a valid override.
    """

    name: str
    task: str
    input_size: tuple[int, int]
    labels: tuple[str, ...] = ()
    depth_range_m: tuple[float, float] = DEPTH_RANGE_M
    model: str = ""
    architecture: Mapping[str, Any] = field(default_factory=dict)


_FUSION = {
    "fusion": "cda",
    "iterations": DEFAULTS.iterations,
    "alpha": DEFAULTS.alpha,
    "value_pairing": DEFAULTS.value_pairing,
}


def _sod(name: str, rgb_backbone: str, depth_backbone: str, num_heads: int, **rest: Any) -> ModelSpec:
    architecture = {
        "rgb_backbone": rgb_backbone,
        "depth_backbone": depth_backbone,
        "dim": 64,
        "num_heads": num_heads,
        "decoder_width": 64,
        "separable": False,
        "first_stride": 4,
        "depth_validity": False,
        **_FUSION,
        **rest,
    }
    return ModelSpec(name, "sod", (320, 320), ("salient",), architecture=architecture)


def _reid(name: str, size: int, **rest: Any) -> ModelSpec:
    architecture = {"backbone": "vit_base_patch16_224", "num_classes": 1, "drop_path": 0.0, **_FUSION, **rest}
    return ModelSpec(name, "reid", (size, size), architecture=architecture)


_SMALL = "mobilenetv4_conv_small_050"  # half width, 0.34M parameters, pretrained by timm
_LIGHT = {"decoder_width": 32, "separable": True, "depth_validity": True}

_SPECS = {
    spec.name: spec
    for spec in (
        # Fusion and decoder are those of sod-lite, and its streams are parts of sod-lite's, by which it was taught.
        _sod("sod-nano", "tf_efficientnet_lite0_narrow", f"{_SMALL}_short", 2, first_stride=16, **_LIGHT),
        # The colour backbone has no swish and no squeeze-excite: it was made for INT8.
        _sod("sod-lite", "tf_efficientnet_lite0", _SMALL, 4, first_stride=8, **_LIGHT),
        # Four heads of 16: TensorRT fuses plain attention for 16 … 256 channels a head only.
        _sod("sod-r18", "resnet18", "resnet18", 4),
        _sod("sod-r50", "resnet50", "resnet50", 4),
        _reid(
            "reid-tiny",
            64,
            patch_size=8,
            depth=0,
            dim=96,
            num_heads=3,
            stem="mobilenetv4_conv_small",
            pooling="mean",
        ),
        ModelSpec(
            "reid-lite",
            "reid",
            (256, 256),
            model="reid_lite:PyramidReIdentifier",
            architecture={"backbone": "tf_efficientnet_lite0", "dim": 128, "num_heads": 4, "num_classes": 1, **_FUSION},
        ),
        _reid("reid-vit-b16", 256, patch_size=16, depth=12, dim=768, num_heads=12, stem="", pooling="class"),
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


# Largest value of one dimension or count of a model. An untrusted card may ask for more, which would exhaust memory.
LARGEST = {"depth": 64, "iterations": 16, "num_heads": 128, "num_classes": 1_000_000}
LARGEST_WIDTH, LARGEST_SIDE = 8192, 8192
# Only timm's own names: "hf-hub:…" and "local-dir:…" would load and run what an untrusted card names.
BACKBONE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")


def _check_override(name: str, key: str, value: Any, default: Any) -> None:
    """Raise ValueError unless ``value`` is of the kind and within the bounds of option ``key``."""
    given = Fields({key: plain(value)}, name, ValueError)
    if key == "input_size":
        given.wholes(key, 2, 1, LARGEST_SIDE)
    elif key == "depth_range_m":
        given.numbers(key, 2, 0, 1e6)
    elif isinstance(default, bool) or key == "pretrained":
        given.flag(key)
    elif isinstance(default, int):
        given.whole(key, 0, LARGEST.get(key, LARGEST_WIDTH))
    elif isinstance(default, float):
        given.number(key, 0, 1)
    else:
        text = given.text(key, longest=64)
        if (key.endswith("backbone") or (key == "stem" and text)) and not BACKBONE.fullmatch(text):
            raise given.refuse(key, "the name of a model that timm has itself")


def spec_of(model: nn.Module) -> ModelSpec:
    """What ``model``, made by :func:`build`, was built from."""
    return cast(ModelSpec, model.spec)


def build(name: str, **overrides: Any) -> nn.Module:
    """Build ``name``, untrained unless ``pretrained=True`` (then with timm's ImageNet backbones).

    ``overrides``: ``input_size``, ``depth_range_m`` (SOD), ``pretrained`` or any key of the spec's architecture. The
    module carries ``.spec`` (overrides applied) and ``.overrides`` (as given, JSON types; ``pretrained`` left out,
    since it is about how weights start, not about what the model is).
    """
    base = spec(name)
    task = TASKS[base.task]
    common = set(task.options)
    known = common | {"pretrained"} | set(base.architecture)
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; its options are {', '.join(sorted(known))}")
    for key in known & set(overrides):
        _check_override(name, key, overrides[key], base.architecture.get(key))
    pretrained = bool(overrides.pop("pretrained", False))
    for key in common & set(overrides):
        overrides[key] = tuple(overrides[key])
    architecture = {**base.architecture, **{k: v for k, v in overrides.items() if k in base.architecture}}
    chosen = replace(base, architecture=architecture, **{k: v for k, v in overrides.items() if k in common})

    options = {name: getattr(chosen, name) for name in task.options}
    model: nn.Module = load(chosen.model or task.model)(**options, pretrained=pretrained, **architecture)
    model.spec = chosen  # type: ignore[assignment]  # PyTorch types what hangs on a module as Tensor or Module
    model.overrides = plain(overrides)
    return model
