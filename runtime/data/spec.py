"""DATA on every command line; ``A+B`` joins several, each in any of these forms:

    synthetic:N[?seed=S]            N seeded scenes, or identities for ReID
    sample:motorcycle               the real pair
    FOLDER[?polarity=P][&split=S]   one set; P is near_bright (default), near_dark or auto; S is train or test
    rgbd:ROOT/NAME+NAME[?…]         standard sets by name (``mutualformer data list``); reid:ROOT/NAME for ReID

Training takes the train split of what has splits (a folder with train.txt in it, a standard set), evaluation test.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from mutualformer.runtime.data import sets
from mutualformer.runtime.data.folder import RgbdFolder
from mutualformer.runtime.data.item import DataError, Frames, Item
from mutualformer.runtime.data.sample import Sample
from mutualformer.runtime.data.scenes.scene import CachedScenes, SyntheticScenes

FORMS = "synthetic:N[?seed=S], sample:motorcycle, rgbd:ROOT/NAME+NAME or a folder[?polarity=near_bright|near_dark|auto]"
KINDS = ("synthetic", "sample", "rgbd", "reid")
OPTIONS = {
    "synthetic": {"seed"},
    "sample": set(),
    "folder": {"polarity", "split"},
    "rgbd": {"polarity", "split"},
    "reid": {"split"},
}


def parse(text: str) -> tuple[str, str, dict[str, str]]:
    """``kind:rest?key=value`` → (kind, rest, options); a folder's kind is "folder"."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS:
        kind, rest = "folder", text
    if kind == "folder" and Path(rest).exists():  # a folder may well have a question mark in its name
        return kind, rest, {}
    body, _, query = rest.partition("?")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
    except ValueError as error:
        raise DataError(f"data {text!r}: {query!r} is not key=value, expected {FORMS}") from error
    return kind, body, options


def parts(text: str) -> list[str]:
    """The single DATA that ``text`` joins with ``+``; ``rgbd:ROOT/a+b?o`` becomes rgbd:ROOT/a?o and rgbd:ROOT/b?o.

    A folder with a plus in its name stays whole when it exists.
    """
    if Path(text).exists():
        return [text]
    runs: list[list[str]] = []
    for word in text.split("+"):
        if not word:
            raise DataError(f"data {text!r}: nothing before or after a +, expected {FORMS}")
        named = word.partition("?")[0].strip().lower() in (*sets.SETS, *sets.GROUPS)
        if named and runs and parse(runs[-1][0])[0] in ("rgbd", "reid"):
            runs[-1].append(word)
        else:
            runs.append([word])
    found: list[str] = []
    for first, *names in runs:
        if not names:
            found.append(first)
            continue
        last, mark, query = names[-1].partition("?")  # options after the last name count for all of them
        root = first.rpartition("/")[0]
        found += [f"{single}{mark}{query}" for single in (first, *(f"{root}/{n}" for n in (*names[:-1], last)))]
    return found


def expand(text: str, split: str = "test") -> list[str]:
    """As :func:`parts`, with groups of standard sets (rgbd:ROOT/standard) as one DATA a set: a table's rows."""
    found: list[str] = []
    for part in parts(text):
        kind, body, options = parse(part)
        if kind not in ("rgbd", "reid"):
            found.append(part)
            continue
        root, _, name = body.rpartition("/")
        mark, query = ("?", part.partition("?")[2]) if options else ("", "")
        known = sets.members(name, options.get("split", split))
        found += [f"{kind}:{root}/{member}{mark}{query}" for member in known]
    return found


def standard_set(text: str) -> sets.StandardSet | None:
    """The standard set whose test split a single DATA names, or None."""
    kind, body, options = parse(text)
    name = body.rpartition("/")[2].lower()
    named = kind in ("rgbd", "reid") and options.get("split", "test") == "test"
    return sets.SETS.get(name) if named else None


def _number(text: str, what: str, value: str, least: int) -> int:
    if not value.isdigit() or int(value) < least:
        raise DataError(f"data {text!r}: {what} is {value!r}, expected a whole number of at least {least}")
    return int(value)


