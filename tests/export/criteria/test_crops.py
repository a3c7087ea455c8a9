"""Objects of photographs as identities: what each of the two cameras shows of them."""

from __future__ import annotations

import numpy as np

from mutualformer.export.criteria import crops


def test_the_second_camera_sees_the_object_mirrored_and_dark_before_another_picture() -> None:
    rgb, mask = np.full((80, 120, 3), 90, np.uint8), np.zeros((80, 120), np.uint8)
    mask[20:60, 30:90] = 255
    rgb[20:60, 30:60], rgb[20:60, 60:90] = (200, 0, 0), (0, 200, 0)
    behind = np.full((30, 40, 3), 200, np.uint8)
    colour, infrared = crops.seen(rgb, mask, 0, behind)
    assert np.array_equal(colour, rgb[18:62, 27:93])
    assert infrared[22, 10].tolist() == [160, 160, 160]  # 0.8 of red, 0.2 of green
    colour, infrared = crops.seen(rgb, mask, 1, behind)
    height, width = colour.shape[:2]
    green, red = colour[height // 2, width // 4], colour[height // 2, 3 * width // 4]
    assert green[1] > 90 > 10 > green[0]
    assert red[0] > 90 > 10 > red[1]
    assert colour.max() <= 0.5 * 200
    assert abs(int(colour[1, 1, 0]) - 100) <= 1  # the other picture, as dark as the object
    assert np.ptp(infrared.astype(int), axis=2).max() == 0
