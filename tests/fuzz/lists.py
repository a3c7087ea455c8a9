"""Targets: depth arrays, lists of frames, what texts declare, addresses of data sets."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.depth import read_stored_depth
from mutualformer.runtime.sources.folders.declared import declared_scale
from mutualformer.runtime.sources.folders.tum_lists import read_associations, time_unit
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.grammar import joined
from mutualformer.runtime.sources.names import read_list
from tests.fuzz.campaign import Target
from tests.fuzz.models import WORDS, in_file

NAMES = (b"..", b"/", b"\\", b",", b"\t", b"\xff\xfe", b"1e400", b"nan", b"#", b"\0", b"a", b"0")


def npy(array: NDArray[Any]) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def npy_seeds(folder: Path) -> Sequence[bytes]:
    return [
        npy(np.ones((4, 5), np.uint16)),
        npy(np.ones((4, 5), np.float32)),
        npy(np.asfortranarray(np.ones((4, 5), ">i4"))),
    ]


def exr_seeds(folder: Path) -> Sequence[bytes]:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    seeds = []
    for channels in (
        {"Z": np.ones((6, 8), np.float32)},
        {"Z": np.ones((6, 8), np.float32), "R": np.ones((6, 8), "f2")},
    ):
        with OpenEXR.File(header, channels) as file:
            file.write(str(folder / "seed.exr"))
        seeds.append((folder / "seed.exr").read_bytes())
    return seeds


def associations(path: Path) -> None:
    time_unit([colour[0] for colour, _ in read_associations(path)])


def data_address(data: bytes, folder: Path) -> None:
    text = data.decode("utf-8", "surrogateescape")
    if text.startswith("synthetic"):  # as many and as large as somebody asks for
        joined(text)
    elif text.partition("?")[0].strip("./+") not in ("", "folder:"):  # / takes as long as that disk is large
        opening.frames(text)


def targets() -> list[Target]:
    found = [
        Target("npy", npy_seeds, in_file("d.npy", read_stored_depth), (DataError,), (b"'O'", b"'|V8'", b"(1,)", b"-1")),
        Target(
            "associations",
            lambda folder: [b"1.0 rgb/0.png 1.01 depth/0.png\n2.0 rgb/1.png 2.01 depth/1.png\n"],
            in_file("a.txt", associations),
            (DataError,),
            NAMES,
        ),
        Target(
            "declared-units",
            lambda folder: [b'{"depth_scale_m": 0.001, "camera": {"fx": 500}}', b"DepthMapFactor: 5000.0\n"],
            in_file("camera.json", lambda path: declared_scale([path.parent])),
            (),
            WORDS,
        ),
        Target(
            "frame-list",
            lambda folder: [b"a\nb\nc.png\n", b"\xef\xbb\xbfa,1\nb,2\n"],
            in_file("train.txt", lambda path: read_list(path, {"a", "b", "c"})),
            (DataError,),
            NAMES,
        ),
        Target(
            "data-address",
            lambda folder: [b"synthetic:3?seed=1", b"folder:/x?polarity=auto&depth_scale=0.001", b"reid:/x/rgbn300"],
            data_address,
            (DataError,),
            (b"..", b"+", b"?", b"&", b"%00", b"\xff", b"depth_scale=1e999"),
        ),
    ]
    try:
        import OpenEXR  # noqa: F401
    except ImportError:
        return found
    return [*found, Target("exr", exr_seeds, in_file("d.exr", read_stored_depth), (DataError,), (b"chlist", b"box2i"))]
