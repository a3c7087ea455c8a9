"""The record of finished frames, from which an interrupted run continues.

``OUT/.predict/run.json`` says what is being made. Beside it each finished frame has a file of its own, written after
its output files and named by a hash of its name. So any number of threads and of workers of a cluster may write at
once, and a picture more or less changes nothing for the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mutualformer.plugins.files import LARGEST_JSON
from mutualformer.runtime.files import write_json
from mutualformer.runtime.prediction.saving import write_fast
from mutualformer.runtime.prediction.work import FrameOutcome, Plan
from mutualformer.runtime.sources.walk import PREDICTED
from mutualformer.runtime.untrusted.typed_json import plain, read_json, read_value

FOLDER = PREDICTED


def digest(text: str) -> str:
    """A short hash of a name, or of what a frame was read from."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Journal:
    """The journal of one output folder.

    ``what``: everything besides the pictures that decides the output. ``names``: the frames' names in order, each
    unique. ``run`` marks the records of this run: a worker that takes over a lost worker's frames can separate them
    from those of an earlier run.
    """

    def __init__(self, out: Path, what: dict[str, Any], names: Sequence[str] = ()) -> None:
        self.folder, self.what, self.names = out / FOLDER, plain(what), list(names)
        self.run = uuid.uuid4().hex

    def begin(self, resume: bool) -> None:
        """Open it. ``resume``: keep what an earlier run of the same kind finished; otherwise start empty."""
        path = self.folder / "run.json"
        before: Any = None
        if resume and path.is_file():
            with contextlib.suppress(ValueError):  # cut short or corrupt: start empty
                before = read_value(path, ValueError, "journal")
        if before != self.what:
            shutil.rmtree(self.folder, ignore_errors=True)
        write_json(path, self.what)

    def _path(self, index: int, ending: str) -> Path:
        return self.folder / (digest(self.names[index]) + ending)

    def read(self, index: int) -> dict[str, Any] | None:
        """The record of a frame; None where it has none, or a corrupt one: the frame is done again then."""
        with contextlib.suppress(ValueError):
            entry = read_json(self._path(index, ".json"), ValueError, "record of a frame")
            for key in ("name", "error", "stamp"):
                entry.text(key, longest=LARGEST_JSON)
            entry.objects("rows")
            entry.flag("has_depth")
            return dict(entry)
        return None

    def done(self, index: int, stamp: str, plan: Plan) -> dict[str, Any] | None:
        """The record of a frame that need not be done again, else None.

        Such a frame is finished, its own files have not changed since (``stamp``), and its output files exist.
        """
        entry = self.read(index)
        if entry is None or entry["stamp"] != stamp:
            return None
        shown = not plan.on_sheet(index) or self._path(index, ".jpg").is_file()
        return entry if entry["error"] or (shown and plan.written(entry["name"])) else None

    def add(self, outcome: FrameOutcome) -> None:
        """Record a finished frame, whose files exist already."""
        if outcome.tile is not None:
            write_fast(self._path(outcome.index, ".jpg"), outcome.tile)
        kept = {key: value for key, value in vars(outcome).items() if key not in ("index", "tile")}
        write_fast(self._path(outcome.index, ".json"), json.dumps({"run": self.run, **kept}).encode())

    def entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(frame, record) of all finished frames in order."""
        for index in range(len(self.names)):
            if (entry := self.read(index)) is not None:
                yield index, entry

    def tile(self, index: int) -> bytes | None:
        """The strip of the contact sheet for a frame, None where it has none."""
        path = self._path(index, ".jpg")
        return path.read_bytes() if path.is_file() else None
