"""One address, one opening: ``frames("NJU2K_TEST")[3]`` by number, ``camera("realsense://")`` one after another.

What one verb opens, every verb opens. Files are indexed (:class:`Frames`) and can be played; recordings, videos and
cameras are played (:class:`BaseCamera`), and all that ends can be indexed. One file per kind, imported when it is asked
for, so that no SDK is needed but the one in use. In reading order: grammar (what a text means), walk and names (what a
folder holds), describe, pictures, depth and masks (how a file becomes numbers), folders (lists of files), playing
(files as a camera and back), base and options (what a camera is), devices, bags, video, child (a reader in a process
of its own).
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from mutualformer.extras import install
from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.child import ChildCamera
from mutualformer.runtime.sources.folders import sets, tum
from mutualformer.runtime.sources.folders.file_frames import FileFrames, ReadOptions
from mutualformer.runtime.sources.folders.pairs import PairOptions, pairs, split_target
from mutualformer.runtime.sources.folders.reid_folder import ReidData
from mutualformer.runtime.sources.folders.rgbd import rgbd_folder
from mutualformer.runtime.sources.folders.sample import sample
from mutualformer.runtime.sources.frame import DataError, Frames, Joined
from mutualformer.runtime.sources.grammar import KINDS, LIVE, NETWORK, PATH, Address, joined, parse, shown
from mutualformer.runtime.sources.names import is_rgbd
from mutualformer.runtime.sources.playing import CameraFrames, FramesCamera, PlayOptions, collected
from mutualformer.runtime.sources.recognise import recognise
from mutualformer.runtime.sources.walk import Entry, is_depth_map, walk

FORMS = "synthetic:N[?seed=S], sample:motorcycle, rgbd:ROOT/NAME+NAME, a picture, a folder, a recording or a video"
REID_FORMS = (
    "synthetic:IDENTITIES[?seed=S], a folder for each identity, an RGBN300-style folder or reid:ROOT/NAME for ReID"
)
log = logging.getLogger("mutualformer")


@dataclass(frozen=True)
class SyntheticOptions:
    """``seed``: which scenes or identities are rendered, a whole number."""

    seed: int = 0


@dataclass(frozen=True)
class ReidOptions:
    """``split``: train or test. ``spectra``: pictures side by side in one file, 2 or 3; 0 = look at the files."""

    split: str = ""
    spectra: int = 0


class Source(NamedTuple):
    """One kind of source. ``module``: in this package, of those that are played; "" for files, which are indexed.
    ``needs``: (import name, pip extra) of its SDK, if any. ``usb``: vendor:product of its devices, see listing.
    ``child``: whether it is read in a process of its own (:mod:`child`), because the file or the host is untrusted."""

    scheme: str
    module: str
    example: str
    about: str
    needs: tuple[str, str] | None = None
    usb: tuple[str, ...] = ()
    child: bool = False


REALSENSE, VIDEO = ("pyrealsense2", "realsense"), ("av", "video")
# Help texts and the list of `doctor` show this order. A module is imported only when an address of its kind is opened,
# so a missing SDK concerns that kind of camera alone.
_SOURCES = (
    Source(
        "realsense",
        "devices.realsense",
        "realsense://[SERIAL]",
        "Intel RealSense D400 and L500 cameras",
        REALSENSE,
        ("8086:RealSense", "8086:0b07", "8086:0b3a", "8086:0ad3"),
    ),
    Source(
        "realsense-file",
        "video.realsense_player",
        "FILE.db3 or FILE.bag",
        "recordings made by librealsense",
        REALSENSE,
        child=True,
    ),
    Source("oak", "devices.oak", "oak://[DEVICE_ID]", "Luxonis OAK-D cameras", ("depthai", "oak"), ("03e7:",)),
    Source("orbbec", "devices.orbbec", "orbbec://[SERIAL]", "Orbbec cameras", ("pyorbbecsdk", "orbbec"), ("2bc5:",)),
    Source(
        "openni2",
        "devices.openni2",
        "openni2://[INDEX]",
        "PrimeSense, Asus Xtion and others through OpenCV built with OpenNI2",
        None,
        ("1d27:", "0b05:0600", "0b05:0601"),
    ),
    Source("tum", "", "tum:FOLDER", "TUM RGB-D folders (rgb.txt and depth.txt)"),
    Source("pairs", "", "pairs:RGB_DIR,DEPTH_DIR", "two folders of images with equal file names"),
    Source("recording", ".recording.replay", "recording:FILE.mcap or its folder", "what `--record` writes", child=True),
    Source("rosbag", "bags.rosbag", "rosbag:BAG", "ROS 1 and ROS 2 bags", child=True),
    Source("path", "", "PICTURE, FOLDER or sample:NAME", "photographs, pairs, data sets, the real sample"),
    Source(
        "video",
        "video.player",
        "FILE.mp4 or video:COLOUR,DEPTH",
        "video files, with a depth video or without",
        VIDEO,
        child=True,
    ),
    Source("webcam", "devices.webcam", "0 or /dev/video0", "ordinary webcams, colour only"),
    Source("v4l2", "devices.gstreamer", "v4l2:///dev/video0", "cameras of Video4Linux through GStreamer, colour only"),
    Source("csi", "devices.gstreamer", "csi://0", "CSI cameras of a Jetson through GStreamer, colour only"),
    *(
        Source(
            scheme, "devices.network", f"{scheme}://HOST/PATH", "cameras of the network, colour only", VIDEO, child=True
        )
        for scheme in NETWORK
    ),
    Source("synthetic", "synthetic", "synthetic://?seed=0", "a rendered room, moving; no camera needed"),
)
# Bytes beyond which Linux answers every question about a file with an error; a folder's path may come in front.
LONGEST_NAME, LONGEST_PATH = 255, 3000
SOURCES: dict[str, Source] = {source.scheme: source for source in _SOURCES}


def resolved(address: Address | str) -> Address:
    """``address`` with its kind; a path's content decides that. Raises DataError where it is neither file nor kind."""
    address = parse(address) if isinstance(address, str) else address
    if address.kind == "dataset":  # the full form of a bare path
        address = Address(PATH, address.target, address.options)
    target = address.target.encode(errors="replace")
    longest = max(map(len, re.split(rb"[/,]", target)))
    if address.kind not in LIVE and (longest > LONGEST_NAME or len(target) > LONGEST_PATH):
        raise DataError(f"{address.target[:40]!r}…: is longer than any name of a file")
    if address.kind != PATH:
        return address
    path = Path(address.target)
    if not os.path.exists(address.target):
        raise DataError(
            f"{address.target!r} is neither an existing file or folder nor one of the sources {', '.join(KINDS)}"
        )
    kind, place = recognise(path)
    return Address(kind, str(place), address.options)


