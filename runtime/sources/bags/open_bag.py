"""Opens a bag of any kind: a file, a folder of files, several files of one recording after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from mutualformer.runtime.sources.bags.containers import Bag, BagError, BagMessage, McapBag, RosbagsBag, Span
from mutualformer.runtime.sources.pictures import natural_key
from mutualformer.runtime.untrusted.foreign import foreign

ENDINGS = (".db3.zstd", ".mcap.zstd", ".mcap", ".db3", ".bag", ".active")


def suffix(path: Path) -> str:
    """The ending by which a bag file's kind is known, in lower case; "" for other files."""
    return next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), "")


def bag_files(folder: Path) -> list[Path]:
    """The bag files of ``folder`` as people count, without hidden ones; a ``.db3`` wins over its own ``.db3.zstd``."""
    files = [path for path in folder.iterdir() if suffix(path) and path.is_file() and not path.name.startswith(".")]
    unpacked = [path for path in files if path.suffix.lower() != ".zstd" or path.with_suffix("") not in files]
    return sorted(unpacked, key=lambda path: natural_key(path.name))


class ManyBags:
    """Files of one recording in order; one that cannot be read is left out, which ``problems`` says."""

    def __init__(self, files: list[Path]) -> None:
        self.problems: list[str] = []
        self.topics: dict[str, str] = {}
        self._bags: list[Bag] = []
        for path in files:
            try:
                self._bags.append(_open_file(path))
            except (BagError, OSError) as error:
                self.problems.append(f"{path.name} is left out: {error}")
                continue
            self.topics.update(self._bags[-1].topics)
        if not self._bags:
            raise BagError("; ".join(self.problems))
        self.closed = all(bag.closed for bag in self._bags)

    @property
    def span(self) -> Span | None:
        """As :meth:`Span.whole` of the files."""
        return Span.whole([bag.span for bag in self._bags])

    def messages(self, topics: Collection[str] | None = None, since: int = 0) -> Iterator[BagMessage]:
        """As Bag.messages, one file after the other; ``problems`` grows by the problems of each."""
        for bag in self._bags:
            yield from bag.messages(topics, since)
            self.problems += [sentence for sentence in bag.problems if sentence not in self.problems]

    def close(self) -> None:
        """Close all files."""
        for bag in self._bags:
            bag.close()


class UnpackedBag(ManyBags):
    """A bag file that was compressed as a whole, decompressed into the system's temporary files while it is open."""

    def __init__(self, path: Path) -> None:
        import zstandard

        self._folder = tempfile.TemporaryDirectory(prefix="mutualformer-")
        try:
            target = Path(self._folder.name) / path.stem
            with foreign("zstandard", BagError, path.name), path.open("rb") as source, target.open("wb") as out:
                zstandard.ZstdDecompressor(max_window_size=1 << 27).copy_stream(source, out)
            super().__init__([target])
        except BaseException:
            self._folder.cleanup()
            raise

    def close(self) -> None:
        """Close the unpacked file and delete it."""
        super().close()
        self._folder.cleanup()


def _open_file(path: Path) -> Bag:
    ending = suffix(path)
    if ending == ".mcap":
        return McapBag(path)
    if ending.endswith(".zstd"):
        return UnpackedBag(path)
    if not ending:
        raise BagError("its name ends in none of .bag, .mcap, .db3")
    return RosbagsBag(path, ".db3" if ending == ".db3" else ".bag")


def open_bag(path: Path) -> Bag:
    """``path``: a bag file, or a folder of them. Raises BagError."""
    try:
        files = bag_files(path) if path.is_dir() else [path]
        if not files or not path.exists():
            raise BagError("expected a .bag, .mcap or .db3 file, or a folder of them")
        return _open_file(files[0]) if len(files) == 1 else ManyBags(files)
    except OSError as error:
        raise BagError(str(error)) from error
