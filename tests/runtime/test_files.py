"""What the system refuses becomes a sentence: which file, and what was expected or what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from mutualformer.runtime.commandline.running import one_line
from mutualformer.runtime.files import reason


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


@pytest.mark.parametrize("arguments", [["help"], ["--version"], ["stream", "--list"], ["completion", "bash"]])
def test_output_that_cannot_be_written_is_exit_1(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mutualformer.runtime.cli", *arguments]
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 1
    assert "the disk is full" in run.stderr
    assert "Traceback" not in run.stderr
