"""Batches of photographs: a function of (seed, step, slot), all kinds drawn, the model's validation beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.photographs.batches import PhotoBatches
from lab.photographs.best import Best
from lab.photographs.mixture import Mixture
from lab.photographs.photographs import Photographs
from lab.photographs.sensor import SensorFrames
from lab.photographs.sets import FixedFrames
from mutualformer.runtime.sources.frame import DataError
from mutualformer.train import registry
from mutualformer.train.fitting.losses import deep_supervision_losses
from mutualformer.train.fitting.recipes import recipe
from mutualformer.train.fitting.task import freeze
from tests.lab.photographs.test_scenes import root  # noqa: F401 (a fixture)

PLAN = replace(recipe("photo"), batch=8)


@pytest.fixture
def batches(root: Path) -> PhotoBatches:  # noqa: F811
    sensor = SensorFrames(root / "sensor", root / "teacher")
    return PhotoBatches(Photographs(root / "photos"), sensor, None, PLAN, seed=3)


def test_the_same_slot_is_the_same_frame_in_any_order(batches: PhotoBatches, root: Path) -> None:  # noqa: F811
    whole = batches.make(5, range(8), 64)
    assert whole["rgb"].shape == (8, 64, 64, 3)
    assert whole["rgb"].dtype == np.uint8
    assert whole["depth"].dtype == np.float32
    assert whole["certain"].shape == whole["mask"].shape == (8, 64, 64)
    again = PhotoBatches(batches.photographs, batches.sensor, None, PLAN, 3)
    part = again.make(5, range(4, 8), 64)
    for name, value in part.items():
        np.testing.assert_array_equal(value, whole[name][4:])
    other = batches.make(6, range(8), 64)
    assert not np.array_equal(other["rgb"], whole["rgb"])


def test_kinds_come_in_their_shares_and_absent_ones_become_photographs(batches: PhotoBatches) -> None:
    kinds = [batches.kind(np.random.default_rng(i)) for i in range(3000)]
    for kind, share in Mixture().kinds():
        if kind not in ("photograph", "rendered"):
            assert kinds.count(kind) / 3000 == pytest.approx(share, abs=0.03)
    assert "rendered" not in kinds
    without = PhotoBatches(batches.photographs, None, None, PLAN, 3)
    assert {without.kind(np.random.default_rng(i)) for i in range(500)} == {"photograph", "table"}
    with pytest.raises(DataError, match="sum to"):
        PhotoBatches(batches.photographs, None, None, replace(PLAN, mixture={"photograph": 0.9}), 3)


def test_depth_is_missing_spoilt_or_there(batches: PhotoBatches) -> None:
    depths = np.concatenate([batches.make(step, range(8), 64)["depth"] for step in range(12)])
    missing = np.array([not depth.any() for depth in depths])
    assert 0.15 < missing.mean() < 0.75


def test_what_is_uncertain_costs_nothing() -> None:
    logits = [torch.randn(2, 32, 32) for _ in range(6)]
    mask, certain = torch.zeros(2, 32, 32), torch.ones(2, 32, 32)
    certain[:, :16] = 0
    one = deep_supervision_losses(logits, mask, certain).sum()
    flipped = mask.clone()
    flipped[:, :8] = 1  # eight rows from the known half, so that no edge weight reaches it at stride 1
    two = deep_supervision_losses(logits, flipped, certain).sum()
    assert float((one - two).abs()) < 0.02 * float(one)
    assert float(deep_supervision_losses(logits, mask).sum()) == pytest.approx(
        float(deep_supervision_losses(logits, mask, torch.ones_like(mask)).sum()), rel=1e-6
    )


def test_frozen_parameters_and_their_norms_stay() -> None:
    model = registry.build("sod-lite", input_size=(64, 64))
    norms = freeze(model, ("rgb_backbone.conv_stem", "rgb_backbone.bn1"))
    assert len(norms) == 1
    assert not model.rgb_backbone.conv_stem.weight.requires_grad
    assert model.depth_squeeze[0][0].weight.requires_grad
    with pytest.raises(ValueError, match="beginning of a parameter"):
        freeze(model, ("absent",))
    norms = freeze(model, ("rgb_backbone.*bn",))
    assert len(norms) > 20
    assert not model.rgb_backbone.blocks[2][0].bn1.weight.requires_grad
    assert model.rgb_backbone.blocks[2][0].conv_pw.weight.requires_grad
    assert model.depth_backbone.blocks[0][0].bn1.weight.requires_grad
    freeze(model, ("rgb_backbone.",), frozen=False)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_table_never_loses_the_depth_that_tells_it_from_a_photograph(root: Path) -> None:  # noqa: F811
    only = {name: 0.0 for name, _ in Mixture().kinds()} | {"table": 1.0, "dropped": 0.5, "spoiled": 0.4, "holed": 0.1}
    tables = PhotoBatches(Photographs(root / "photos"), None, None, replace(PLAN, mixture=only), seed=1)
    assert all(depth.any() for depth in tables.make(0, range(8), 64)["depth"])


def test_validation_keeps_the_best_and_says_what_it_saw(batches: PhotoBatches, tmp_path: Path) -> None:
    frames = []
    for index in range(2):
        frames.append(batches.photographs[index])
    validation = Best({"photographs": FixedFrames(frames)}, tmp_path, every=5)
    torch.manual_seed(0)
    model = registry.build("sod-nano", input_size=(64, 64)).eval()
    score = validation.validate(model, 5)["photographs"]["s_measure"]
    lines = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 5
    assert lines[0]["score"] == pytest.approx(score, abs=1e-4)
    assert (tmp_path / "best.safetensors").is_file()
    gone_on = Best({"photographs": FixedFrames(frames)}, tmp_path, every=5)
    assert gone_on.best == pytest.approx(score)
