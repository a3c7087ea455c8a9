"""What holds the messages of a bag: MCAP through the package ``mcap``, ROS 1 files and SQLite through ``rosbags``.

The packages read the containers; messages are decoded here, and only those whose types are defined here. Corrupt bytes
cost the chunk in which they lie where a file has an index, else all that follows; a note in ``problems`` says so.
"""

from __future__ import annotations

import heapq
import io
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mcap.data_stream import ReadDataStream
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, ChunkIndex, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk

from mutualformer.errors import DataError
from mutualformer.extras import install
from mutualformer.runtime.untrusted.foreign import foreign, reason

# Lengths in a file are not trusted: a corrupt one must not make this process allocate more memory than there is.
MAGIC = b"\x89MCAP0\r\n"
LEAD = 9  # bytes of a record's opcode and length
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MOST_RECORD = 1 << 30  # bytes of one record, a whole chunk for instance
MOST_MESSAGE = 512 << 20  # bytes of one decompressed message
SEARCH_BYTES = 256 << 20  # of a file without index that are searched for its topics
MOST_SENTENCES = 20  # notes about one file; a file that is corrupt throughout would else give one for each chunk


class BagError(DataError):
    """A file that is no bag of its kind: one clause, without the file's name."""


@dataclass(frozen=True)
class BagMessage:
    """``kind``: its type, ``package/msg/Type``. ``ros1``: laid out as ROS 1 does, else CDR. ``log_time``: ns."""

    topic: str
    kind: str
    ros1: bool
    log_time: int
    data: bytes
    sequence: int = 0


class Span(NamedTuple):
    """Times of recording of the first and the last message, ns. Positions are shares of the time between."""

    first: int
    last: int

    def at(self, position: float) -> int:
        """The time at ``position``, 0 … 1."""
        return self.first + round(position * (self.last - self.first))

    def position(self, now: int) -> float:
        """The share of the recording that lies before ``now`` (ns)."""
        return (now - self.first) / max(1, self.last - self.first)

    @classmethod
    def whole(cls, spans: Sequence[Span | None]) -> Span | None:
        """From the first file to the last; None where a file has no span, or begins before the one in front ends."""
        known = [span for span in spans if span is not None]
        if len(known) < len(spans) or any(later.first < one.last for one, later in pairwise(known)):
            return None
        return cls(known[0].first, known[-1].last)


class Bag(Protocol):
    """``problems``: a sentence for each place left out, growing while messages are read.

    ``closed``: False where the writer was cut off. ``messages`` may be called again and begins anew.
    """

    problems: list[str]
    closed: bool

    @property
    def topics(self) -> Mapping[str, str]:
        """Name → type, ``package/msg/Type``."""

    @property
    def span(self) -> Span | None:
        """None where the file has no index."""

    def messages(self, topics: Collection[str] | None = None, since: int = 0) -> Iterator[BagMessage]:
        """Messages of ``topics`` (None: of all) by time of recording if the file has an index, else in file order;
        those recorded before ``since`` (ns) are left out."""

    def close(self) -> None:
        """Close the file; messages of it must not be read any more."""


