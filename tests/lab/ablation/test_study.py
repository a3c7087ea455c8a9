"""The ablation: equal arms, one table with the spread, and a second call that repeats nothing."""

from __future__ import annotations

import csv
import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.ablation import __main__ as ablation
from lab.ablation import study as studies
from mutualformer.runtime.tasks import TASKS
from mutualformer.train import checkpoint, registry
from mutualformer.train.ablation import seeds_of
from mutualformer.train.fitting.config import FitConfig, FitError
from mutualformer.train.fusion import FUSIONS
from tests.train.support.runs import HELD_OUT, tiny

pytestmark = pytest.mark.full  # several models are trained


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> FitConfig:
    """Four fusions, two seeds, one step."""
    config = tiny("sod", tmp_path_factory.mktemp("ablation"), steps=1, validate=HELD_OUT["sod"])
    studies.study(config, (0, 3), latency=True)
    return config


def test_the_table_is_made_of_the_runs(study: FitConfig) -> None:
    result = json.loads((study.out / "ablation.json").read_text())
    assert tuple(result["arms"]) == FUSIONS
    assert result["seeds"] == [0, 3]
    assert len({arm["params"] for arm in result["arms"].values()}) == 1
    for fusion, arm in result["arms"].items():
        for name in TASKS["sod"].names:
            values = []
            for seed in (0, 3):
                card = checkpoint.read_card(study.out / f"{fusion}-seed{seed}" / "model.safetensors")
                assert card["overrides"]["fusion"] == fusion
                assert card["recipe"]["minutes"] == 0
                values.append(card["metrics"][name])
                assert card["metrics"]["over_seeds"][name] == arm["metrics"][name]
            assert arm["metrics"][name]["mean"] == pytest.approx(statistics.fmean(values), abs=1e-12)
            assert arm["metrics"][name]["std"] == pytest.approx(statistics.stdev(values), abs=1e-12)
        assert result["latency"]["arms"][fusion]["p50_ms"] > 0
    gap = [result["arms"]["cda"]["runs"][s]["mae"] - result["arms"]["concat"]["runs"][s]["mae"] for s in ("0", "3")]
    assert result["arms"]["cda"]["minus_concat"]["mae"]["mean"] == pytest.approx(statistics.fmean(gap), abs=1e-12)


def test_arms_differ_in_the_operator_alone(study: FitConfig) -> None:
    """The same seed draws the same first weights; after a step the arms have gone different ways."""
    starts, ends = [], []
    for fusion in FUSIONS:
        torch.manual_seed(0)
        starts.append(registry.build("sod-nano", input_size=[32, 64], fusion=fusion).state_dict())
        ends.append(checkpoint.load(study.out / f"{fusion}-seed0" / "model.safetensors").state_dict())
    for other in starts[1:]:
        assert all(torch.equal(value, other[name]) for name, value in starts[0].items())
    assert any(not torch.equal(value, ends[2][name]) for name, value in ends[0].items())


def test_files_for_people_and_programs(study: FitConfig) -> None:
    rows = list(csv.DictReader((study.out / "ablation.csv").open()))
    assert len(rows) == 2 * len(FUSIONS)
    text = (study.out / "ablation.md").read_text()
    assert all(f"| {fusion} |" in text for fusion in FUSIONS)
    assert "no time budget" in text
    assert (study.out / "ablation.png").read_bytes()[:4] == b"\x89PNG"
    assert (study.out / "cda-seed3" / "model.md").is_file()


def test_a_second_call_trains_nothing_and_a_missing_run_alone_is_made_again(
    study: FitConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []
    monkeypatch.setattr(studies, "fit", lambda config, _: trained.append(config.out.name))
    before = (study.out / "ablation.csv").read_bytes()
    studies.study(study, (0, 3))
    assert trained == []
    assert (study.out / "ablation.csv").read_bytes() == before
    weights = study.out / "concat-seed3" / "model.safetensors"
    hidden = weights.rename(weights.with_suffix(".hidden"))
    with pytest.raises(checkpoint.CheckpointError):  # the stand-in for fit makes no file
        studies.study(study, (0, 3))
    hidden.rename(weights)
    assert trained == ["concat-seed3"]
    assert "7 of 8 runs are finished" in capsys.readouterr().err


def test_budget_by_the_clock_is_off_and_said(
    study: FitConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timed = dataclasses.replace(study, recipe=dataclasses.replace(study.recipe, minutes=5.0))
    studies.study(timed, (0, 3))
    assert "time budget of 5 min is off: runs are compared at equal steps (1)" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused(study: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(
        message: str, numbers: Sequence[int] = (0, 3), fusions: Sequence[str] | None = None, **changes: Any
    ) -> None:
        with pytest.raises(FitError, match=message):
            studies.study(dataclasses.replace(study, **changes), seeds_of(numbers), fusions)

    refused("held-out data: give --validate", validate=None)
    refused("leave --set fusion", overrides={"fusion": "cda"})
    refused("expected different seeds", numbers=(1, 1))
    refused(r"begun with recipe\.batch = \d+, now 3", recipe=dataclasses.replace(study.recipe, batch=3))
    refused("omit --resume", resume=True)
    refused("fusion sum is unknown, expected some of concat", fusions=["sum"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused("under torchrun into OUT/FUSION-seedS")


def test_seeds_alone_tell_the_spread_of_one_model_reid(tmp_path: Path) -> None:
    config = tiny("reid", tmp_path, steps=1, validate=HELD_OUT["reid"])
    studies.study(config, seeds_of([2]), ["cda"])
    result = json.loads((tmp_path / "seeds.json").read_text())
    assert result["seeds"] == [0, 1]
    assert list(result["arms"]) == ["cda"]
    assert set(result["arms"]["cda"]["metrics"]) == {"map", "r1", "r5", "r10"}
    assert "standard error" in (tmp_path / "cda-seed0" / "model.md").read_text()


def test_the_verb_continues_and_tells_what_depth_contributes(
    study: FitConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finished runs of the study, asked for from the command line."""
    monkeypatch.setattr(studies, "fit", lambda config, _: pytest.fail(f"trained {config.out}"))
    monkeypatch.setattr(ablation, "configured", lambda *_: study)
    assert ablation.main(["sod-nano", "--data", "unused", "--out", str(study.out), "--seeds", "0", "3", "--probe"]) == 0
    assert "What depth contributes" in capsys.readouterr().out
    arm = json.loads((study.out / "ablation.json").read_text())["arms"]["cda"]
    gains = []
    for seed in (0, 3):
        metrics = checkpoint.read_card(study.out / f"cda-seed{seed}" / "model.safetensors")["metrics"]
        gains.append(metrics["mae"] - metrics["depth=zero"]["mae"])
    assert arm["gain_of_depth"]["mae"]["mean"] == pytest.approx(statistics.fmean(gains), abs=1e-12)
