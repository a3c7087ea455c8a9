"""Folders as people have them: units, holes, polarity, masks, names, no depth. Right, or a warning."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.folders.rgbd import rgbd_folder
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.scenes.scene import Scene, scene
from tests.pictures import read_picture

COUNT, SIZE = 12, (48, 64)


def _is_room(built: Scene) -> bool:
    """Whether an indoor camera could measure all of it: no horizon."""
    measured = built.depth[built.depth > 0]
    return bool(measured.min() > 0.3 and measured.max() < 8 and 0.8 < np.median(measured) < 6)


SCENES = [built for built in (scene(900 + index, SIZE) for index in range(4 * COUNT)) if _is_room(built)][:COUNT]
assert len(SCENES) == COUNT
Change = Callable[[Scene], NDArray[Any]]


def millimetres(built: Scene) -> NDArray[Any]:
    return np.asarray(np.minimum(np.rint(built.depth * 1000), 65000), np.uint16)


def inverse8(built: Scene) -> NDArray[Any]:
    share = (1 / built.true_depth - 0.2) / 1.8
    return np.asarray(np.clip(share * 250 + 3, 3, 253), np.uint8)


def write(root: Path, depth: Change | None = millimetres, mask: Change | None = lambda built: built.mask) -> Path:
    """A folder of the scenes; ``depth``, ``mask``: what its files hold, None = no such folder."""
    for name, values, suffix in (("RGB", lambda built: built.rgb, "png"), ("depth", depth, "png"), ("GT", mask, "png")):
        if values is None:
            continue
        (root / name).mkdir(parents=True)
        for index, built in enumerate(SCENES):
            assert cv2.imwrite(str(root / name / f"{index:04d}.{suffix}"), values(built))
    return root


def depths(data: str) -> NDArray[np.float32]:
    frames = opening.frames(data)
    return np.stack([frames[index].depth for index in range(len(frames))])


EXPECTED = np.stack([millimetres(built).astype(np.float32) * np.float32(0.001) for built in SCENES])


def rotated(built: Scene) -> NDArray[Any]:
    return np.asarray((millimetres(built) << 3) | (millimetres(built) >> 13), np.uint16)


def in_units(units: float) -> Change:
    return lambda built: np.asarray(np.minimum(np.rint(built.depth * units), 65000), np.uint16)


UNITS: dict[str, tuple[Change, str]] = {
    "tum": (in_units(5000), "depth_scale=0.0002"),
    "centimetres": (in_units(100), "depth_scale=0.01"),
    "kitti": (in_units(256), "depth_scale=0.00390625"),
    "tenths of millimetres": (in_units(10000), "depth_scale=0.0001"),
    "sun rgb-d": (rotated, "rotate=3"),
}


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_taken_from_the_option_and_missed_aloud_without_it(
    tmp_path: Path, unit: str, caplog: pytest.LogCaptureFixture
) -> None:
    values, option = UNITS[unit]
    root = write(tmp_path / "set", values)
    with caplog.at_level(logging.WARNING, "mutualformer"):
        opening.frames(str(root))
    assert option.partition("=")[2] in caplog.text
    assert "meant?" in caplog.text
    assert str(root) in caplog.text
    caplog.clear()
    actual = depths(f"{root}?{option}")
    assert not caplog.records
    fits = EXPECTED < 6.4  # what 16 bits of the smallest unit hold
    np.testing.assert_allclose(actual[fits], EXPECTED[fits], atol=0.006)


def test_millimetres_and_real_sensors_are_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mutualformer"):
        np.testing.assert_array_equal(depths(str(write(tmp_path / "set"))), EXPECTED)
        root = os.environ.get("MUTUALFORMER_DATA")
        if root and (Path(root) / "sensor_frames").is_dir():
            frames = rgbd_folder(Path(root) / "sensor_frames")
            assert frames[0].mask is None
    assert not caplog.records


def coded(code: int) -> Change:
    """A room between 0.8 and 3 m without holes, with a block of ``code``."""

    def values(built: Scene) -> NDArray[Any]:
        depth = millimetres(built) // 8 + 800
        depth[5:25, 8:40] = code
        return depth

    return values


@pytest.mark.parametrize("code", [65535, 2047, 4095, 8191])
def test_full_scale_codes_are_holes_and_said(tmp_path: Path, code: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mutualformer"):
        actual = depths(str(write(tmp_path / "set", coded(code))))
    assert not actual[:, 5:25, 8:40].any()
    assert (actual[:, 30:] > 0).all()
    if code != 65535:
        assert f"{code} is the largest value of 12 of 12" in caplog.text
        assert (depths(f"{tmp_path / 'set'}?holes=none")[:, 10, 20] == np.float32(code) * np.float32(0.001)).all()


@pytest.mark.parametrize("code", [19999, 9999, 3000])
def test_other_codes_are_distances_until_they_are_named(
    tmp_path: Path, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mutualformer"):
        actual = depths(str(write(tmp_path / "set", coded(code))))
    np.testing.assert_allclose(actual[:, 10, 20], code / 1000, rtol=1e-6)
    assert f"holes={code} meant?" in caplog.text
    caplog.clear()
    assert not depths(f"{tmp_path / 'set'}?holes={code}")[:, 5:25, 8:40].any()


def test_polarity_that_contradicts_the_default_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dark = write(tmp_path / "dark", lambda built: 255 - inverse8(built))
    bright = write(tmp_path / "bright", inverse8)
    with caplog.at_level(logging.WARNING, "mutualformer"):
        expected = depths(str(bright))
        assert not caplog.records
        depths(str(dark))
    assert "near is dark" in caplog.text
    assert "polarity=near_dark meant?" in caplog.text
    caplog.clear()
    np.testing.assert_allclose(depths(f"{dark}?polarity=near_dark"), expected, rtol=1e-5)
    assert not caplog.records


def test_0_stays_a_hole_where_near_is_dark(tmp_path: Path) -> None:
    def holed(built: Scene) -> NDArray[Any]:
        depth = 255 - inverse8(built)
        depth[:10] = 0
        return np.asarray(depth, np.uint8)

    actual = depths(f"{write(tmp_path / 'set', holed)}?polarity=near_dark")
    assert not actual[:, :10].any()
    assert (actual[:, 10:] > 0).all()


def test_polarity_of_16_bit_maps_is_honoured_or_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wide = write(tmp_path / "wide", lambda built: inverse8(built).astype(np.uint16) * 257)
    narrow = depths(str(write(tmp_path / "narrow", inverse8)))
    with caplog.at_level(logging.WARNING, "mutualformer"):
        depths(str(wide))
    assert "16-bit depth grows towards the camera" in caplog.text
    for polarity in ("near_bright", "auto"):
        np.testing.assert_allclose(depths(f"{wide}?polarity={polarity}"), narrow, rtol=1e-5)
        assert not opening.frames(f"{wide}?polarity={polarity}")[0].metric
    with pytest.raises(DataError, match="give one of them"):
        opening.frames(f"{wide}?polarity=near_dark&depth_scale=0.0002")


MASKS: dict[str, Change] = {
    "0 and 1": lambda scene: np.asarray(scene.mask > 0, np.uint8),
    "0 and 100": lambda scene: np.asarray(scene.mask > 0, np.uint8) * 100,
    "16 bit": lambda scene: np.asarray(scene.mask > 0, np.uint16) * 255,
    "16 bit full": lambda scene: np.asarray(scene.mask > 0, np.uint16) * 65535,
    "254 and 255": lambda scene: 254 + np.asarray(scene.mask > 0, np.uint8),
    "alpha": lambda scene: np.dstack([np.zeros((*SIZE, 3), np.uint8), scene.mask]),
    "palette red": lambda scene: np.dstack([np.zeros((*SIZE, 2), np.uint8), scene.mask // 2]),
    "grey": lambda scene: np.where(scene.mask > 0, 230, 20).astype(np.uint8) + np.eye(*SIZE, dtype=np.uint8),
}


@pytest.mark.parametrize("kind", MASKS)
def test_any_two_values_are_a_mask(tmp_path: Path, kind: str) -> None:
    frames = opening.frames(str(write(tmp_path / "set", mask=MASKS[kind])))
    for index, built in enumerate(SCENES):
        np.testing.assert_array_equal(frames[index].mask, built.mask)


def test_inverted_masks_are_said_and_turned_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path / "set", mask=lambda built: 255 - built.mask)
    with caplog.at_level(logging.WARNING, "mutualformer"):
        opening.frames(str(root))
    assert "masks look inverted" in caplog.text
    frames = opening.frames(f"{root}?masks=inverted")
    np.testing.assert_array_equal(frames[3].mask, SCENES[3].mask)


def test_labels_are_no_mask(tmp_path: Path) -> None:
    labels = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 4
    frames = opening.frames(str(write(tmp_path / "set", mask=lambda built: labels.astype(np.uint8))))
    with pytest.raises(DataError, match=r"0000\.png: holds the labels 0, 1, 2, 3, expected a mask of two values"):
        frames[0]


@pytest.mark.parametrize(
    ("rgb", "mask"),
    [
        ("RGB", "GT"),
        ("DUTS-TR-Image", "DUTS-TR-Mask"),
        ("images", "ground_truth_mask"),
        ("DUT-OMRON-image", "pixelwiseGT-new-PNG"),
        ("imgs", "gt"),
    ],
)
def test_rgb_sets_have_no_depth(tmp_path: Path, rgb: str, mask: str) -> None:
    root = write(tmp_path / "set", depth=None)
    (root / "RGB").rename(root / "first")
    (root / "first").rename(root / rgb)
    (root / "GT").rename(root / "second")
    (root / "second").rename(root / mask)
    for path in (root / rgb).iterdir():
        image = read_picture(path)
        path.unlink()
        suffix = {0: ".webp", 1: ".tiff", 2: ".jpg"}[int(path.stem) % 3]
        cv2.imwrite(str(path.with_suffix(suffix)), image)
    frames = opening.frames(str(root))
    assert len(frames) == COUNT
    assert not frames.has_depth
    item = frames[2]
    assert not item.depth.any()
    assert item.depth.shape == SIZE
    np.testing.assert_array_equal(item.mask, SCENES[2].mask)
    joined = opening.frames(f"{root}+synthetic:2")
    assert joined.has_depth
    assert len(joined) == COUNT + 2


def test_frames_of_a_sensor_have_no_masks(tmp_path: Path) -> None:
    frames = rgbd_folder(write(tmp_path / "set", mask=None))
    assert frames.has_depth
    assert frames[0].mask is None
    assert [path.parent.name for path in frames.files(1)] == ["RGB", "depth"]
    assert frames.name(1) == "0001"


def test_a_broken_file_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    (root / "depth" / "0003.png").write_bytes(b"no picture")
    (root / "GT" / "0004.png").write_bytes(b"")
    frames = opening.frames(str(root))
    frames[0]
    for index, name in ((3, r"depth/0003\.png"), (4, r"GT/0004\.png")):
        with pytest.raises(DataError, match=name):
            frames[index]
    with pytest.raises(IndexError):
        frames[-1]


LISTS = {
    "frame.{}": "frame.0\nframe.1\n",
    "img {}": "img 0.jpg\nimg 1.jpg\n",
    "{:04d}": "\ufeff0000\r\n0001\r\n",
    "a{}": "a0.jpg,a0.png,a0.png\na1.jpg,a1.png,a1.png\n",
    "b{}": "RGB\\b0.jpg depth\\b0.png\nRGB\\b1.jpg depth\\b1.png\n",
    "c{}": '# first\n"c0"\n\nc1.jpg\tc1.png\n',
    "ü{}": "u\u03080\nu\u03081\n",  # the list spells the letter in two signs
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("stem", LISTS)
def test_lists_of_names_as_people_write_them(tmp_path: Path, stem: str, encoding: str) -> None:
    root = write(tmp_path / "set")
    for name in ("RGB", "depth", "GT"):
        for index in range(COUNT):
            (root / name / f"{index:04d}.png").rename(root / name / f"{stem.format(index)}.png")
    (root / "test.txt").write_bytes(LISTS[stem].encode(encoding))
    frames = opening.frames(str(root))
    assert len(frames) == 2
    np.testing.assert_array_equal(frames[1].mask, SCENES[1].mask)


def test_natural_order_and_what_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path / "set")
    for name, ending in (("RGB", ""), ("depth", "_depth_bin"), ("GT", "_GT")):
        for index in range(COUNT):
            (root / name / f"{index:04d}.png").rename(root / name / f"f{index}{ending}.png")
    (root / "RGB" / "f99.xcf").write_bytes(b"x")
    (root / "RGB" / "._f0.png").write_bytes(b"\0\5\x16\7")
    (root / "RGB" / "Thumbs.db").write_bytes(b"x")
    shutil.copy(root / "depth" / "f0_depth_bin.png", root / "depth" / "f50_depth_bin.png")
    with caplog.at_level(logging.WARNING, "mutualformer"):
        frames = opening.frames(str(root))
    assert [frames[index].name for index in range(COUNT)] == [f"f{index}" for index in range(COUNT)]
    assert "1 .xcf files are left out" in caplog.text
    assert "f50_depth_bin.png: left out, there is no colour picture" in caplog.text


@pytest.mark.parametrize("odd", ["a+b", "what?", "one,two", "set?x=1"])
def test_odd_folder_names_take_options_too(tmp_path: Path, odd: str) -> None:
    root = write(tmp_path / odd)
    assert len(opening.frames(str(root))) == COUNT
    np.testing.assert_array_equal(depths(f"{root}?depth_scale=0.001"), EXPECTED)
    assert len(opening.frames(f"{root}+synthetic:3?seed=1")) == COUNT + 3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("depth_scale=5000", "metres per unit"),
        ("depth_scale=nan", "metres per unit"),
        ("depth_scale=x", "is not a number"),
        ("holes=many", "expected numbers"),
        ("rotate=16", "expected 0 … 15"),
        ("masks=black", "expected one of inverted"),
        ("polarity=up", "expected one of near_bright"),
        ("unit=mm", "has no option 'unit'; it accepts: depth_bits, depth_scale, holes"),
        ("scale=5000", "write depth_scale=0.0002"),
        ("scale=0", "has no option 'scale'"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(tmp_path: Path, option: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opening.frames(f"{write(tmp_path / 'set')}?{option}")


def test_a_turn_by_exif_is_explained_where_sizes_differ(tmp_path: Path) -> None:
    root = write(tmp_path / "set", mask=lambda built: np.ascontiguousarray(built.mask.T))
    jpeg = cv2.imencode(".jpg", SCENES[0].rgb)[1].tobytes()
    tag = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    (root / "RGB" / "0000.png").unlink()
    (root / "RGB" / "0000.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag + jpeg[2:])
    with pytest.raises(DataError, match=r"0000\.png: is"):
        opening.frames(str(root))[0]


# Masks of other values


def instances(first: int, second: int, wide: bool = False) -> Change:
    """The object's left and right half by two values."""

    def values(built: Any) -> NDArray[Any]:
        columns = np.arange(SIZE[1])[None] < np.median(np.nonzero(built.mask)[1])
        labels = np.where(built.mask > 0, np.where(columns, first, second), 0)
        return labels.astype(np.uint16 if wide else np.uint8)

    return values


