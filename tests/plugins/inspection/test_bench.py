"""``mutualformer bench kernels`` on one architecture: the files it writes, and what it says where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mutualformer.plugins.inspection import bench
from mutualformer.plugins.inspection.usage import KernelUsage, read_usage
from tests.plugins import support


def _orin() -> list[KernelUsage]:
    folder = support.built() / "generated"
    blob = (folder / "cubins.bin").read_bytes()
    images = [i for i in json.loads((folder / "cubins.json").read_text()) if i["arch"] == 87]
    wanted = [i for i in images if any(i["name"].endswith(end) for end in ("_d16_u8", "_d32_u8", "_d64_u8"))]
    return [read_usage(i, blob[i["offset"] : i["offset"] + i["size"]]) for i in wanted]


def test_report_and_chart(tmp_path: Path, plugin_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "read_all", _orin)
    assert bench.main(["--out", str(tmp_path / "out")]) == 0
    document = json.loads((tmp_path / "out" / "kernels.json").read_text())
    assert "not measured" in document["note"]
    assert {k["arch"] for k in document["kernels"]} == {87}
    assert {r["device"] for r in document["roofline"]} == {d["name"] for d in document["devices"] if d["arch"] == 87}
    for row in document["roofline"]:
        assert row["roofline_us"] == pytest.approx(row["cda_rows"]["roofline_us"] + row["cda_columns"]["roofline_us"])
        assert row["cda_rows"]["intensity"] > 1
    assert all(d["source"] for d in document["devices"])
    assert (tmp_path / "out" / "kernels.png").read_bytes()[:4] == b"\x89PNG"


def test_without_a_plugin_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUTUALFORMER_PLUGIN", str(tmp_path / "none.so"))
    assert bench.main(["--out", str(tmp_path / "out")]) == 1
    assert "which is not a file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