class McapBag:
    """An MCAP file of ROS messages in any state. ``metadata``: (name, values) of its metadata records."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self.metadata: list[tuple[str, dict[str, str]]] = []
        self._channels: dict[int, Channel] = {}
        self._schemas: dict[int, str] = {}
        self._index: list[ChunkIndex] = []
        self._file = path.open("rb")
        try:
            self._size = self._file.seek(0, 2)
            self._file.seek(0)
            if self._file.read(len(MAGIC)) != MAGIC:
                raise BagError("it does not begin as an MCAP file" if self._size else "it is empty")
            # A writer that closes a file repeats the magic bytes at the end; without them it was cut off and has no
            # summary.
            self._file.seek(-len(MAGIC), 2)
            self.closed = self._size > len(MAGIC) and self._file.read() == MAGIC
            if self.closed:
                self._summary()
            if not self._channels:  # no summary names the topics: search the messages
                read = 0
                for message in self.messages():
                    read += len(message.data)
                    if read > SEARCH_BYTES:
                        break
        except BaseException:  # KeyboardInterrupt too: nobody else has a reference to close the file by
            self.close()
            raise

    @property
    def topics(self) -> dict[str, str]:
        """As Bag.topics."""
        return {one.topic: normal_type(self._schemas.get(one.schema_id, "")) for one in self._channels.values()}

    @property
    def encodings(self) -> set[str]:
        """What the messages are: ``cdr`` (ROS 2), ``ros1``, ``json`` …"""
        return {channel.message_encoding for channel in self._channels.values()}

    def _summary(self) -> None:
        """Topics, metadata and the index of a file that was closed, where they are whole."""
        try:
            self._file.seek(0)
            # The limit is the file's own size: no record in it can be larger, whatever its header says.
            reader = SeekingReader(self._file, record_size_limit=self._size)
            summary = reader.get_summary()
            if summary is not None:
                for record in (*summary.schemas.values(), *summary.channels.values()):
                    self._define(record)
                # By the time of each chunk's first message, so that merging below needs only the chunks that have
                # begun.
                self._index = sorted(summary.chunk_indexes, key=lambda one: one.message_start_time)
            for record in reader.iter_metadata():
                self._define(record)
        except Exception as error:  # the package raises struct, index and decoding errors of all kinds here
            self._note(f"its summary is corrupt ({reason(error)})")

    def _define(self, record: McapRecord) -> None:
        if isinstance(record, Schema):
            self._schemas[record.id] = record.name
        elif isinstance(record, Channel):
            self._channels[record.id] = record
        # Reading the messages meets the same records again.
        elif isinstance(record, Metadata) and (record.name, record.metadata) not in self.metadata:
            self.metadata.append((record.name, record.metadata))

    def _note(self, sentence: str) -> None:
        if sentence not in self.problems and len(self.problems) < MOST_SENTENCES:
            self.problems.append(sentence)

    @property
    def span(self) -> Span | None:
        """As Bag.span."""
        chunks = [one for one in self._index if one.message_index_offsets]
        return Span(chunks[0].message_start_time, max(one.message_end_time for one in chunks)) if chunks else None

    def messages(self, topics: Collection[str] | None = None, since: int = 0) -> Iterator[BagMessage]:
        """As Bag.messages. Chunks of an indexed file may overlap in time: a message waits until no chunk can hold an
        earlier one."""
        # A heap by time. The number keeps messages of one time in the order of the file, and keeps the heap from
        # comparing messages, which have no order.
        waiting: list[tuple[int, int, Message]] = []
        number = count()
        # A message may leave the heap once every chunk that is not yet read begins later.
        for begin, records in self._indexed(topics, since) if self._index else self._streamed():
            while waiting and waiting[0][0] < begin:
                yield from self._message(heapq.heappop(waiting)[2], topics)
            for record in records:
                if isinstance(record, Message) and record.log_time < since:
                    continue
                if isinstance(record, Message):
                    heapq.heappush(waiting, (record.log_time, next(number), record))
                else:
                    self._define(record)
        while waiting:
            yield from self._message(heapq.heappop(waiting)[2], topics)

    def _indexed(self, topics: Collection[str] | None, since: int) -> Iterator[tuple[float, list[McapRecord]]]:
        """(time of its first message, records) of each chunk that has messages of ``topics`` and of ``since``."""
        wanted = {number for number, one in self._channels.items() if topics is None or one.topic in topics}
        for index in self._index:
            if index.message_end_time < since:
                continue
            # Chunks without a message index are read, because they may hold anything; so is everything where no channel
            # is known.
            if not index.message_index_offsets or wanted & index.message_index_offsets.keys() or not self._channels:
                self._file.seek(min(index.chunk_start_offset + LEAD, self._size))  # a corrupt one may exceed any file
                data = self._file.read(min(index.chunk_length, self._size))
                yield index.message_start_time, self._chunk(data, f"at byte {index.chunk_start_offset}")

    def _chunk(self, data: bytes | Chunk, where: str) -> list[McapRecord]:
        """The records of a chunk; none of one that is corrupt, which is noted."""
        try:
            chunk = data if isinstance(data, Chunk) else Chunk.read(ReadDataStream(io.BytesIO(data)))
            # The checksum is what finds corrupt bytes; without it they would decode to a wrong picture.
            records: list[McapRecord] = breakup_chunk(chunk, validate_crc=True)
            return records
        except Exception as error:
            self._note(f"the chunk {where} is corrupt and left out ({reason(error)})")
            return []

    def _streamed(self) -> Iterator[tuple[float, list[McapRecord]]]:
        """Records in the order of the file, up to the first corrupt one."""
        self._file.seek(0)
        try:
            # Infinity as the chunk's time lets messages() pass everything on at once: without an index nothing says
            # whether a later chunk holds an earlier message, and waiting for the end would keep the file in memory.
            for record in StreamReader(self._file, emit_chunks=True, record_size_limit=MOST_RECORD).records:
                if isinstance(record, Chunk):
                    # A file without an index is read in its own order: infinity empties the heap before each chunk.
                    yield float("inf"), self._chunk(record, f"before byte {self._file.tell()}")
                else:
                    yield float("inf"), [record]
        except Exception as error:
            if self.closed or self._file.tell() < self._size:  # else the file was cut short, which ``closed`` says
                self._note(f"corrupt before byte {self._file.tell()} ({reason(error)}), the rest is left out")

    def _message(self, message: Message, topics: Collection[str] | None) -> Iterator[BagMessage]:
        channel = self._channels.get(message.channel_id)
        if channel is None or (topics is not None and channel.topic not in topics):
            return
        kind, ros1 = normal_type(self._schemas.get(channel.schema_id, "")), channel.message_encoding == "ros1"
        data = plain(message.data, self._note)
        if data is not None and (ros1 or channel.message_encoding == "cdr"):
            yield BagMessage(channel.topic, kind, ros1, message.log_time, data, message.sequence)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RosbagsBag:
    """A ROS 1 file or an SQLite database, opened through a link of a plain name in a temporary folder."""

    def __init__(self, path: Path, ending: str) -> None:
        self.problems, self.closed, self._ros1 = list[str](), True, ending == ".bag"
        try:
            from rosbags import rosbag1, rosbag2
        except ImportError as error:
            raise BagError(f"reading it needs the package rosbags: {install('ros')}") from error
        self._folder = tempfile.TemporaryDirectory(prefix="mutualformer-")
        try:
            # The package takes the format from the name's ending, and it does not know .db3.zstd.
            link = Path(self._folder.name) / f"bag{ending}"
            os.symlink(path.absolute(), link)
            # The package raises exceptions of many kinds for corrupt files; all become one sentence.
            with foreign("rosbags", BagError, path.name, "is it whole?"):
                self._reader: Any = rosbag1.Reader(link) if self._ros1 else rosbag2.Reader(link)
                self._reader.open()
        except BaseException:
            self._folder.cleanup()
            raise
        self.topics = {str(one.topic): normal_type(str(one.msgtype)) for one in self._reader.connections}

    @property
    def span(self) -> Span | None:
        """As Bag.span."""
        return Span(self._reader.start_time, self._reader.end_time) if self._reader.message_count else None

    def messages(self, topics: Collection[str] | None = None, since: int = 0) -> Iterator[BagMessage]:
        """As Bag.messages; the first corrupt place is noted and ends them."""
        wanted = [one for one in self._reader.connections if topics is None or one.topic in topics]
        last = 0
        try:
            for one, last, stored in self._reader.messages(wanted, since or None) if wanted else ():
                data = plain(bytes(stored), self.problems.append)
                if data is not None:
                    topic = str(one.topic)
                    yield BagMessage(topic, self.topics[topic], self._ros1, last, data)
        except Exception as error:
            self.problems.append(f"corrupt after {last / 1e9:.3f} s ({reason(error)}), the rest is left out")

    def close(self) -> None:
        """Close the file; calling it twice is harmless."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            self._folder.cleanup()


def normal_type(name: str) -> str:
    """ROS 1's ``package/Type`` → ``package/msg/Type``."""
    package, _, kind = name.partition("/")
    return f"{package}/msg/{kind}" if kind and "/" not in kind else name


def plain(data: bytes, note: Callable[[str], None]) -> bytes | None:
    """A message that was compressed by itself, decompressed; None, and a ``note``, where it is corrupt."""
    # rosbag2 can compress messages one by one. The four bytes cannot begin a CDR or ROS 1 message of the types that are
    # decoded here, whose first bytes are a small count or an encapsulation header.
    if data[:4] != ZSTD_MAGIC:
        return data
    import zstandard

    try:
        return zstandard.decompress(data, max_output_size=MOST_MESSAGE)
    except zstandard.ZstdError as error:
        note(f"a compressed message is left out ({error})")
        return None
