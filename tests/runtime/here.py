"""A fixture for the tests of bags and recordings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import BaseCamera


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child process reads is read here, which takes milliseconds."""

    def here(module: str, target: str, query: Mapping[str, Any], name: str) -> BaseCamera:
        source = importlib.import_module(f".{module}", "mutualformer.runtime.sources")
        camera: BaseCamera = source.open_source(target, query)
        return camera

    monkeypatch.setattr(opening, "ChildCamera", here)
