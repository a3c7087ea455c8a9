"""The worked example of plugins/README.md, executed as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mutualformer.plugins import attributes as a
from tests.plugins.support import ROOT

README = ROOT / "plugins" / "README.md"


def test_the_worked_example_runs(plugin_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    assert namespace["engine"] is not None


@pytest.mark.parametrize("name", list(a.CdaAttributes(1).as_dict()))
def test_every_attribute_is_documented(name: str) -> None:
    rows = [line for line in README.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    if name != "num_heads":
        default = str(a.CdaAttributes(1).as_dict()[name])
        assert default in rows[0].split("|")[3], f"{name}'s default {default} is not what the README says"
