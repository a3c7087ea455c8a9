"""The verb is a loop over fit: a run for every arm and seed, one table, and a second call that trains nothing."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from mutualformer.train import ablation, checkpoint
from mutualformer.train.fitting import training
from tests.train.support.runs import HELD_OUT, tiny


@pytest.mark.slow
def test_every_arm_and_seed_is_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny("sod", tmp_path, steps=1, validate=HELD_OUT["sod"])
    monkeypatch.setattr(ablation, "configured", lambda *_: config)
    words = ["sod-nano", "--data", "unused", "--out", str(tmp_path), "--fusions", "concat", "cda", "--seeds", "2"]
    assert ablation.main(words) == 0
    table = capsys.readouterr().out
    assert "| cda |" in table
    assert table == (tmp_path / "ablation.md").read_text()
    (arms,) = json.loads((tmp_path / "ablation.json").read_text())["sets"].values()
    values = [checkpoint.read_card(tmp_path / f"cda-seed{s}" / "model.safetensors")["metrics"]["mae"] for s in (0, 1)]
    assert arms["cda"]["mae"]["mean"] == pytest.approx(statistics.fmean(values), abs=1e-12)
    monkeypatch.setattr(training, "fit", lambda config: pytest.fail(f"trained {config.out} again"))
    assert ablation.main(words) == 0


def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "fit", lambda config: pytest.fail("trained"))
    words = ["sod-nano", "--data", "synthetic:8", "--out", str(tmp_path)]
    refused = (
        (["--seeds", "1", "1"], "different seeds"),
        (["--set", "fusion=cda"], "--fusions"),
        (["--validate", "none"], "held-out data"),
    )
    for more, says in refused:
        assert ablation.main([*words, *more]) == 1
        assert says in capsys.readouterr().err
