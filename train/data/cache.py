"""Rendered scenes on disk: made once by several processes, then memory-mapped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from train.data.item import DataError, Item
from train.data.synthetic import GENERATOR_VERSION, SyntheticScenes

# Depth is kept as millimetres in 16 bits, as depth cameras do; nothing beyond 65.5 m matters.
MAX_MILLIMETRES = 65535


def cache_root() -> Path:
    """$MUTUALFORMER_CACHE, else ~/.cache/mutualformer."""
    return Path(os.environ.get("MUTUALFORMER_CACHE") or Path.home() / ".cache" / "mutualformer")


class CachedScenes:
    """Scenes memory-mapped from ``folder``, as :func:`render` wrote them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seed = int(json.loads((folder / "scenes.json").read_text())["seed"])
        self.rgb = np.load(folder / "rgb.npy", mmap_mode="r")
        self.depth = np.load(folder / "depth.npy", mmap_mode="r")
        self.mask = np.load(folder / "mask.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.rgb)

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        depth = self.depth[index].astype(np.float32) * np.float32(0.001)
        return Item(np.array(self.rgb[index]), depth, np.array(self.mask[index]), f"seed{self.seed}-{index:05d}")


def _fill(folder: Path, scenes: SyntheticScenes, share: range) -> Iterator[int]:
    """Render the scenes of ``share`` into the arrays of ``folder``; yields each index when done."""
    arrays = [np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ("rgb", "depth", "mask")]
    for index in share:
        made = scenes.scene(index)
        arrays[0][index] = made.rgb
        arrays[1][index] = np.minimum(np.round(made.depth * 1000), MAX_MILLIMETRES).astype(np.uint16)
        arrays[2][index] = made.mask
        yield index


def _worker(folder: str, *numbers: str) -> None:
    """``python -m train.data.cache FOLDER count seed height width first stride``: one process's share of the work."""
    import cv2

    cv2.setNumThreads(1)
    count, seed, height, width, first, stride = (int(number) for number in numbers)
    for index in _fill(Path(folder), SyntheticScenes(count, seed, (height, width)), range(first, count, stride)):
        print(index, flush=True)


def _run_workers(folder: Path, scenes: SyntheticScenes, workers: int, bar: tqdm) -> None:  # type: ignore[type-arg]
    """Fresh interpreters rather than multiprocessing: those would import the caller's program, torch included."""
    root = str(Path(__file__).resolve().parents[2])
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **one_thread, "PYTHONPATH": path}
    started: list[subprocess.Popen[str]] = []
    try:
        for first in range(workers):
            numbers = (len(scenes), scenes.seed, *scenes.size, first, workers)
            command = [sys.executable, "-m", "train.data.cache", str(folder), *map(str, numbers)]
            started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        # In turn: the shares are equal, so waiting for one worker's line never holds up the others by much.
        streams = [process.stdout for process in started if process.stdout is not None]
        while streams:
            streams = [stream for stream in streams if stream.readline() and (bar.update() or True)]
        failed = [process.wait() for process in started]
        if any(failed):
            raise RuntimeError(f"rendering scenes failed with exit codes {failed}; its messages are above")
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
                process.wait()


def render(scenes: SyntheticScenes, workers: int | None = None, root: Path | None = None) -> CachedScenes:
    """Render ``scenes`` once, with progress, or find them; the result does not depend on ``workers``."""
    height, width = scenes.size
    name = f"scenes-v{GENERATOR_VERSION}-seed{scenes.seed}-{len(scenes)}x{height}x{width}"
    folder = (root or cache_root()) / name
    if (folder / "scenes.json").is_file():
        return CachedScenes(folder)
    workers = workers or min(os.cpu_count() or 1, 8)
    needed = len(scenes) * height * width * 6
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        raise DataError(f"{folder.parent}: scenes cannot be kept here ({error}); set MUTUALFORMER_CACHE") from error
    if free < needed * 1.05:
        raise DataError(
            f"{folder.parent}: {free >> 20} MiB free, expected {needed >> 20} MiB for {len(scenes)} scenes; "
            "set MUTUALFORMER_CACHE to a larger disk"
        )
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{name}."))
    try:
        shape = (len(scenes), height, width)
        for array, dtype, dims in (("rgb", "u1", (*shape, 3)), ("depth", "u2", shape), ("mask", "u1", shape)):
            np.lib.format.open_memmap(temporary / f"{array}.npy", mode="w+", dtype=dtype, shape=dims).flush()
        with tqdm(total=len(scenes), desc="rendering scenes", unit="scene", delay=1) as bar:
            if workers == 1 or len(scenes) < 16:
                for _ in _fill(temporary, scenes, range(len(scenes))):
                    bar.update()
            else:
                _run_workers(temporary, scenes, workers, bar)
        (temporary / "scenes.json").write_text(json.dumps({"seed": scenes.seed, "generator": GENERATOR_VERSION}))
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / "scenes.json").is_file():  # else another process was quicker: use its scenes
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return CachedScenes(folder)


if __name__ == "__main__":
    _worker(*sys.argv[1:])
