"""Reads MCAP files of any origin and state: compressed, without index, cut short, damaged in the middle.

A first look walks over the records without reading what is in them and finds where good chunks begin again behind
damage; messages are then read chunk by chunk, each checked against its CRC and never larger than its size allows.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from mutualformer.runtime.sources.bags.byte_reader import ByteReader, BytesError
from mutualformer.runtime.sources.bags.damage import note
from mutualformer.runtime.sources.bags.decompress import DecompressError, decompress

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 1, 2, 3, 4, 5, 6
METADATA, DATA_END = 0x0C, 0x0F
FIRST_PRIVATE = 0x80  # opcodes from here on are free for anybody; those between are reserved
LEAD = struct.Struct("<BQ")
FOOTER_BYTES = LEAD.size + 20
# first and last time, size, CRC, and the length of the compression's name, which follows
CHUNK_LEAD = struct.Struct("<QQQII")
MOST_NAME = 16  # bytes of the name of a compression
# channel, sequence, log time, publish time; the data follow
MESSAGE_LEAD = struct.Struct("<HIQQ")
# The largest record besides chunks and messages that is of interest: definitions and metadata are small.
MOST_SMALL = 16 << 20
# The largest chunk or message that is read.
MOST_RECORD = 1 << 30
WINDOW = 4 << 20
# Where a record may begin again behind damage: its opcode, and a length below 2^40 bytes.
RESTART = re.compile(rb"[\x05\x06\x0f].{5}\x00\x00\x00", re.DOTALL)


class McapFileError(ValueError):
    """Not an MCAP file, or an empty one: one sentence."""


@dataclass(frozen=True)
class McapChannel:
    """One topic of the file. ``kind``: the message's type; ``encoding``: ``cdr`` (ROS 2), ``ros1``, ``json`` …"""

    topic: str
    kind: str
    encoding: str


@dataclass(frozen=True)
class McapMessage:
    """One message: its channel, number in it, time in ns and bytes."""

    channel: McapChannel
    sequence: int
    log_time: int
    data: memoryview


