"""``data check``: every planted fault is found and named, a clean set passes, nothing crashes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mutualformer.runtime.sources.folders.survey import Remark
from mutualformer.runtime.sources.synthetic import Options, SyntheticCamera
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import Result
from mutualformer.train import datasets
from tests.pictures import Change, read_picture, rewrite_picture
from tests.train.support.scenes import write_rgbd


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rgbd(tmp_path_factory.mktemp("clean") / "set", count=14)


@pytest.fixture
def folder(clean: Path, tmp_path: Path) -> Path:
    return shutil.copytree(clean, tmp_path / "set")


def kinds(actual: tuple[list[str], list[Remark]], level: str = "fix") -> set[str]:
    return {finding.kind for finding in actual[1] if finding.level == level}


def test_it_speaks_in_sentences_and_draws(clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "check.jpg"
    assert datasets.main(["check", str(clean), "-o", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "nothing must be fixed"
    assert lines[:3] == [
        f"{clean}: 14 pictures, 14 with a mask, 14 with depth.",
        "All are 64×48.",
        "14 depth maps have 8 bits.",
    ]
    assert lines[3].startswith("Depth without a unit is bright where it is near (")
    assert not set("{}[]") & set(" ".join(lines)), "no Python"
    height, width = read_picture(picture).shape[:2]
    assert height > 14 / 3 * 150
    assert width == 3 * 3 * 200


def without_depth_and_masks(root: Path) -> None:
    for name in ("depth", "GT"):
        shutil.rmtree(root / name)


def turned_over(root: Path) -> None:
    for path in (root / "depth").iterdir():
        rewrite_picture(path, lambda image: 255 - image)


PARTS = (("RGB", "jpg"), ("depth", "png"), ("GT", "png"))
FAULTS: dict[str, Callable[[Path], object]] = {
    "partner": lambda root: (root / "depth" / "0003.png").unlink(),
    "unreadable": lambda root: (root / "RGB" / "0002.jpg").write_bytes(b"no picture"),
    "size": lambda root: rewrite_picture(root / "GT" / "0001.png", lambda image: image[:-4]),
    "names": lambda root: shutil.copy(root / "RGB" / "0000.jpg", root / "RGB" / "0000.png"),
    "bits": lambda root: rewrite_picture(root / "depth" / "0001.png", lambda image: image.astype(np.uint16) * 20),
    "folder": without_depth_and_masks,
}
DOUBTS: dict[str, Callable[[Path], object]] = {
    "empty": lambda root: rewrite_picture(root / "GT" / "0004.png", np.zeros_like),
    "full": lambda root: rewrite_picture(root / "GT" / "0004.png", lambda image: np.full_like(image, 255)),
    "flat": lambda root: rewrite_picture(root / "depth" / "0004.png", lambda image: np.full_like(image, 7)),
    "duplicate": lambda root: [shutil.copy(root / d / f"0000.{s}", root / d / f"0099.{s}") for d, s in PARTS],
    "polarity": turned_over,
}


@pytest.mark.parametrize(("kind", "level"), [*((k, "fix") for k in FAULTS), *((k, "look") for k in DOUBTS)])
def test_planted_faults_are_found(folder: Path, kind: str, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    (FAULTS if level == "fix" else DOUBTS)[kind](folder)
    if kind == "folder":
        assert datasets.main(["check", str(folder)]) == 0, "photographs, which can be predicted"
        assert "no frame has a mask" in capsys.readouterr().out
        return
    actual = datasets.check([folder])
    assert kind in kinds(actual, level)
    assert bool(kinds(actual)) == (level == "fix")
    assert datasets.main(["check", str(folder)]) == int(level == "fix")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{level}: ")]
    assert any(str(folder) in line or kind in line for line in lines)


def test_16_bit_depth_that_grows_towards_the_camera_must_be_fixed(folder: Path) -> None:
    for path in (folder / "depth").iterdir():
        rewrite_picture(path, lambda image: image.astype(np.uint16) * 20 + 1)
    assert kinds(datasets.check([folder])) == {"polarity"}
    for path in (folder / "depth").iterdir():
        rewrite_picture(path, lambda image: 6000 - image)
    assert not kinds(datasets.check([folder]))


def test_pictures_shared_by_splits_are_found(clean: Path, tmp_path: Path) -> None:
    train, test = shutil.copytree(clean, tmp_path / "train"), write_rgbd(tmp_path / "test", count=3, seed=70)
    assert not kinds(datasets.check([tmp_path]))  # two sets below one folder, nothing shared
    shutil.copy(train / "RGB" / "0005.jpg", test / "RGB" / "0001.jpg")
    assert kinds(datasets.check([train, test])) == {"duplicate"}


@pytest.mark.parametrize("kind", ["photographs", "options", "recording"])
def test_what_other_verbs_open_is_checked_too(folder: Path, tmp_path: Path, kind: str) -> None:
    address = {"photographs": str(folder / "RGB"), "options": f"{folder}?polarity=near_bright"}.get(kind, "")
    if kind == "recording":
        recorder = Recorder(tmp_path / "take")
        address = str(tmp_path / "take")
        with SyntheticCamera(Options(fps=0, size="64x48", frames=3)) as camera:
            recorder.open(camera)
            for number, frame in enumerate(camera):
                recorder.write(Result(frame, {}, {}, number, 0))
            recorder.close()
    said = datasets.check([address])[0][0]
    assert f": {3 if kind == 'recording' else len(list((folder / 'RGB').iterdir()))} pictures" in said
    assert ("none with depth" in said) == (kind == "photographs")
    assert ("none with a mask" in said) == (kind != "options")


def test_bad_input_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("empty", "file", "absent"):
        assert datasets.main(["check", str(tmp_path / name)]) == 1
        assert "fix: " in capsys.readouterr().out
    for part in ("RGB", "depth", "GT"):
        (tmp_path / "odd" / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(30):  # noise with the right names
        for part, suffix in PARTS:
            (tmp_path / "odd" / part / f"{index}.{suffix}").write_bytes(rng.bytes(int(rng.integers(0, 300))))
    os.symlink(tmp_path / "nowhere", tmp_path / "odd" / "RGB" / "gone.png")
    actual = datasets.check([tmp_path / "odd"])
    assert "unreadable" in kinds(actual)


def write_reid(root: Path, entries: Sequence[tuple[str, int, int, int]]) -> Path:
    rng = np.random.default_rng(0)
    for part, identity, camera, view in entries:
        (root / part).mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 256, (16, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(root / part / f"{identity:04d}_c{camera}_{view}.png"), picture)
    return root


GOOD = [("bounding_box_train", i, c, 0) for i in (1, 2) for c in (1, 2)]
GOOD += [("query", i, 1, 0) for i in (3, 4)] + [("bounding_box_test", i, c, 1) for i in (3, 4) for c in (1, 2)]


def test_reid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_reid(tmp_path / "RGBN300" / "rgbir", GOOD)
    assert datasets.main(["check", str(tmp_path / "RGBN300")]) == 0
    assert f"{root}, train: 4 pictures of 2 identities by 2 cameras." in capsys.readouterr().out
    write_reid(root, [("bounding_box_test", 1, 1, 7)])
    (root / "bounding_box_train" / "0002_c1_0.png").write_bytes(b"")
    assert kinds(datasets.check([root])) == {"leak", "unreadable"}
    (root / "query" / "someone.png").write_bytes(b"")
    assert kinds(datasets.check([root])) == {"files", "unreadable"}
    shutil.rmtree(root / "query")
    assert kinds(datasets.check([root]), "look") == {"folder"}


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert datasets.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert "nju2k" in printed
    assert "1485" in printed
    assert "rgbd:ROOT/NAME" in printed


def test_masks_of_0_and_1_are_not_called_empty(folder: Path) -> None:
    for path in (folder / "GT").iterdir():
        rewrite_picture(path, lambda image: image // 255)
    found = datasets.check([folder])
    assert kinds(found, "look") == set()
    assert "Masks hold the values 0, 1; more than half of the largest counts as object." in found[0]
    rewrite_picture(folder / "GT" / "0004.png", np.zeros_like)
    assert kinds(datasets.check([folder]), "look") == {"empty"}


def test_exif_turns_are_told(folder: Path) -> None:
    tag = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0"
    for index in (1, 5):
        path = folder / "RGB" / f"{index:04d}.jpg"
        data = path.read_bytes()
        path.write_bytes(data[:2] + b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag + data[2:])
    found = datasets.check([folder])
    (finding,) = (finding for finding in found[1] if finding.kind == "exif")
    assert finding.count == 2
    assert "read as stored" in finding.what


def unit(image: NDArray[Any]) -> NDArray[Any]:
    return np.maximum(255 - image, 1).astype(np.uint16) * 400


def hole(image: NDArray[Any]) -> NDArray[Any]:
    millimetres = 1500 + (255 - image).astype(np.uint16) * 4
    return np.where(np.indices(image.shape)[0] < 20, 9999, millimetres).astype(np.uint16)


PLAUSIBILITY: dict[str, tuple[str, Change]] = {
    "unit": ("depth", unit),
    "inverted": ("GT", lambda image: 255 - image),
    "hole": ("depth", hole),
}


@pytest.mark.parametrize("kind", PLAUSIBILITY)
def test_what_a_set_says_about_itself_is_a_finding(folder: Path, kind: str) -> None:
    part, change = PLAUSIBILITY[kind]
    for path in (folder / part).iterdir():
        rewrite_picture(path, change)
    assert kind in kinds(datasets.check([folder]), "look")


def test_a_unit_that_the_folder_declares_is_used(folder: Path) -> None:
    for path in (folder / "depth").iterdir():
        rewrite_picture(path, lambda image: 15_001 + (255 - image).astype(np.uint16) * 41)
    assert "unit" in kinds(datasets.check([folder]), "look")
    (folder / "camera.json").write_text('{"depth_scale_m": 0.0001}')
    actual = datasets.check([folder])
    assert "unit" not in kinds(actual, "look")
    (depth,) = (line for line in actual[0] if line.startswith("Depth reads as"))
    assert 1.5 < float(depth.rpartition("than ")[2].removesuffix(" m.")) < 2.6


def test_a_set_without_depth_is_a_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / "depth")
    assert datasets.main(["check", str(folder)]) == 0
    assert "no depth folder" in capsys.readouterr().out


def test_query_may_be_part_of_the_gallery(tmp_path: Path) -> None:
    root = write_reid(tmp_path / "set", GOOD)
    for path in (root / "query").iterdir():
        shutil.copy(path, root / "bounding_box_test" / path.name)
    (root / "query" / "._0003_c1_0.png").write_bytes(b"\0\5\x16\7")
    found = datasets.check([root])
    assert not kinds(found)
