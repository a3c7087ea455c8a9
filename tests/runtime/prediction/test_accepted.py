"""The same picture gives the same answer whichever way it is handed in; what is no picture is one sentence."""

from __future__ import annotations

import doctest
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import mutualformer
from mutualformer.runtime.prediction import single
from mutualformer.runtime.prediction.accepted import colour
from mutualformer.runtime.zoo import lookup
from tests.runtime.prediction.conftest import write_pictures
from tests.runtime.sources.test_pictures import print_profile


@pytest.fixture
def rgb() -> np.ndarray:
    """A picture with something in it: the stand-in model answers with the red channel."""
    return np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)


def _tensor(array: np.ndarray) -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed").from_numpy(array)


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "bytes": lambda a: cv2.imencode(".png", a[..., ::-1])[1].tobytes(),
    "open file": lambda a: io.BytesIO(cv2.imencode(".png", a[..., ::-1])[1].tobytes()),
    "bytearray": lambda a: bytearray(cv2.imencode(".png", a[..., ::-1])[1].tobytes()),
    "PIL": Image.fromarray,
    "PIL RGBA": lambda a: Image.fromarray(a).convert("RGBA"),
    "tensor HWC": _tensor,
    "tensor CHW": lambda a: _tensor(a).permute(2, 0, 1),
    "RGBA": lambda a: np.dstack([a, np.full(a.shape[:2], 255, np.uint8)]),
    "view": lambda a: a[:, ::-1][:, ::-1],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_picture(red: Path, rgb: np.ndarray, form: str) -> None:
    depth = np.ones(rgb.shape[:2], np.float32)  # the stand-in answers where depth was measured
    expected, got = mutualformer.predict(red, rgb, depth), mutualformer.predict(red, FORMS[form](rgb), depth)
    assert expected.mask.std() > 0.05
    assert np.array_equal(got.mask, expected.mask)
    assert np.array_equal(mutualformer.predict(red, FORMS[form](rgb)).rgb, rgb)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "CMYK", "I;16"])
def test_pil_images_are_read_by_their_mode(red: Path, rgb: np.ndarray, mode: str) -> None:
    if mode == "I;16":
        image, shown = Image.fromarray((rgb[..., 0].astype(np.uint16) << 8) | rgb[..., 0]), rgb[..., 0]
    else:
        image = Image.fromarray(rgb).convert(mode)
        shown = np.asarray(image.convert("RGB"))
    assert np.array_equal(mutualformer.predict(red, image).rgb, mutualformer.predict(red, shown).rgb)


def test_a_pil_image_of_inks_is_read_by_its_profile(red: Path) -> None:
    sheet = Image.new("CMYK", (64, 48), (255, 0, 0, 0))
    sheet.info["icc_profile"] = print_profile()
    assert np.abs(mutualformer.predict(red, sheet).rgb.astype(int) - 119).max() <= 2


def test_a_pil_image_is_turned_as_its_tag_asks(red: Path, rgb: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter clockwise
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", exif=exif)
    turned = mutualformer.predict(red, Image.open(io.BytesIO(buffer.getvalue())))
    assert np.array_equal(turned.rgb, np.rot90(rgb, -1))
    # Depth was made for the pixels as stored.
    depth = np.ones(rgb.shape[:2], np.float32)
    assert np.array_equal(mutualformer.predict(red, Image.open(io.BytesIO(buffer.getvalue())), depth).rgb, rgb)


def test_what_is_wholly_transparent_is_grey_as_in_a_file(red: Path, rgb: np.ndarray) -> None:
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:20] = 0
    clear = np.dstack([rgb, alpha])
    for seen in (colour(clear, True), colour(Image.fromarray(clear), True)):
        assert (seen.rgb[:20] == 128).all()
        assert seen.alpha is not None
        assert seen.original is not None
        assert np.array_equal(seen.original, rgb), "a cut-out keeps the picture's own colours"
        assert np.array_equal(seen.alpha, alpha)


def test_depth_of_every_form_is_the_same_metres(red: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path, 1, depth=True)
    rgb, depth = tmp_path / "RGB/0.png", tmp_path / "depth/0.png"
    units = np.asarray(cv2.imread(str(depth), cv2.IMREAD_UNCHANGED))
    metres = units * np.float32(0.001)
    expected = mutualformer.predict(red, rgb, depth)
    assert expected.depth is not None
    forms: list[tuple[Any, float | None]] = [(units, 0.001), (metres, None), (metres[..., None], None)]
    forms += [(depth.read_bytes(), None), (Image.open(depth), None), (depth, None), (_tensor(metres)[None], None)]
    for form, scale in forms:
        got = mutualformer.predict(red, np.asarray(cv2.imread(str(rgb)))[..., ::-1], form, depth_scale=scale)
        assert got.depth is not None
        assert np.array_equal(got.depth, expected.depth), type(form)


