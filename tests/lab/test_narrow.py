"""A narrow colour stream begins as what the wide one says: the best of its channels, with weights solved for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.narrow.begin import begin_as
from lab.narrow.solve import explained, fit, narrow_backbone, narrow_squeeze, narrow_stem
from lab.photographs.teacher import inherit
from mutualformer.runtime import zoo
from mutualformer.train import checkpoint, registry

SIZE = {"input_size": (64, 64)}


def _wide_and_narrow() -> tuple[Any, Any]:
    """A teacher whose norms have seen pictures, and a student of the same plan."""
    torch.manual_seed(0)
    teacher, student = registry.build("sod-lite", **SIZE), registry.build("sod-nano", **SIZE)
    teacher.train()
    for module in teacher.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        teacher.rgb_backbone(teacher.colour_input(_pictures(48, seed=1)))
    return teacher.eval(), student.eval()


def _pictures(count: int, seed: int | None = None) -> torch.Tensor:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 3, 12, 12), generator=generator).float()
    return torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear").permute(0, 2, 3, 1).to(torch.uint8)


@given(inputs=st.integers(2, 12), outputs=st.integers(1, 6), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_columns_that_say_everything_are_the_ones_kept(inputs: int, outputs: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(600, inputs, generator=generator)
    keep = min(outputs, inputs)
    used = torch.randperm(inputs, generator=generator)[:keep]
    true = torch.randn(outputs, keep, generator=generator) + 3 * torch.eye(outputs, keep)
    y = x[:, used] @ true.T + 5.0
    left, weights, bias, _ = fit(x, y, keep)
    assert set(left.tolist()) == set(used.tolist())
    rebuilt = x[:, left].double() @ weights.T + bias
    assert torch.allclose(rebuilt, y.double(), atol=2e-2)


@given(channels=st.integers(2, 6), taps=st.integers(2, 4), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_columns_of_a_channel_stay_or_go_together(channels: int, taps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(800, channels * taps, generator=generator)
    keep = max(1, channels // 2)
    used = sorted(torch.randperm(channels, generator=generator)[:keep].tolist())
    columns = torch.arange(channels * taps).view(channels, taps)[used].flatten()
    y = x[:, columns] @ (torch.randn(len(columns), 5, generator=generator) + 0.5) - 2.0
    left, weights, bias, _ = fit(x, y, keep, taps)
    assert left.tolist() == columns.tolist()
    assert torch.allclose(x[:, left].double() @ weights.T + bias, y.double(), atol=2e-2)


def test_a_choice_of_channels_is_not_worse_than_any_single_other_one() -> None:
    """Correlated columns: the pair left by elimination is the best of all pairs, or within a hundredth of it."""
    torch.manual_seed(3)
    x = torch.randn(2000, 2) @ torch.randn(2, 6) + 0.3 * torch.randn(2000, 6)
    y = x @ torch.randn(6, 3)

    def residual(columns: list[int]) -> float:
        design = torch.cat([x[:, columns], torch.ones(len(x), 1)], dim=1)
        return float((design @ torch.linalg.lstsq(design, y).solution - y).square().mean())

    left, *_ = fit(x, y, 2)
    best = min(residual([a, b]) for a in range(6) for b in range(a))
    assert residual(left.tolist()) <= 1.01 * best + 1e-6


def test_more_columns_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 1 … 3"):
        fit(torch.randn(10, 3), torch.randn(10, 2), 4)


def _crops(name: str, count: int, side: int = 128) -> torch.Tensor:
    """``count`` windows of one of scikit-image's photographs, (count, side, side, 3) uint8."""
    data = pytest.importorskip("skimage.data", reason="scikit-image ships the photographs")
    picture = np.asarray(getattr(data, name)())
    rng = np.random.default_rng(0)
    corners = [(rng.integers(picture.shape[0] - side), rng.integers(picture.shape[1] - side)) for _ in range(count)]
    return torch.from_numpy(np.stack([picture[r : r + side, c : c + side] for r, c in corners]))


@pytest.mark.full
def test_the_narrow_stream_begins_near_the_wide_one_on_another_photograph() -> None:
    """The shipped model on pictures it was not narrowed on; an untrained stream explains nothing of it."""
    teacher = checkpoint.load(zoo.weights("sod-lite"))
    torch.manual_seed(0)
    student = registry.build("sod-nano").eval()
    seen = torch.cat([_crops(name, 20) for name in ("astronaut", "chelsea", "rocket")])
    maps = narrow_backbone(student.rgb_backbone, teacher.rgb_backbone, teacher.colour_input(seen))
    narrow_squeeze(student.rgb_squeeze[3], teacher.rgb_squeeze[3], maps[3])
    unseen = teacher.colour_input(_crops("coffee", 8))
    with torch.no_grad():
        ours, theirs = student.rgb_backbone(unseen), teacher.rgb_backbone(unseen)
        shares = [explained(a, b) for a, b in zip(ours[:3], theirs[:3], strict=True)]
    assert min(shares) > 0.25, shares


