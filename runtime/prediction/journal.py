"""The record of finished frames, from which an interrupted run continues.

``OUT/.predict/run.json`` says what is being made of which frames. ``000012.jsonl`` holds one line for each finished
frame of shard 12, written after the frame's files. Workers of a cluster write different shards, so no two processes
write one file. A line belongs to its frame by name: adding a picture moves the others to other shards and no more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mutualformer.runtime.files import naming, write_bytes, write_json
from mutualformer.runtime.prediction.work import FrameOutcome, Plan
from mutualformer.runtime.sources.walk import PREDICTED
from mutualformer.runtime.untrusted.typed_json import Fields, parse_json, plain, read_value

SHARD = 64  # frames
FOLDER = PREDICTED


def digest(text: str) -> str:
    """A short hash of a name, or of what a frame was read from."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Journal:
    """The journal of one output folder.

    ``what``: everything besides the pictures that decides the output. ``names``: the frames' names in order, each
    unique. ``run`` marks the lines of this run: a worker that takes over a lost worker's shard can separate them from
    those of an earlier run.
    """

    def __init__(self, out: Path, what: dict[str, Any], names: Sequence[str] = ()) -> None:
        self.folder, self.what, self.names = out / FOLDER, plain(what), list(names)
        self.run = uuid.uuid4().hex

    @property
    def shards(self) -> range:
        """The numbers of all shards."""
        return range(-(-len(self.names) // SHARD))

    def frames(self, shard: int) -> range:
        """The frames of one shard."""
        return range(shard * SHARD, min((shard + 1) * SHARD, len(self.names)))

    def begin(self, resume: bool) -> None:
        """Open it. ``resume``: keep what an earlier run of the same kind finished; otherwise start empty."""
        path = self.folder / "run.json"
        ours = {"what": self.what, "names": digest("\n".join(self.names))}
        before: Any = None
        if resume and path.is_file():
            with contextlib.suppress(ValueError):  # cut short or corrupt: start empty
                before = read_value(path, ValueError, "journal")
        if not (isinstance(before, dict) and before.get("what") == self.what):
            shutil.rmtree(self.folder, ignore_errors=True)
        elif before != ours:
            self._reorder()
        write_json(path, ours)

    def _reorder(self) -> None:
        """Move the lines of an earlier run to the shards where their frames are now."""
        old = sorted(self.folder.glob("*.jsonl"))
        lines = {line["key"]: line for path in old for line in self._parsed(path)}
        for path in old:
            path.unlink()
        for shard in self.shards:
            keys = (self.names[index] for index in self.frames(shard))
            self._write(shard, [lines[key] for key in keys if key in lines])

    def _lines(self, shard: int) -> Path:
        return self.folder / f"{shard:06d}.jsonl"

    def _write(self, shard: int, lines: Sequence[dict[str, Any]]) -> None:
        write_bytes(self._lines(shard), "".join(json.dumps(line) + "\n" for line in lines).encode())

    def _parsed(self, path: Path) -> Iterator[dict[str, Any]]:
        """The valid lines of a shard's file. A line that is cut short or corrupt is left out: its frame is redone."""
        for line in path.read_bytes().split(b"\n")[:-1] if path.is_file() else ():
            with contextlib.suppress(ValueError):
                entry = Fields(parse_json(line), "journal", ValueError)
                for key in ("name", "error", "stamp", "key"):
                    entry.text(key, longest=len(line))
                entry.objects("rows")
                entry.flag("has_depth")
                yield dict(entry)

    def read(self, shard: int) -> dict[int, dict[str, Any]]:
        """Frame → its line, in the order of the frames."""
        lines = {line["key"]: line for line in self._parsed(self._lines(shard))}
        return {index: lines[self.names[index]] for index in self.frames(shard) if self.names[index] in lines}

    def done(self, shard: int, stamps: Mapping[int, str], plan: Plan) -> dict[int, dict[str, Any]]:
        """The lines of frames that need not be redone; rewrites the shard's file with these lines only.

        Such a frame is finished, its own files have not changed since (``stamps``), and its output files exist.
        """
        valid = {}
        for index, line in self.read(shard).items():
            shown = not plan.on_sheet(index) or self._tile(line["key"]).is_file()
            if line["stamp"] == stamps.get(index) and (line["error"] or (shown and plan.written(line["name"]))):
                valid[index] = line
        if self._lines(shard).is_file():
            self._write(shard, list(valid.values()))
        return valid

    def add(self, outcome: FrameOutcome) -> None:
        """Record a finished frame, whose files exist already."""
        key = self.names[outcome.index]
        if outcome.tile is not None:
            write_bytes(self._tile(key), outcome.tile)
        line = {
            "run": self.run,
            "key": key,
            "stamp": outcome.stamp,
            "name": outcome.name,
            "rows": outcome.rows,
            "error": outcome.error,
            "has_depth": outcome.has_depth,
        }
        path = self._lines(outcome.index // SHARD)
        with naming(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _tile(self, key: str) -> Path:
        return self.folder / f"tile-{digest(key)}.jpg"

    def entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(frame, line) of all frames in order; only one shard is in memory at a time."""
        for shard in self.shards:
            yield from self.read(shard).items()

    def tile(self, key: str) -> bytes | None:
        """The strip of the contact sheet for the frame called ``key``, None where it has none."""
        path = self._tile(key)
        return path.read_bytes() if path.is_file() else None