class Joined:
    """The frames of several sets one after another; a name says which set it is from."""

    def __init__(self, datasets: Sequence[tuple[str, Frames]]) -> None:
        self.datasets = datasets

    def __len__(self) -> int:
        return sum(len(frames) for _, frames in self.datasets)

    def __getitem__(self, index: int) -> Item:
        if index < 0:
            raise IndexError(index)
        for name, frames in self.datasets:
            if index < len(frames):
                item = frames[index]
                return item._replace(name=f"{name}/{item.name}")
            index -= len(frames)
        raise IndexError(index)


def open_data(
    text: str, task: str = "sod", size: tuple[int, int] | None = None, cache: bool = False, split: str = "test"
) -> Frames:
    """The dataset ``text`` names (the forms above).

    ``split``: the one to take where there are several, "train" or "test"; ``?split=`` in the text goes before it.
    ``size``: (height, width) in which synthetic scenes are rendered, 320² by default; files keep their own size.
    ``cache``: render synthetic scenes now, by several processes, and keep them on disk. Raises DataError.
    """
    if task not in ("sod", "reid"):
        raise DataError(f"task is {task!r}, expected sod or reid")
    singles = expand(text, split)
    if len(singles) > 1:
        if task == "reid":
            raise DataError(f"data {text!r}: identities of several sets must not mix, expected one set for ReID")
        return Joined([(short(single), _open_single(single, task, size, cache, split)) for single in singles])
    return _open_single(singles[0], task, size, cache, split)


def short(text: str) -> str:
    """A single DATA as a name for files and tables: the set's, the folder's last part, ``synthetic-60-seed-3``."""
    kind, body, options = parse(text)
    if kind in ("synthetic", "sample"):
        return "-".join([kind, body, *(word for pair in options.items() for word in pair)])
    if kind == "folder" and not body:
        return text
    return Path(body).name or body


def _open_single(text: str, task: str, size: tuple[int, int] | None, cache: bool, split: str) -> Frames:
    kind, body, options = parse(text)
    if task == "reid" or kind == "reid":
        if task != "reid":
            raise DataError(f"data {text!r}: holds identities, expected RGB-D data for a {task} model")
        from mutualformer.runtime.data.reid_folder import open_reid

        return open_reid(text, kind, body, options, size, split)
    unknown = sorted(set(options) - OPTIONS[kind])
    if unknown:
        raise DataError(f"data {text!r}: unknown option {', '.join(unknown)}, expected {FORMS}")
    if kind == "synthetic":
        scenes = SyntheticScenes(
            _number(text, "the number of scenes", body, 1),
            _number(text, "the seed", options.get("seed", "0"), 0),
            size or (320, 320),
        )
        return CachedScenes(scenes) if cache else scenes
    if kind == "sample":
        return Sample(body)
    split = options.get("split", split)
    if split not in ("train", "test"):
        raise DataError(f"data {text!r}: split is {split!r}, expected train or test")
    if kind == "folder":
        return RgbdFolder(body, options.get("polarity", "near_bright"), split)
    return _open_standard(body, split, options.get("polarity", "auto"))


def _open_standard(body: str, split: str, polarity: str) -> RgbdFolder:
    """One standard set below its root; a count other than the published one is said in one line."""
    root, _, name = body.rpartition("/")
    known = sets.SETS[name.lower()]
    if known.task != "sod":
        raise DataError(f"{name} holds identities, expected RGB-D data; use reid:{body} with a ReID model")
    place, said = sets.locate(Path(root or ("/" if body.startswith("/") else ".")), known.name, split)
    frames = RgbdFolder(place, polarity, None if said else split)
    expected = known.frames[split]
    if not said and frames.listed is None and len(frames) != expected:
        raise DataError(
            f"{place}: holds {len(frames)} frames and does not say which are {split}; "
            f"put their names into {place / (split + '.txt')}, one a line ({known.name} has {expected})"
        )
    if len(frames) != expected:
        logging.getLogger("mutualformer").warning(
            "%s: %d frames, %s's %s split has %d", place, len(frames), known.name, split, expected
        )
    return frames