def test_the_halved_stem_of_depth_says_nearly_all_of_the_whole_one() -> None:
    """The shipped model on a scene it was not narrowed on: what both have after the first two convolutions."""
    teacher = checkpoint.load(zoo.weights("sod-lite"))
    torch.manual_seed(0)
    student = registry.build("sod-nano").eval()
    inherit(student, teacher)
    rng = np.random.default_rng(4)
    heights = torch.from_numpy(rng.uniform(0.6, 5.0, (24, 1, 9, 9)).astype(np.float32))
    depth = F.interpolate(heights, (128, 128), mode="bilinear").squeeze(1) * (torch.rand(24, 128, 128) > 0.1)
    seen, unseen = teacher.depth_input(depth[:16]), teacher.depth_input(depth[16:])
    ours, theirs = student.depth_backbone, teacher.depth_backbone
    with torch.no_grad():
        before = explained(ours(unseen)[0], theirs(unseen)[0])
        narrow_stem(ours, theirs, seen)
        after = explained(ours(unseen)[0], theirs(unseen)[0])
    assert before < 0.5
    assert after > 0.9


@pytest.mark.full
def test_norms_have_the_statistics_of_what_they_see() -> None:
    """In training mode the narrow stream gives what it gives in eval mode: nothing jumps at the first step."""
    teacher, student = _wide_and_narrow()
    pictures = teacher.colour_input(_pictures(48, seed=1))
    narrow_backbone(student.rgb_backbone, teacher.rgb_backbone, pictures)
    with torch.no_grad():
        still = student.rgb_backbone(pictures)
        moving = student.rgb_backbone.train()(pictures)
    assert explained(moving[0], still[0]) > 0.9


def test_a_student_of_another_family_only_inherits(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    student = registry.build("sod-nano", **SIZE, rgb_backbone="mobilenetv4_conv_small_050")
    before = {name: value.clone() for name, value in student.rgb_backbone.state_dict().items()}
    with caplog.at_level("WARNING", logger="mutualformer"):
        begin_as(student, registry.build("sod-lite", **SIZE), _Source())
    assert "begin as the teacher's" in caplog.text
    assert "narrowed" not in caplog.text
    assert all(torch.equal(value, before[name]) for name, value in student.rgb_backbone.state_dict().items())


@pytest.mark.full
def test_a_shortened_depth_stream_is_squeezed_into_what_the_whole_one_says() -> None:
    """Stride 32 of depth comes from fewer blocks; what fusion gets is the teacher's as far as they can say it."""
    teacher, student = _wide_and_narrow()
    begin_as(student, teacher, _Source())
    depth = student.depth_input(torch.from_numpy(_Source().make(0, range(96), 64)["depth"]))
    with torch.no_grad():
        begun = explained(*(m.depth_squeeze[3](m.depth_backbone(depth)[3]) for m in (student, teacher)))
        torch.manual_seed(9)
        other = registry.build("sod-nano", **SIZE).eval()
        other.depth_backbone.load_state_dict(student.depth_backbone.state_dict())
        theirs = teacher.depth_squeeze[3](teacher.depth_backbone(depth)[3])
        drawn = explained(other.depth_squeeze[3](other.depth_backbone(depth)[3]), theirs)
    assert begun > max(drawn, 0) + 0.2


@pytest.mark.full
def test_beginning_says_how_much_was_kept(caplog: pytest.LogCaptureFixture) -> None:
    teacher, student = _wide_and_narrow()
    with caplog.at_level("WARNING", logger="mutualformer"):
        begin_as(student, teacher, _Source())
    assert "narrowed from the teacher's on 96 pictures; variance kept at strides 4, 8, 16: 0." in caplog.text


class _Source:
    """Batches of noise, at any size asked for (a quarter of it: tests have little memory)."""

    def __len__(self) -> int:
        return 96

    def make(self, step: int, slots: range, side: int) -> dict[str, np.ndarray[Any, Any]]:
        depth = np.random.default_rng(step).uniform(0.5, 5, (len(slots), 8, 8)).astype(np.float32)
        return {"rgb": _pictures(len(slots), seed=step).numpy(), "depth": depth.repeat(8, 1).repeat(8, 2)}
