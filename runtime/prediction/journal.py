"""What is done already: one file of lines a shard, so that a run cut short goes on where it stopped.

``OUT/.predict/run.json`` says what is being made of what; ``000012.jsonl`` holds one line for each finished frame of
shard 12, written after the frame's files. Workers of a cluster write different shards, so no two write one file. A
frame is known by its name: one picture more or less moves the others to other lines, and that is all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
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
OURS = re.compile(r"run\.json|[0-9]{6,}\.jsonl(\.new)?|tile-[0-9a-f]{16}\.jpg")


def digest(text: str) -> str:
    """A short hash of what a frame was read from."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def shards(count: int) -> list[range]:
    """Frames 0 … count − 1 in shards of :data:`SHARD`."""
    return [range(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]


class Journal:
    """The journal of one output folder. ``what``: everything besides the pictures that decides the output.

    ``run`` marks the lines of this run: a worker that takes over a lost one's shard tells them from an earlier run's.
    """

    def __init__(self, out: Path, what: dict[str, Any], run: str = "") -> None:
        self.folder, self.what = out / FOLDER, plain(what)
        self.run = run or uuid.uuid4().hex

    def absolute(self) -> Journal:
        """The same journal for processes that work in other folders."""
        return Journal(self.folder.parent.absolute(), self.what, self.run)

    def begin(self, resume: bool, names: Sequence[str]) -> None:
        """Open it for the frames called ``names``. ``resume``: keep what an earlier run of the same kind finished."""
        path = self.folder / "run.json"
        ours = {"what": self.what, "names": digest("\n".join(names))}
        if resume and path.is_file():
            with contextlib.suppress(ValueError):  # cut short or corrupt: begin anew
                before = read_value(path, ValueError, "journal")
                if isinstance(before, dict) and before.get("what") == self.what:
                    if before != ours:
                        self._reorder(names)
                        write_json(path, ours)
                    return
        if self.folder.is_dir():
            for old in self.folder.iterdir():
                if OURS.fullmatch(old.name):
                    old.unlink()
        write_json(path, ours)

    def _reorder(self, names: Sequence[str]) -> None:
        """Lines of the frames called ``names`` to where these are now; one line in memory at a time."""
        places: dict[str, tuple[Path, int]] = {}
        olds = sorted(self.folder.glob("*.jsonl"))
        for path in olds:
            offset = 0
            for line in path.read_bytes().splitlines(keepends=True):
                with contextlib.suppress(ValueError):
                    places[Fields(parse_json(line), "journal", ValueError).text("key", longest=len(line))] = (
                        path,
                        offset,
                    )
                offset += len(line)
        for number, part in enumerate(shards(len(names))):
            lines = []
            for index in part:
                if names[index] in places:
                    path, offset = places[names[index]]
                    with path.open("rb") as stream:
                        stream.seek(offset)
                        lines.append(json.dumps(dict(parse_json(stream.readline())) | {"index": index}) + "\n")
            self._lines(number).with_suffix(".jsonl.new").write_text("".join(lines), encoding="utf-8")
        for path in olds:
            path.unlink()
        for path in self.folder.glob("*.jsonl.new"):
            path.rename(path.with_suffix(""))

    def _lines(self, shard: int) -> Path:
        return self.folder / f"{shard:06d}.jsonl"

    def read(self, shard: int) -> dict[int, dict[str, Any]]:
        """Frame → its line; one that is cut short or damaged does not count."""
        lines: dict[int, dict[str, Any]] = {}
        try:
            data = self._lines(shard).read_bytes()
        except FileNotFoundError:
            return lines
        for line in data.split(b"\n")[:-1]:
            with contextlib.suppress(ValueError):  # damaged: the frame is done again
                entry = Fields(parse_json(line), "journal", ValueError)
                for key in ("name", "error", "stamp", "key"):
                    entry.text(key, longest=len(line))
                entry.objects("rows")
                entry.flag("has_depth")
                lines[entry.whole("index", 0, 1 << 60)] = dict(entry)
        return lines

    def done(self, shard: int, stamps: Mapping[int, str], plan: Plan) -> dict[int, dict[str, Any]]:
        """The lines of frames that need not be done again: finished, from files that have not changed since, and all
        that was made of them is there.

        Rewrites the shard's file where a line is cut short or out of date.
        """
        valid = {}
        for index, line in self.read(shard).items():
            there = line["error"] or (
                plan.written(line["name"]) and (index not in plan.tiles or self._tile(line["key"]).is_file())
            )
            if there and line.get("stamp") == stamps.get(index):
                valid[index] = line
        text = "".join(json.dumps(line) + "\n" for _, line in sorted(valid.items()))
        path = self._lines(shard)
        if path.is_file() and path.read_text(encoding="utf-8", errors="replace") != text:
            write_bytes(path, text.encode())
        return valid

    def add(self, shard: int, key: str, outcome: FrameOutcome, stamp: str) -> None:
        """Write down the finished frame called ``key``; its files are there already."""
        if outcome.tile is not None:
            write_bytes(self._tile(key), outcome.tile)
        line = {
            "index": outcome.index,
            "run": self.run,
            "key": key,
            "stamp": stamp,
            "name": outcome.name,
            "rows": outcome.rows,
            "error": outcome.error,
            "has_depth": outcome.has_depth,
        }
        path = self._lines(shard)
        with naming(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _tile(self, key: str) -> Path:
        return self.folder / f"tile-{digest(key)}.jpg"

    def entries(self, shard_count: int) -> Iterator[dict[str, Any]]:
        """All lines in the order of the frames; one shard in memory at a time."""
        for shard in range(shard_count):
            yield from (line for _, line in sorted(self.read(shard).items()))

    def tile(self, key: str) -> bytes | None:
        """A frame's strip of the contact sheet, None where it has none."""
        try:
            return self._tile(key).read_bytes()
        except FileNotFoundError:
            return None
