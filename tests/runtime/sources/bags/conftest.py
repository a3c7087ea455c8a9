from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mutualformer.runtime.sources.bags import recording, rosbag
from mutualformer.runtime.sources.base import BaseCamera


@pytest.fixture(autouse=True)
def in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child process reads is read here, which takes milliseconds, but in tests marked ``child``."""
    if request.node.get_closest_marker("child") is None:
        for module in (recording, rosbag):

            def here(_: str, target: str, query: Mapping[str, Any], name: str, module: Any = module) -> BaseCamera:
                camera: BaseCamera = module.open_here(target, query)
                return camera

            monkeypatch.setattr(module, "ChildCamera", here)
