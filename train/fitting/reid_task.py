"""Training of ReID models: identity cross-entropy, batch-hard soft-margin triplets, contrast; on three streams."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mutualformer.train.fitting.modules.sync_norm import gather
from mutualformer.train.fitting.task import TrainingTask

SMOOTHING = 0.1
TEMPERATURE = 0.1


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


def contrastive(features: Tensor, labels: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Supervised contrast (Khosla et al., 2020): mean over pairs i ≠ p of one identity of
    −log(exp(z_i·z_p / τ) / Σ_{a ≠ i} exp(z_i·z_a / τ)), z the features at unit length, τ the temperature; first over
    the partners p of a sample, then over the samples that have any.

    ``features`` (B, C), ``labels`` (B,) with at least one pair. Unlike mined triplets it has a slope towards every
    other sample, so features that know nothing yet are drawn apart rather than into one point.
    """
    unit = F.normalize(features, dim=1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    partner = (labels.unsqueeze(1) == labels.unsqueeze(0)) & ~itself
    partners = partner.sum(dim=1)
    if not bool(partners.any()):
        raise ValueError("no two samples of the batch show one identity, expected pairs to contrast")
    logits = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    likelihood = torch.log_softmax(logits, dim=1).masked_fill(~partner, 0.0).sum(dim=1)
    return -(likelihood / partners.clamp(min=1))[partners > 0].mean()


class ReidTask(TrainingTask):
    """``rgb``, ``nir`` uint8 (B, H, W, 3), ``label`` int64 (B,)."""

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """ "loss" and its parts "identity", "triplet" and, where the recipe has it, "contrast".

        Triplets and contrast are mined over the batches of all processes.
        """
        output = self.model(batch["rgb"], batch["nir"])
        label = batch["label"]
        identity = torch.stack([F.cross_entropy(s.float(), label, label_smoothing=SMOOTHING) for s in output.scores])
        progress = self.schedule.progress(self.global_step)
        # Triplets over the batches of all processes: mining is what a larger batch is for.
        everyone = gather(label)
        triplet = torch.stack([soft_margin_triplet(gather(f.float()), everyone) for f in output.features])
        weight = min(1.0, progress / ramp) if (ramp := self.recipe.losses.triplet_ramp) else 1.0
        terms = {"identity": identity.mean(), "triplet": triplet.mean()}
        loss = terms["identity"] + weight * terms["triplet"]
        if self.recipe.losses.contrast:
            each = [contrastive(gather(f.float()), everyone) for f in output.normed]
            terms["contrast"] = torch.stack(each).mean()
            loss = loss + self.recipe.losses.contrast * terms["contrast"]
        return {"loss": loss, **terms}
