"""JSON that every reader accepts."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mutualformer.runtime.untrusted.finite import finite_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_any_value_becomes_strict_json(value: object) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    strict = json.loads(finite_json(value), parse_constant=refuse)
    text = json.dumps(value)
    assert strict == value or "NaN" in text or "Infinity" in text


def test_only_what_is_not_finite_becomes_null() -> None:
    assert finite_json({"a": float("nan"), "b": (1.5, float("-inf"))}) == '{"a": null, "b": [1.5, null]}'
    assert finite_json(float(np.float32(0.1))) == str(float(np.float32(0.1)))
