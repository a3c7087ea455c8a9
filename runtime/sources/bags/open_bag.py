"""Opens a bag of any kind: a file, a folder of files, several files of one recording after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from mutualformer.runtime.sources.bags.containers import Bag, BagError, BagMessage, McapBag, RosbagsBag
from mutualformer.runtime.sources.pictures import natural_key
from mutualformer.runtime.untrusted.foreign import foreign

READERS: dict[str, Callable[[Path], Bag]] = {
    ".bag": lambda path: RosbagsBag(path, ".bag"),
    ".active": lambda path: RosbagsBag(path, ".bag"),
    ".mcap": McapBag,
    ".db3": lambda path: RosbagsBag(path, ".db3"),
    ".db3.zstd": lambda path: UnpackedBag(path),
    ".mcap.zstd": lambda path: UnpackedBag(path),
}


def suffix(path: Path) -> str:
    """The ending that tells the kind of a bag file, in lower case; "" for a file that is none."""
    name = path.name.lower()
    return next((ending for ending in sorted(READERS, key=len, reverse=True) if name.endswith(ending)), "")


def bag_files(folder: Path) -> list[Path]:
    """The bag files of ``folder`` as people count, without hidden ones; a ``.db3`` wins over its own ``.db3.zstd``."""
    files = [path for path in folder.iterdir() if suffix(path) and path.is_file() and not path.name.startswith(".")]
    names = {path.name for path in files}
    return sorted(
        (path for path in files if not (path.name.endswith(".zstd") and path.name[: -len(".zstd")] in names)),
        key=lambda path: natural_key(path.name),
    )


class ManyBags:
    """Files of one recording in order; one that cannot be read is left out and said in ``damage``."""

    def __init__(self, files: list[Path]) -> None:
        self.damage: list[str] = []
        self.topics: dict[str, str] = {}
        self._bags: list[Bag] = []
        for path in files:
            try:
                self._bags.append(READERS[suffix(path)](path))
            except (BagError, OSError) as error:
                self.damage.append(f"{path.name} is left out: {error}")
                continue
            self.topics.update(self._bags[-1].topics)
        if not self._bags:
            raise BagError("; ".join(self.damage))
        self.closed = all(bag.closed for bag in self._bags)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """As Bag.messages, one file after the other; ``damage`` grows by what each of them met."""
        for bag in self._bags:
            yield from bag.messages(topics)
            self.damage += [sentence for sentence in bag.damage if sentence not in self.damage]

    def close(self) -> None:
        """Close all files."""
        for bag in self._bags:
            bag.close()


class UnpackedBag(ManyBags):
    """A bag file that was compressed as a whole, unpacked into the system's temporary files while it is open."""

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


def open_bag(path: Path) -> Bag:
    """``path``: a bag file, or a folder of them. Raises BagError."""
    try:
        if path.is_dir():
            files = bag_files(path)
            if not files:
                raise BagError("the folder holds no .bag, .mcap or .db3 file")
            return READERS[suffix(files[0])](files[0]) if len(files) == 1 else ManyBags(files)
        if not suffix(path):
            raise BagError("its name ends in none of .bag, .mcap, .db3")
        return READERS[suffix(path)](path)
    except OSError as error:
        raise BagError(str(error)) from error
