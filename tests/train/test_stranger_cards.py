"""A checkpoint from anywhere: its card is believed in nothing that costs memory, fetches files or changes the model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mutualformer.runtime.untrusted.seal import sealed
from mutualformer.train import checkpoint, registry
from mutualformer.train.checkpoint import CheckpointError
from tests.train.fitting.test_resume import environment


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    model = registry.build("sod-nano", input_size=(64, 64))
    return checkpoint.save(tmp_path / "model.safetensors", model, {"metrics": {"mae": 0.5}})


def with_card(path: Path, **changes: Any) -> Path:
    card = json.loads(checkpoint.card_path(path).read_text())
    checkpoint.card_path(path).write_text(json.dumps(sealed({**card, **changes})))
    return path


def test_every_flipped_bit_of_a_card_is_noticed(saved: Path) -> None:
    file = checkpoint.card_path(saved)
    whole = file.read_bytes()
    unnoticed = []
    for position in range(0, 8 * len(whole), 37):
        changed = bytearray(whole)
        changed[position // 8] ^= 1 << position % 8
        file.write_bytes(bytes(changed))
        try:
            card = checkpoint.read_card(saved)
        except CheckpointError:
            continue
        if card != json.loads(whole):
            unnoticed.append(position)
    assert unnoticed == []


def test_cards_of_the_first_schema_are_still_read(saved: Path) -> None:
    card = json.loads(checkpoint.card_path(saved).read_text())
    del card["card_sha256"]
    checkpoint.card_path(saved).write_text(json.dumps({**card, "schema_version": 1}))
    assert checkpoint.load(saved).card["metrics"] == {"mae": 0.5}
    checkpoint.card_path(saved).write_text(json.dumps({**card, "schema_version": 2}))
    with pytest.raises(CheckpointError, match="was altered or is corrupt"):
        checkpoint.load(saved)


HUGE = [
    ({"dim": 8192, "num_heads": 4}, "expected"),
    ({"dim": 16384}, "dim is 16384, expected a whole number from 0 to 8192"),
    ({"decoder_width": 10**12}, "expected a whole number from"),
    ({"iterations": 10**6}, "expected a whole number from 0 to 16"),
    ({"input_size": [10**6, 10**6]}, "each a whole number from 1 to 8192"),
    ({"dim": "64"}, "expected a whole number"),
    ({"alpha": 7}, "a number from 0 to 1"),
    ({"rgb_backbone": "hf-hub:someone/something"}, "the name of a model that timm has itself"),
    ({"depth_backbone": "local-dir:/etc"}, "the name of a model that timm has itself"),
    ({"rgb_backbone": ["a"]}, "expected text"),
]


@pytest.mark.parametrize(("overrides", "message"), HUGE)
def test_dimensions_and_backbones_of_a_stranger(saved: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(with_card(saved, overrides={"input_size": [64, 64], **overrides}))


@pytest.mark.slow
def test_a_huge_model_is_refused_without_its_memory(saved: Path) -> None:
    with_card(saved, overrides={"input_size": [64, 64], "dim": 8192, "decoder_width": 8192})
    program = (
        "import sys, resource; from mutualformer.train import checkpoint\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: checkpoint.load(sys.argv[1])\n"
        "except checkpoint.CheckpointError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    words = [sys.executable, "-c", program, str(saved)]
    run = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True, timeout=300)
    assert int(run.stdout) < 400_000  # KiB; the model itself would take more than 5 GB


def test_pretrained_in_a_card_fetches_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    build = timm.create_model

    def offline(*names: Any, **options: Any) -> nn.Module:
        assert not options.get("pretrained"), "weights were asked for"
        return build(*names, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    checkpoint.load(with_card(saved, overrides={"input_size": [64, 64], "pretrained": True}))