def test_millimetres_as_floats_are_warned_of_where_the_caller_stands(red: Path, rgb: np.ndarray) -> None:
    with pytest.warns(UserWarning, match="is it in metres") as caught:
        mutualformer.predict(red, rgb, np.full(rgb.shape[:2], 1500.0, np.float32))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mutualformer.predict(red, rgb, np.full(rgb.shape[:2], 1.5, np.float32))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (3, "rgb is int, expected a path, bytes, an array"),
        (None, "rgb is NoneType"),
        ({"rgb": 1}, "rgb is dict"),
        (np.zeros((3, 40, 60), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((2, 40, 60, 3), np.uint8), "predict_many"),
        (np.zeros((4, 5, 3), np.float32), "multiply a picture"),
        (Image.new("F", (4, 5)), "PIL image of mode F"),
        (b"junk", "no picture of a known format"),
        ("nosuch.png", "cannot be read"),
    ],
)
def test_what_is_no_picture_is_one_public_sentence(red: Path, wrong: Any, says: str) -> None:
    with pytest.raises(mutualformer.Error, match=says):
        mutualformer.predict(red, wrong)


def test_a_tensor_that_may_be_read_both_ways_is_not_guessed_at(red: Path) -> None:
    with pytest.raises(mutualformer.InputError, match=r"is it \(C, H, W\) or \(H, W, C\)"):
        mutualformer.predict(red, _tensor(np.zeros((3, 40, 3), np.uint8)))


@pytest.mark.parametrize("batch", [0, 1, 2, 5])
def test_many_come_in_order_and_no_earlier_than_they_are_asked_for(red: Path, batch: int) -> None:
    taken: list[int] = []

    def pictures() -> Any:
        for level in range(5):
            taken.append(level)
            yield np.full((20, 30, 3), 50 * level, np.uint8), np.ones((20, 30), np.float32)

    answers = mutualformer.predict_many(red, pictures(), batch=batch)
    assert taken == []
    first = next(answers)
    assert len(taken) == max(1, batch)
    levels = [first, *answers]
    assert [round(float(one.mask.mean()) * 255) for one in levels] == [0, 50, 100, 150, 200]


def test_a_list_is_answered_by_a_list_and_its_depth_may_be_one_too(red: Path, rgb: np.ndarray) -> None:
    depth = np.ones(rgb.shape[:2], np.float32)
    both = mutualformer.predict(red, [rgb, rgb], [depth, None])
    assert [one.depth is None for one in both] == [False, True]
    assert len(mutualformer.predict(red, (one for one in [rgb]))) == 1
    with pytest.raises(mutualformer.InputError, match="list of the same length"):
        mutualformer.predict(red, [rgb, rgb], [depth])
    with pytest.raises(mutualformer.InputError, match=r"picture 1: rgb is float32"):
        mutualformer.predict(red, [rgb, rgb.astype(np.float32)])


def test_a_stream_is_answered_until_the_loop_is_left(red: Path) -> None:
    for result in mutualformer.stream("synthetic://?seed=1", red):
        assert result.frame is not None
        assert result.mask.shape == result.frame.rgb.shape[:2]
        assert result.latency_s > 0
        break
    with pytest.raises(mutualformer.Error):
        list(mutualformer.stream("nonsense://", red))


def test_answers_and_sessions_are_one_line(red: Path, rgb: np.ndarray) -> None:
    model = mutualformer.load(red, device=["CPUExecutionProvider"])
    assert repr(model) == "<red-channel fp32, 48×32, cpu>"
    assert repr(mutualformer.predict(model, rgb)) == "<Prediction 'picture' by red-channel, 60×40 without depth>"


@pytest.mark.parametrize("device", ["gpu", "cuda:x", ["NoSuchProvider"], []])
def test_a_device_that_is_not_there_is_named(red: Path, device: Any) -> None:
    with pytest.raises(mutualformer.ModelError, match=r"device is|providers are"):
        mutualformer.load(red, device=device)


def test_the_package_shows_its_public_names_only() -> None:
    assert dir(mutualformer) == sorted(mutualformer.__all__)
    bases = [mutualformer.InputError, mutualformer.DataError, mutualformer.ModelError, mutualformer.BuildError]
    assert all(issubclass(base, mutualformer.Error) for base in bases)
    assert issubclass(mutualformer.CameraError, mutualformer.DataError)


def test_kinds_may_be_one_word_and_unknown_ones_are_named(red: Path, rgb: np.ndarray, tmp_path: Path) -> None:
    result = mutualformer.predict(red, rgb)
    assert [path.parent.name for path in result.save(tmp_path, what="cutout")] == ["cutout"]
    with pytest.raises(mutualformer.InputError, match="nonsense"):
        result.save(tmp_path, what="nonsense")


def test_without_a_screen_showing_is_refused(red: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(mutualformer.InputError, match="no screen and no notebook"):
        mutualformer.predict(red, rgb).show()


@pytest.mark.parametrize("module", [single, lookup], ids=lambda module: module.__name__)
def test_the_examples_in_the_documentation_run(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUTUALFORMER_MODELS", raising=False)
    outcome = doctest.testmod(module)
    assert outcome.attempted > 1
    assert outcome.failed == 0
