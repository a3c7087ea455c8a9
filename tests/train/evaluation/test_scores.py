"""Answers that no score is defined on are refused with the frame's name, never averaged in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.session import Session
from mutualformer.runtime.session.base import Arrays, ModelOutputError
from mutualformer.train.evaluation.maps import ScoreError, sod_metrics, to_grey
from mutualformer.train.evaluation.scoring import evaluate


class Broken(Session):
    """A model with something that is no number in its answer."""

    device = "cpu"

    def __init__(self, task: str, value: float) -> None:
        self.contract, self.value = Contract(task, "broken", (32, 32)), value

    def _run(self, inputs: Arrays) -> Arrays:
        if self.contract.task == "sod":
            answer = np.full((1, 32, 32), 0.5, np.float32)
            answer[0, 3, 4] = self.value
            return {"saliency": answer}
        feature = np.eye(len(inputs["rgb"]), 8, dtype=np.float32)
        feature[0, 0] = self.value
        return {"feature": feature}

    def describe(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("task", ["sod", "reid"])
def test_nan_and_infinity_stop_the_evaluation(task: str, value: float) -> None:
    with pytest.raises(ModelOutputError, match=r"broken \(fp32\) answered with (NaN|infinity)"):
        evaluate(Broken(task, value), "synthetic:4?seed=3")
    with pytest.raises(ScoreError, match="holds NaN or infinity in 1 of 4 pixels"):  # whoever hands in a map
        to_grey(np.array([[0.0, 0.5], [1.0, value]]))


def test_finite_answers_are_scored() -> None:
    assert evaluate(Broken("sod", 0.25), "synthetic:4?seed=3")["images"] == 4
    assert to_grey(np.array([[0.0, 0.5, 1.0, 2.0, -1.0]])).tolist() == [[0, 128, 255, 255, 0]]


def test_a_mask_of_one_pixel_has_no_e_measure() -> None:
    with pytest.raises(ScoreError, match=r"the mask is \(1, 1\), expected at least 2 pixels"):
        sod_metrics([(np.ones((1, 1)), np.full((1, 1), 255, np.uint8))])
