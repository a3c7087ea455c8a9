"""Untrusted names cannot steer a terminal; ordinary names of any language stay as they are."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutualformer.runtime.untrusted.printable import printable


@pytest.mark.parametrize("name", ["RealSense D435i", "/Bilder/größe.png", "数据/深度.png", "кадр_1", "a–b … ×2"])
def test_ordinary_names_pass(name: str) -> None:
    assert printable(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\x9b2J", "\\x9b2J"),
        ("\u2028", "\\u2028"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_steers_is_made_visible(name: str, shown: str) -> None:
    assert printable(name) == shown


@given(st.text())
def test_nothing_that_is_left_steers(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(character)[0] == "C" for character in shown)
    shown.encode()
    assert printable(shown) == shown
