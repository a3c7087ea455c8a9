"""Rendered pictures on disk: made once by several processes, then memory-mapped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import mutualformer
from mutualformer.runtime.data.item import DataError


class Rendered(Protocol):
    """What can be cached: ``count`` samples, each a dict of arrays whose types and shapes ``layout`` tells.

    ``KIND`` and ``arguments`` (integers) rebuild it in another process; ``VERSION`` counts changes of its pictures.
    """

    KIND: str
    VERSION: int

    @property
    def arguments(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def layout(self) -> Mapping[str, tuple[str, tuple[int, ...]]]: ...

    def sample(self, index: int) -> Mapping[str, NDArray[Any]]: ...


def rebuild(kind: str, arguments: tuple[int, ...]) -> Rendered:
    """The source that ``kind`` and ``arguments`` describe."""
    if kind == "scenes":
        from mutualformer.runtime.data.scenes.scene import SyntheticScenes

        return SyntheticScenes(*arguments[:2], size=(arguments[2], arguments[3]))
    if kind == "identities":
        from mutualformer.runtime.data.scenes.identities import SyntheticIdentities

        return SyntheticIdentities(*arguments[:2], size=(arguments[2], arguments[3]))
    raise ValueError(f"kind is {kind!r}, expected scenes or identities")


def cache_root() -> Path:
    """$MUTUALFORMER_CACHE, else ~/.cache/mutualformer."""
    return Path(os.environ.get("MUTUALFORMER_CACHE") or Path.home() / ".cache" / "mutualformer")


def _fill(folder: Path, source: Rendered, share: range) -> Iterator[int]:
    """Render the samples of ``share`` into the arrays of ``folder``; yields each index when done."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in source.layout()}
    for index in share:
        for name, value in source.sample(index).items():
            arrays[name][index] = value
        yield index


def _worker(folder: str, kind: str, first: str, stride: str, *arguments: str) -> None:
    """``python -m …scenes.cache FOLDER KIND FIRST STRIDE ARGUMENTS``: one process's share of the work."""
    import cv2

    cv2.setNumThreads(1)
    source = rebuild(kind, tuple(int(number) for number in arguments))
    for index in _fill(Path(folder), source, range(int(first), len(source), int(stride))):
        print(index, flush=True)


def _run_workers(folder: Path, source: Rendered, workers: int, bar: tqdm) -> None:  # type: ignore[type-arg]
    """Fresh interpreters rather than multiprocessing: those would import the caller's program, torch included."""
    root = str(Path(mutualformer.__file__).resolve().parents[1])
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **one_thread, "PYTHONPATH": path}
    started: list[subprocess.Popen[str]] = []
    try:
        for first in range(workers):
            words = (folder, source.KIND, first, workers, *source.arguments)
            command = [sys.executable, "-m", "mutualformer.runtime.data.scenes.cache", *map(str, words)]
            started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        # In turn: the shares are equal, so waiting for one worker's line never holds up the others by much.
        streams = [process.stdout for process in started if process.stdout is not None]
        while streams:
            streams = [stream for stream in streams if stream.readline() and (bar.update() or True)]
        failed = [process.wait() for process in started]
        if any(failed):
            raise RuntimeError(f"rendering failed with exit codes {failed}; its messages are above")
    finally:
        for process in started:
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
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for array, (dtype, shape) in layout.items():
            np.lib.format.open_memmap(temporary / f"{array}.npy", mode="w+", dtype=dtype, shape=shape).flush()
        with tqdm(total=count, desc=f"rendering {source.KIND}", unit="picture", delay=1, mininterval=1) as bar:
            if workers == 1 or count < 16:
                for _ in _fill(temporary, source, range(count)):
                    bar.update()
            else:
                _run_workers(temporary, source, workers, bar)
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
