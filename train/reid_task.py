"""Training of ReID models: identity cross-entropy and batch-hard soft-margin triplets on three streams."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from train.sync_norm import gather
from train.task import TrainingTask

SMOOTHING = 0.1


def soft_margin_triplet(features: Tensor, labels: Tensor) -> Tensor:
    """mean log(1 + exp(d⁺ − d⁻)), d⁺ the farthest of the same identity, d⁻ the nearest of another (Hermans 2017).

    ``features`` (B, C), ``labels`` (B,) with at least two identities in the batch. Euclidean distances.
    """
    squared = (features.unsqueeze(1) - features.unsqueeze(0)).pow(2).sum(-1)
    distance = squared.clamp(min=1e-12).sqrt()  # the root's slope is infinite at 0: a sample and itself
    same = labels.unsqueeze(1) == labels.unsqueeze(0)
    if bool(same.all()):
        raise ValueError("a batch of one identity has no triplets, expected at least two identities")
    farthest = distance.masked_fill(~same, 0.0).amax(dim=1)
    nearest = distance.masked_fill(same, float("inf")).amin(dim=1)
    return F.softplus(farthest - nearest).mean()


class ReidTask(TrainingTask):
    """``rgb``, ``nir`` uint8 (B, H, W, 3), ``label`` int64 (B,)."""

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        output = self.model(batch["rgb"], batch["nir"])
        label = batch["label"]
        identity = torch.stack([F.cross_entropy(s.float(), label, label_smoothing=SMOOTHING) for s in output.scores])
        progress = self.schedule.progress(self.global_step)
        # Triplets over the batches of all processes: mining is what a larger batch is for.
        everyone = gather(label)
        triplet = torch.stack([soft_margin_triplet(gather(f.float()), everyone) for f in output.features])
        weight = min(1.0, progress / ramp) if (ramp := self.recipe.triplet_ramp) else 1.0
        return {
            "loss": identity.mean() + weight * triplet.mean(),
            "identity": identity.mean(),
            "triplet": triplet.mean(),
        }