def colours(object_: tuple[int, int, int], rest: tuple[int, int, int]) -> Change:
    return lambda built: np.where(built.mask[..., None] > 0, object_, rest).astype(np.uint8)


def void(built: Any) -> NDArray[Any]:
    square = np.ones((5, 5), np.uint8)
    labels = (built.mask > 0).astype(np.uint8)
    labels[cv2.dilate(built.mask, square) != cv2.erode(built.mask, square)] = 255
    return labels


UNTOLD: dict[str, tuple[Change, str]] = {
    "instances": (instances(1, 2), "holds the labels 0, 1, 2"),
    "shades of classes": (instances(38, 75), "holds the labels 0, 38, 75"),
    "16-bit instances": (instances(7000, 9000, wide=True), "holds the labels 0, 7000, 9000"),
    "PASCAL VOC": (void, "holds 0, 1 and 255, labels and a mark for what is undecided"),
    "red on white": (colours((0, 0, 255), (255, 255, 255)), "colours of one brightness"),
    "green on blue": (colours((0, 255, 0), (255, 0, 0)), "colours of one brightness"),
    "a photograph": (lambda built: built.rgb, "is a picture, expected its mask"),
}


@pytest.mark.parametrize("kind", UNTOLD)
def test_a_mask_that_does_not_say_what_the_object_is_is_refused(tmp_path: Path, kind: str) -> None:
    values, message = UNTOLD[kind]
    frames = opening.frames(str(write(tmp_path / "set", mask=values)))
    with pytest.raises(DataError, match=rf"GT.00\d\d\.png: .*{message}"):
        [frames[index] for index in range(COUNT)]