def camera(address: Address | str) -> BaseCamera:
    """A source as a camera. Raises CameraError in one sentence."""
    try:
        address = resolved(address)
        query = address.options
        source = SOURCES.get(address.kind)
        if source is not None and source.module and address.played:
            if source.needs is not None:
                require(*source.needs, what=str(address))
            # realsense://SERIAL: the two slashes belong to the spelling of a URL, not to the device's name.
            target = address.target.removeprefix("//")
            if source.child:
                return ChildCamera(source.module, target, query, shown(str(address)))
            module = importlib.import_module(f".{source.module}", "mutualformer.runtime.sources")
            played: BaseCamera = module.open_source(target, query)
            return played
        # The address may mix options of the reader (depth_scale) with those of the player (rate, loop). Each of the two
        # refuses options that it does not know, so they are separated first.
        ours = {field.name for field in fields(PlayOptions)}
        play = opts.parse(PlayOptions, {key: value for key, value in query.items() if key in ours}, str(address))
        rest = {key: value for key, value in query.items() if key not in ours}
        with collected() as warnings:
            opened = frames(Address(address.kind, address.target, rest))
        player = FramesCamera(opened, play, address.short)
        # Reading the folder may have warned already; the player repeats that to whoever watches the stream.
        for sentence in warnings:
            player.warn(sentence)
        return player
    except CameraError:
        raise
    except DataError as error:  # callers of a camera handle CameraError alone
        raise CameraError(str(error)) from error


