"""One headless browser for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.preview.webdriver import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    opened = Browser()
    yield opened
    opened.close()