def cut_out(built: Any) -> NDArray[Any]:
    return np.dstack([built.rgb, built.mask])


def test_a_cut_out_s_mask_is_its_alpha_plane(tmp_path: Path) -> None:
    frames = opening.frames(str(write(tmp_path / "set", mask=cut_out)))
    for index, built in enumerate(SCENES):
        np.testing.assert_array_equal(frames[index].mask, built.mask)


def jpeg(values: NDArray[Any], quality: int) -> NDArray[Any]:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", values, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], -1))


@pytest.mark.parametrize("white", [100, 180, 255])
@pytest.mark.parametrize("quality", [40, 60, 95])
def test_compressed_masks_are_cut_between_their_own_black_and_white(tmp_path: Path, white: int, quality: int) -> None:
    """JPEG's ringing reaches beyond half of 255 where a mask's white is 100: it is cut at 50 all the same."""
    frames = opening.frames(
        str(write(tmp_path / "set", mask=lambda built: jpeg((built.mask > 0) * np.uint8(white), quality)))
    )
    for index, built in enumerate(SCENES):
        wrong = float(np.mean(frames[index].mask != built.mask))
        assert wrong < 0.02, index


@pytest.mark.parametrize("top", [100, 255, 1000, 65535])
def test_blurred_edges_are_cut_at_half_and_are_no_shades(
    tmp_path: Path, top: int, caplog: pytest.LogCaptureFixture
) -> None:
    def blurred(built: Any) -> NDArray[Any]:
        soft = cv2.GaussianBlur(built.mask, (0, 0), 0.8).astype(np.float64) / 255 * top
        return np.rint(soft).astype(np.uint8 if top <= 255 else np.uint16)

    with caplog.at_level(logging.WARNING, "mutualformer"):
        frames = opening.frames(str(write(tmp_path / "set", mask=blurred)))
    assert not caplog.records
    for index, built in enumerate(SCENES):
        assert float(np.mean(frames[index].mask != built.mask)) < 0.02


