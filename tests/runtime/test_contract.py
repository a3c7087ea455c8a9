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
        ({"schema_version": 99}, "schema_version is 99"),
        ({"task": "segmentation"}, "expected one of sod, reid"),
        ({"precision": "fp8"}, "expected one of fp32, fp16, int8"),
        ({"input_size": [320]}, "input_size.*a list of 2"),
        ({"input_size": "large"}, "each a whole number"),
        ({"input_size": [320.5, 320]}, "each a whole number"),
        ({"depth_range_m": ["0.3", "10"]}, "each a number"),
        ({"labels": "salient"}, "each text"),
        ({"flavour": "vanilla"}, "unknown keys flavour"),
        ({"input_size": [320, 0]}, "from 1 to 8192"),
        ({"input_size": [320, 1_000_000]}, "from 1 to 8192"),
        ({"depth_range_m": [3, 1]}, "0 < near < far"),
        ({"depth_range_m": [0.3, float("inf")]}, "each a number"),
        ({"opset": "20"}, "opset"),
        ({"weights_sha256": 5}, "weights_sha256"),
        ({"card": [1]}, "card is"),
    ],
)
def test_refuses(change: dict[str, object], says: str) -> None:
    with pytest.raises(ContractError, match=says):
        Contract.from_json({**CONTRACT.to_json(), **change})


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "a/b",
        "$(id)",
        "a b",
        "A",
        ".hidden",
        "-rf",
        "ä",
        "a\n",
        "x" * 65,
        "a\x00",
        "#!/bin/sh",
        5,
        None,
        ["a"],
    ],
)
def test_names_that_a_path_or_a_shell_could_stumble_over_are_refused(name: object) -> None:
    with pytest.raises(ContractError, match="metadata: model is"):
        Contract.from_json({**CONTRACT.to_json(), "model": name})
    with pytest.raises(ContractError, match="metadata: model is"):
        Contract.from_props({**CONTRACT.to_props(), "mutualformer.model": json.dumps(name)})


@pytest.mark.parametrize("name", ["sod-nano", "reid-vit-b16", "a", "x" * 64, "my_model.v2", "0"])
def test_ordinary_names_pass(name: str) -> None:
    assert Contract.from_json({**CONTRACT.to_json(), "model": name}).model == name


def test_refuses_foreign_files() -> None:
    with pytest.raises(ContractError, match="not a model exported by this project"):
        Contract.from_props({"author": "someone"})
    with pytest.raises(ContractError, match="input_size is missing"):
        Contract.from_json({"task": "sod"})
    with pytest.raises(ContractError, match="not JSON"):
        Contract.from_props({"mutualformer.task": "{"})
