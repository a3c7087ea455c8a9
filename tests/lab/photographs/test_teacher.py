"""A student inherits what fits, learns what its teacher says, and leaves the teacher alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lab.photographs.teacher import TaughtSodTask, inherit
from mutualformer.train import registry
from mutualformer.train.fitting.recipes import recipe
from mutualformer.train.fitting.schedule import Schedule

SIZE = {"input_size": (64, 64)}


def _batch() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        "rgb": torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8),
        "depth": torch.rand(4, 64, 64) + 0.5,
        "mask": (torch.rand(4, 64, 64) > 0.5).to(torch.uint8) * 255,
    }


OWN = ("rgb_backbone", "rgb_squeeze", "depth_squeeze.3", "depth_backbone.conv_stem", "depth_backbone.bn1.")


def test_everything_but_the_colour_stream_depth_stem_and_what_reads_stride_32_is_inherited() -> None:
    torch.manual_seed(0)
    student, teacher = registry.build("sod-nano", **SIZE), registry.build("sod-lite", **SIZE)
    own = inherit(student, teacher)
    assert own
    assert all(name.startswith((*OWN, "depth_backbone.blocks.0.0.conv.")) for name in own)
    for name in ("decoder.heads.0.weight", "token_fusion.0.block.attn.qkv_r.weight"):
        assert torch.equal(student.state_dict()[name], teacher.state_dict()[name])


def test_the_features_come_nearer_and_the_teacher_stays() -> None:
    torch.manual_seed(0)
    student, teacher = registry.build("sod-nano", **SIZE).train(), registry.build("sod-lite", **SIZE)
    inherit(student, teacher)
    task = TaughtSodTask(student, recipe("taught"), Schedule(recipe("taught"), 64), teacher)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    optimiser = torch.optim.AdamW(student.parameters(), lr=3e-3)
    batch, parts = _batch(), []
    for _ in range(12):
        losses = task.losses(batch)
        assert set(losses) == {"loss", "mask", "map", "feature"}
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
        parts.append(float(losses["feature"]))
    assert parts[-1] < 0.8 * parts[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not [name for name in task.state_dict() if "teacher" in name]


def test_the_teacher_follows_the_model_to_its_device() -> None:
    """Lightning moves the module before training starts; "meta" is a device that every machine has."""
    student, teacher = registry.build("sod-nano", **SIZE), registry.build("sod-lite", **SIZE)
    task = TaughtSodTask(student, recipe("taught"), Schedule(recipe("taught"), 64), teacher)
    task.to("meta")
    assert next(teacher.parameters()).device.type == "cpu"
    task.on_train_start()
    assert {value.device.type for value in teacher.state_dict().values()} == {"meta"}


def test_a_teacher_of_another_width_is_refused() -> None:
    student, teacher = registry.build("sod-nano", **SIZE), registry.build("sod-r18", **SIZE)
    with pytest.raises(ValueError, match="colour features have"):
        TaughtSodTask(student, recipe("taught"), Schedule(recipe("taught"), 64), teacher)
