"""DATA on every command line; ``A+B`` joins several, each in any of these forms:

    synthetic:N[?seed=S]            N seeded scenes, or identities for ReID
    sample:motorcycle               the real pair
    FOLDER[?OPTIONS]                one set of RGB/ and depth/ or GT/ or both; for ReID an RGBN300-style folder
    rgbd:ROOT/NAME+NAME[?OPTIONS]   standard sets by name (``mutualformer data list``); reid:ROOT/NAME for ReID
    photo:ROOT[?OPTIONS]            to train on only: composites of the photographs ROOT/duts_tr and the sensor frames
                                    ROOT/sensor_frames (train/data/compositing); they cannot be joined with others

Options, joined by ``&``; what cannot be honoured is refused:

    split=train|test                a set with train.txt or test.txt; training takes train, evaluation test by default
    polarity=near_bright|near_dark|auto     of depth without a unit (8 bit: near_bright; rgbd: auto); near_bright given
                                    for 16-bit files takes them as 8-bit maps stored with more bits
    scale=U                         depth units per metre: 1000 (16 bit), 1 (float) by default; 5000 TUM, 100 cm
    hole=V                          the depth value besides 0 that is no measurement; 65535 and such are found, 0 = none
    rotate=3                        16-bit depth whose bits are rotated, as in SUN RGB-D
    masks=inverted                  black is the object
    spectra=2|3                     ReID: pictures side by side in a file, where their shape does not tell
    teacher=DIR  rendered=N         photo: soft maps NAME.png of the sensor frames; how many rendered scenes join in

A folder whose name has one of ``+ ? ,`` in it is taken whole where it exists, also before options.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from mutualformer.runtime.sources.folders import reid_folder, sets
from mutualformer.runtime.sources.folders.folder import OPTION_NAMES, FolderOptions, RgbdFolder
from mutualformer.runtime.sources.folders.item import DataError, Frames, Joined
from mutualformer.runtime.sources.folders.reid_folder import ReidData
from mutualformer.runtime.sources.folders.sample import Sample
from mutualformer.runtime.sources.scenes.identities import SyntheticIdentities
from mutualformer.runtime.sources.scenes.scene import CachedScenes, SyntheticScenes

FORMS = "synthetic:N[?seed=S], sample:motorcycle, rgbd:ROOT/NAME+NAME or a folder, with options such as ?scale=5000"
REID_FORMS = "synthetic:IDENTITIES[?seed=S], an RGBN300-style folder or reid:ROOT/NAME for ReID"
KINDS = ("synthetic", "sample", "rgbd", "reid", "photo")
OPTIONS: dict[str, frozenset[str]] = {
    "synthetic": frozenset({"seed"}),
    "sample": frozenset(),
    "folder": OPTION_NAMES | {"split"},
    "rgbd": OPTION_NAMES | {"split"},
    "reid": frozenset({"split", "spectra"}),
    "photo": frozenset({"teacher", "rendered"}),
}
SPLITS = ("train", "test")


def _exists(text: str) -> bool:
    """Whether a path is there; a text that no path can be is not."""
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):
        return False


def parse(text: str) -> tuple[str, str, dict[str, str]]:
    """``kind:rest?key=value`` → (kind, rest, options); a folder's kind is "folder"."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS:
        kind, rest = "folder", text
    if kind == "folder" and _exists(rest):  # a folder may well have a question mark in its name
        return kind, rest, {}
    odd = kind == "folder" and _exists(rest.rpartition("?")[0])
    body, _, query = rest.rpartition("?") if odd else rest.partition("?")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
    except ValueError as error:
        raise DataError(f"data {text!r}: {query!r} is not key=value, expected {FORMS}") from error
    return kind, body, options


def _words(text: str) -> list[str]:
    """``text`` cut at its ``+`` signs, but for those in the names of folders that exist."""
    words, start = text.split("+"), 0
    joined: list[str] = []
    while start < len(words):
        ends = range(len(words), start, -1)
        spans = ((end, "+".join(words[start:end])) for end in ends)
        end = next((e for e, span in spans if _exists(span) or _exists(span.rpartition("?")[0])), start + 1)
        joined.append("+".join(words[start:end]))
        start = end
    return joined


