"""Which clock and order pair the pictures of a bag: zero stamps, other clocks, topics that lie apart in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.sources.base import CameraError
from tests.runtime.sources.bags.test_rosbag_topics import COLOUR, DEPTH, play
from tests.runtime.sources.bags.written import START, Row, image, rgb, units, write_bag


def rows_at(stamps: list[tuple[float | None, float | None]]) -> tuple[list[Row], list[float]]:
    """Header times (colour, depth) of each frame, None for a picture that is missing; and the times of recording."""
    rows, logs = [], []
    for index, (colour, depth) in enumerate(stamps):
        if colour is not None:
            rows.append(image(COLOUR, rgb(index), "rgb8", stamp=colour))
            logs.append(index / 30)
        if depth is not None:
            rows.append(image(DEPTH, units(index), "16UC1", stamp=depth))
            logs.append(index / 30 + 0.004)
    return rows, logs


def check(path: Path, indices: list[int], options: str = "") -> list[str]:
    """Frames ``indices`` and no others, each with its own depth; returns the warnings."""
    frames, warnings = play(path, options)
    assert len(frames) == len(indices)
    for frame, index in zip(frames, indices, strict=True):
        assert np.array_equal(frame.rgb, rgb(index))
        assert np.allclose(frame.depth, units(index) / 1000)
    return warnings


@pytest.mark.parametrize("value", [0.0, 123.0])
def test_headers_without_times_fall_back_to_the_times_of_recording(tmp_path: Path, value: float) -> None:
    rows, logs = rows_at([(value, value if index % 2 else None) for index in range(8)])
    warnings = check(write_bag(tmp_path / "x.mcap", rows, logs), [1, 3, 5, 7])
    assert any(
        "header times of /camera/color/image_raw are all" in w and "?time=header overrules" in w for w in warnings
    )


def test_one_topic_without_times(tmp_path: Path) -> None:
    rows, logs = rows_at([(START + index / 30, 0.0) for index in range(5)])
    warnings = check(write_bag(tmp_path / "x.mcap", rows, logs), [0, 1, 2, 3, 4])
    assert any(f"header times of {DEPTH} are all 0" in warning for warning in warnings)


def test_clocks_apart_are_said_and_the_times_of_recording_used(tmp_path: Path) -> None:
    rows, logs = rows_at([(17 + index / 30, START + index / 30) for index in range(6)])
    warnings = check(write_bag(tmp_path / "x.mcap", rows, logs), [0, 1, 2, 3, 4, 5])
    assert any("are of clocks 1.7e+09 s apart" in warning for warning in warnings)
    with pytest.raises(CameraError, match="6 colour images have no depth at their time"):
        play(tmp_path / "x.mcap", "?time=header")


def test_no_clock_at_all_is_refused(tmp_path: Path) -> None:
    rows, logs = rows_at([(0.0, 0.0)] * 4)
    path = write_bag(tmp_path / "x.mcap", rows, [0.0] * len(logs))
    with pytest.raises(CameraError, match="cannot be paired"):
        play(path)
    with pytest.raises(CameraError, match="time=local is no clock, expected header or log"):
        play(path, "?time=local")


def test_time_log_can_be_asked_for(tmp_path: Path) -> None:
    rows, logs = rows_at([(START + index / 30, START + (index + 1) / 30) for index in range(4)])
    assert check(write_bag(tmp_path / "x.mcap", rows, logs), [0, 1, 2, 3], "?time=log") == []


@pytest.mark.parametrize("first", [COLOUR, DEPTH])
def test_topics_that_lie_one_behind_the_other_play_whole(tmp_path: Path, first: str) -> None:
    rows, logs = rows_at([(START + index / 30, START + index / 30) for index in range(50)])
    order = sorted(range(len(rows)), key=lambda number: rows[number][0] != first)
    path = write_bag(tmp_path / "x.mcap", [rows[number] for number in order], [logs[number] for number in order])
    assert check(path, list(range(50))) == []


def test_time_that_goes_back_is_said(tmp_path: Path) -> None:
    stamps = [START + index / 30 - (50 if index >= 4 else 0) for index in range(8)]
    rows, logs = rows_at([(stamp, stamp) for stamp in stamps])
    warnings = check(write_bag(tmp_path / "x.mcap", rows, logs), list(range(8)))
    assert any("time goes back at 1699999950.133 s" in warning for warning in warnings)
