"""DATA on every command line: ``synthetic:N[?seed=S]``, ``sample:motorcycle`` or a folder."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

from train.data.folder import RgbdFolder
from train.data.item import DataError, Frames
from train.data.sample import Sample
from train.data.synthetic import CachedScenes, SyntheticScenes

FORMS = "synthetic:N[?seed=S], sample:motorcycle or a folder[?polarity=near_bright|near_dark]"


def parse(text: str) -> tuple[str, str, dict[str, str]]:
    """``kind:rest?key=value`` → (kind, rest, options); a folder's kind is "folder"."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("synthetic", "sample"):
        kind, rest = "folder", text
    if kind == "folder" and Path(rest).exists():  # a folder may well have a question mark in its name
        return kind, rest, {}
    body, _, query = rest.partition("?")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
    except ValueError as error:
        raise DataError(f"data {text!r}: {query!r} is not key=value, expected {FORMS}") from error
    return kind, body, options


def _number(text: str, what: str, value: str, least: int) -> int:
    if not value.isdigit() or int(value) < least:
        raise DataError(f"data {text!r}: {what} is {value!r}, expected a whole number of at least {least}")
    return int(value)


def open_data(
    text: str, task: str = "sod", size: tuple[int, int] | None = None, cache: bool = False, split: str = "test"
) -> Frames:
    """The dataset ``text`` names.

    ``split``: which part of a ReID folder, "train" or "test".

    ``size``: (height, width) in which synthetic scenes are rendered, 320² by default; files keep their own size.
    ``cache``: render synthetic scenes now, by several processes, and keep them on disk. Raises DataError.
    """
    kind, body, options = parse(text)
    if task == "reid":
        from train.data.reid_spec import open_reid

        return open_reid(text, kind, body, options, size, split)
    if task != "sod":
        raise DataError(f"task is {task!r}, expected sod or reid")
    known = {"synthetic": {"seed"}, "sample": set(), "folder": {"polarity"}}[kind]
    unknown = sorted(set(options) - known)
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
    return RgbdFolder(body, options.get("polarity", "near_bright"))
