"""The ablation on photographs: equal arms, scored frame by frame on what nothing was chosen by, repeated by nobody."""

from __future__ import annotations

import csv
import dataclasses
import json
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lab.ablation import __main__ as ablation
from lab.ablation import photographs, witness
from lab.ablation import study as studies
from lab.ablation.outcome import Study
from lab.ablation.photographs import HeldOut, conditions_of
from lab.ablation.runs import planned
from mutualformer.runtime.sources.frame import Frames, Item
from mutualformer.runtime.tasks import SOD
from mutualformer.train import checkpoint
from mutualformer.train.evaluation.corrupt import CorruptFrames
from mutualformer.train.evaluation.maps import predict_maps, score
from mutualformer.train.evaluation.session import ModuleSession
from mutualformer.train.fitting.config import FitConfig, FitError
from tests.lab.ablation.photo_root import tiny_on_photographs, write_photo_root
from tests.train.support.runs import HELD_OUT

pytestmark = pytest.mark.full  # several models are trained

ARMS, SEEDS, FRAMES = ("concat", "cda"), (0, 3), 6
Outcome = tuple[FitConfig, Study]
CONDITIONS = ["photographs", "with_depth", "composites", "composites depth=zero", "composites depth=shuffle"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photo_root(tmp_path_factory.mktemp("photo"))


@pytest.fixture(scope="module")
def study(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Two fusions, two seeds, two steps; the study and its configuration."""
    config = tiny_on_photographs(root, tmp_path_factory.mktemp("out"))
    return config, studies.study(config, SEEDS, ARMS, frames=FRAMES)


def test_metrics_are_those_of_the_weights_on_the_frames(study: Outcome) -> None:
    config, outcome = study
    result = json.loads((config.out / "ablation.json").read_text())
    assert result == json.loads(json.dumps(outcome.result))
    held_out = HeldOut(config.data, FRAMES)
    sets = held_out.sets()
    session = ModuleSession(checkpoint.load(config.out / "concat-seed3" / "model.safetensors"))
    for key, (name, how) in conditions_of(sets).items():
        modality, _, way = how.partition("=")
        expected = score(session, CorruptFrames(sets[name], {modality: way}) if how else sets[name])
        actual = result["arms"]["concat"]["conditions"][key]
        for metric in SOD.names:
            assert actual["runs"]["3"][metric] == pytest.approx(expected[metric], abs=1e-9)
            values = [actual["runs"][str(seed)][metric] for seed in SEEDS]
            assert actual["metrics"][metric]["mean"] == pytest.approx(statistics.fmean(values), abs=1e-12)
            assert actual["metrics"][metric]["std"] == pytest.approx(statistics.stdev(values), abs=1e-12)
        assert actual["images"] == FRAMES
    assert list(result["arms"]["cda"]["conditions"]) == CONDITIONS


def test_differences_are_paired_by_seed(study: Outcome) -> None:
    config, _ = study
    arms = json.loads((config.out / "ablation.json").read_text())["arms"]
    assert "minus_cda" not in arms["cda"]
    for metric in SOD.names:
        for key in CONDITIONS:
            ours, theirs = (arms[arm]["conditions"][key]["runs"] for arm in ARMS)
            gaps = [ours[str(seed)][metric] - theirs[str(seed)][metric] for seed in SEEDS]
            paired = arms["concat"]["minus_cda"][key][metric]
            assert paired["by_seed"] == pytest.approx(gaps, abs=1e-9)
            assert paired["mean"] == pytest.approx(statistics.fmean(gaps), abs=1e-9)
            assert paired["low"] - 1e-12 <= paired["mean"] <= paired["high"] + 1e-12
        for arm in arms.values():
            runs = {key: arm["conditions"][key]["runs"]["0"][metric] for key in CONDITIONS}
            gained = {
                ("composites", "gain"): runs["composites"] - runs["composites depth=zero"],
                ("composites", "wrong"): runs["composites depth=shuffle"] - runs["composites depth=zero"],
                ("with_depth", "gain"): runs["with_depth"] - runs["photographs"],
            }
            for (key, which), expected in gained.items():
                assert arm["depth"][key][which][metric]["by_seed"][0] == pytest.approx(expected, abs=1e-9)


def test_arms_of_a_seed_begin_alike_and_see_the_same_batches(study: Outcome) -> None:
    config, outcome = study
    assert outcome.result["same_begin_and_batches"] is True
    folders = {(arm, seed): config.out / f"{arm}-seed{seed}" for arm in ARMS for seed in SEEDS}
    first = {key: (folder / witness.WEIGHTS).read_text() for key, folder in folders.items()}
    batches = {key: witness.batches_of(folder) for key, folder in folders.items()}
    for seed in SEEDS:
        assert first["concat", seed] == first["cda", seed]
        assert batches["concat", seed] == batches["cda", seed]
        assert sorted(batches["cda", seed]) == [0, 1]
    assert first["cda", 0] != first["cda", 3]
    assert batches["cda", 0][0] != batches["cda", 3][0]
    ends = {checkpoint.read_card(folder / "model.safetensors")["weights_sha256"] for folder in folders.values()}
    assert len(ends) == 4  # they have gone different ways


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (witness.WEIGHTS, "0123\n", "cda-seed0 and concat-seed0 began with different weights"),
        (witness.BATCHES, "0 00000000\n1 00000000\n", "had different batches at step 0"),
    ],
)
def test_arms_that_did_not_begin_alike_are_refused(study: Outcome, name: str, text: str, message: str) -> None:
    config, _ = study
    path = config.out / "cda-seed0" / name
    before = path.read_text()
    path.write_text(text)
    try:
        with pytest.raises(FitError, match=message):
            studies.study(config, SEEDS, ARMS, frames=FRAMES)
    finally:
        path.write_text(before)


def test_nothing_is_chosen_by_what_scores(study: Outcome) -> None:
    """No validation while it trains, the last step's weights, and photographs that `fit` does not validate on."""
    config, _ = study
    run = config.out / "cda-seed0"
    assert not (run / "validation.jsonl").exists()
    card = checkpoint.read_card(run / "model.safetensors")
    assert "kept" not in card["data"]
    assert card["recipe"]["steps_done"] == 2
    assert card["metrics"]["sets"]["composites"]["images"] == FRAMES
    assert "frames" not in card["metrics"]["sets"]["composites"]
    assert json.loads((run / "plan.json").read_text())["validate_every"] == 0
    photo = photographs._root(config.data)
    frames = HeldOut(config.data, 200).sets()["photographs"]
    scored = {frames[index].name for index in range(len(frames))}
    assert len(scored) == 8
    assert not scored & {item.name for item in photo.validation_sets(composites=0)["photographs"].items}


def test_files_for_people_and_programs(study: Outcome) -> None:
    config, outcome = study
    rows = list(csv.DictReader((config.out / "ablation.csv").open()))
    assert len(rows) == len(ARMS) * len(SEEDS) * len(CONDITIONS)
    text = (config.out / "ablation.md").read_text()
    assert text == outcome.table
    assert text.startswith("## sod-nano on photographs: 2 fusions\n")
    assert "2 steps of 8 a run (32 px)" in text
    assert "(checked)" in text
    assert "What depth contributes" in text
    assert "![S of every run, and what depth adds](ablation.png)" in text
    assert (config.out / "ablation.png").read_bytes()[:4] == b"\x89PNG"


def test_a_second_call_trains_and_scores_nothing_and_more_frames_are_scored_anew(
    study: Outcome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, outcome = study
    monkeypatch.setattr(studies, "fit", lambda config, _: pytest.fail(f"trained {config.out}"))
    monkeypatch.setattr(f"{photographs.__name__}.predict_maps", lambda *_: pytest.fail("scored again"))
    assert studies.study(config, SEEDS, ARMS, frames=FRAMES).table == outcome.table
    counted: list[str] = []

    def counting(session: ModuleSession, frames: Frames) -> Iterator[tuple[Item, NDArray[np.float32]]]:
        counted.append(session.contract.model)
        return predict_maps(session, frames)

    monkeypatch.setattr(f"{photographs.__name__}.predict_maps", counting)
    again = studies.study(config, SEEDS, ARMS, frames=FRAMES - 2)
    assert len(counted) == len(ARMS) * len(SEEDS) * len(CONDITIONS)
    assert again.result["arms"]["cda"]["conditions"]["photographs"]["images"] == FRAMES - 2
    studies.study(config, SEEDS, ARMS, frames=FRAMES)
    monkeypatch.setattr(ablation, "configured", lambda *_: config)
    words = ["sod-nano", "--data", config.data, "--out", str(config.out), "--seeds", "0", "3", "--frames", str(FRAMES)]
    assert ablation.main([*words, "--fusions", *ARMS]) == 0
    assert capsys.readouterr().out.startswith("## sod-nano on photographs")


def test_data_of_ones_own_is_scored_beside(study: Outcome) -> None:
    config, _ = study
    more = dataclasses.replace(config, validate=HELD_OUT["sod"])
    result = studies.study(more, (0,), ["cda"], frames=FRAMES).result
    keys = ["synthetic-6-seed-8", "synthetic-6-seed-8 depth=zero", "synthetic-6-seed-8 depth=shuffle"]
    assert list(result["arms"]["cda"]["conditions"]) == [*CONDITIONS, *keys]
    assert set(result["arms"]["cda"]["depth"]) == {"composites", "with_depth", "synthetic-6-seed-8"}
    assert f"Also scored: `{HELD_OUT['sod']}`" in (config.out / "seeds.md").read_text()


def test_what_cannot_be_done_is_refused(study: Outcome, tmp_path: Path) -> None:
    config, _ = study
    with pytest.raises(FitError, match="--jobs is 0"):
        studies.study(config, SEEDS, ARMS, jobs=0)
    with pytest.raises(FitError, match="--frames is 1, expected at least 2"):
        studies.study(config, SEEDS, ARMS, frames=1)
    (run,) = planned(dataclasses.replace(config, out=tmp_path), (0,), ["cda"])
    assert np.isfinite(run.config.recipe.steps)
    assert not run.finished()