def require(module: str, extra: str, what: str) -> None:
    """Raise CameraError naming the pip extra unless ``module`` can be imported (found, not yet imported)."""
    if importlib.util.find_spec(module) is None:
        raise CameraError(f"{what!r} needs the package {module}: {install(extra)}")


def expand(text: str, split: str = "test") -> list[Address]:
    """The single addresses that ``text`` joins, with groups of standard sets (rgbd:ROOT/standard) as one each."""
    found: list[Address] = []
    for address in joined(text):
        if address.kind in ("rgbd", "reid"):
            root, _, name = address.target.rpartition("/")
            # rgbd:ROOT/standard means all standard sets; every member keeps the options of the group.
            members = sets.members(name, address.options.get("split", split))
            found += [Address(address.kind, f"{root}/{one}" if root else one, address.options) for one in members]
        else:
            found.append(address)
    return found


def frames(
    source: str | Address | Sequence[str | Address],
    size: tuple[int, int] | None = None,
    cache: bool = False,
    split: str = "test",
) -> Frames:
    """The frames of one or several addresses, numbered through.

    ``size``: (height, width) in which synthetic scenes are rendered, 320² by default; files keep their own size.
    ``cache``: render synthetic scenes now, by several processes, and keep them on disk. ``split``: the one to take of
    sets that have both; ``?split=`` in the address goes before it. Raises DataError.
    """
    texts = [source] if isinstance(source, (str, Address)) else list(source)
    singles = [one for text in texts for one in (expand(text, split) if isinstance(text, str) else [text])]
    opened = [_frames(single, size, cache, split) for single in singles]
    if len(opened) == 1:
        return opened[0]
    # Pictures keep their names; a folder or set of each source keeps the names of more frames apart.
    prefixes = ("" if len(one) == 1 else f"{single.short}/" for single, one in zip(singles, opened, strict=True))
    return Joined(list(zip(prefixes, opened, strict=True)))


def _frames(address: Address, size: tuple[int, int] | None, cache: bool, split: str) -> Frames:
    if not address.ends:
        raise DataError(f"{address}: is a camera, which has no last frame; expected files, a recording or a video")
    address = resolved(address)
    kind, where, path = address.kind, str(address), Path(address.target)
    if address.played:  # recordings and videos are read forwards; CameraFrames opens them again to go back
        return CameraFrames(lambda: camera(address), address.short)
    if kind == "photo":
        raise DataError(f"{where}: photo: is for `python -m lab.photographs fit` by itself, expected {FORMS}")
    if kind == "reid":
        raise DataError(f"{where}: holds identities, expected frames for a sod model")
    if kind == "synthetic":
        return _synthetic(address, size, cache)
    if kind == "tum":
        return tum.tum(path, opts.parse(tum.TumOptions, address.options, where))
    if kind == "pairs":
        return pairs(*split_target(address.target), opts.parse(PairOptions, address.options, where))
    options = opts.parse(ReadOptions, address.options, where)
    if kind == "sample":
        return sample(address.target, options)
    return _standard(address, options, split) if kind == "rgbd" else _path(path, options, split)


def _synthetic(address: Address, size: tuple[int, int] | None, cache: bool) -> Frames:
    from mutualformer.runtime.sources.scenes.cache import render
    from mutualformer.runtime.sources.scenes.scene import SyntheticScenes

    scenes = SyntheticScenes(*_count_and_seed(address), size or (320, 320))
    if cache:
        scenes.arrays = render(scenes)
    return scenes


def _count_and_seed(address: Address) -> tuple[int, int]:
    """N and S of ``synthetic:N?seed=S``. Raises DataError."""
    seed = opts.parse(SyntheticOptions, address.options, str(address)).seed
    try:
        return int(address.target), seed
    except ValueError:
        raise DataError(f"{address}: expected a number of scenes or identities, for example synthetic:40") from None


