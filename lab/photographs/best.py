"""Validation that also keeps the best weights, for runs whose score is later measured on other frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mutualformer.runtime.files import write_json
from mutualformer.runtime.sources.frame import Frames, Item
from mutualformer.runtime.untrusted.typed_json import read_json
from mutualformer.train import checkpoint
from mutualformer.train.fitting.validation import Validation, score_of

BEST, SCORE = "best.safetensors", "best.json.score"


class Best(Validation):
    """``OUT/best.safetensors`` are the weights with the largest mean S-measure over the sets so far."""

    def __init__(self, sets: Mapping[str, Frames | Sequence[Item]], out: Path, every: int) -> None:
        super().__init__(sets, out, every)
        self.best = _best_so_far(out)[0]

    def validate(self, model: nn.Module, step: int, board: Any = None) -> dict[str, dict[str, Any]]:
        """As Validation.validate, keeping ``model`` where it is the best so far."""
        results = super().validate(model, step, board)
        score = score_of(results)
        if score > self.best:
            self.best = score
            checkpoint.save(self.out / BEST, model, {"metrics": results, "step": step})
            write_json(self.out / SCORE, {"score": score, "step": step})
        return results

    def conclude(self, model: nn.Module, facts: dict[str, Any]) -> dict[str, Any]:
        """Put the best weights into ``model``; returns their metrics by set and adds their step to ``facts``."""
        best, step = _best_so_far(self.out)
        if step < 0:
            return {}
        kept = checkpoint.load(self.out / BEST)
        model.load_state_dict(kept.state_dict())
        facts["kept"] = f"the best of its validations: step {step}, mean S-measure {best:.4f}"
        card: dict[str, Any] = kept.card  # type: ignore[assignment]  # put there by checkpoint.load
        return {"sets": card["metrics"]}


def _best_so_far(out: Path) -> tuple[float, int]:
    """Score and step of the best validation in the folder of a run, (-1, -1) before the first."""
    path = out / SCORE
    if not path.is_file():
        return -1.0, -1
    kept = read_json(path, ValueError, "score of a validation")
    return kept.number("score", -1, 1), kept.whole("step", 0, 1 << 40)