def parts(text: str) -> list[str]:
    """The single DATA that ``text`` joins with ``+``; ``rgbd:ROOT/a+b?o`` becomes rgbd:ROOT/a?o and rgbd:ROOT/b?o.

    A folder with a plus in its name stays whole where it exists.
    """
    runs: list[list[str]] = []
    for word in _words(text):
        if not word:
            raise DataError(f"data {text!r}: nothing before or after a +, expected {FORMS}")
        named = word.partition("?")[0].strip().lower() in (*sets.SETS, *sets.GROUPS)
        if named and runs and parse(runs[-1][0])[0] in ("rgbd", "reid"):
            runs[-1].append(word)
        else:
            runs.append([word])
    singles: list[str] = []
    for first, *names in runs:
        if not names:
            singles.append(first)
            continue
        last, mark, query = names[-1].partition("?")  # options after the last name count for all of them
        root = first.rpartition("/")[0]
        singles += [f"{single}{mark}{query}" for single in (first, *(f"{root}/{n}" for n in (*names[:-1], last)))]
    return singles


def expand(text: str, split: str = "test") -> list[str]:
    """As :func:`parts`, with groups of standard sets (rgbd:ROOT/standard) as one DATA a set: a table's rows."""
    specs: list[str] = []
    for part in parts(text):
        kind, body, options = parse(part)
        if kind not in ("rgbd", "reid"):
            specs.append(part)
            continue
        root, _, name = body.rpartition("/")
        mark, query = ("?", part.partition("?")[2]) if options else ("", "")
        members = sets.members(name, options.get("split", split))
        specs += [f"{kind}:{root}/{member}{mark}{query}" for member in members]
    return specs


def standard_set(text: str) -> sets.StandardSet | None:
    """The standard set whose test split a single DATA names, or None."""
    kind, body, options = parse(text)
    name = body.rpartition("/")[2].lower()
    is_test_split = kind in ("rgbd", "reid") and options.get("split", "test") == "test"
    return sets.SETS.get(name) if is_test_split else None


def number(text: str, what: str, value: str, least: int) -> int:
    """A whole number in an option of DATA. Raises DataError naming ``text`` and ``what``."""
    if not (value.isascii() and value.isdigit() and len(value) < 10) or int(value) < least:
        raise DataError(f"data {text!r}: {what} is {value!r}, expected a whole number of at least {least}")
    return int(value)


def open_data(
    text: str, task: str = "sod", size: tuple[int, int] | None = None, cache: bool = False, split: str = "test"
) -> Frames:
    """The RGB-D frames that DATA names.

    ``split``: the one to take where there are several, "train" or "test"; ``?split=`` in the text goes before it.
    ``size``: (height, width) in which synthetic scenes are rendered, 320² by default; files keep their own size.
    ``cache``: render synthetic scenes now, by several processes, and keep them on disk.
    ``task``: "sod"; "reid" opens identities (:func:`open_identities`) through the same door. Raises DataError.
    """
    if task == "reid":
        return open_identities(text, size, split)  # type: ignore[return-value]
    if task != "sod":
        raise DataError(f"task is {task!r}, expected sod or reid")
    return open_all([text], size, cache, split)


def open_all(
    texts: Sequence[str], size: tuple[int, int] | None = None, cache: bool = False, split: str = "test"
) -> Frames:
    """The RGB-D frames of several DATA, one after another; as :func:`open_data` for a single one."""
    singles = [single for text in texts for single in expand(text, split)]
    if len(singles) == 1:
        return _open_single(singles[0], size, cache, split)
    return Joined([(short(single), _open_single(single, size, cache, split)) for single in singles])


def short(text: str) -> str:
    """A single DATA as a name for files and tables: the set's, the folder's last part, ``synthetic-60-seed-3``."""
    kind, body, options = parse(text)
    if kind in ("synthetic", "sample"):
        return "-".join([kind, body, *(word for pair in options.items() for word in pair)])
    if kind == "folder" and not body:
        return text
    return Path(body).name or body