@pytest.mark.parametrize(("first", "second"), [(64, 255), (128, 255), (85, 170)])
def test_areas_between_black_and_white_are_said(
    tmp_path: Path, first: int, second: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mutualformer"):
        opening.frames(str(write(tmp_path / "set", mask=instances(first, second))))
    assert "0000.png and" in caplog.text
    assert "the mask has areas between black and white: cut at half of white" in caplog.text


def test_empty_masks_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mutualformer"):
        opening.frames(str(write(tmp_path / "set", mask=lambda built: built.mask * 0)))
    assert "0000.png and 11 more (of 12): the mask is empty" in caplog.text


# Depth of other kinds


def rewrite_depth(root: Path, change: Change, suffix: str = ".npy") -> Path:
    """The set's depth as another kind of file."""
    write(root, depth=None)
    (root / "depth").mkdir()
    for index, built in enumerate(SCENES):
        np.save(root / "depth" / f"{index:04d}{suffix}", change(built))
    return root


def inverse(built: Any) -> NDArray[Any]:
    return np.asarray(60 / built.true_depth, np.float32)


def test_floats_that_grow_towards_the_camera_are_said_and_read_when_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = rewrite_depth(tmp_path / "set", inverse)
    with caplog.at_level(logging.WARNING, "mutualformer"):
        depths(str(root))
    assert "depth of floats grows towards the camera" in caplog.text
    for option in ("near_bright", "auto"):
        frames = opening.frames(f"{root}?polarity={option}")
        for index, built in enumerate(SCENES):
            item = frames[index]
            assert not item.metric
            assert (item.depth > 0).all()
            # Nearer and farther are in the right order, and inverse depth is a straight line of the true one.
            line = np.corrcoef(1 / item.depth.ravel(), 1 / built.true_depth.ravel())[0, 1]
            assert line > 0.999


def test_normalised_floats_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = rewrite_depth(tmp_path / "set", lambda built: built.true_depth / built.true_depth.max())
    with caplog.at_level(logging.WARNING, "mutualformer"):
        depths(str(root))
    assert "?polarity=near_dark" in caplog.text
    assert not opening.frames(f"{root}?polarity=near_dark")[0].metric


@pytest.mark.parametrize("code", [65.535, 1000.0, 1e10])
def test_codes_of_floats_are_said(tmp_path: Path, code: float, caplog: pytest.LogCaptureFixture) -> None:
    def holed(built: Any) -> NDArray[Any]:
        depth = np.array(built.depth, np.float32)
        depth[5:25, 8:40] = code
        return depth

    root = rewrite_depth(tmp_path / "set", holed)
    with caplog.at_level(logging.WARNING, "mutualformer"):
        assert (depths(str(root))[:, 5:25, 8:40] == np.float32(code)).all()
    assert f"holes={np.float32(code):g} meant?" in caplog.text
    assert not depths(f"{root}?holes={code}")[:, 5:25, 8:40].any()


def keep(root: Path, count: int) -> Path:
    for path in root.rglob("*.png"):
        if int(path.stem) >= count:
            path.unlink()
    return root


@pytest.mark.parametrize("count", [1, 12])
def test_255_apart_in_8_bit_maps_is_said(tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture) -> None:
    def white(built: Any) -> NDArray[Any]:
        depth = np.minimum(inverse8(built), 230)
        depth[2:8, 8:40] = 255
        return depth

    root = keep(write(tmp_path / "set", white), count)
    with caplog.at_level(logging.WARNING, "mutualformer"):
        assert (depths(str(root))[:, 2:8, 8:40] > 0).all()
        assert "holes=255 meant?" in caplog.text
        caplog.clear()
        assert not depths(f"{root}?holes=255")[:, 2:8, 8:40].any()
        assert not caplog.records


@pytest.mark.parametrize("count", [1, 3])
def test_few_frames_that_contradict_the_default_polarity_are_said(
    tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    dark = keep(write(tmp_path / "dark", lambda built: 255 - inverse8(built)), count)
    bright = keep(write(tmp_path / "bright", inverse8), count)
    with caplog.at_level(logging.WARNING, "mutualformer"):
        opening.frames(str(bright))
        assert not caplog.records
        opening.frames(str(dark))
    assert "near bright or dark is unsure" in caplog.text


def test_maps_of_two_units_in_one_folder_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tum = {index for index in range(COUNT) if index % 2}
    numbered = {id(built): index for index, built in enumerate(SCENES)}

    def mixed(built: Any) -> NDArray[Any]:
        return in_units(5000)(built) if numbered[id(built)] in tum else millimetres(built)

    with caplog.at_level(logging.WARNING, "mutualformer"):
        opening.frames(str(write(tmp_path / "set", mixed)))
    assert "are all maps in one unit?" in caplog.text


def test_a_unit_that_the_folder_declares_is_used_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path / "set", in_units(5000))
    (root / "camera.json").write_text('{"depth_scale_m": 0.0002}')
    with caplog.at_level(logging.INFO, "mutualformer"):
        actual = depths(str(root))
    np.testing.assert_allclose(actual, EXPECTED, atol=0.001)
    assert "depth_scale=0.0002, as camera.json says" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_assumed_unit_is_said_with_what_it_makes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mutualformer"):
        opening.frames(str(write(tmp_path / "set")))
    assert "depth is read as millimetres: " in caplog.text


# Turns


def tagged_tiff(path: Path, pixels: NDArray[Any], turn: int) -> None:
    """A TIFF whose orientation tag asks for a turn."""
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    tifffile.imwrite(path, pixels, extratags=[(274, "H", 1, turn, True)])


@pytest.mark.parametrize("folder", ["RGB", "depth", "GT"])
@pytest.mark.parametrize("turn", [2, 3, 4])
def test_turned_tiff_files_are_read_as_stored_and_said(
    tmp_path: Path, folder: str, turn: int, caplog: pytest.LogCaptureFixture
) -> None:
    root = write(tmp_path / "set")
    values = {"RGB": lambda built: built.rgb[..., ::-1], "depth": millimetres, "GT": lambda built: built.mask}[folder]
    for index, built in enumerate(SCENES):
        (root / folder / f"{index:04d}.png").unlink()
        tagged_tiff(root / folder / f"{index:04d}.tif", values(built), turn)
    with caplog.at_level(logging.WARNING, "mutualformer"):
        item = opening.frames(str(root))[4]
    np.testing.assert_array_equal(item.mask, SCENES[4].mask)
    np.testing.assert_array_equal(item.depth, EXPECTED[4])
    np.testing.assert_array_equal(item.rgb, SCENES[4].rgb[..., ::-1])
    assert (
        f"{folder}/0000.tif and 11 more: the EXIF orientation is not applied, all files are read as stored"
        in caplog.text
    )
