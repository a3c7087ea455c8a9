"""The card for readers: limits first, a header that hubs read, every set a row."""

from __future__ import annotations

from mutualformer.runtime.card import markdown

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
