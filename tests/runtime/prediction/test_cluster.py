"""The same through a local Ray: the same files bit for bit, and nothing computed twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mutualformer.runtime.prediction import batch, journal
from mutualformer.runtime.prediction.batch import Request
from tests.runtime.prediction.conftest import write_pictures
from tests.runtime.prediction.test_run import tree

pytest.importorskip("ray", reason="ray is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One local cluster of two workers for the tests of this module."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    root = str(Path(__file__).resolve().parents[3])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )
    yield
    ray.shutdown()


def test_ray_writes_the_same_files_and_goes_on_where_a_run_stopped(
    red: Path, tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "in", 150, shape=(24, 32))
    (tmp_path / "in/7.png").write_bytes(b"no picture")

    def request(out: str, **changes: Any) -> Request:
        return Request(
            (str(tmp_path / "in"),),
            tmp_path / out,
            models=(str(red),),
            what=("mask", "json"),
            **changes,
        )

    assert batch.predict(request("here")).broken == 1
    whole = tree(tmp_path / "here")

    summary = batch.predict(request("ray", ray="local"))
    assert (summary.frames, summary.computed, summary.broken) == (150, 149, 1)
    assert "7.png" in summary.first_error
    assert tree(tmp_path / "ray") == whole

    # Cut short: the first shard half done, the second not begun, the third done.
    folder = tmp_path / "ray" / journal.FOLDER
    names = [str(number) for number in range(150)]
    for name in names[30:128]:
        (folder / f"{journal.digest(name)}.json").unlink()
    marks = {path: path.stat().st_mtime_ns for path in (tmp_path / "ray/mask").iterdir()}
    summary = batch.predict(request("ray", ray="local"))
    assert (summary.kept, summary.computed) == (30 + 22, 150 - 52)
    assert tree(tmp_path / "ray") == whole
    done_before = set(names[:30])
    untouched = {path.stem for path, mark in marks.items() if path.stat().st_mtime_ns == mark}
    assert done_before - {"7"} <= untouched, "nothing is computed twice"

    # And the other way round: what Ray did, a run without it keeps.
    assert batch.predict(request("ray", resume=True)).computed == 0
