"""Charts: a picture file of the asked size."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutualformer.runtime.reporting import charts
from tests.pictures import read_picture

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def test_a_file_shows_the_drawing(tmp_path: Path) -> None:
    figure, panels = charts.panels(2, 4, 3)
    for panel in panels:
        panel.plot([0, 1], [0, 1], color="red")
    charts.save(figure, tmp_path / "chart.png", dpi=50)
    picture = read_picture(tmp_path / "chart.png")
    assert picture.shape == (150, 200, 3)
    red = (picture[..., 2] > 200) & (picture[..., :2] < 100).all(axis=2)
    assert red.sum() > 50
