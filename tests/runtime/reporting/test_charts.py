"""Charts: a picture file of the asked size, and pixels for pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.reporting import charts
from tests.pictures import read_picture

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def test_file_and_pixels_show_the_same_drawing(tmp_path: Path) -> None:
    figure, panels = charts.panels(2, 4, 3)
    for panel in panels:
        panel.plot([0, 1], [0, 1], color="red")
    charts.save(figure, tmp_path / "chart.png", dpi=50)
    picture = read_picture(tmp_path / "chart.png")
    pixels = charts.pixels(figure, dpi=50)
    assert picture.shape == pixels.shape == (150, 200, 3)
    red = (pixels[..., 0] > 200) & (pixels[..., 1:] < 100).all(axis=2)
    assert red.sum() > 50
    assert np.abs(picture[..., ::-1].astype(int) - pixels).max() < 60  # the file is drawn anew, anti-aliased the same


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError, match="pip install matplotlib"):
        charts.panels(1, 1, 1)
