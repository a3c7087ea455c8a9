"""Write MCAP files without copying pixels: they go from their array directly to the operating system.

The writer of the ``mcap`` package copies every message five times. At 640×480 that takes 6 ms of processor time per
frame, this module 2 ms. That package encodes the small records (channels, indexes, footer); only chunks and messages
are written here.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
)

MAGIC = b"\x89MCAP0\r\n"
Buffer = bytes | memoryview
# Opcode, length of the rest, channel, sequence, log time, publish time.
MESSAGE = struct.Struct("<BQHIQQ")
# Opcode, length of the rest, first and last time, size, CRC, length of the compression's name (none), size.
CHUNK = struct.Struct("<BQQQQIIQ")
# Bytes that a record's length does not count: its opcode and the length itself.
LEAD = 9


def encode(record: McapRecord) -> bytes:
    """One record as the bytes that the file holds."""
    builder = RecordBuilder()
    record.write(builder)
    return bytes(builder.end())


class McapFile:
    """One file, open until :meth:`close`. Messages wait in a chunk of about ``chunk_bytes`` or until :meth:`flush`.

    ``saved``: messages in written chunks. Buffers given to :meth:`message` must not change before they are written.
    """

    def __init__(self, path: Path, library: str, chunk_bytes: int = 1 << 20) -> None:
        self._stream: BinaryIO = path.open("xb")
        self._chunk_bytes = chunk_bytes
        self._schemas: list[Schema] = []
        self._channels: list[Channel] = []
        self._chunks: list[ChunkIndex] = []
        self._metadata: list[MetadataIndex] = []
        self._counts: Counter[int] = Counter()
        self._parts: list[Buffer] = []
        self._size = self._crc = 0
        self._entries: dict[int, list[tuple[int, int]]] = {}
        self.saved = 0
        self._stream.write(MAGIC + encode(Header(profile="ros2", library=library)))

    def metadata(self, name: str, values: dict[str, str]) -> None:
        """Write a metadata record now, in front of the chunk that is being filled."""
        data = encode(Metadata(name=name, metadata=values))
        self._metadata.append(MetadataIndex(offset=self._stream.tell(), length=len(data), name=name))
        self._stream.write(data)

    def channel(self, topic: str, kind: str, definition: str) -> int:
        """Add a topic of ROS 2 messages ``kind`` in CDR; the definition is stored once per kind. Returns its number."""
        numbers = [schema.id for schema in self._schemas if schema.name == kind]
        if not numbers:
            numbers = [len(self._schemas) + 1]
            self._schemas.append(Schema(id=numbers[0], name=kind, encoding="ros2msg", data=definition.encode()))
        number, schema = len(self._channels) + 1, numbers[0]
        self._channels.append(Channel(id=number, topic=topic, message_encoding="cdr", metadata={}, schema_id=schema))
        self._end_chunk()  # the next one begins with all definitions
        return number

    def message(self, channel: int, data: Sequence[Buffer], nanoseconds: int, sequence: int) -> None:
        """``data``: the message in pieces. ``nanoseconds``: log and publish time."""
        if not self._parts:
            # Every chunk holds the definitions it needs, so that it can be read where all other chunks are corrupt.
            self._append([encode(record) for record in (*self._schemas, *self._channels)])
        self._entries.setdefault(channel, []).append((nanoseconds, self._size))
        length = MESSAGE.size - LEAD + sum(map(len, data))
        head = MESSAGE.pack(Opcode.MESSAGE, length, channel, sequence & 0xFFFFFFFF, nanoseconds, nanoseconds)
        self._append([head, *data])
        self._counts[channel] += 1
        if self._size >= self._chunk_bytes:
            self._end_chunk()

    def _append(self, parts: list[Buffer]) -> None:
        for part in parts:
            self._crc = zlib.crc32(part, self._crc)
            self._size += len(part)
        self._parts += parts

    def _end_chunk(self) -> None:
        if not self._parts:
            return
        start, size, parts, entries = self._stream.tell(), self._size, self._parts, self._entries
        times = [moment for places in entries.values() for moment, _ in places] or [0]
        head = CHUNK.pack(Opcode.CHUNK, CHUNK.size - LEAD + size, min(times), max(times), size, self._crc, 0, size)
        # Reset first: a chunk that could not be written completely must not be written again after its own beginning.
        self._parts, self._entries, self._size, self._crc = [], {}, 0, 0
        for part in (head, *parts):
            self._stream.write(part)
        after, offsets = self._stream.tell(), {}
        for channel, places in entries.items():
            offsets[channel] = self._stream.tell()
            self._stream.write(encode(MessageIndex(channel_id=channel, records=places)))
        self.saved += sum(map(len, entries.values()))
        self._chunks.append(
            ChunkIndex(
                chunk_start_offset=start,
                chunk_length=after - start,
                compression="",
                compressed_size=size,
                uncompressed_size=size,
                message_start_time=min(times),
                message_end_time=max(times),
                message_index_offsets=offsets,
                message_index_length=self._stream.tell() - after,
            )
        )

    def flush(self) -> None:
        """Hand everything to the operating system, where it survives a crash of this process."""
        self._end_chunk()
        self._stream.flush()

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._stream.tell()

    def close(self) -> None:
        """Write the index and close; the file is closed even where writing the index fails."""
        try:
            self._end_chunk()
            self._stream.write(encode(DataEnd(data_section_crc=0)))
            self._summary()
        finally:
            self._stream.close()

    def _summary(self) -> None:
        statistics = Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=dict(self._counts),
            chunk_count=len(self._chunks),
            message_count=sum(self._counts.values()),
            message_start_time=min((chunk.message_start_time for chunk in self._chunks), default=0),
            message_end_time=max((chunk.message_end_time for chunk in self._chunks), default=0),
            metadata_count=len(self._metadata),
            schema_count=len(self._schemas),
        )
        start = self._stream.tell()
        records = [*self._schemas, *self._channels, statistics, *self._chunks, *self._metadata]
        summary = b"".join(map(encode, records))
        # The footer's CRC covers the summary and the footer's own beginning. There is no table of summary offsets.
        crc = zlib.crc32(summary + struct.pack("<BQQQ", Opcode.FOOTER, 8 + 8 + 4, start, 0))
        footer = Footer(summary_start=start, summary_offset_start=0, summary_crc=crc)
        self._stream.write(summary + encode(footer) + MAGIC)
