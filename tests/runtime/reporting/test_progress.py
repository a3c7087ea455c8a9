"""Progress shows nothing for what is quick, and something for what is not."""

from __future__ import annotations

import sys

import pytest

from mutualformer.runtime.reporting import progress


def test_the_items_come_through_and_quick_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.progress("abc", "letters")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_slow_work_says_how_far_it_is_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SILENT_S", 0.0)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    assert list(progress.progress(range(3), "frames", "pictures")) == [0, 1, 2]
    out, err = capsys.readouterr()
    assert out == ""
    assert "frames" in err
    assert "3/3" in err


@pytest.mark.parametrize("silent_s", [0.0, 60.0])
def test_a_sentence_stands_on_a_line_of_its_own_and_draws_no_bar(
    silent_s: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SILENT_S", silent_s)
    with progress.bar(1, "frames") as shown:
        with progress.beside(shown):
            print("a sentence", file=sys.stderr)
        shown.update()
    err = capsys.readouterr().err
    if silent_s:
        assert err == "a sentence\n"
    else:
        assert "\ra sentence\n" in err
        assert err.endswith("\n")
