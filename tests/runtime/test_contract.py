"""The metadata schema: what goes in comes out, and nothing else is accepted."""

from __future__ import annotations

import json

import pytest

from mutualformer.runtime.contract import Contract, ContractError

CONTRACT = Contract("sod", "sod-nano", (320, 320), labels=("salient",), opset=20, card={"data": "synthetic"})


def test_round_trips() -> None:
    assert Contract.from_json(json.loads(json.dumps(CONTRACT.to_json()))) == CONTRACT
    assert Contract.from_props(CONTRACT.to_props()) == CONTRACT
    assert Contract.from_props({**CONTRACT.to_props(), "someone-elses": "key"}) == CONTRACT


def test_inputs_are_what_a_camera_gives() -> None:
    rgb, depth = CONTRACT.inputs
    assert (rgb.name, rgb.dtype, rgb.shape) == ("rgb", "uint8", (-1, 320, 320, 3))
    assert (depth.name, depth.dtype, depth.shape) == ("depth", "float32", (-1, 320, 320))
    assert [spec.name for spec in Contract("reid", "reid-tiny", (64, 32)).inputs] == ["rgb", "nir"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": 99}, "schema is version 99"),
        ({"task": "segmentation"}, "expected one of sod, reid"),
        ({"precision": "fp8"}, "expected one of fp32, fp16, int8"),
        ({"input_size": [320]}, "expected \\(height, width\\)"),
        ({"input_size": "large"}, "malformed"),
        ({"flavour": "vanilla"}, "unknown keys flavour"),
    ],
)
def test_refuses(change: dict[str, object], says: str) -> None:
    with pytest.raises(ContractError, match=says):
        Contract.from_json({**CONTRACT.to_json(), **change})


def test_refuses_foreign_files() -> None:
    with pytest.raises(ContractError, match="not a model exported by this project"):
        Contract.from_props({"author": "someone"})
    with pytest.raises(ContractError, match="'model' is missing"):
        Contract.from_json({"task": "sod"})
    with pytest.raises(ContractError, match="not JSON"):
        Contract.from_props({"mutualformer.task": "{"})
