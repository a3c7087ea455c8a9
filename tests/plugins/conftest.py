"""Fixtures of the plugin tests: the built library, the test driver and the harness, once per process."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins import support
from tests.standins.driver import Driver
from tests.standins.harness import Harness


@pytest.fixture(scope="session", autouse=True)
def _interpreter() -> None:
    """CPU tensors go through the kernels' source in Triton's interpreter."""
    if importlib.util.find_spec("triton") is not None:
        from tests.standins.interpreted import interpret_on_cpu

        interpret_on_cpu()


@pytest.fixture(scope="session")
def plugin_path() -> Path:
    """The built plugin, registered with TensorRT-RTX."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    support.built()
    from mutualformer.plugins import library

    return library.load("rtx")


@pytest.fixture(scope="session")
def _driver(plugin_path: Path) -> Driver:
    return Driver(support.built())


@pytest.fixture
def driver(_driver: Driver) -> Iterator[Driver]:
    """The test driver, fresh; fails the test if a launch raised in Python."""
    _driver.reset()
    yield _driver
    assert not _driver.errors, _driver.errors[0]


@pytest.fixture
def harness(driver: Driver, plugin_path: Path) -> Iterator[Harness]:
    """The plugin as TensorRT drives it; its error messages go to ``harness.log()`` meanwhile."""
    from mutualformer.plugins import library

    actual = Harness(support.built(), Path(library._registered["rtx"].mapped))
    yield actual
    actual.release_log()
