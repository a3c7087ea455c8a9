"""What the system refuses becomes a sentence: which file, and what was expected or what to do."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mutualformer.runtime.commandline.running import one_line
from mutualformer.runtime.files import NotRegular, TooLarge, read_regular, reason


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full; make room or choose another place"),
        (errno.EROFS, "the disk is read-only; choose another place"),
        (errno.EEXIST, "there is a file of that name, expected a folder"),
        (errno.ENOTDIR, "a part of this path is a file, expected folders"),
        (errno.EISDIR, "there is a folder of that name, expected a file"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_the_system_s_refusal_names_the_file_and_says_what_to_do(number: int, says: str) -> None:
    assert one_line(OSError(number, os.strerror(number), "/out/x")) == f"/out/x: {says}"
    assert one_line(OSError(number, os.strerror(number))) == says
    assert reason(OSError("words of our own")) == "words of our own"
    assert one_line(OSError("words of our own")) == "words of our own"


@pytest.mark.parametrize("arguments", [["help"], ["--version"], ["stream", "--list"]])
def test_output_that_cannot_be_written_is_exit_1(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mutualformer.runtime.cli", *arguments]
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 1
    assert "the disk is full" in run.stderr
    assert "Traceback" not in run.stderr


def special(folder: Path, kind: str) -> Path:
    path = folder / "odd.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(20 << 30)
    else:
        path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pipe", "is a pipe or a device, expected a regular file"),
        ("device", "is a pipe or a device, expected a regular file"),
        ("socket", "is a socket or a device, expected a regular file"),
        ("folder", "there is a folder of that name, expected a file"),
        ("sparse", "is too large: 21,474,836,480 bytes, expected at most 1,000"),
        ("loop", os.strerror(errno.ELOOP)),
    ],
)
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path, kind: str, says: str) -> None:
    path = special(tmp_path, kind)
    with pytest.raises(OSError) as error:
        read_regular(path, 1000)
    assert one_line(error.value) == f"{path}: {says}"
    assert isinstance(error.value, TooLarge if kind == "sparse" else NotRegular) or kind == "loop"


def test_a_file_is_read_whole_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(TooLarge):
        read_regular(path, 4)
    assert read_regular(Path("/proc/self/status"), 1 << 20).startswith(b"Name:")  # says that it has 0 bytes
    with pytest.raises(TooLarge):
        read_regular(Path("/proc/self/status"), 20)
