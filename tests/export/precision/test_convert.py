"""What a conversion reports: how far the new file is from its source, and on which kind of frame most."""

from __future__ import annotations

import dataclasses

import pytest

from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.export.precision.convert import _distance
from mutualformer.export.precision.half import to_fp16
from tests.conftest import ModelFiles


def test_the_kind_of_frame_on_which_int8_is_worst_is_named(nano: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUTUALFORMER_DATA", raising=False)
    model, contract = read_onnx(nano.onnx)
    int8 = dataclasses.replace(contract, precision="int8")  # of the precisions only INT8 is judged on every kind
    text = _distance(model, to_fp16(model), int8, None, "the fp32 file")
    assert text.startswith("its answers differ from the fp32 file's by ")
    assert " kinds; most, " in text
    assert text.endswith(("rendered (synthetic:24?seed=500000)", "grey ones, 43 % of depth missing", "motorcycle)"))
    assert _distance(model, model, contract, "synthetic:2?seed=3", "x").endswith(
        "by 0 on average, 0 at most, on 2 frames of synthetic:2?seed=3"
    )
