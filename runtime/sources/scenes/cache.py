"""Rendered pictures on disk: made once by several processes, then memory-mapped."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

import mutualformer
from mutualformer.runtime.files import cache_root
from mutualformer.runtime.reporting import progress
from mutualformer.runtime.sources.frame import DataError

if TYPE_CHECKING:
    from tqdm import tqdm


class Rendered(Protocol):
    """What can be cached: ``count`` samples, each a dict of arrays whose types and shapes ``layout`` tells.

    Its class and ``arguments`` (integers) rebuild it in another process: ``of(*arguments)``. ``KIND`` names its folder,
    ``VERSION`` counts changes of its pictures.
    """

    KIND: str
    VERSION: int

    @property
    def arguments(self) -> tuple[int, ...]:
        """Integers that :meth:`of` takes to make this source again."""

    @classmethod
    def of(cls, *arguments: int) -> Rendered:
        """The source that has these :attr:`arguments`."""

    def __len__(self) -> int: ...

    def layout(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Array name → (NumPy type string, shape of one sample), e.g. "rgb": ("u1", (H, W, 3))."""

    def sample(self, index: int) -> Mapping[str, NDArray[Any]]:
        """Render sample ``index``: an array for each name of :meth:`layout`, of that type and shape."""


def rebuild(maker: str, arguments: tuple[int, ...]) -> Rendered:
    """The source that ``maker`` ("module:Class") and its ``arguments`` describe."""
    module, _, name = maker.partition(":")
    source: Rendered = getattr(importlib.import_module(module), name).of(*arguments)
    return source


def _fill(folder: Path, source: Rendered, share: range) -> Iterator[int]:
    """Render the samples of ``share`` into the arrays of ``folder``; yields each index when done."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in source.layout()}
    for index in share:
        for name, value in source.sample(index).items():
            arrays[name][index] = value
        yield index


def _worker(folder: str, maker: str, first: str, stride: str, *arguments: str) -> None:
    """``python -m …scenes.cache FOLDER MAKER FIRST STRIDE ARGUMENTS``: one process's share of the work."""
    import cv2

    cv2.setNumThreads(1)
    source = rebuild(maker, tuple(int(number) for number in arguments))
    for index in _fill(Path(folder), source, range(int(first), len(source), int(stride))):
        print(index, flush=True)


def _run_workers(folder: Path, source: Rendered, workers: int, progress_bar: tqdm[int]) -> None:
    """Fresh interpreters rather than multiprocessing: those would import the caller's program, torch included."""
    root = str(Path(mutualformer.__file__).resolve().parents[1])
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **one_thread, "PYTHONPATH": path}
    processes: list[subprocess.Popen[str]] = []
    try:
        for first in range(workers):
            maker = f"{type(source).__module__}:{type(source).__qualname__}"
            words = (folder, maker, first, workers, *source.arguments)
            command = [sys.executable, "-m", "mutualformer.runtime.sources.scenes.cache", *map(str, words)]
            processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        # In turn: the shares are equal, so waiting for one worker's line never holds up the others by much.
        streams = [process.stdout for process in processes if process.stdout is not None]
        while streams:
            streams = [stream for stream in streams if stream.readline() and (progress_bar.update() or True)]
        failed = [process.wait() for process in processes]
        if any(failed):
            raise RuntimeError(f"rendering failed with exit codes {failed}; its messages are above")
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def render(source: Rendered, workers: int | None = None, root: Path | None = None) -> dict[str, NDArray[Any]]:
    """Memory-mapped arrays of ``source``, rendered with progress unless they are there; ``workers`` changes nothing
    but the time it takes."""
    count = len(source)
    name = "-".join([source.KIND, f"v{source.VERSION}", *map(str, source.arguments)])
    folder = (root or cache_root()) / name
    if not (folder / "done.json").is_file():
        _render(source, folder, workers or min(os.cpu_count() or 1, 8), count)
    return {array: np.load(folder / f"{array}.npy", mmap_mode="r") for array in source.layout()}


def _allocate(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """An array on disk with all its blocks: a mapped file with holes kills whoever writes to it on a full disk."""
    formats: Any = np.lib.format  # untyped
    formats.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise DataError(
            f"{path.parent.parent}: no room for {path.stat().st_size >> 20} MiB of rendered pictures "
            f"({error.strerror}); set MUTUALFORMER_CACHE to a larger disk"
        ) from error


def _sweep(root: Path) -> None:
    """Remove what processes of this host that are no more have left half-rendered."""
    for folder in root.glob(f".*.{socket.gethostname()}-*.*"):
        number = folder.name.rpartition(".")[0].rpartition("-")[2]
        if number.isdecimal() and not _alive(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _render(source: Rendered, folder: Path, workers: int, count: int) -> None:
    layout = {array: (np.dtype(kind), (count, *tail)) for array, (kind, tail) in source.layout().items()}
    needed = sum(int(np.prod(shape)) * dtype.itemsize for dtype, shape in layout.values())
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        raise DataError(f"{folder.parent}: pictures cannot be kept here ({error}); set MUTUALFORMER_CACHE") from error
    if free < needed * 1.05:
        raise DataError(
            f"{folder.parent}: {free >> 20} MiB free, expected {needed >> 20} MiB for {count} synthetic samples; "
            "set MUTUALFORMER_CACHE to a larger disk"
        )
    _sweep(folder.parent)
    mark = f"{socket.gethostname()}-{os.getpid()}"
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.{mark}."))
    try:
        for array, (dtype, shape) in layout.items():
            _allocate(temporary / f"{array}.npy", dtype, shape)
        with progress.bar(count, f"rendering {source.KIND}", "pictures") as progress_bar:
            if workers == 1 or count < 16:
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
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    _worker(*sys.argv[1:])
