"""Decompression with a limit: what a file declares is believed only as far as its own size makes it likely."""

from __future__ import annotations

import bz2
import io

MOST_ONCE = 64 << 20
MOST_RATIO = 100
MOST_EVER = 512 << 20


class DecompressError(ValueError):
    """Compressed bytes that are damaged, of an unknown kind, or far larger than their file suggests."""


def allowed(compressed: int, most: int = MOST_EVER) -> int:
    """Bytes that ``compressed`` bytes may become: 64 MiB, or 100 times as much, at most ``most``.

    Frames of a camera shrink by less than that; black ones by more, but those are small.
    """
    return min(max(MOST_ONCE, MOST_RATIO * compressed), most)


def decompress(kind: str, data: bytes | memoryview, size: int | None = None) -> bytes | memoryview:
    """``data`` of ``kind`` ("", "none", "zstd", "lz4", "bz2") → its bytes, exactly ``size`` of them if that is known.

    Never allocates more than :func:`allowed`. Raises DecompressError.
    """
    if kind in ("", "none"):
        if size is not None and size != len(data):
            raise DecompressError(f"{len(data)} bytes where {size} are declared")
        return data
    limit = allowed(len(data))
    if size is not None and size > limit:
        raise DecompressError(f"{len(data)} bytes declare to become {size}, more than the {limit} taken on trust")
    limit = limit if size is None else size
    try:
        out = _DECODERS[kind](data, limit + 1)
    except KeyError:
        raise DecompressError(f"compression {kind!r} is not one of zstd, lz4, bz2") from None
    except Exception as error:  # each library has errors of its own, none of them a ValueError
        raise DecompressError(f"damaged {kind} data ({error})") from None
    if len(out) > limit or (size is not None and len(out) != size):
        raise DecompressError(f"{kind} data of another size than the {limit} bytes expected")
    return out


def _zstd(data: bytes | memoryview, limit: int) -> bytes:
    import zstandard

    context = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    with context.stream_reader(io.BytesIO(bytes(data)), read_across_frames=True) as reader:
        blocks, left = [], limit
        while left > 0 and (block := reader.read(min(left, 1 << 22))):
            blocks.append(block)
            left -= len(block)
    return b"".join(blocks)


def _lz4(data: bytes | memoryview, limit: int) -> bytes:
    import lz4.frame  # type: ignore[import-untyped]

    return bytes(lz4.frame.LZ4FrameDecompressor().decompress(bytes(data), max_length=limit))


def _bz2(data: bytes | memoryview, limit: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(bytes(data), max_length=limit)


_DECODERS = {"zstd": _zstd, "lz4": _lz4, "bz2": _bz2}
