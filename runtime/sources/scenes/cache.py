"""Rendered pictures on disk: rendered once by several threads, then memory-mapped."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.plugins.files import scratch
from mutualformer.runtime.files import cache_root
from mutualformer.runtime.reporting import progress
from mutualformer.runtime.sources.frame import DataError


class Rendered:
    """``count`` things that ``seed`` makes, in pictures of ``size`` (height, width). Raises DataError.

    ``KIND`` names them and their folder, ``VERSION`` counts changes of their pictures, so that a changed renderer finds
    no old ones. ``COUNTS``: how few and how many there may be.
    """

    KIND: str
    VERSION: int
    COUNTS: tuple[int, int]

    def __init__(self, count: int, seed: int = 0, size: tuple[int, int] = (320, 320)) -> None:
        least, most = self.COUNTS
        if not least <= count <= most or seed < 0:
            raise DataError(f"synthetic:{count}?seed={seed}: expected {least} … {most} {self.KIND} and a seed ≥ 0")
        self.count, self.seed, self.size = count, seed, size

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int) -> Mapping[str, NDArray[Any]]:
        """Render sample ``index``: arrays by name, of the same types and shapes for every index."""
        raise NotImplementedError


def render(source: Rendered, workers: int | None = None, root: Path | None = None) -> dict[str, NDArray[Any]]:
    """Memory-mapped arrays of ``source`` by name, rendered now unless they are there already.

    ``workers``: threads; their number changes only the time it takes. Raises DataError where the disk is full.
    """
    root = root or cache_root()
    words = source.KIND, f"v{source.VERSION}", source.count, source.seed, *source.size
    folder = root / "-".join(map(str, words))
    try:
        if not folder.is_dir():
            _render(source, folder, workers or min(os.cpu_count() or 1, 8))
    except OSError as error:
        raise DataError(f"{root}: pictures cannot be kept here ({error}); set MUTUALFORMER_CACHE") from error
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


def _render(source: Rendered, folder: Path, workers: int) -> None:
    count, root = len(source), folder.parent
    first = source.sample(0)
    root.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(root).free, count * sum(array.nbytes for array in first.values())
    if free < needed:  # taking the blocks one after the other until they end would fill the disk first
        raise OSError(errno.ENOSPC, f"{free >> 20} MiB free, expected {needed >> 20} MiB")
    with scratch(root) as temporary:
        arrays = {
            name: _allocated(temporary / f"{name}.npy", array.dtype, (count, *array.shape))
            for name, array in first.items()
        }

        def keep(index: int) -> None:
            for name, value in source.sample(index).items():
                arrays[name][index] = value

        pool = ThreadPoolExecutor(workers)
        try:
            with progress.bar(count, f"rendering {source.KIND}", "pictures") as progress_bar:
                for _ in pool.map(keep, range(count)):
                    progress_bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was quicker: use its pictures
                raise


def _allocated(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array on disk with all its blocks: writing to a mapped file with holes on a full disk kills the process."""
    formats: Any = np.lib.format  # untyped
    array: NDArray[Any] = formats.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