class McapReader:
    """``closed``: the file ends as a finished one does. ``damage``: one sentence for each place that was skipped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
        self.profile = ""
        self.metadata: list[tuple[str, dict[str, str]]] = []
        self._schemas: dict[int, str] = {}
        self.channels: dict[int, McapChannel] = {}
        self._places: list[tuple[int, int, int]] = []
        self._file = path.open("rb")
        try:
            self._size = self._file.seek(0, 2)
            if self._at(0, len(MAGIC)) != MAGIC:
                raise McapFileError("it does not begin as one" if self._size else "it is empty")
            self.closed = self._summary()
            self._walk()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back. May be called twice."""
        self._file.close()

    def _at(self, start: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``start``; never more than the file has."""
        self._file.seek(start)
        return self._file.read(max(0, min(size, self._size - start)))

    def _lead(self, at: int) -> tuple[int, int] | None:
        """Opcode and length of the record at ``at``; None where the file ends before them."""
        lead = self._at(at, LEAD.size)
        return LEAD.unpack(lead) if len(lead) == LEAD.size else None

    def topics(self) -> list[str]:
        """The topics of all channels met so far, sorted."""
        return sorted({channel.topic for channel in self.channels.values()})

    def _note(self, sentence: str) -> None:
        note(self.damage, sentence)

    # The first look.

    def _summary(self) -> bool:
        """True where the file was closed; channels named in its summary are then known however the rest looks."""
        end = self._size - len(MAGIC)
        start = end - FOOTER_BYTES
        if start < len(MAGIC) or self._at(end, len(MAGIC)) != MAGIC or self._lead(start) != (FOOTER, 20):
            return False
        at = struct.unpack("<Q", self._at(start + LEAD.size, 8))[0]
        while len(MAGIC) <= at < start and (lead := self._lead(at)) is not None:
            opcode, length = lead
            if at + LEAD.size + length > start:
                break
            if opcode in (SCHEMA, CHANNEL) and length <= MOST_SMALL:
                self._define(opcode, memoryview(self._at(at + LEAD.size, length)))
            at += LEAD.size + length
        return True

    def _define(self, opcode: int, body: memoryview) -> None:
        try:
            fields = ByteReader(body)
            if opcode == SCHEMA:
                number, name = fields.one("H"), fields.text()
                self._schemas[number] = name
            else:
                number, schema = fields.take("H", 2)
                self.channels[number] = McapChannel(fields.text(), self._schemas.get(schema, ""), fields.text())
        except BytesError as error:
            self._note(f"a damaged topic record ({error})")

    def _walk(self) -> None:
        """Find chunks, messages outside chunks, metadata and topics; skip over damage."""
        at = len(MAGIC)
        while (lead := self._lead(at)) is not None:
            opcode, length = lead
            if not self._sound(opcode, at, length):
                restart = self._restart(at + 1)
                if restart is None and not self.closed and opcode:
                    return  # the cut itself
                self._note(f"damaged at byte {at}, {(restart or self._size) - at} bytes skipped")
                if restart is None:
                    return
                at = restart
                continue
            if opcode in (CHUNK, MESSAGE):
                self._places.append((opcode, at + LEAD.size, length))
            elif opcode in (HEADER, SCHEMA, CHANNEL, METADATA) and length <= MOST_SMALL:
                body = memoryview(self._at(at + LEAD.size, length))
                if opcode == HEADER:
                    self.profile = self.profile or _text(body)
                elif opcode == METADATA:
                    self._read_metadata(body)
                else:
                    self._define(opcode, body)
            elif opcode in (DATA_END, FOOTER):
                return
            at += LEAD.size + length

    def _read_metadata(self, body: memoryview) -> None:
        try:
            fields = ByteReader(body)
            self.metadata.append((fields.text(), fields.pairs()))
        except BytesError as error:
            self._note(f"a damaged metadata record ({error})")

    def _sound(self, opcode: int, at: int, length: int) -> bool:
        """True where a record of this length can begin here; a chunk's own sizes must agree with it."""
        if opcode == 0 or DATA_END < opcode < FIRST_PRIVATE or at + LEAD.size + length > self._size:
            return False
        if opcode != CHUNK:
            return opcode != MESSAGE or MESSAGE_LEAD.size <= length <= MOST_RECORD
        if not CHUNK_LEAD.size + 8 <= length <= MOST_RECORD:
            return False
        head = self._at(at + LEAD.size, CHUNK_LEAD.size + MOST_NAME + 8)
        name = CHUNK_LEAD.unpack_from(head)[4]
        if name > MOST_NAME or CHUNK_LEAD.size + name + 8 > length:
            return False
        inside = struct.unpack_from("<Q", head, CHUNK_LEAD.size + name)[0]
        return bool(CHUNK_LEAD.size + name + 8 + inside == length)

    def _restart(self, start: int) -> int | None:
        """Where the next good chunk, message or end of data begins; None where nothing good follows."""
        for window in range(start, self._size, WINDOW):
            for match in RESTART.finditer(self._at(window, WINDOW + LEAD.size)):
                at = window + match.start()
                if (lead := self._lead(at)) is not None and self._begins(*lead, at):
                    return at
        return None

    def _begins(self, opcode: int, length: int, at: int) -> bool:
        """As :meth:`_sound`, and so much in agreement with itself that chance is ruled out."""
        if not self._sound(opcode, at, length):
            return False
        if opcode in (CHUNK, DATA_END):
            return opcode == CHUNK or length == 4
        number = struct.unpack("<H", self._at(at + LEAD.size, 2))[0]
        after = at + LEAD.size + length
        following = self._lead(after)
        return number in self.channels and following is not None and self._sound(following[0], after, following[1])

    # Messages.

    def messages(self, topics: Collection[str] | None = None) -> Iterator[McapMessage]:
        """In the order of the file; ``topics`` None means all. Chunks with a wrong CRC are skipped and noted."""
        for opcode, start, length in self._places:
            body = memoryview(self._at(start, length))
            if opcode == MESSAGE:
                yield from self._message(body, topics)
                continue
            try:
                records = self._records(body)
            except (BytesError, DecompressError) as error:
                self._note(f"the chunk at byte {start} is damaged and left out ({error})")
                continue
            at, size = 0, len(records)
            while at + LEAD.size <= size:
                kind, inside = LEAD.unpack_from(records, at)
                at += LEAD.size
                if at + inside > size:
                    self._note(f"the chunk at byte {start} is damaged, its rest is left out")
                    break
                record = records[at : at + inside]
                if kind == MESSAGE:
                    yield from self._message(record, topics)
                elif kind in (SCHEMA, CHANNEL):
                    self._define(kind, record)
                at += inside

    def _records(self, body: memoryview) -> memoryview:
        fields = ByteReader(body)
        _, _, size, crc = *fields.take("Q", 3), fields.one("I")
        kind = fields.text()
        data = decompress(kind, fields.raw(fields.one("Q")), size)
        if crc and zlib.crc32(data) != crc:
            raise BytesError("its checksum does not fit")
        return memoryview(data)

    def _message(self, body: memoryview, topics: Collection[str] | None) -> Iterator[McapMessage]:
        if len(body) < MESSAGE_LEAD.size:
            self._note("a message too short to be one")
            return
        number, sequence, log_time, _ = MESSAGE_LEAD.unpack_from(body)
        channel = self.channels.get(number)
        if channel is None:
            self._note(f"messages of topic number {number}, which the file does not name")
        elif topics is None or channel.topic in topics:
            yield McapMessage(channel, sequence, log_time, body[MESSAGE_LEAD.size :])


def _text(body: memoryview) -> str:
    try:
        return ByteReader(body).text()
    except BytesError:
        return ""
