"""Which topics of a bag are played, and what its depth means: the right ones or a sentence, never a silent guess."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.streaming.pipeline import Pipeline
from tests.runtime.sources.bags.test_rvl import encode
from tests.runtime.sources.bags.written import START, Row, compressed, image, info, raw_image, rgb, units, write_bag

COLOUR, DEPTH = "/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"


def pair(index: int, colour: str = COLOUR, depth: str = DEPTH, seed: int = 0, **eyes: str) -> list[Row]:
    one = image(colour, rgb(seed + index), "rgb8", index, eyes.get("colour_eye", "eye"))
    return [one, image(depth, units(seed + index), "16UC1", index, eyes.get("depth_eye", "eye"))]


def play(path: Path, options: str = "") -> tuple[list[Frame], list[str]]:
    """Frames, and all that people read, through the capture that adds its own."""
    pipeline = Pipeline(lambda: opening.camera(f"{path}{options}"))
    frames = [result.frame for result in pipeline.results()]
    assert pipeline.capture.camera is not None
    return frames, list(pipeline.capture.camera.warnings)


def test_compressed_depth_of_float_maps_is_undone_by_its_own_a_and_b(tmp_path: Path) -> None:
    metres = units(0).astype(np.float32) / 1000
    metres[0] = 0
    a = 100.0 * 101.0
    b = 1 - a / 10.0
    stored = np.where(metres > 0, a / np.maximum(metres, 1e-6) + b, 0).clip(0, 65535).astype(np.uint16)
    rows = [
        image(COLOUR, rgb(0), "rgb8"),
        compressed(
            DEPTH + "/compressedDepth", stored, "32FC1; compressedDepth png", ".png", lead=struct.pack("<iff", 0, a, b)
        ),
    ]
    frames, warnings = play(write_bag(tmp_path / "x.mcap", rows))
    assert np.allclose(frames[0].depth, metres, rtol=2e-3)
    assert (frames[0].depth[0] == 0).all()
    assert warnings == []


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (-3.0, 1.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_inverse_depth_without_a_usable_a_and_b_is_refused(tmp_path: Path, a: float, b: float) -> None:
    lead = struct.pack("<iff", 0, a, b)
    rows = [
        image(COLOUR, rgb(0), "rgb8"),
        compressed(DEPTH, units(0), "32FC1; compressedDepth png", ".png", lead=lead),
    ]
    with pytest.raises(CameraError, match=r"first images cannot be read .*expected depth = A / \(value - B\)"):
        play(write_bag(tmp_path / "x.mcap", rows))


def test_two_cameras_in_one_bag_are_refused_and_named_and_play_when_chosen(tmp_path: Path) -> None:
    rows = []
    for index in range(3):
        rows += pair(index, "/front/color/image_raw", "/front/depth/image_raw")
        rows += pair(index, "/rear/color/image_raw", "/rear/aligned_depth_to_color/image_raw", seed=50)
    path = write_bag(tmp_path / "x.mcap", rows)
    with pytest.raises(CameraError, match=r"2 pairs .*\?colour=/front/color/image_raw&depth=/front/depth/image_raw"):
        play(path)
    frames, _ = play(path, "?colour=/rear/color/image_raw&depth=/rear/aligned_depth_to_color/image_raw")
    assert np.array_equal(frames[1].rgb, rgb(51))
    assert np.array_equal(frames[1].depth, units(51) * np.float32(0.001))
    # Only the camera that has both is left once the other lost its colour.
    half = write_bag(tmp_path / "y.mcap", [row for row in rows if row[0] != "/rear/color/image_raw"])
    frames, warnings = play(half)
    assert np.array_equal(frames[1].depth, units(1) * np.float32(0.001))
    assert any("plays /front/color/image_raw with /front/depth/image_raw" in warning for warning in warnings)


def test_depth_of_another_eye_or_camera_is_not_taken_for_aligned(tmp_path: Path) -> None:
    rows = pair(0, depth="/camera/depth/image_rect_raw", depth_eye="depth_eye")
    path = write_bag(tmp_path / "x.mcap", rows)
    with pytest.raises(CameraError, match=r"seen from 'depth_eye' .*expected depth aligned to colour"):
        play(path)
    frames, warnings = play(path, "?depth=/camera/depth/image_rect_raw")
    assert len(frames) == 1
    assert any("because it was asked for" in warning for warning in warnings)
    other = write_bag(tmp_path / "y.mcap", pair(0, "/front/color/image_raw", "/rear/depth/image_raw"))
    with pytest.raises(CameraError, match="belong to different cameras"):
        play(other)


def test_depth_through_another_lens_is_not_aligned_even_where_the_frame_id_is_one(tmp_path: Path) -> None:
    depth = "/camera/depth/image_rect_raw"
    lenses = [info("/camera/color/camera_info", (24, 32), 29), info("/camera/depth/camera_info", (24, 32), 18)]
    with pytest.raises(CameraError, match=r"other optics \(fx 18\) than .* \(fx 29\)"):
        play(write_bag(tmp_path / "x.mcap", [*lenses, *pair(0, depth=depth)]))
    frames, _ = play(tmp_path / "x.mcap", f"?depth={depth}")
    assert len(frames) == 1
    same = [lenses[0], info("/camera/depth/camera_info", (24, 32), 29)]
    frames, warnings = play(write_bag(tmp_path / "y.mcap", [*same, *pair(0, depth=depth)]))
    assert len(frames) == 1
    assert warnings == []


@pytest.mark.parametrize("extra", ["/boson/image_raw", "/ai/labels/image", "/zz/other/image"])
def test_a_thermal_or_label_image_beside_is_not_the_depth(tmp_path: Path, extra: str) -> None:
    rows = []
    for index in range(3):
        rows += [image(extra, units(70 + index), "mono16", index, "eye"), *pair(index)]
    frames, warnings = play(write_bag(tmp_path / "x.mcap", rows))
    assert np.array_equal(frames[2].depth, units(2) * np.float32(0.001))
    assert any(f"plays {COLOUR} with {DEPTH}" in warning for warning in warnings), "the choice is printed"


def test_an_overlay_of_another_node_is_not_the_colour(tmp_path: Path) -> None:
    rows = []
    for index in range(3):
        rows += [image("/ai/overlay", rgb(70 + index), "bgr8", index), *pair(index)]
    frames, _ = play(write_bag(tmp_path / "x.mcap", rows))
    assert np.array_equal(frames[2].rgb, rgb(2))


def test_raw_and_compressed_of_one_picture_are_one_choice(tmp_path: Path) -> None:
    rows = [*pair(0), compressed(COLOUR + "/compressed", rgb(0)[..., ::-1], "jpeg", ".jpg")]
    frames, _ = play(write_bag(tmp_path / "x.mcap", rows))
    assert np.array_equal(frames[0].rgb, rgb(0)), "the raw one"


@pytest.mark.parametrize(
    ("rows", "focal", "says"),
    [
        ([info("/camera/depth/camera_info", (24, 32), 18), info("/camera/color/camera_info", (24, 32), 29)], 29, ""),
        (
            [info("/camera/color_right/camera_info", (24, 32), 11), info("/camera/color/camera_info", (24, 32), 29)],
            29,
            "",
        ),
        ([info("/camera/color/camera_info", (48, 64), 58)], None, "is of 64×48 images"),
        ([info("/camera/color/camera_info", (24, 32), 58, "other")], None, "is of 'other'"),
        ([info("/elsewhere/info", (24, 32), 29)], 29, ""),
        ([info("/camera/color/camera_info", (24, 32), 0)], None, "the camera is not calibrated"),
        ([info("/camera/color/camera_info", (24, 32), -29)], None, "the camera is not calibrated"),
        ([info("/camera/color/camera_info", (0, 0), 29)], None, "is of 0×0 images"),
        ([info("/a/info", (24, 32), 29), info("/b/info", (24, 32), 30)], None, ""),
    ],
)
def test_calibration_is_the_colour_camera_s_own(
    tmp_path: Path, rows: list[Row], focal: float | None, says: str
) -> None:
    path = write_bag(tmp_path / "x.mcap", [*rows, *pair(0)])
    camera = opening.camera(str(path))
    camera.close()
    assert (camera.intrinsics.fx if camera.intrinsics else None) == focal
    assert any(says in warning for warning in camera.warnings) or not says


@pytest.mark.parametrize(
    ("pixels", "encoding", "expected"),
    [
        (np.full((8, 8), 77, np.uint8), "mono8", (77, 77, 77)),
        (np.full((8, 8, 3), (10, 20, 30), np.uint8), "bgr8", (30, 20, 10)),
        (np.full((8, 8, 3), (10, 20, 30), np.uint8), "8UC3", (30, 20, 10)),
        (np.full((8, 8, 4), (10, 20, 30, 9), np.uint8), "rgba8", (10, 20, 30)),
        (np.full((8, 8, 4), (10, 20, 30, 9), np.uint8), "bgra8", (30, 20, 10)),
        (np.full((8, 8, 3), (10, 20, 30), np.uint16) * 257, "rgb16", (10, 20, 30)),
        (np.full((8, 8, 3), (10, 20, 30), np.uint16) * 257, "bgr16", (30, 20, 10)),
        (np.tile(np.array([[200, 90], [90, 40]], np.uint8), (4, 4)), "bayer_rggb8", (200, 90, 40)),
        (np.tile(np.array([[40, 90], [90, 200]], np.uint8), (4, 4)), "bayer_bggr8", (200, 90, 40)),
        (np.tile(np.array([[90, 200], [40, 90]], np.uint8), (4, 4)), "bayer_grbg8", (200, 90, 40)),
        (np.tile(np.array([[90, 40], [200, 90]], np.uint8), (4, 4)), "bayer_gbrg8", (200, 90, 40)),
        (np.tile(np.array([[200, 90], [90, 40]], np.uint16), (4, 4)) * np.uint16(257), "bayer_rggb16", (200, 90, 40)),
        (np.full((8, 8, 3), (160, 320, 4000), np.uint16), "rgb16", (10, 20, 250)),
        (np.full((8, 8, 3), (10, 20, 30), np.uint8), "RGB8", (10, 20, 30)),
        (np.full((8, 8, 2), (128, 126), np.uint8), "yuv422", (128, 128, 128)),
        (np.tile(np.array([[90, 81], [240, 81]], np.uint8), (8, 4, 1)), "uyvy", (255, 0, 0)),
        (np.full((8, 8, 2), (126, 128), np.uint8), "yuv422_yuy2", (128, 128, 128)),
    ],
)
def test_colour_encodings(tmp_path: Path, pixels: np.ndarray, encoding: str, expected: tuple[int, ...]) -> None:
    rows = [image(COLOUR, pixels, encoding), image(DEPTH, np.full((8, 8), 2000, np.uint16), "16UC1")]
    frames, _ = play(write_bag(tmp_path / "x.mcap", rows))
    assert np.abs(frames[0].rgb[4, 4].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_semi_planar_colour_with_padded_rows(tmp_path: Path, encoding: str) -> None:
    chroma = [90, 240] if encoding == "nv12" else [240, 90]  # red: Cb 90, Cr 240
    plane = np.concatenate([np.full((8, 8), 81), np.tile(np.array(chroma), (4, 4))]).astype(np.uint8)
    padded = np.pad(plane, ((0, 0), (0, 6)), constant_values=7)
    row = raw_image(COLOUR, padded.tobytes(), encoding, (8, 8), 14)
    frames, _ = play(write_bag(tmp_path / "x.mcap", [row, image(DEPTH, np.full((8, 8), 2000, np.uint16), "16UC1")]))
    assert np.abs(frames[0].rgb.astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize(
    ("stored", "encoding", "big"),
    [
        (units(0).astype(">u2"), "mono16", True),
        (units(0).astype(">u2"), "16UC1", True),
        ((units(0) / 1000).astype(">f4"), "32FC1", True),
        (units(0).astype("<i2"), "16SC1", False),
        (units(0), "16uc1", False),
    ],
)
def test_depth_of_either_byte_order_with_padded_rows(
    tmp_path: Path, stored: np.ndarray, encoding: str, big: bool
) -> None:
    rows = np.pad(stored.view(np.uint8).reshape(24, -1), ((0, 0), (0, 5)), constant_values=9)
    depth = raw_image(DEPTH, rows.tobytes(), encoding, (24, 32), rows.shape[1], big=big)
    frames, warnings = play(write_bag(tmp_path / "x.mcap", [image(COLOUR, rgb(0), "rgb8"), depth]))
    assert np.allclose(frames[0].depth, units(0) / 1000)
    assert warnings == []


def test_rvl_depth_and_rvl_inverse_depth(tmp_path: Path) -> None:
    def packed(stored: np.ndarray, form: str, a: float, b: float) -> Row:
        data = struct.pack("<iff", 0, a, b) + encode(stored)
        message = ros.Writer().header(START, "eye").text(form).add("I", len(data)).raw(data)
        return DEPTH + "/compressedDepth", ros.COMPRESSED, b"".join(message.done())

    holes = units(0)
    holes[:3, :9] = 0
    rows = [image(COLOUR, rgb(0), "rgb8"), packed(holes, "16UC1; compressedDepth rvl", 0, 0)]
    frames, warnings = play(write_bag(tmp_path / "units.mcap", rows))
    assert np.allclose(frames[0].depth, holes / 1000)
    assert warnings == []
    inverse = np.where(holes > 0, 10100 / np.maximum(holes / 1000, 1e-6) - 1009, 0).astype(np.uint16)
    rows[1] = packed(inverse, "32FC1; compressedDepth rvl", 10100, -1009)
    frames, _ = play(write_bag(tmp_path / "inverse.mcap", rows))
    assert np.allclose(frames[0].depth, holes / 1000, rtol=2e-3)
    rows[1] = (*rows[1][:2], rows[1][2][:-40])
    with pytest.raises(CameraError, match=r"RVL|bytes"):
        play(write_bag(tmp_path / "cut.mcap", rows))


@pytest.mark.parametrize("nested", ["/cam/left", "/cam/cam", "/other/deeper/cam"])
def test_two_cameras_are_two_however_their_names_nest(tmp_path: Path, nested: str) -> None:
    rows = pair(0, "/cam/color/image_raw", "/cam/depth/image_raw", colour_eye="", depth_eye="")
    rows += pair(0, f"{nested}/color/image_raw", f"{nested}/depth/image_raw", 9, colour_eye="", depth_eye="")
    with pytest.raises(CameraError, match="2 pairs of topics fit equally well; choose one with"):
        play(write_bag(tmp_path / "x.mcap", rows))
    frames, _ = play(tmp_path / "x.mcap", f"?colour={nested}/color/image_raw&depth={nested}/depth/image_raw")
    assert np.array_equal(frames[0].rgb, rgb(9))


@pytest.mark.parametrize(("colour_eye", "depth_eye"), [("", ""), ("color", "infra1")])
def test_depth_aligned_to_another_eye_is_refused(tmp_path: Path, colour_eye: str, depth_eye: str) -> None:
    aligned = "/camera/aligned_depth_to_infra1/image_raw"
    rows = pair(0, depth=aligned, colour_eye=colour_eye, depth_eye=depth_eye)
    with pytest.raises(CameraError, match="is aligned to 'infra1' and not to /camera/color/image_raw"):
        play(write_bag(tmp_path / "x.mcap", rows))
    rows = pair(0, "/camera/infra1/image_rect_raw", "/camera/aligned_depth_to_infra1/image_raw")
    assert len(play(write_bag(tmp_path / "y.mcap", rows))[0]) == 1, "to that eye it is aligned"


def test_the_eye_that_both_name_wins(tmp_path: Path) -> None:
    rows = [
        image("/camera/left/image_raw", rgb(1), "rgb8", eye="left"),
        image("/camera/right/image_raw", rgb(2), "rgb8", eye="right"),
        image("/camera/depth_registered/image_raw", units(0), "16UC1", eye="right"),
    ]
    frames, _ = play(write_bag(tmp_path / "x.mcap", rows))
    assert np.array_equal(frames[0].rgb, rgb(2))


def test_sixteen_bits_of_grey_are_a_picture_only_where_people_say_so(tmp_path: Path) -> None:
    grey = np.tile(np.arange(32, dtype=np.uint16) * 8 * 257, (24, 1))
    infra, depth = "/camera/infra1/image_raw", "/camera/depth/image_raw"
    path = write_bag(tmp_path / "x.mcap", [image(infra, grey, "mono16"), image(depth, units(0), "16UC1")])
    with pytest.raises(CameraError, match=rf"no colour image topic.*\?colour={infra} takes it as a grey picture"):
        play(path)
    frames, _ = play(path, f"?colour={infra}")
    assert np.array_equal(frames[0].rgb[..., 0], grey // 257)
    assert np.allclose(frames[0].depth, units(0) / 1000)


def test_a_camera_below_another_s_name_is_said(tmp_path: Path) -> None:
    rows = pair(0, "/cam/color/image_raw", "/cam/left/depth/image_raw", colour_eye="", depth_eye="")
    _, warnings = play(write_bag(tmp_path / "x.mcap", rows))
    assert any("nothing but their size says so" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (image(DEPTH, units(0), "32SC1"), "its encoding '32SC1' is not one of"),
        (
            compressed(DEPTH, units(0), "16UC1; compressedDepth rvl", ".png", lead=bytes(12)),
            "an RVL image of .* pixels",
        ),
        (compressed(DEPTH, rgb(0), "16UC1; jpeg compressed ", ".jpg"), "that is not lossless"),
    ],
)
def test_an_encoding_that_is_not_read_is_named_in_the_refusal(tmp_path: Path, row: Row, says: str) -> None:
    path = write_bag(tmp_path / "x.mcap", [image(COLOUR, rgb(0), "rgb8"), row])
    with pytest.raises(CameraError, match=f"no depth image topic; the bag has .*{says}"):
        play(path)


def test_depth_units(tmp_path: Path) -> None:
    millimetres = [row for index in range(3) for row in pair(index)]
    path = write_bag(tmp_path / "mm.mcap", millimetres)
    frames, warnings = play(path)
    assert warnings == []
    assert 1 <= frames[0].depth.min() < frames[0].depth.max() <= 4
    with pytest.raises(CameraError, match=r"5000 units a metre are depth_scale=0\.0002"):
        play(path, "?depth_scale=5000")
    assert np.allclose(play(path, "?depth_scale=0.0005")[0][0].depth, frames[0].depth / 2)
    rows = [image(COLOUR, rgb(0), "rgb8"), image(DEPTH, units(0).astype(np.float32), "32FC1")]
    path = write_bag(tmp_path / "float-mm.mcap", rows)
    frames, warnings = play(path)
    assert any("lie outside 0.3 … 10 m" in w for w in warnings)
    frames, warnings = play(path, "?depth_scale=0.001")
    assert warnings == []
    assert np.allclose(frames[0].depth, units(0) / 1000)
    minus = np.where(units(0) > 2000, units(0) / 1000, -1).astype(np.float32)
    frames, _ = play(write_bag(tmp_path / "minus.mcap", [rows[0], image(DEPTH, minus, "32FC1")]))
    assert frames[0].depth.min() == 0, "below zero is no measurement"
    doubles = (units(0) / 1000).astype(np.float64)
    frames, _ = play(write_bag(tmp_path / "doubles.mcap", [rows[0], image(DEPTH, doubles, "64FC1")]))
    assert np.allclose(frames[0].depth, doubles)


def test_a_topic_of_two_publishers_plays_whole(tmp_path: Path) -> None:
    from mutualformer.runtime.recording.mcap_file import McapFile

    file = McapFile(tmp_path / "x.mcap", "test")
    for half in range(2):  # the driver came back under another name: the same topics once more
        channels = {topic: file.channel(topic, "sensor_msgs/msg/Image", "") for topic in (COLOUR, DEPTH)}
        for index in range(4 * half, 4 * half + 4):
            for topic, _, data in pair(index):
                file.message(channels[topic], [data], index, index)
    file.close()
    frames, _ = play(tmp_path / "x.mcap")
    assert [round((frame.timestamp - 1.7e9) * 30) for frame in frames] == list(range(8))


def test_one_bad_picture_is_left_out_and_the_stream_goes_on(tmp_path: Path) -> None:
    rows = []
    for index in range(6):
        picture = compressed(COLOUR + "/compressed", rgb(index)[..., ::-1], "jpeg", ".jpg", index)
        rows += [picture if index != 3 else (*picture[:2], picture[2][:150]), pair(index)[1]]
    rows[0] = (*rows[0][:2], rows[0][2][:8])  # a message cut short, the first of all
    frames, warnings = play(write_bag(tmp_path / "x.mcap", rows))
    assert [round((frame.timestamp - 1.7e9) * 30) for frame in frames] == [1, 2, 4, 5]
    assert any("left out" in warning for warning in warnings)


def test_a_bag_without_one_usable_frame_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    rows = [image(COLOUR, rgb(0), "rgb8", 0), image(DEPTH, units(0), "16UC1", 9000)]
    with pytest.raises(CameraError, match="no frame could be used: 1 colour images have no depth at their time"):
        play(write_bag(tmp_path / "x.mcap", rows))


def test_realsense_topics_are_not_read_as_a_bag(tmp_path: Path) -> None:
    rows = pair(0, "/device_0/sensor_1/Color_0/image/data", "/device_0/sensor_0/Depth_0/image/data")
    path = write_bag(tmp_path / "x.mcap", rows)
    with pytest.raises(CameraError, match="is a RealSense recording"):
        opening.camera(f"rosbag:{path}")


def test_messages_of_other_kinds_are_named(tmp_path: Path) -> None:
    from mcap.writer import Writer

    with (tmp_path / "x.mcap").open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        schema = writer.register_schema("foxglove.CompressedImage", "jsonschema", b"{}")
        channel = writer.register_channel("/camera", "json", schema)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    with pytest.raises(CameraError, match="its messages are 'json', expected ROS messages"):
        opening.camera(str(tmp_path / "x.mcap"))
