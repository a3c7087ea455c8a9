"""Saliency folders as the public sets ship them: ``RGB/ depth/ GT/`` in any of the usual spellings.

``depth/`` or ``GT/`` may be missing: RGB sets such as DUTS and ECSSD have no depth (``DUTS-TR-Image/ DUTS-TR-Mask/``),
frames of a sensor no ground truth. A text file ``train.txt`` or ``test.txt`` (``.lst`` too) beside them names the
frames of that split, one a line.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from mutualformer.runtime.sources.folders.file_frames import FileFrames, ReadOptions
from mutualformer.runtime.sources.folders.survey import named
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import find_list, listings, one_file_a_frame, read_list
from mutualformer.runtime.sources.pictures import natural_key
from mutualformer.runtime.sources.walk import Entry


def rgbd_folder(root: Path, options: ReadOptions | None = None, split: str = "") -> FileFrames:
    """The frames of ``root``, of which ``is_rgbd`` holds, in natural order of their names.

    ``split``: those that the list of that split names, where there is one. Raises DataError.
    """
    options = options or ReadOptions()
    found = listings(root)
    left_out = [sentence for one in found if one is not None for sentence in one.unread()]
    colours, depths, masks = (one_file_a_frame(one) if one is not None else None for one in found)
    if not colours:
        raise DataError(f"{root}: holds no colour image, expected .jpg, .png, .webp, .tif, .bmp or .ppm files")
    listed = find_list(root, options.split or split) if options.split or split else None
    names = read_list(listed, colours) if listed is not None else sorted(colours, key=natural_key)
    for kind, files in (("depth", depths), ("ground truth", masks)):
        if files is not None:
            _all_there(names, colours, files, kind, left_out)
    for sentence in left_out:
        logging.getLogger("mutualformer").warning("%s", sentence)
    depths, masks = depths or {}, masks or {}
    entries = [Entry(colours[name].stem, colours[name], depths.get(name), masks.get(name)) for name in names]
    frames = FileFrames(entries, options, root=root)
    frames.listed = listed
    return frames


def _all_there(
    names: list[str], colours: Mapping[str, Path], others: Mapping[str, Path], kind: str, left_out: list[str]
) -> None:
    """Every frame has all that the set has; files without a colour picture are left out with a warning."""
    missing = [name for name in names if name not in others]
    if missing:
        raise DataError(
            f"{colours[missing[0]]}: has no {kind} ({len(missing)} of {len(names)} lack it), expected a file of the "
            "same name"
        )
    alone = [str(path) for name, path in others.items() if name not in colours]
    if alone:
        left_out.append(f"{named(alone)}: left out, there is no colour picture of that name")
