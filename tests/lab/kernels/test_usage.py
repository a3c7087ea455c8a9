"""``python -m lab.kernels.usage``: the file it writes, and what it reports where there is no plugin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.kernels import usage
from tests.plugins import support


def test_every_kernel_has_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUTUALFORMER_PLUGIN", str(support.built() / "libmutualformer_plugin.so"))
    entries = usage.manifest(support.built() / "generated")[::40]  # cuobjdump takes a while for all of them
    monkeypatch.setattr(usage, "manifest", lambda folder=None: entries)
    assert usage.main(["--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "kernels.json").read_text())["kernels"]
    assert [row["name"] for row in rows] == [image["name"] for image, _ in entries]
    assert all(row["registers"] > 0 and row["blocks"] > 0 and not row["spills"] for row in rows)
    assert "none spills" in capsys.readouterr().out


def test_without_a_plugin_it_reports_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUTUALFORMER_PLUGIN", str(tmp_path / "none.so"))
    assert usage.main(["--out", str(tmp_path / "out")]) == 1
    assert "which is not a file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
