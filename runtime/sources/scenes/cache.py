"""Rendered pictures on disk: rendered once by several processes, then memory-mapped."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import mutualformer
from mutualformer.plugins.files import parse_json, scratch
from mutualformer.runtime.files import cache_root
from mutualformer.runtime.reporting import progress
from mutualformer.runtime.sources.frame import DataError

FEW = 16  # samples that are rendered in this process, sooner than others would have started


class Rendered(Protocol):
    """What can be cached: its class called with ``arguments`` makes it again in another process.

    ``KIND`` names its folder, ``VERSION`` counts changes of its pictures, so that a changed renderer finds no old ones.
    """

    KIND: str
    VERSION: int

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What its class is called with, in JSON types."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Mapping[str, NDArray[Any]]:
        """Render sample ``index``: arrays by name, of the same types and shapes for every index."""


def render(source: Rendered, workers: int | None = None, root: Path | None = None) -> dict[str, NDArray[Any]]:
    """Memory-mapped arrays of ``source`` by name, rendered now unless they are there already.

    ``workers``: processes; their number changes only the time it takes. Raises DataError where the disk is full.
    """
    words = json.dumps([source.KIND, f"v{source.VERSION}", *source.arguments])
    folder = (root or cache_root()) / "-".join(words.translate(str.maketrans("[],", "   ", '"')).split())
    if not (folder / "done.json").is_file():
        _render(source, folder, workers or min(os.cpu_count() or 1, 8))
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


def _render(source: Rendered, folder: Path, workers: int) -> None:
    count, root = len(source), folder.parent
    first = source.sample(0)
    try:
        root.mkdir(parents=True, exist_ok=True)
        free, needed = shutil.disk_usage(root).free, count * sum(array.nbytes for array in first.values())
        if free < needed:  # taking the blocks one after the other until they end would fill the disk first
            raise OSError(errno.ENOSPC, f"{free >> 20} MiB free, expected {needed >> 20} MiB")
        with scratch(root) as temporary:
            for name, array in first.items():
                _allocate(temporary / f"{name}.npy", array.dtype, (count, *array.shape))
            with progress.bar(count, f"rendering {source.KIND}", "pictures") as progress_bar:
                if workers == 1 or count < FEW:
                    for _ in _fill(temporary, source, range(count)):
                        progress_bar.update()
                else:
                    _run_workers(temporary, source, workers, progress_bar)
            (temporary / "done.json").write_text(json.dumps({"kind": source.KIND, "arguments": source.arguments}))
            try:
                temporary.rename(folder)
            except OSError:
                if not (folder / "done.json").is_file():  # else another process was quicker: use its pictures
                    raise
    except OSError as error:
        raise DataError(f"{root}: pictures cannot be kept here ({error}); set MUTUALFORMER_CACHE") from error


def _allocate(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """An array on disk with all its blocks: writing to a mapped file with holes on a full disk kills the process."""
    formats: Any = np.lib.format  # untyped
    formats.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _fill(folder: Path, source: Rendered, share: range) -> Iterator[int]:
    """Render the samples of ``share`` into the arrays of ``folder``; yields each index when done."""
    arrays = {path.stem: np.load(path, mmap_mode="r+") for path in folder.glob("*.npy")}
    for index in share:
        for name, value in source.sample(index).items():
            arrays[name][index] = value
        yield index


def _run_workers(folder: Path, source: Rendered, workers: int, progress_bar: tqdm[Any]) -> None:
    """Fresh interpreters rather than multiprocessing: those would import the caller's program, torch included."""
    root = str(Path(mutualformer.__file__).resolve().parents[1])
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    maker = type(source).__module__, type(source).__qualname__, json.dumps(source.arguments)
    environment = {**os.environ, **one_thread, "PYTHONPATH": path}
    command = [sys.executable, "-m", __name__, str(folder), *maker]
    read, write = os.pipe()  # one line a picture, of all workers
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with open(read) as lines:
            for first in range(workers):
                processes.append(subprocess.Popen([*command, str(first), str(workers)], env=environment, stdout=write))
            os.close(write)
            for _ in lines:
                progress_bar.update()
        failed = [process.wait() for process in processes]
        if any(failed):
            raise RuntimeError(f"rendering failed with exit codes {failed}; its messages are above")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _worker(folder: str, module: str, name: str, arguments: str, first: str, stride: str) -> None:
    """``python -m …scenes.cache FOLDER MODULE CLASS ARGUMENTS FIRST STRIDE``: one process's share of the work."""
    import cv2

    cv2.setNumThreads(1)
    source: Rendered = getattr(importlib.import_module(module), name)(*parse_json(arguments))
    for index in _fill(Path(folder), source, range(int(first), len(source), int(stride))):
        print(index, flush=True)


if __name__ == "__main__":
    _worker(*sys.argv[1:])
