"""What the readers of ROS 1 and ROS 2 bags have in common: topics by name, messages in the order of the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol


class BagError(ValueError):
    """A file that is no bag of its kind: one clause, without the file's name."""


@dataclass(frozen=True)
class BagMessage:
    """``kind``: its type, ``package/msg/Type``. ``encoding``: ``cdr`` (ROS 2) or ``ros1``. ``log_time``: ns."""

    topic: str
    kind: str
    encoding: str
    log_time: int
    data: memoryview


class Bag(Protocol):
    """``topics``: name → type. ``damage``: a sentence for each place left out, growing while messages are read.

    ``closed``: False where the writer was cut off. ``messages`` may be called again and begins anew.
    """

    topics: dict[str, str]
    damage: list[str]
    closed: bool

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """The messages of ``topics`` (None: of all) in the file's order, from the beginning."""

    def close(self) -> None:
        """Close the file; messages of it must not be read any more."""


def normal_type(name: str) -> str:
    """ROS 1's ``package/Type`` → ``package/msg/Type``."""
    package, _, kind = name.partition("/")
    return f"{package}/msg/{kind}" if kind and "/" not in kind else name
