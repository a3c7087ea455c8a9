"""Picture files: sizes before decoding, one rule for EXIF, people's order, and every failure a sentence."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mutualformer.runtime.sources import pictures as files
from mutualformer.runtime.sources.describe import MAX_SCANS, describe
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import frames_in
from mutualformer.runtime.sources.pictures import natural_key, read_colour, read_picture
from mutualformer.runtime.sources.profiles import from_srgb
from tests.pictures import decode_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)


def encoded(suffix: str, image: NDArray[Any] = PICTURE, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, image, list(options))
    assert done
    return data.tobytes()


def exif(turn: int, order: str = "<") -> bytes:
    """A TIFF structure that holds an orientation and nothing else."""
    entry = struct.pack(order + "HHIHH", 274, 3, 1, turn, 0)
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds nothing."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm"])
def test_the_declared_size_is_the_decoded_one(suffix: str) -> None:
    actual = describe(encoded(suffix), "x")
    assert (actual.height, actual.width) == PICTURE.shape[:2]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (257, 3)])
def test_odd_sizes_in_every_format(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm"):
        actual = describe(encoded(suffix, image), "x")
        assert (actual.height, actual.width) == size, suffix
    lossless = encoded(".webp", image, cv2.IMWRITE_WEBP_QUALITY, 101)
    assert (describe(lossless, "x").height, describe(lossless, "x").width) == size


BOMBS: dict[str, Callable[[], bytes]] = {
    "png": lambda: png_of(32000, 32000),
    "png of 4 gigapixels": lambda: png_of(65535, 65535),
    "bmp": lambda: b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 30000, -30000, 1, 24) + bytes(60),
    "tif": lambda: (
        b"II*\0" + struct.pack("<IH", 8, 2) + struct.pack("<HHIIHHII", 256, 4, 1, 90000, 257, 4, 1, 90000) + bytes(4)
    ),
    "pgm": lambda: b"P5\n# a comment 1 1\n40000 40000\n255\n",
    "webp": lambda: b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\x3f\0\xff\x3f\0" + bytes(60),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_size_beyond_the_limit_is_refused_before_decoding(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bomb.png").write_bytes(BOMBS[kind]())
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"bomb\.png: (declares .* pixels, expected at most 64 million|Pillow cannot)"):
        read_colour(tmp_path / "bomb.png")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_is_for_lone_photographs_only(tmp_path: Path, turn: int, order: str) -> None:
    body = b"Exif\0\0" + exif(turn, order)
    jpeg = encoded(".jpg", PICTURE, cv2.IMWRITE_JPEG_QUALITY, 100)
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    (tmp_path / "plain.jpg").write_bytes(jpeg)
    png = encoded(".png")
    (tmp_path / "turned.png").write_bytes(png[:33] + chunk(b"eXIf", exif(turn, order)) + png[33:])
    for suffix in ("jpg", "png"):
        file = tmp_path / f"turned.{suffix}"
        plain = files.decode(jpeg if suffix == "jpg" else png, "plain", "colour")
        assert files.orientation(file) == turn
        np.testing.assert_array_equal(read_colour(file), plain)
        upright = read_colour(file, upright=True)
        expected = decode_picture(file.read_bytes(), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(upright, expected)  # OpenCV turns by the tag unless an option forbids it
    with pytest.raises(DataError, match=r"gone\.jpg: cannot be read"):
        files.orientation(tmp_path / "gone.jpg")


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xca\xfd\xbe\xdd.png"
    with open(path, "wb") as file:
        file.write(encoded(".png"))
    (actual,) = frames_in(tmp_path).files.values()
    np.testing.assert_array_equal(read_colour(actual), PICTURE[..., ::-1])


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_16_bit_colour_by_its_own_brightest_value(tmp_path: Path, bits: int, caplog: pytest.LogCaptureFixture) -> None:
    deep = PICTURE.astype(np.uint16) << (bits - 8)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    np.testing.assert_array_equal(read_colour(tmp_path / "deep.png"), PICTURE[..., ::-1])
    read_colour(tmp_path / "deep.png")
    assert caplog.text.count(f"never exceeds {bits} bits") == (bits < 16)


def test_floats_are_no_colour(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tif"), PICTURE.astype(np.float32) / 255)
    with pytest.raises(DataError, match="colour is float32, expected 8 or 16 bits"):
        read_colour(tmp_path / "a.tif")


NO_IMAGES = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500),
    "no picture": b"<html>quota exceeded</html>",
    "no picture of a known format": b"\x00\x01 nothing",
    "the file is empty": b"",
    "expected a": b"\xff\xd8\xff\xe0",
}


@pytest.mark.parametrize("message", NO_IMAGES)
def test_what_is_no_image_is_named(tmp_path: Path, message: str) -> None:
    (tmp_path / "picture.jpg").write_bytes(NO_IMAGES[message])
    with pytest.raises(DataError, match=f"picture.jpg: .*{message}"):
        read_colour(tmp_path / "picture.jpg")


SEEDS = [encoded(suffix) for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm")]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_files_are_a_sentence_or_a_picture(data: st.DataObject) -> None:
    seed = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(0, 6))):
        seed[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(seed[: data.draw(st.integers(1, len(seed)))])
    try:
        picture = files.decode(cut, "fuzz", "colour")
    except DataError:
        return
    assert picture.dtype == np.uint8
    assert picture.shape == (describe(cut, "x").height, describe(cut, "x").width, 3)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([seed[:30] for seed in SEEDS] + [b"\x76\x2f\x31\x01"]))
def test_headers_of_noise(noise: bytes, start: bytes) -> None:
    with contextlib.suppress(DataError):
        describe(start + noise, "noise")


def test_natural_order() -> None:
    names = ["frame10.png", "frame2.png", "Frame1.png", "frame02.png", "a", "10", "9", "x1y2", "x1y10", "²"]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("9") < ordered.index("10")
    assert [n for n in ordered if n.lower().startswith("frame")] == [
        "Frame1.png",
        "frame02.png",
        "frame2.png",
        "frame10.png",
    ]
    assert ordered.index("x1y2") < ordered.index("x1y10")


@given(st.lists(st.text(alphabet="a1 0.²é", max_size=8), unique=True))
def test_natural_order_is_total(names: list[str]) -> None:
    assert sorted(names, key=natural_key) == sorted(reversed(names), key=natural_key)


def test_a_listing_says_what_it_leaves_out(tmp_path: Path) -> None:
    for name in (
        "10.png",
        "2.png",
        "2.jpg",
        "._2.png",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "a.txt",
        "a.pdf",
    ):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "sub.png").mkdir()
    listing = frames_in(tmp_path)
    assert list(listing.files) == ["2", "10"]
    assert [(out.name, kept.name) for out, kept in listing.twice] == [("2.png", "2.jpg")]
    assert [path.name for path in listing.other] == ["a.pdf"]
    with pytest.raises(DataError, match="cannot be listed"):
        frames_in(tmp_path / "none")


def test_bytes_behind_an_image_are_no_fault() -> None:
    """Some cameras append a trailer."""
    assert files.decode(encoded(".jpg") + b"trailer" * 9, "x", "colour").shape == PICTURE.shape


def test_a_png_chunk_that_declares_more_than_there_is_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    data = cv2.imencode(".png", np.zeros((6, 8, 3), np.uint8))[1].tobytes()
    place = data.index(b"IDAT") - 4
    began = time.perf_counter()
    with pytest.raises(DataError, match="declares more bytes than there are"):
        files.decode(data[:place] + (0x34000071).to_bytes(4, "big") + data[place + 4 :], "x.png", "colour")
    assert time.perf_counter() - began < 10


def saved(kind: str, **options: Any) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "AVIF", "JPEG2000"])
def test_kinds_that_pillow_decodes(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(saved(kind))
    assert np.abs(read_colour(tmp_path / "a").astype(int) - PICTURE).mean() < 60


@pytest.mark.parametrize("associated", [False, True])
def test_a_tiff_file_s_half_transparent_colours_are_its_own(associated: bool) -> None:
    from PIL import Image

    stream, share = io.BytesIO(), 0.4 if associated else 1
    pixels = np.dstack(((PICTURE * share).astype(np.uint8), np.full(PICTURE.shape[:2], 102, np.uint8)))
    Image.fromarray(pixels).save(stream, "TIFF")
    data = stream.getvalue()
    meant = struct.pack("<HHI", 338, 3, 1)  # ExtraSamples
    assert data.count(meant + b"\2") == 1
    got = files.picture(data.replace(meant + b"\2", meant + b"\1") if associated else data, "x")
    np.testing.assert_array_equal(got.alpha, pixels[..., 3])
    assert np.abs(got.rgb.astype(int) - PICTURE).max() <= 3


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "TIFF", "GIF"])
def test_the_first_of_several_pictures_is_said(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    from PIL import Image

    more = [Image.fromarray(255 - PICTURE), Image.fromarray(PICTURE // 2)]
    (tmp_path / "many").write_bytes(saved(kind, save_all=True, append_images=more))
    assert describe((tmp_path / "many").read_bytes(), "x").pictures == 3
    read_colour(tmp_path / "many")
    assert "holds 3 pictures" in caplog.text
    assert ("video:" in caplog.text) == (kind == "GIF")


def tiff(entries: list[tuple[int, int, int]], behind: bytes = b"") -> bytes:
    """A TIFF directory of (tag, type, value)."""
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4) + behind


def test_camera_raw_files_and_tags_given_twice_are_refused(tmp_path: Path) -> None:
    sized = [(254, 4, 1), (256, 4, 120), (257, 4, 80)]
    (tmp_path / "a.nef").write_bytes(tiff(sized))
    with pytest.raises(DataError, match="raw file"):
        read_colour(tmp_path / "a.nef")
    (tmp_path / "b.tif").write_bytes(tiff([(256, 9, 20000), (256, 3, 10), (257, 3, 10)]))
    with pytest.raises(DataError, match="twice"):
        read_colour(tmp_path / "b.tif")


def test_bytes_count_and_not_pixels_alone(tmp_path: Path) -> None:
    wide = [(256, 4, 7900), (257, 4, 7900), (258, 3, 64), (277, 3, 4), (339, 3, 3)]
    (tmp_path / "a.tif").write_bytes(tiff(wide))
    with pytest.raises(DataError, match="MiB, expected at most"):
        read_colour(tmp_path / "a.tif")


def test_a_jpeg_of_endless_scans_is_refused(tmp_path: Path) -> None:
    data = saved("JPEG", progressive=True)
    place = data.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(data[:place] + data[place:-2] * (MAX_SCANS + 1) + data[-2:])
    with pytest.raises(DataError, match="scans"):
        read_colour(tmp_path / "a.jpg")


def test_a_size_that_the_decoder_does_not_confirm_is_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(DataError, match="corrupt: it declares 34×21 pixels and holds 2×2"):
        files.decode(encoded(".png"), "x", "colour")


def test_transparency_is_kept_beside_the_picture(tmp_path: Path) -> None:
    alpha = np.full(PICTURE.shape[:2], 255, np.uint8)
    alpha[:, :10] = 0
    alpha[:, 10:12] = 100
    for suffix in (".png", ".webp"):
        image = np.dstack([PICTURE, alpha])
        lossless = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
        (tmp_path / "a").write_bytes(encoded(suffix, image, *lossless))
        seen = read_picture(tmp_path / "a")
        np.testing.assert_array_equal(seen.alpha, alpha)
        assert (seen.rgb[:, :10] == 128).all(), "neutral ground where nothing is to be seen"
        np.testing.assert_array_equal(seen.rgb[:, 12:], PICTURE[:, 12:, ::-1])
    (tmp_path / "b.png").write_bytes(encoded(".png", np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])))
    assert read_picture(tmp_path / "b.png").alpha is None


def linear_srgb() -> bytes:
    """Pillow's sRGB profile with straight curves; its name stays."""
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kind = b"para\0\0\0\0\0\3\0\0"
    head, *curves = srgb.split(kind)
    assert curves
    straight = struct.pack(">5i", 1 << 16, 1 << 16, 0, 1 << 16, 0)
    return kind.join([head, *(straight + curve[20:] for curve in curves)])


