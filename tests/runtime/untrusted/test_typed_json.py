"""Any JSON file gives values of the right type and range, or one sentence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutualformer.plugins.files import LARGEST_JSON
from mutualformer.runtime.untrusted.typed_json import Fields, parse_json, read_json


class WrongFile(ValueError):
    """The error a reader hands in."""


def fields(**values: object) -> Fields:
    return Fields(values, "card.json", WrongFile)


def test_values_of_the_right_type_come_through() -> None:
    given = fields(a="x", n=3, f=1, yes=True, size=[4, 5], range=[0.3, 10], names=["p", "q"], inner={"k": 2})
    assert given.text("a", one_of=("x", "y")) == "x"
    assert given.whole("n", 0, 9) == 3
    assert given.number("f", 0, 9) == 1.0
    assert given.flag("yes") is True
    assert given.wholes("size", 2, 1, 9) == (4, 5)
    assert given.numbers("range", 2, 0, 100) == (0.3, 10.0)
    assert given.texts("names") == ("p", "q")
    assert given.fields("inner").whole("k", 0, 9) == 2
    assert given.whole("missing", 0, 9, default=7) == 7
    given.only("a", "n", "f", "yes", "size", "range", "names", "inner")
    assert dict(given)["n"] == 3


WRONG: list[tuple[Callable[[Fields], object], object, str]] = [
    (lambda f: f.text("v", one_of=("a", "b")), 3, "v is 3, expected one of a, b"),
    (lambda f: f.text("v"), "x" * 9999, "expected text of at most"),
    (lambda f: f.whole("v", 1, 8), 9, "v is 9, expected a whole number from 1 to 8"),
    (lambda f: f.whole("v", 1, 8), 3.0, "a whole number"),
    (lambda f: f.whole("v", 0, 8), True, "a whole number"),
    (lambda f: f.number("v", 0, 1), 10**400, "a number from 0 to 1"),
    (lambda f: f.number("v", 0, 1), float("nan"), "a number from 0 to 1"),
    (lambda f: f.number("v", 0, 1), "0.5", "a number from 0 to 1"),
    (lambda f: f.flag("v"), 1, "true or false"),
    (lambda f: f.wholes("v", 2, 0, 9), [1, 2, 3], "a list of 2"),
    (lambda f: f.wholes("v", None, 0, 9), {"0": 1}, "a list, each a whole number"),
    (lambda f: f.numbers("v", None, 0, 9), [1, None], "a list, each a number"),
    (lambda f: f.texts("v"), "abc", "a list, each text"),
    (lambda f: f.fields("v"), [], "a JSON object"),
    (lambda f: f.whole("w", 0, 1), 0, "w is missing"),
    (lambda f: f.only("w"), 0, "unknown keys v"),
]


@pytest.mark.parametrize(("get", "value", "message"), WRONG)
def test_everything_else_names_file_and_key(get: Callable[[Fields], object], value: object, message: str) -> None:
    with pytest.raises(WrongFile, match=message) as caught:
        get(fields(v=value))
    assert str(caught.value).startswith("card.json: ")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, "[" * 65 + "]" * 65, '{"a": NaN}', '{"a": 1e999}', '{"a": 1, "a": 2}']
    + ['{"a": ' + "9" * 65 + "}", b'{"\xff": 1}', "\ufeff{"],
)
def test_what_is_no_json(text: str | bytes) -> None:
    with pytest.raises(WrongFile, match=r"^x\.json: not JSON"):
        parse_json(text, "x.json", WrongFile)


def test_reading_takes_time_with_the_size_alone() -> None:
    keys = "{" + ",".join(f'"{number:x}":0' for number in range(150_000))
    for text in (keys + ',"zz":1,"zz":2}', "9" * 2_000_000, "[" * 2_000_000, '{"a":' * 300_000, "[0," * 600_000):
        began = time.process_time()
        with pytest.raises(WrongFile):
            parse_json(text, "x.json", WrongFile)
        assert time.process_time() - began < 5
    with pytest.raises(WrongFile, match="is 5 MiB of JSON, expected at most 4"):
        parse_json(" " * (5 << 20), "x.json", WrongFile)
    assert parse_json("[" * 64 + "]" * 64, "x.json", WrongFile)


def test_files(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match=r"none\.json: cannot be read .*expected a model card"):
        read_json(tmp_path / "none.json", WrongFile, "model card")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(WrongFile, match=r"list\.json: holds a list, expected a JSON object"):
        read_json(tmp_path / "list.json", WrongFile, "model card")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(LARGEST_JSON + 1)
    with pytest.raises(WrongFile, match="expected at most 4,194,304"):
        read_json(tmp_path / "large.json", WrongFile, "model card")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_no_value_gets_past_its_type(value: object) -> None:
    getters: dict[type, Callable[[Fields], object]] = {
        int: lambda f: f.whole("v", -5, 5),
        float: lambda f: f.number("v", -5, 5),
        str: lambda f: f.text("v"),
        tuple: lambda f: f.wholes("v", None, -5, 5),
    }
    for kind, get in getters.items():
        try:
            actual = get(fields(v=value))
        except WrongFile:
            continue
        assert type(actual) is kind
        json.dumps(actual, allow_nan=False)