def _options(text: str, kind: str, options: Mapping[str, str], split: str, forms: str = FORMS) -> str:
    """Refuse options that ``kind`` does not have; returns the split to take."""
    unknown = sorted(set(options) - OPTIONS[kind])
    if unknown:
        accepted = ", ".join(sorted(OPTIONS[kind])) or "none"
        raise DataError(f"data {text!r}: unknown option {', '.join(unknown)} (there are: {accepted}), expected {forms}")
    split = options.get("split", split)
    if split not in SPLITS:
        raise DataError(f"data {text!r}: split is {split!r}, expected train or test")
    return split


def _open_single(text: str, size: tuple[int, int] | None, cache: bool, split: str) -> Frames:
    kind, body, options = parse(text)
    if kind == "reid":
        raise DataError(f"data {text!r}: holds identities, expected RGB-D data for a sod model")
    split = _options(text, kind, options, split)
    if kind == "photo":
        raise DataError(f"data {text!r}: photo: is for `fit` by itself, expected {FORMS}")
    if kind == "synthetic":
        scenes = SyntheticScenes(
            number(text, "the number of scenes", body, 1),
            number(text, "the seed", options.get("seed", "0"), 0),
            size or (320, 320),
        )
        return CachedScenes(scenes) if cache else scenes
    if kind == "sample":
        return Sample(body)
    try:
        chosen = FolderOptions.parse({key: value for key, value in options.items() if key != "split"})
    except DataError as error:
        raise DataError(f"data {text!r}: {error}") from None
    if kind == "folder":
        return RgbdFolder(body, split=split, options=chosen)
    return _open_standard(body, split, chosen)


def _open_standard(body: str, split: str, options: FolderOptions) -> RgbdFolder:
    """One standard set below its root; a count other than the published one is said in one line."""
    root, _, name = body.rpartition("/")
    standard = sets.SETS[name.lower()]
    if standard.task != "sod":
        raise DataError(f"{name} holds identities, expected RGB-D data; use reid:{body} with a ReID model")
    if not options.polarity and options.scale is None:
        options = dataclasses.replace(options, polarity="auto")
    place, named_split = sets.locate(Path(root or ("/" if body.startswith("/") else ".")), standard.name, split)
    frames = RgbdFolder(place, split=None if named_split else split, options=options)
    expected = standard.frames[split]
    if not named_split and frames.listed is None and len(frames) != expected:
        raise DataError(
            f"{place}: holds {len(frames)} frames and does not say which are {split}; "
            f"put their names into {place / (split + '.txt')}, one a line ({standard.name} has {expected})"
        )
    if len(frames) != expected:
        logging.getLogger("mutualformer").warning(
            "%s: %d frames, %s's %s split has %d", place, len(frames), standard.name, split, expected
        )
    return frames


def open_identities(text: str, size: tuple[int, int] | None = None, split: str = "test") -> ReidData:
    """DATA for the ReID task: ``synthetic:IDENTITIES[?seed=S]``, a folder, or ``reid:ROOT/NAME``. Raises DataError."""
    singles = expand(text, split)
    if len(singles) > 1:
        raise DataError(f"data {text!r}: identities of several sets must not mix, expected one set for ReID")
    (single,) = singles
    kind, body, options = parse(single)
    if kind in ("sample", "rgbd", "photo"):
        raise DataError(f"data {text!r}: expected {REID_FORMS}")
    split = _options(single, "reid" if kind == "folder" else kind, options, split, REID_FORMS)
    if kind == "synthetic":
        count = number(text, "the number of identities", body, 1)
        seed = number(text, "the seed", options.get("seed", "0"), 0)
        return reid_folder.synthetic(SyntheticIdentities(count, seed, size or (128, 128)))
    spectra = options.get("spectra", "")
    if spectra not in ("", "2", "3"):
        raise DataError(f"data {text!r}: spectra is {spectra!r}, expected 2 or 3 pictures side by side")
    place = Path(body)
    if kind == "reid":
        root, _, name = body.rpartition("/")
        if name.lower() not in sets.SETS or sets.SETS[name.lower()].task != "reid":
            raise DataError(f"data {text!r}: {name!r} is no ReID set, expected rgbn300 or rgbnt100")
        place = sets.locate(Path(root or "."), name.lower(), split)[0]
    return reid_folder.folder(place, split, int(spectra or 0))
