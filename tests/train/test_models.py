"""Registry, models and fusion arms: shapes, sizes, gradients, determinism, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from mutualformer.train import registry
from mutualformer.train.backbone import PretrainedUnavailable, create_backbone
from mutualformer.train.fusion import FUSIONS, create_fusion
from mutualformer.train.mutualformer import CrossDiffusionAttention


def sod_input(batch: int = 2, size: int = 64) -> tuple[Tensor, Tensor]:
    rgb = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)
    return rgb, torch.rand(batch, size, size) * 4


def reid_input(batch: int = 4, size: int = 64) -> tuple[Tensor, Tensor]:
    rgb, nir = torch.randint(0, 256, (2, batch, size, size, 3), dtype=torch.uint8)
    return rgb, nir


def test_the_list_is_complete_and_sizes_are_as_promised() -> None:
    assert registry.list_models() == [
        "sod-nano",
        "sod-lite",
        "sod-r18",
        "sod-r50",
        "reid-tiny",
        "reid-lite",
        "reid-vit-b16",
    ]
    count = {}
    with torch.device("meta"):
        for name in registry.list_models():
            count[name] = sum(p.numel() for p in registry.build(name).parameters()) / 1e6
    assert count["sod-nano"] <= 1.1
    assert count["sod-lite"] <= 4.0
    assert 45 < count["sod-r50"] < 55
    assert 180 < count["reid-vit-b16"] < 195
    assert count["reid-tiny"] < 3
    assert count["reid-lite"] < 8


@pytest.mark.parametrize("fusion", FUSIONS)
def test_sod_shapes_range_and_gradients(fusion: str) -> None:
    model = registry.build("sod-nano", input_size=(64, 96), fusion=fusion)
    assert model.spec.input_size == (64, 96)
    rgb, depth = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8), torch.rand(2, 64, 96)
    logits = model.train()(rgb, depth)
    assert [tuple(x.shape) for x in logits] == [(2, 64, 96)] + [(2, 16, 24)] * 5
    sum(x.square().mean() for x in logits).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    with torch.no_grad():
        saliency = model.eval()(rgb, depth)
    assert saliency.shape == (2, 64, 96)
    assert saliency.dtype == torch.float32
    assert 0 <= saliency.min() <= saliency.max() <= 1


def test_both_modalities_matter_and_holes_do_not_break() -> None:
    model = registry.build("sod-nano", input_size=(64, 64)).eval()
    rgb, depth = sod_input()
    with torch.no_grad():
        plain = model(rgb, depth)
        assert (plain - model(255 - rgb, depth)).abs().max() > 1e-6
        assert (plain - model(rgb, depth.flip(1))).abs().max() > 1e-6
        assert torch.isfinite(model(rgb, torch.zeros_like(depth))).all()


def test_reid_lite_at_both_shapes_in_the_dark_and_with_one_sensor() -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        registry.build("reid-lite", input_size=(250, 128))
    model = registry.build("reid-lite", input_size=(64, 32), num_classes=5)
    rgb, nir = torch.randint(40, 256, (2, 4, 64, 32, 3), dtype=torch.uint8)
    output = model.train()(rgb, nir)
    assert [tuple(x.shape) for x in output.features] == [(4, 256)] * 3 + [(4, 768)]
    assert [tuple(x.shape) for x in output.scores] == [(4, 5)] * 3
    sum(x.square().mean() for x in (*output.normed[:3], *output.scores, output.normed[3] - 1)).backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle, idle
    seen = model.camera_input(rgb), model.camera_input((rgb * 0.1).round().to(torch.uint8))
    assert (seen[0] - seen[1]).abs().mean() < 0.2, "without the gain it is above 1"
    with torch.no_grad():
        found = [model.eval()(rgb, nir), model(rgb, torch.zeros_like(nir)), model(torch.zeros_like(rgb), nir)]
    assert all(torch.allclose(x.norm(dim=1), torch.ones(4)) for x in found)
    assert all((x - found[0]).abs().max() > 1e-4 for x in found[1:])


def test_two_cda_blocks_per_detector_and_one_per_reidentifier() -> None:
    for name, expected in (("sod-nano", 2), ("sod-lite", 2), ("reid-tiny", 1), ("reid-lite", 2)):
        actual = [m for m in registry.build(name).modules() if isinstance(m, CrossDiffusionAttention)]
        assert len(actual) == expected
        assert actual[0].attributes.alpha == 0.6
    block = create_fusion(16, 2, "cross_attention+cda")
    assert block.attn.cda.attributes.init == "cross"


def test_fusion_arms_share_their_initial_weights() -> None:
    states = []
    for fusion in FUSIONS:
        torch.manual_seed(3)
        states.append(registry.build("sod-nano", fusion=fusion).state_dict())
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert all(torch.equal(state[name], value) for name, value in states[0].items())


def test_reid_feature_is_unit_length_and_training_gives_three_streams() -> None:
    model = registry.build("reid-tiny", num_classes=7)
    output = model.train()(*reid_input())
    assert [tuple(x.shape) for x in output.features] == [(4, 96)] * 3
    assert [tuple(x.shape) for x in output.scores] == [(4, 7)] * 3
    with torch.no_grad():
        feature = model.eval()(*reid_input())
    assert feature.shape == (4, 288)
    torch.testing.assert_close(feature.norm(dim=1), torch.ones(4))


def test_overrides_are_json_and_rebuild_the_model() -> None:
    model = registry.build("sod-nano", input_size=(64, 64), iterations=2)
    again = registry.build("sod-nano", **json.loads(json.dumps(model.overrides)))
    assert again.spec == model.spec
    assert again.token_fusion[0].block.attn.cda.attributes.iterations == 2


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("sod-giant", {}, "expected one of sod-nano, sod-lite, sod-r18"),
        ("sod-nano", {"fusions": "cda"}, "has no option fusions; its options are alpha"),
        ("sod-nano", {"fusion": "sum"}, "expected one of concat"),
        ("sod-nano", {"input_size": (100, 64)}, "multiples of 32"),
        ("reid-tiny", {"depth_range_m": (1, 2)}, "has no option depth_range_m"),
        ("reid-tiny", {"input_size": (100, 64)}, "multiples of 8"),
    ],
)
def test_refuses_what_it_does_not_know(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.build(name, **overrides)


def test_pretrained_weights_out_of_reach_are_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.create_model", unreachable)
    with pytest.raises(PretrainedUnavailable, match=r"'resnet18' are not available .*pretrained=False"):
        create_backbone("resnet18", pretrained=True)


def test_batch_of_three_equals_three_batches_of_one() -> None:
    model = registry.build("sod-nano", input_size=(64, 64)).eval()
    rgb, depth = sod_input(3)
    with torch.no_grad():
        together = model(rgb, depth)
        apart = torch.cat([model(rgb[i : i + 1], depth[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)
