"""The doctor: a cure in every line that needs one, and rules for USB cameras."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mutualformer.extras import EXTRAS
from mutualformer.runtime import doctor
from mutualformer.runtime.sources import udev
from mutualformer.runtime.sources.opening import SOURCES
from tests.runtime.test_cli import run_without_extras
from tests.runtime.test_stream import fake_usb


def test_every_line_that_is_not_ok_has_its_cure() -> None:
    for finding in doctor.examine():
        assert finding.state in ("ok", "missing", "broken")
        assert finding.detail
        assert bool(finding.repair) is (finding.state != "ok"), finding


def test_the_base_installation_is_healthy() -> None:
    run = run_without_extras("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(run.stdout)}
    assert run.returncode == 0, [finding for finding in findings.values() if finding["state"] == "broken"]
    assert findings["onnxruntime"]["state"] == "ok"
    torch = findings["torch (to train and export)"]
    assert torch["state"] == "missing"
    assert "[train]" in torch["repair"]
    assert findings["plugin"]["state"] != "broken", "without TensorRT nobody needs it"


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> doctor.Diagnosis:
        raise KeyError("inside")

    monkeypatch.setattr(doctor, "CHECKS", (broken, doctor.program))
    first, second = doctor.examine()
    assert (first.what, first.state, second.state) == ("broken", "broken", "ok")
    assert "KeyError" in first.detail


def test_extras_named_by_the_doctor_exist() -> None:
    text = (doctor.CHECKOUT / "pyproject.toml").read_text()
    for extra in set(EXTRAS.values()):
        assert f"\n{extra} = [" in text, extra


def test_rules_cover_every_usb_camera_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--udev"]) == 0
    rules = capsys.readouterr().out
    for source in SOURCES.values():
        for pattern in source.usb:
            assert f'ATTR{{idVendor}}=="{pattern.split(":")[0]}"' in rules
    lines = [line for line in rules.splitlines() if line and not line.startswith("#")]
    assert all(line.startswith('SUBSYSTEM=="usb", ATTR{idVendor}=="') for line in lines)


def test_a_camera_that_may_not_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fake_usb(tmp_path / "sys", ("03e7", "2485", "Movidius MyriadX", "480"), ("1d6b", "0002", "hub", "480"))
    for number, device in enumerate(sorted(root.iterdir()), start=1):
        (device / "busnum").write_text("1\n")
        (device / "devnum").write_text(f"{number}\n")
    nodes = tmp_path / "bus"
    (nodes / "001").mkdir(parents=True)
    (nodes / "001/001").touch()
    assert udev.locked(root, nodes) == []
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert udev.locked(root, nodes) == ["Movidius MyriadX"]
