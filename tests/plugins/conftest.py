"""Fixtures of the plugin tests: the built library, the test driver and the harness, once per process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins import support


@pytest.fixture(scope="session")
def plugin_path() -> Path:
    """The built plugin, registered with TensorRT-RTX."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    support.built()
    from plugins import library

    return library.load("rtx")


@pytest.fixture(scope="session")
def _driver(plugin_path: Path) -> support.Driver:
    return support.Driver(support.built())


@pytest.fixture
def driver(_driver: support.Driver) -> Iterator[support.Driver]:
    """The test driver, fresh; fails the test if a launch raised in Python."""
    _driver.reset()
    yield _driver
    assert not _driver.errors, _driver.errors[0]


@pytest.fixture
def harness(driver: support.Driver, plugin_path: Path) -> support.Harness:
    return support.Harness(support.built(), plugin_path)