def print_profile() -> bytes:
    """A CMYK profile of our own: paper is white, black ink is black, any other ink is the grey of L* = 50."""
    corners = np.full((2, 2, 2, 2), 50.0)  # cyan, magenta, yellow, black: without and with
    corners[0, 0, 0, 0], corners[..., 1] = 100, 0
    lab = np.stack([corners.ravel() * 2.55, np.full(16, 128), np.full(16, 128)], axis=1).round().astype(np.uint8)
    ramp = bytes(range(256))
    table = struct.pack(">4s4x4B9i", b"mft1", 4, 3, 2, 0, *[1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 16])
    table += 4 * ramp + lab.tobytes() + 3 * ramp  # ICC.1:2001-04, 6.5.8
    place = 128 + 4 + 12
    tags = struct.pack(">I4sII", 1, b"A2B0", place, len(table)) + table
    kind = struct.pack(">I4x4s4s4s4s12x4s", 128 + len(tags), b"\2\0\0\0", b"prtr", b"CMYK", b"Lab ", b"acsp")
    light = struct.pack(">3i", 63190, 65536, 54061)  # D50, in which profiles speak
    return kind.ljust(68, b"\0") + light.ljust(60, b"\0") + tags


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_a_print_s_inks_become_colours_by_its_profile(tmp_path: Path, suffix: str) -> None:
    from PIL import Image

    inks = np.zeros((16, 48, 4), np.uint8)
    inks[:, 16:32, 0], inks[:, 32:, 3] = 255, 255
    sheet = Image.fromarray(inks, mode="CMYK")
    sheet.save(tmp_path / f"a{suffix}", icc_profile=print_profile())
    expected = np.repeat([255, 119, 0], 16)  # L* = 50 is 119 in sRGB
    seen = read_picture(tmp_path / f"a{suffix}")
    assert np.abs(seen.rgb[8].astype(int) - expected[:, None]).max() <= 3
    assert seen.icc is None
    sheet.save(tmp_path / f"b{suffix}", icc_profile=b"nonsense")
    sheet.save(tmp_path / f"c{suffix}")
    assert np.abs(read_colour(tmp_path / f"b{suffix}").astype(int) - read_colour(tmp_path / f"c{suffix}")).max() <= 3


