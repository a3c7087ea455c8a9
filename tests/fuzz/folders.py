"""Targets: lists of TUM folders, source addresses, what a recording says about itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mutualformer.runtime.recording.info import SEAL, InfoError, RecordingInfo
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources import pictures as files
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.describe import MAX_PIXELS
from mutualformer.runtime.sources.frame import DataError, Intrinsics
from mutualformer.runtime.untrusted.typed_json import Fields, parse_json
from tests.fuzz.campaign import Target
from tests.fuzz.recordings import play


def tum_seeds(folder: Path) -> Sequence[bytes]:
    """The two lists with a zero byte between; the pictures lie in the folder."""
    for kind, image in (("rgb", np.zeros((6, 8, 3), np.uint8)), ("depth", np.full((6, 8), 5000, np.uint16))):
        (folder / kind).mkdir(exist_ok=True)
        for number in range(3):
            cv2.imwrite(str(folder / kind / f"{number}.png"), image)
    lists = ["".join(f"{1.3e9 + n / 30:.6f} {kind}/{n}.png\n" for n in range(3)) for kind in ("rgb", "depth")]
    return ["\0".join(lists).encode(), ("# comment\n" + "\0".join(lists)).encode("utf-8-sig")]


def read_tum(data: bytes, folder: Path) -> int:
    rgb, _, depth = data.partition(b"\0")
    (folder / "rgb.txt").write_bytes(rgb)
    (folder / "depth.txt").write_bytes(depth)
    return play(lambda path, _: opening.camera(path), f"tum:{folder}")


def address_seeds(folder: Path) -> Sequence[bytes]:
    return [
        b"synthetic://?seed=1&fps=0&frames=1&size=8x6",
        b"pairs:/a,/b?scale=1000&nir=1",
        b"tum:/x?max_skew=0.1&time=ns",
        b"rosbag:/x.bag?colour=/a&depth=/b&depth_scale=0.001",
        b"/nowhere/wh?at is this.mcap?rate=1",
        b"recording:/x.mcap?rate=2",
    ]


def read_address(data: bytes, folder: Path) -> None:
    uri = data.decode("utf-8", "surrogateescape")
    # Pictures as large as somebody asks for are somebody's own doing.
    if uri.startswith("synthetic") and "size=8x6" not in uri:
        return
    # What a mutation happens to name on this machine (``/``) takes as long as that disk is large.
    if uri.partition("?")[0].strip("./") == "":
        return
    with opening.camera(uri) as camera:
        if "frames=1" in uri and "fps=0" in uri:
            list(camera)


def info_seeds(folder: Path) -> Sequence[bytes]:
    lens = Intrinsics(8, 6, 7.0, 7.0, 4.0, 3.0, "plumb_bob", (0.0, 0.1))
    sealed = RecordingInfo("tum:/x", "sod", 0.001, lens, "ab").to_metadata()
    unsealed = {key: value for key, value in sealed.items() if key != SEAL}  # as earlier versions wrote it
    return [json.dumps(values).encode() for values in (unsealed, sealed)]


def read_info(data: bytes, folder: Path) -> None:
    text = data.decode("utf-8", "replace")
    info = RecordingInfo.from_metadata(Fields(parse_json(text, "case", InfoError), "case", InfoError).data, "case")
    assert info.depth_scale is None or 0 < info.depth_scale <= 1


def picture_seeds(folder: Path) -> Sequence[bytes]:
    rgb, depth = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3), np.arange(48, dtype=np.uint16).reshape(6, 8)
    endings = (".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm")
    colours = [cv2.imencode(ending, rgb)[1].tobytes() for ending in endings]
    return colours + [cv2.imencode(ending, depth)[1].tobytes() for ending in (".png", ".tif", ".pgm")]


def read_picture(data: bytes, folder: Path) -> None:
    for mode in ("stored", "colour"):
        assert files.decode(data, "case", mode).size <= 4 * MAX_PIXELS


def targets() -> list[Target]:
    json_words = (b"NaN", b"1e999", b"-1", b'""', b"null", b"{}", b"[" * 5000, b"9" * 500)
    names = (b"..", b"/", b"\\", b"?", b"&", b"=", b"%00", b"%ff", b",", b"\xff\xfe", b"\xc2\xb2", b"1e400", b"nan")
    return [
        Target("picture", picture_seeds, read_picture, (DataError,), (b"IDAT", b"eXIf", b"\xff\xc0", b"RIFF")),
        Target("tum", tum_seeds, read_tum, (CameraError,), (*names, b"#", b"\n", b"rgb/0.png")),
        Target("address", address_seeds, read_address, (CameraError,), names),
        Target("recording-info", info_seeds, read_info, (InfoError,), json_words),
    ]
