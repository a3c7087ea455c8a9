"""Changes bytes the way disks, cables and attackers do: flips, cuts, doublings, numbers at the edge of their type."""

from __future__ import annotations

import random
from collections.abc import Sequence

EDGES = (
    0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 64, 127, 128, 255, 256, 1023, 1024, 0x7FFF, 0x8000, 0xFFFF, 0x10000,
    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF,
)  # fmt: skip
WIDTHS = (1, 2, 4, 8)


def mutate(rng: random.Random, data: bytes, words: Sequence[bytes] = ()) -> bytes:
    """``data`` after one to ten changes. ``words``: what the format is made of, strewn in now and then."""
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 10))):
        _change(rng, changed, words)
        if not changed:
            changed += b"\0"
    return bytes(changed)


def blow_up(rng: random.Random, data: bytes, words: Sequence[bytes] = ()) -> bytes:
    """``data`` with one word of it, or of the format, 100,000 times in a row: squares take hours."""
    at = rng.randrange(len(data) or 1)
    own = data[at : at + rng.choice((1, 2, 4, 8, 16))]
    word = rng.choice([own, own, *(word for word in words if len(word) <= 16)]) or b"["
    if rng.random() < 0.3:  # a different one each time: keys of an object, names in a list
        return data[:at] + b"".join(word + b'"%x":0,' % number for number in range(100_000)) + data[at:]
    return data[:at] + word * 100_000 + data[at:]


def _change(rng: random.Random, data: bytearray, words: Sequence[bytes]) -> None:
    at, length = rng.randrange(len(data)), rng.choice((1, 2, 4, 8, 16, 64, 256))
    kind = rng.randrange(10)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at] = rng.randrange(256)
    elif kind == 2:
        width = rng.choice(WIDTHS)
        value = rng.choice(EDGES) & ((1 << 8 * width) - 1)
        data[at : at + width] = value.to_bytes(width, rng.choice(("little", "little", "big")))
    elif kind == 3:
        del data[at : at + length]
    elif kind == 4:
        other = rng.randrange(len(data))
        data[at:at] = data[other : other + length]
    elif kind == 5:
        data[at:at] = rng.randbytes(rng.choice(WIDTHS))
    elif kind == 6 and rng.random() < 0.5:
        del data[at:]
    elif kind == 7:
        other = rng.randrange(len(data))
        data[at : at + length] = data[other : other + length]
    elif kind == 8 and words:
        word = rng.choice(list(words))
        data[at : at + (len(word) if rng.random() < 0.5 else 0)] = word
    else:  # a number that is a little off
        width = rng.choice((2, 4, 8))
        value = int.from_bytes(data[at : at + width], "little") + rng.randint(-35, 35)
        data[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
