"""F3Net's loss against NumPy; the triplet and the contrastive loss against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from mutualformer.train.fitting.losses import LOSSES, deep_supervision_losses, position_weight, structure_losses
from mutualformer.train.fitting.reid_task import TEMPERATURE, contrastive, soft_margin_triplet


def test_position_weight_is_one_plus_five_times_the_local_difference() -> None:
    mask = (torch.rand(2, 40, 30) > 0.5).double()
    actual = position_weight(mask, kernel=7).numpy()
    for one, m in zip(actual, mask.numpy(), strict=True):
        expected = 1 + 5 * np.abs(uniform_filter(m, 7, mode="constant") - m)
        np.testing.assert_allclose(one, expected, atol=1e-12)


def test_structure_losses() -> None:
    logits, mask = torch.randn(3, 12, 9).double(), (torch.rand(3, 12, 9) > 0.6).double()
    weight = 1 + torch.rand(3, 12, 9).double()
    p, m, w = 1 / (1 + np.exp(-logits.numpy())), mask.numpy(), weight.numpy()
    bce = -(m * np.log(p) + (1 - m) * np.log(1 - p))
    total = 0.0
    for i in range(3):
        overlap, union = (p[i] * m[i] * w[i]).sum(), ((p[i] + m[i]) * w[i]).sum()
        total += (bce[i] * w[i]).sum() / w[i].sum() + 1 - (overlap + 1) / (union - overlap + 1)
    assert float(structure_losses(logits, mask, weight).sum()) == pytest.approx(total / 3, abs=1e-10)


def test_deep_supervision_weighs_as_f3net_does_and_a_perfect_answer_costs_nothing() -> None:
    assert LOSSES.supervision == (1 / 2, 1 / 2, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:48, 16:40] = 1
    small = mask[:, ::4, ::4]
    right = [40 * (mask - 0.5)] + [40 * (small - 0.5)] * 5
    assert float(deep_supervision_losses(right, mask).sum()) < 1e-3
    for i, share in enumerate(LOSSES.supervision):
        wrong = list(right)
        wrong[i] = -wrong[i]
        assert float(deep_supervision_losses(wrong, mask).sum()) / share == pytest.approx(21, rel=0.05)
    with pytest.raises(ValueError, match="has 6 weights"):
        deep_supervision_losses(right[:5], mask)


def test_soft_margin_triplet_mines_the_hardest() -> None:
    features, labels = torch.randn(8, 5).double(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])
    expected = []
    for i in range(8):
        distances = [
            (float((features[i] - features[j]).norm()), int(labels[j] == labels[i])) for j in range(8) if j != i
        ]
        gap = max(d for d, same in distances if same) - min(d for d, same in distances if not same)
        expected.append(np.log1p(np.exp(gap)))
    assert float(soft_margin_triplet(features, labels)) == pytest.approx(np.mean(expected), abs=1e-6)
    with pytest.raises(ValueError, match="at least two identities"):
        soft_margin_triplet(features, torch.zeros(8))


def test_triplet_gradient_is_finite_for_equal_features() -> None:
    features = torch.ones(4, 3, requires_grad=True)
    soft_margin_triplet(features, torch.tensor([0, 0, 1, 1])).backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_contrastive_is_the_mean_over_partners_then_over_samples() -> None:
    features, labels = torch.randn(7, 5).double(), torch.tensor([0, 0, 1, 1, 1, 2, 3])  # two samples without a partner
    unit = features / features.norm(dim=1, keepdim=True)
    expected = []
    for i in range(7):
        shares = {j: float((unit[i] @ unit[j] / TEMPERATURE).exp()) for j in range(7) if j != i}
        partners = [j for j in shares if labels[j] == labels[i]]
        if partners:
            expected.append(np.mean([-np.log(shares[j] / sum(shares.values())) for j in partners]))
    assert float(contrastive(features, labels)) == pytest.approx(np.mean(expected), abs=1e-9)
    with pytest.raises(ValueError, match="expected pairs"):
        contrastive(features, torch.arange(7))


def test_contrastive_separates_equal_features() -> None:
    features = (torch.ones(8, 3) + 1e-3 * torch.randn(8, 3)).requires_grad_()
    labels = torch.arange(4).repeat_interleave(2)
    optimizer = torch.optim.SGD([features], lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        contrastive(features, labels).backward()
        assert features.grad is not None
        assert torch.isfinite(features.grad).all()
        optimizer.step()
    distance = torch.cdist(features.detach(), features.detach())
    same = labels.unsqueeze(1) == labels.unsqueeze(0)
    assert float(distance[same].max()) < float(distance[~same].min())
