"""Reads ROS 2 bags: MCAP files and SQLite databases, compressed as a whole or message by message.

``metadata.yaml`` is not needed: the files say all there is to know.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
import urllib.parse
from collections.abc import Collection, Iterator
from pathlib import Path

from mutualformer.runtime.sources.bags.bag import BagError, BagMessage, normal_type
from mutualformer.runtime.sources.bags.damage import note
from mutualformer.runtime.sources.bags.decompress import DecompressError, allowed, decompress
from mutualformer.runtime.sources.bags.mcap_reader import McapFileError, McapReader

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# A database that thinks about its next row for so long is damaged, or made to hang us.
PATIENCE_SECONDS = 5.0
STEPS_BETWEEN_LOOKS = 100_000
ATTEMPTS = 40
# What the module raises over a damaged database; its own messages may not be UTF-8.
FAULTS = (sqlite3.Error, UnicodeDecodeError, OverflowError, MemoryError)


class McapBag:
    """An MCAP file of ROS messages; messages of other encodings are none."""

    def __init__(self, path: Path) -> None:
        try:
            self._reader = McapReader(path)
        except McapFileError as error:
            raise BagError(str(error)) from error
        self.damage, self.closed = self._reader.damage, self._reader.closed
        if not self._reader.channels:  # a file without summary names its topics only inside
            for _ in self._reader.messages(()):
                pass
        channels = self._reader.channels.values()
        self.topics = {channel.topic: normal_type(channel.kind) for channel in channels}
        self.encodings = {channel.topic: channel.encoding for channel in channels}

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """As Bag.messages: CDR and ROS 1 messages only, unpacked where they are compressed."""
        for message in self._reader.messages(topics):
            channel = message.channel
            data = _plain(message.data, self.damage)
            if data is not None and channel.encoding in ("cdr", "ros1"):
                yield BagMessage(channel.topic, normal_type(channel.kind), channel.encoding, message.log_time, data)

    def close(self) -> None:
        """As Bag.close."""
        self._reader.close()


class SqliteBag:
    """A ``.db3`` database. Only its tables ``topics`` and ``messages`` are read, and only for a bounded time a row."""

    def __init__(self, path: Path) -> None:
        self.path, self.damage, self.closed = path, list[str](), True
        with path.open("rb") as stream:
            if stream.read(16) != b"SQLite format 3\x00":
                raise BagError("it is no SQLite database" if path.stat().st_size else "it is empty")
        address = urllib.parse.quote(os.fsencode(path.absolute()))
        # Read only: a database that was being written keeps its journal, and a foreign one is not changed.
        self._base = sqlite3.connect(f"file:{address}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        self._base.text_factory = lambda data: data.decode("utf-8", "replace")
        self._base.set_progress_handler(self._late, STEPS_BETWEEN_LOOKS)
        self._began = time.monotonic()
        try:
            self._base.execute("PRAGMA trusted_schema = OFF")
            tables = {name for (name,) in self._base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"topics", "messages"} <= tables:
                raise BagError("it has no tables of topics and messages")
            rows = self._base.execute("SELECT id, name, type FROM topics").fetchmany(10_000)
        except FAULTS as error:
            self.close()
            raise BagError(str(error)) from error
        except BagError:
            self.close()
            raise
        self._names = {row[0]: (str(row[1]), normal_type(str(row[2]))) for row in rows}
        self.topics = dict(self._names.values())
        self.encodings = dict.fromkeys(self.topics, "cdr")

    def _late(self) -> int:
        return int(time.monotonic() - self._began > PATIENCE_SECONDS)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """As Bag.messages, by row number; pages that SQLite calls damaged are stepped over, a few times."""
        numbers = [number for number, (topic, _) in self._names.items() if topics is None or topic in topics]
        last, step, failures = -1, 1, 0
        while failures < ATTEMPTS:
            query = (
                "SELECT rowid, topic_id, timestamp, data FROM messages "
                f"WHERE rowid > ? AND topic_id IN ({','.join('?' * len(numbers))}) ORDER BY rowid"
            )
            self._began = time.monotonic()
            try:
                for number, topic_id, stamp, data in self._base.execute(query, (last, *numbers)):
                    self._began = time.monotonic()
                    last, step = number, 1
                    if isinstance(data, bytes) and isinstance(stamp, int) and topic_id in self._names:
                        plain = _plain(memoryview(data), self.damage)
                        if plain is not None:
                            yield BagMessage(*self._names[topic_id], "cdr", stamp, plain)
                    self._began = time.monotonic()
                return
            except FAULTS as error:
                failures += 1
                if failures == 1:
                    self.damage.append(f"damaged after message {max(last, 0)} ({error})")
                if self._late():
                    return
                # Behind the damaged page there may be good ones: step over it, further each time.
                last, step = last + step, 2 * step

    def close(self) -> None:
        """Close the database."""
        self._base.close()


def _plain(data: memoryview, damage: list[str]) -> memoryview | None:
    """A message that was compressed by itself becomes plain; None where it cannot."""
    if data[:4] != ZSTD_MAGIC:
        return data
    try:
        return memoryview(decompress("zstd", data))
    except DecompressError as error:
        note(damage, f"a compressed message is left out ({error})")
        return None


def unpacked(path: Path, folder: Path) -> Path:
    """``x.db3.zstd`` → ``folder/x.db3``, decompressed with the limit of :func:`allowed`. Raises BagError."""
    import zstandard

    target, limit, written = folder / path.stem, allowed(path.stat().st_size, 1 << 40), 0
    with path.open("rb") as source, target.open("wb") as out:
        try:
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(source) as reader:
                while block := reader.read(1 << 20):
                    written += len(block)
                    if written > limit:
                        raise BagError(f"{path.name} becomes more than {limit >> 20} MiB, which is not taken on trust")
                    out.write(block)
        except zstandard.ZstdError as error:
            raise BagError(f"{path.name}: {error}") from error
    return target


class ZstdBag:
    """A bag file that was compressed as a whole, unpacked beside the system's temporary files while it is open."""

    def __init__(self, path: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mutualformer-")
        try:
            plain = unpacked(path, Path(self._folder.name))
            self._bag: McapBag | SqliteBag = McapBag(plain) if plain.suffix.lower() == ".mcap" else SqliteBag(plain)
        except BaseException:
            self._folder.cleanup()
            raise
        self.topics, self.damage, self.closed = self._bag.topics, self._bag.damage, self._bag.closed
        self.encodings = self._bag.encodings

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """As Bag.messages, from the unpacked file."""
        return self._bag.messages(topics)

    def close(self) -> None:
        """Close the unpacked file and delete it."""
        self._bag.close()
        self._folder.cleanup()
