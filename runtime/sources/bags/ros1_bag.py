"""Reads ROS 1 bags (format 2.0) from beginning to end: with or without index, cut short, damaged, ``.bag.active``.

Records are ``length, header fields, length, data``; chunks hold messages and the connections they belong to.
http://wiki.ros.org/Bags/Format/2.0
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from pathlib import Path

from mutualformer.runtime.sources.bags.bag import BagError, BagMessage, normal_type
from mutualformer.runtime.sources.bags.byte_reader import ByteReader, BytesError
from mutualformer.runtime.sources.bags.damage import note
from mutualformer.runtime.sources.bags.decompress import DecompressError, decompress

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, BAG_HEADER, CHUNK, CONNECTION = b"\x02", b"\x03", b"\x05", b"\x07"
OPCODES = (MESSAGE, BAG_HEADER, b"\x04", CHUNK, b"\x06", CONNECTION)
# A record's header holds a few short fields; a connection's holds its topic's name.
MOST_HEADER = 1 << 16
MOST_RECORD = 1 << 30
WINDOW = 4 << 20
# How far before its ``op=`` a record can begin when one is looked for behind damage.
BEFORE_OP = 80


def header_fields(data: bytes | memoryview) -> dict[str, bytes]:
    """``name=value`` behind their lengths. Raises BytesError."""
    fields, values = ByteReader(data), {}
    while fields.left > 0:
        name, equals, value = bytes(fields.blob()).partition(b"=")
        if not equals:
            raise BytesError("a header field without '='")
        values[name.decode("ascii", "replace")] = value
    return values


class Ros1Bag:
    """``topics``: name → message type. ``damage``: a sentence for each place skipped. ``closed``: has an index."""

    encoding = "ros1"

    def __init__(self, path: Path) -> None:
        self.path, self.damage = path, list[str]()
        self.topics: dict[str, str] = {}
        self._connections: dict[int, tuple[str, str]] = {}
        self._chunks: list[tuple[bytes, int, int, dict[str, bytes]]] = []
        self._file = path.open("rb")
        try:
            self._size = self._file.seek(0, 2)
            if self._at(0, len(MAGIC)) != MAGIC:
                raise BagError("it is empty" if not self._size else "it does not begin as a ROS 1 bag of format 2.0")
            self.closed = False
            self._walk()
        except BaseException:
            self.close()
            raise
        if not self.topics and not self._chunks:
            self.close()
            raise BagError("there is nothing in it")

    def close(self) -> None:
        """As Bag.close."""
        self._file.close()

    def _at(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(max(0, min(size, self._size - start)))

    def _note(self, sentence: str) -> None:
        note(self.damage, sentence)

    def _walk(self) -> None:
        at = len(MAGIC)
        while at < self._size:
            record = self._record(at)
            if record is None:
                restart = self._restart(at + 1)
                if restart is None and (cut := self._record(at, whole=False)) is not None:
                    header, start, _ = cut
                    if header["op"] == CHUNK and header.get("compression") == b"none":
                        self._add_chunk(start, self._size - start, {**header, "cut": b""})
                    return
                if restart is not None or self.closed:
                    self._note(f"damaged at byte {at}, {(restart or self._size) - at} bytes skipped")
                if restart is None:
                    return
                at = restart
                continue
            header, start, length = record
            opcode = header["op"]
            if opcode == CHUNK:
                self._add_chunk(start, length, header)
            elif opcode == MESSAGE:
                self._chunks.append((opcode, start, length, header))
            elif opcode == CONNECTION:
                self._connect(header, memoryview(self._at(start, length)))
            elif opcode == BAG_HEADER:
                index = int.from_bytes(header.get("index_pos", b""), "little")
                self.closed = 0 < index <= self._size
            at = start + length

    def _add_chunk(self, start: int, length: int, header: dict[str, bytes]) -> None:
        self._chunks.append((CHUNK, start, length, header))
        if not self.topics:  # a bag without index names its topics only inside
            for _ in self._inside(start, length, header, ()):
                pass

    def _record(self, at: int, whole: bool = True) -> tuple[dict[str, bytes], int, int] | None:
        """(header, start of the data, its length) of a record that can begin at ``at``; None where none can.

        ``whole``: it must end within the file.
        """
        lead = self._at(at, 4)
        if len(lead) < 4 or not 4 <= (size := struct.unpack("<I", lead)[0]) <= MOST_HEADER:
            return None
        data = self._at(at + 4, size + 4)
        if len(data) < size + 4:
            return None
        length = struct.unpack_from("<I", data, size)[0]
        try:
            header = header_fields(data[:size])
        except BytesError:
            return None
        start = at + 8 + size
        if header.get("op") not in OPCODES or length > MOST_RECORD or (whole and start + length > self._size):
            return None
        return header, start, length

    def _restart(self, start: int) -> int | None:
        """Where the next chunk begins; None where none follows."""
        for window in range(start, self._size, WINDOW):
            data = self._at(window, WINDOW + BEFORE_OP)
            place = data.find(b"op=" + CHUNK)
            while place >= 0:
                for at in range(max(start, window + place - BEFORE_OP), window + place - 7):
                    record = self._record(at)
                    if record is not None and record[0]["op"] == CHUNK:
                        return at
                place = data.find(b"op=" + CHUNK, place + 1)
        return None

    def _connect(self, header: dict[str, bytes], data: memoryview) -> None:
        try:
            number = struct.unpack("<I", header["conn"])[0]
            topic = header["topic"].decode("utf-8", "replace")
            kind = normal_type(header_fields(data).get("type", b"").decode("utf-8", "replace"))
        except (BytesError, KeyError, struct.error):
            self._note("a damaged topic record")
            return
        self._connections[number] = (topic, kind)
        self.topics.setdefault(topic, kind)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """In the order of the file; ``topics`` None means all. Every connection of a topic counts."""
        for opcode, start, length, header in self._chunks:
            if opcode == MESSAGE:
                yield from self._message(header, memoryview(self._at(start, length)), topics)
            else:
                yield from self._inside(start, length, header, topics)

    def _inside(
        self, start: int, length: int, header: dict[str, bytes], topics: Collection[str] | None
    ) -> Iterator[BagMessage]:
        try:
            size = struct.unpack("<I", header.get("size", b""))[0]
            kind = header.get("compression", b"").decode("ascii", "replace")
            data = memoryview(decompress(kind, self._at(start, length), None if "cut" in header else size))
        except (DecompressError, struct.error) as error:
            self._note(f"the chunk at byte {start} is damaged and left out ({error})")
            return
        at = 0
        while at < len(data):
            try:
                fields = ByteReader(data[at:])
                inner = header_fields(fields.blob())
                body = fields.blob()
                if inner.get("op") not in OPCODES:
                    raise BytesError("no record")
            except BytesError:
                following = self._next_message(data, at + 1)
                self._note(f"the chunk at byte {start} is damaged, {(following or len(data)) - at} bytes left out")
                if following is None:
                    return
                at = following
                continue
            at = len(data) - fields.left
            if inner["op"] == CONNECTION:
                self._connect(inner, body)
            elif inner["op"] == MESSAGE:
                yield from self._message(inner, body, topics)

    @staticmethod
    def _next_message(data: memoryview, start: int) -> int | None:
        """Where the next message begins in the middle of a chunk; None where none follows."""
        raw = bytes(data)
        place = raw.find(b"op=" + MESSAGE, start)
        while place >= 0:
            for at in range(max(start, place - BEFORE_OP), place - 7):
                try:
                    fields = ByteReader(data[at:])
                    if fields.one("I") > MOST_HEADER:
                        continue
                    fields = ByteReader(data[at:])
                    header = header_fields(fields.blob())
                    fields.blob()
                except BytesError:
                    continue
                if header.get("op") == MESSAGE and len(header.get("conn", b"")) == 4 and len(header) >= 3:
                    return at
            place = raw.find(b"op=" + MESSAGE, place + 1)
        return None

    def _message(
        self, header: dict[str, bytes], body: memoryview, topics: Collection[str] | None
    ) -> Iterator[BagMessage]:
        try:
            number = struct.unpack("<I", header["conn"])[0]
            seconds, nanoseconds = struct.unpack("<II", header["time"])
        except (KeyError, struct.error):
            self._note("a message without time or topic")
            return
        topic, kind = self._connections.get(number, ("", ""))
        if topic and (topics is None or topic in topics):
            yield BagMessage(topic, kind, "ros1", seconds * 10**9 + nanoseconds, body)
