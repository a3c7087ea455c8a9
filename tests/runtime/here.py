"""A fixture for the tests of bags and recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mutualformer.runtime.recording import replay
from mutualformer.runtime.sources.bags import rosbag
from mutualformer.runtime.sources.base import BaseCamera


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child process reads is read here, which takes milliseconds."""
    for module in (replay, rosbag):

        def here(_: str, target: str, query: Mapping[str, Any], name: str, module: Any = module) -> BaseCamera:
            camera: BaseCamera = module.open_here(target, query)
            return camera

        monkeypatch.setattr(module, "ChildCamera", here)
