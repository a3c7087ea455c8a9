"""Rendered pictures on disk: room is taken before it is written to."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.scenes import cache
from mutualformer.runtime.sources.scenes.scene import SyntheticScenes

SCENES = SyntheticScenes(3, 5, (16, 24))


def test_files_have_their_blocks_before_anything_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allocated: list[int] = []
    allocate = os.posix_fallocate

    def recorded(descriptor: int, start: int, length: int) -> None:
        allocated.append(length)
        allocate(descriptor, start, length)

    monkeypatch.setattr(os, "posix_fallocate", recorded)
    arrays = cache.render(SCENES, workers=1, root=tmp_path)
    sizes = [array.nbytes for array in arrays.values()]
    assert all(size > least for size, least in zip(sorted(allocated), sorted(sizes), strict=True))
    np.testing.assert_array_equal(arrays["rgb"][1], SCENES[1].rgb)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"No space left on device.*; set MUTUALFORMER_CACHE"):
        cache.render(SCENES, workers=1, root=tmp_path)
    assert list(tmp_path.iterdir()) == []
