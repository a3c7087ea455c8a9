"""A file is there whole or not at all, hashes equal other tools', the cache is where the page says."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mutualformer.plugins import files
from mutualformer.plugins.files import cache_root, check_writable, replacing, scratch, sha256, write_bytes


def fail_halfway(target: Path) -> None:
    with replacing(target) as beside:
        beside.write_bytes(b"half of the new")
        raise ZeroDivisionError


def test_a_name_of_the_greatest_length_is_written(tmp_path: Path) -> None:
    target = tmp_path / f"{'n' * 251}.txt"
    write_bytes(target, b"whole")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result.bin"
    write_bytes(target, b"old")
    with pytest.raises(ZeroDivisionError):
        fail_halfway(target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == ["result.bin"]


def test_the_same_bytes_are_not_written_again(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"
    write_bytes(target, b"same")
    inode = target.stat().st_ino
    write_bytes(target, b"same")
    assert target.stat().st_ino == inode
    write_bytes(target, b"else")
    assert target.read_bytes() == b"else"


def test_results_are_ordinary_files(tmp_path: Path) -> None:
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "theirs").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_sha256_over_the_edges_of_blocks(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    assert sha256(tmp_path / "file") == hashlib.sha256(data[:size]).hexdigest()


@pytest.mark.parametrize(
    ("own", "shared", "expected"),
    [
        ("/disk", "/xdg", "/disk"),
        ("", "/xdg", "/xdg/mutualformer"),
        ("", "", "/home/me/.cache/mutualformer"),
        ("", "relative", "/home/me/.cache/mutualformer"),
    ],
)
def test_the_cache(monkeypatch: pytest.MonkeyPatch, own: str, shared: str, expected: str) -> None:
    for name, value in (("MUTUALFORMER_CACHE", own), ("XDG_CACHE_HOME", shared), ("HOME", "/home/me")):
        monkeypatch.setenv(name, value)
    assert cache_root() == Path(expected)


def test_a_full_disk_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device: '.*/whole\.json'"), replacing(tmp_path / "whole.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=r"whole\.json'"), replacing(tmp_path / "whole.json") as beside:
        raise OSError(errno.EIO, "Input/output error", str(beside))
    with pytest.raises(OSError, match=r"^a sentence of our own$"), replacing(tmp_path / "whole.json"):
        raise OSError("a sentence of our own")
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_is_written_to_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "result").symlink_to(tmp_path / "disk" / "result")
    for data in (b"first", b"second"):
        write_bytes(tmp_path / "result", data)
        assert (tmp_path / "result").is_symlink()
        assert (tmp_path / "disk" / "result").read_bytes() == data
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["result"]


def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "model.onnx")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        check_writable(tmp_path / "file" / "model.onnx")
    with pytest.raises(IsADirectoryError, match="new"):
        check_writable(tmp_path / "new")
    with pytest.raises(OSError, match=r"/proc/model\.onnx"):
        check_writable("/proc/model.onnx")


KILLED = """
import os, sys
from pathlib import Path
from mutualformer.plugins.files import replacing, scratch
with replacing(Path(sys.argv[1])) as beside, scratch() as folder:
    beside.write_bytes(b"half")
    (folder / "half").write_bytes(b"half")
    print("begun", flush=True)
    sys.stdin.read()
    os._exit(9)
"""


def test_what_a_killed_program_leaves_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_YOUNG_SECONDS", 0.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    theirs = [
        tmp_path / ".model.json",
        tmp_path / "mutualformer-tmp",
        tmp_path / ".x.part-short",
        tmp_path / "temporary",
    ]
    for path in theirs[:3]:
        path.write_text("a user's own")
    root = Path(__file__).resolve().parents[2]
    environment = {"PYTHONPATH": str(root), "TMPDIR": str(tmp_path / "temporary"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "model.onnx")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as alive:
        assert alive.stdout is not None
        assert alive.stdout.readline() == "begun\n"
        for folder in (tmp_path, tmp_path / "temporary"):
            files.sweep(folder)
        assert len(list(tmp_path.iterdir())) == len(theirs) + 1, "one that is at work keeps what it has"
        assert len(list((tmp_path / "temporary").iterdir())) == 1
        alive.kill()
    files._swept.clear()
    write_bytes(tmp_path / "model.onnx", b"whole")
    with scratch() as folder:
        assert [path.name for path in (tmp_path / "temporary").iterdir()] == [folder.name]
    assert sorted(tmp_path.iterdir()) == sorted([*theirs, tmp_path / "model.onnx"])
    assert list((tmp_path / "temporary").iterdir()) == []
