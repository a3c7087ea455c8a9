"""The roofline counts what the operator computes and moves; the report writes both of its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.kernels import roofline, roofline_report
from lab.kernels.usage import KernelUsage, read_usage
from tests.plugins import support


@pytest.fixture(scope="module")
def orin() -> list[KernelUsage]:
    """The kernels of sm_87 with vector loads, head_dim up to 64."""
    pytest.importorskip("triton", reason="Triton is not installed")
    folder = support.built() / "generated"
    blob = (folder / "cubins.bin").read_bytes()
    images = [i for i in json.loads((folder / "cubins.json").read_text()) if i["arch"] == 87]
    wanted = [i for i in images if any(i["name"].endswith(end) for end in ("_d16_u8", "_d32_u8", "_d64_u8"))]
    return [read_usage(i, blob[i["offset"] : i["offset"] + i["size"]]) for i in wanted]


def test_report_and_chart(tmp_path: Path, orin: list[KernelUsage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUTUALFORMER_PLUGIN", str(support.built() / "libmutualformer_plugin.so"))
    roofline_report.write(orin, tmp_path)
    document = json.loads((tmp_path / "roofline.json").read_text())
    assert "not measured" in document["note"]
    assert {k["arch"] for k in document["kernels"]} == {87}
    assert {r["device"] for r in document["roofline"]} == {d["name"] for d in document["devices"] if d["arch"] == 87}
    for row in document["roofline"]:
        assert row["roofline_us"] == pytest.approx(row["cda_rows"]["roofline_us"] + row["cda_columns"]["roofline_us"])
        assert row["cda_rows"]["intensity"] > 1
    assert all(d["source"] for d in document["devices"])
    assert (tmp_path / "roofline.png").read_bytes()[:4] == b"\x89PNG"


def test_roofline_counts_the_operator(orin: list[KernelUsage]) -> None:
    """Useful flops of both launches are 20 · N² · head_dim per head, and traffic is what the tensors hold."""
    kernels = {usage.name: usage for usage in orin}
    work = roofline.Workload("test", 2, 484, 8, 64)
    costs = [roofline.cost(kernels[f"{name}_fp16_d64_u8"], work) for name in ("cda_rows", "cda_columns")]
    assert sum(c.useful_flops for c in costs) == 20 * 2 * 8 * 484**2 * 64
    qkv, y, lse = 2 * 484 * 3 * 512 * 2, 2 * 484 * 2 * 512 * 2, 2 * 2 * 8 * 484 * 4
    assert costs[0].compulsory_bytes == 2 * qkv + 2 * y + lse
    assert all(c.issued_flops >= c.useful_flops and c.issued_bytes >= c.compulsory_bytes for c in costs)
    nano = roofline.DEVICES[0]
    assert roofline.roofline_seconds(costs[0], nano, "fp16") == pytest.approx(
        costs[0].issued_flops / 10.24e12, rel=1e-3
    )
    narrow = roofline.cost(kernels["cda_columns_fp16_d16_u8"], roofline.Workload("", 1, 484, 8, 8))
    assert narrow.exponentials == 2 * 8 * 512 * 512, "two modalities, whole tiles"
    assert roofline.roofline_seconds(narrow, nano, "fp16") == pytest.approx(narrow.exponentials / 80e9)