def _path(path: Path, options: ReadOptions, split: str) -> Frames:
    """A picture, a data set, or a folder of pictures."""
    if path.is_file():
        # A model would answer a depth map as if it were a grey photograph, and nobody would notice.
        if is_depth_map(path):
            raise DataError(
                f"{path}: is a depth map (one channel of 16 bits or floats), not a photograph; give it with --depth "
                "to the picture that it belongs to"
            )
        return FileFrames([Entry(path.stem, path)], options)
    if is_rgbd(path):
        return rgbd_folder(path, options, split)
    return FileFrames(walk(path), options, root=path)


def _standard(address: Address, options: ReadOptions, split: str) -> Frames:
    """One standard set below its root; warns where its count is not the published one."""
    root, _, name = address.target.rpartition("/")
    standard, split = sets.SETS[name], options.split or split
    if standard.task != "sod":
        raise DataError(f"{name} holds identities, expected RGB-D data; use reid:{address.target} with a ReID model")
    # The published sets differ in whether near is bright or dark; their frames decide.
    if not options.polarity and not options.depth_scale:
        options = replace(options, polarity="auto")
    place, named_split = sets.locate(Path(root or "."), standard.name, split)
    opened = rgbd_folder(place, options, "" if named_split else split)
    expected = standard.frames[split]
    # A score over other frames than the published test split compares with no published score. Where neither the
    # folder's name nor a list tells the split, the number of frames is the only sign, and a wrong one is refused.
    if not named_split and opened.listed is None and len(opened) != expected:
        raise DataError(
            f"{place}: holds {len(opened)} frames and does not say which are {split}; "
            f"put their names into {place / (split + '.txt')}, one a line ({standard.name} has {expected})"
        )
    if len(opened) != expected:
        log.warning("%s: %d frames, %s's %s split has %d", place, len(opened), standard.name, split, expected)
    return opened


def standard_set(address: Address) -> sets.StandardSet | None:
    """The standard set whose test split an address names, or None."""
    name = address.target.rpartition("/")[2].lower()
    is_test_split = address.kind in ("rgbd", "reid") and address.options.get("split", "test") == "test"
    return sets.SETS.get(name) if is_test_split else None


def identities(text: str, size: tuple[int, int] | None = None, split: str = "test") -> ReidData:
    """Data for the ReID task: ``synthetic:IDENTITIES[?seed=S]``, a folder, or ``reid:ROOT/NAME``. Raises DataError."""
    from mutualformer.runtime.sources.folders import reid_folder, thing_folders
    from mutualformer.runtime.sources.scenes.identities import SyntheticIdentities

    singles = expand(text, split)
    if len(singles) > 1:  # each set numbers its identities from 0: different people would share a number
        raise DataError(f"{text}: identities of several sets must not mix, expected one set for ReID")
    (address,) = singles
    if address.kind not in ("synthetic", "reid", PATH) or address.played:
        raise DataError(f"{text}: expected {REID_FORMS}")
    if address.kind == "synthetic":
        return reid_folder.synthetic(SyntheticIdentities(*_count_and_seed(address), size or (128, 128)))
    options = opts.parse(ReidOptions, address.options, text)
    split = options.split or split
    if options.spectra not in (0, 2, 3):
        raise DataError(f"{text}: spectra is {options.spectra}, expected 2 or 3 pictures side by side")
    place = Path(address.target)
    if address.kind == "reid":
        root, _, name = address.target.rpartition("/")
        if sets.SETS[name].task != "reid":
            raise DataError(f"{text}: {name!r} is no ReID set, expected rgbn300 or rgbnt100")
        place = sets.locate(Path(root or "."), name, split)[0]
    elif not reid_folder.is_reid(reid_folder.find_root(place)) and thing_folders.is_things(place):
        return thing_folders.things(place)
    return reid_folder.folder(place, split, options.spectra)


def of_task(data: str | Sequence[str], task: str, size: tuple[int, int] | None = None) -> Any:
    """:func:`frames` for a "sod" model, :func:`identities` for a "reid" one. Raises DataError."""
    if task != "reid":
        return frames(data, size)
    return identities(data if isinstance(data, str) else "+".join(data), size)
