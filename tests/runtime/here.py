"""A fixture for the tests of bags and recordings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pytest

from mutualformer.runtime.recording import replay
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import BaseCamera


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child process reads is read here, which takes milliseconds."""

    def here(module: str, target: str, query: Mapping[str, Any], name: str) -> BaseCamera:
        module, _, function = module.partition(":")
        source = importlib.import_module(f".{module}", "mutualformer.runtime.sources")
        camera: BaseCamera = getattr(source, function or "open_source")(target, query)
        return camera

    for caller in (opening, replay):
        monkeypatch.setattr(caller, "ChildCamera", here)