def test_a_colour_profile_is_converted_for_the_model_and_kept_for_the_cut_out(tmp_path: Path) -> None:
    from PIL import Image, ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "a.png").write_bytes(saved("PNG", icc_profile=srgb))
    assert read_picture(tmp_path / "a.png").icc is None
    xyz = ImageCms.createProfile("LAB")
    (tmp_path / "b.jpg").write_bytes(saved("JPEG", icc_profile=ImageCms.ImageCmsProfile(xyz).tobytes()))
    assert read_picture(tmp_path / "b.jpg").original is None, "a profile of another colour space changes nothing"
    linear = linear_srgb()
    (tmp_path / "d.png").write_bytes(saved("PNG", icc_profile=linear))
    seen = read_picture(tmp_path / "d.png")
    assert seen.icc == linear, "it is called sRGB and is not"
    expected = np.where(PICTURE < 1, 0, 255 * (1.055 * (PICTURE / 255) ** (1 / 2.4) - 0.055))
    assert np.abs(seen.rgb - expected).max() < 2
    assert np.abs(from_srgb(seen.rgb, linear).astype(int) - PICTURE).max() < 3
    (tmp_path / "c.png").write_bytes(saved("PNG", icc_profile=b"nonsense"))
    np.testing.assert_array_equal(read_colour(tmp_path / "c.png"), np.asarray(Image.fromarray(PICTURE)))
