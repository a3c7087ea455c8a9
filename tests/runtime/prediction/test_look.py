"""Cut-outs upon something, cropped, and with their own colours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime.prediction import look
from mutualformer.runtime.prediction.look import LookError
from mutualformer.runtime.prediction.result import Prediction


def square(opacity: np.ndarray | None = None, icc: bytes | None = None) -> Prediction:
    """A red square on green."""
    saliency = np.zeros((60, 80), np.float32)
    saliency[20:40, 30:60] = 1
    rgb = np.where(saliency[..., None] > 0, (200, 20, 20), (20, 200, 20)).astype(np.uint8)
    return Prediction(rgb, saliency, opacity=opacity, icc=icc)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("white", (255, 255, 255)), ("#f80", (255, 136, 0)), ("#102030", (16, 32, 48)), ("blur", "blur")],
)
def test_colours(text: str, meant: object) -> None:
    assert look.background(text) == meant


def test_what_is_no_colour_and_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LookError, match="'mauve', expected a colour"):
        look.background("mauve")


def test_a_colour_fills_what_is_not_the_object() -> None:
    image = square().cutout((10, 20, 30))
    assert image.shape == (60, 80, 3)
    assert np.abs(image[5, 5].astype(int) - (10, 20, 30)).max() <= 1
    assert np.abs(image[30, 45].astype(int) - (200, 20, 20)).max() <= 1


def test_a_picture_covers_all_of_it(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((10, 40, 3), (90, 80, 70), np.uint8))
    image = square().cutout(look.background(str(tmp_path / "wall.png")))
    assert np.abs(image[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int) - (70, 80, 90)).max() <= 1


def test_blur_holds_nothing_of_the_object() -> None:
    image = square().cutout("blur")
    assert np.abs(image[30, 20].astype(int) - (20, 200, 20)).max() < 15, "no red halo beside the object"


def test_a_crop_holds_the_object_and_little_else() -> None:
    image = square().cutout(crop=True)
    assert image.shape == (24, 34, 4)
    assert Prediction(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.float32)).cutout(crop=True).shape == (9, 9, 4)


def test_the_picture_s_own_transparency_stays() -> None:
    opacity = np.full((60, 80), 255, np.uint8)
    opacity[:, 45:] = 0
    rgba = square(opacity).cutout()
    assert not rgba[:, 45:].any(), "what was removed before stays removed, colours included"
    assert (rgba[24:36, 32:43, 3] == 255).all()
    opacity[:] = 100
    assert (square(opacity).cutout()[24:36, 32:58] == (200, 20, 20, 100)).all(), "half transparent, its own colour"


def test_raw_is_the_network_s_map() -> None:
    saliency = np.full((6, 8), 0.4, np.float32)
    result = Prediction(np.zeros((6, 8, 3), np.uint8), saliency, raw=True)
    assert (result.cutout()[..., 3] == 102).all()
    assert not Prediction(result.rgb, saliency).alpha.any()
