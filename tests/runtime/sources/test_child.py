"""A source in a process of its own: frames bit for bit, and an end in bounded time whatever the native code does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.sources.child import ChildCamera, Timeouts

QUICK = Timeouts(start=60.0, frame=4.0)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A source module of this test's own, where the child finds it; its path."""
    import mutualformer.runtime.sources as package

    path = Path(package.__path__[0]) / f"_child_of_a_test_{os.getpid()}.py"
    yield path
    path.unlink(missing_ok=True)


def child(path: Path, body: str, timeouts: Timeouts = QUICK, **query: str) -> ChildCamera:
    """``body``: what ``read`` of the source does for frame ``self.n``."""
    path.write_text(
        "import ctypes, logging, os, signal, time\n"
        "import numpy as np\n"
        "from mutualformer.runtime.sources.base import BaseCamera, CameraError, CameraTimeout\n"
        "from mutualformer.runtime.sources.frame import Frame\n"
        "class Source(BaseCamera):\n"
        "    n = -1\n"
        "    def read(self, timeout=1.0):\n"
        "        self.n += 1\n"
        "        rgb, depth = np.full((4, 5, 3), self.n, np.uint8), np.full((4, 5), 1.5, np.float32)\n"
        "        frame = Frame(rgb, depth, self.n, self.n, self.n)\n"
        f"        {body}\n"
        "        return frame\n"
        "def open_source(target, query):\n"
        "    if 'refuse' in query: raise CameraError('no such thing')\n"
        "    if 'hang' in query: ctypes.PyDLL(None).pause()\n"
        "    return Source('test', live='live' in query, depth_scale=0.001)\n"
    )
    return ChildCamera(path.stem, "secret-target", query, "test://", timeouts)


def read_until_it_ends(camera: ChildCamera) -> None:
    while True:
        with contextlib.suppress(CameraTimeout):
            camera.read(0.5)


def test_frames_come_bit_for_bit_as_in_this_process() -> None:
    given = {"seed": "3", "fps": "0", "frames": "7", "size": "96x64", "nir": "1"}
    uri = "synthetic://?" + "&".join(f"{key}={value}" for key, value in given.items())
    camera = ChildCamera("synthetic", "", given, "child")
    here = list(opening.camera(uri))
    there = list(camera)
    assert len(here) == len(there) == 7
    for one, two in zip(here, there, strict=True):
        assert np.array_equal(one.rgb, two.rgb)
        assert np.array_equal(one.depth, two.depth)
        assert one.nir is not None
        assert two.nir is not None
        assert np.array_equal(one.nir, two.nir)
        assert (one.timestamp, one.sequence) == (two.timestamp, two.sequence)
    assert camera.depth_scale == 0.001
    assert camera.intrinsics is not None
    assert camera.read() is None


def test_what_the_source_refuses_is_refused_in_its_own_words() -> None:
    with pytest.raises(CameraError, match="has no option 'colour'"):
        ChildCamera("synthetic", "", {"colour": "red"}, "child")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("if self.n == 3: ctypes.PyDLL(None).pause()", "gave no frame for 4 s and was ended"),  # keeps the GIL
        ("if self.n == 3: time.sleep(60)", "gave no frame for 4 s"),
        ("if self.n == 3: os.kill(os.getpid(), signal.SIGSEGV)", "its reader ended with signal 11"),
        ("if self.n == 3: os._exit(7)", "its reader ended with exit code 7"),
        ("if self.n == 3: raise CameraError('bad page')", "^bad page$"),
        ("if self.n == 3: raise ZeroDivisionError('oops')", r"its reader failed \(ZeroDivisionError: oops\)"),
        ("if self.n == 3: np.ones(3 << 30, np.uint8)", r"its reader failed \(.*MemoryError"),
        ("if self.n == 3: open(os.environ['TMPDIR'] + '/big', 'wb').truncate(2 << 30)", r"its reader failed \(OSError"),
    ],
    ids=["hang", "sleep", "crash", "exit", "refusal", "exception", "memory", "disk"],
)
def test_whatever_the_reader_does_the_parent_says_so_in_bounded_time(module: Path, body: str, says: str) -> None:
    camera = child(module, body)
    frames = [camera.read(30) for _ in range(3)]
    assert [frame.sequence for frame in frames if frame] == [0, 1, 2]
    began = time.monotonic()
    with pytest.raises(CameraError, match=says):
        read_until_it_ends(camera)
    assert time.monotonic() - began < 12
    assert camera._process.returncode is not None, "the child is gone"
    camera.close()


@pytest.mark.slow
def test_a_source_that_never_opens_is_ended(module: Path) -> None:
    began = time.monotonic()
    with pytest.raises(CameraError, match="could not open it within 8 s and was ended"):
        child(module, "pass", Timeouts(start=8.0), hang="1")
    assert time.monotonic() - began < 20


def test_a_live_camera_whose_reader_dies_is_lost(module: Path) -> None:
    camera = child(module, "if self.n == 1: os._exit(7)", live="1")
    assert camera.live
    assert camera.read(30) is not None
    with pytest.raises(CameraLost, match="exit code 7"):
        read_until_it_ends(camera)


def test_the_address_is_not_among_the_arguments_that_everybody_sees(module: Path) -> None:
    camera = child(module, "pass")
    assert b"secret-target" not in Path(f"/proc/{camera._process.pid}/cmdline").read_bytes()
    assert b"secret-target" not in Path(f"/proc/{camera._process.pid}/environ").read_bytes()
    camera.close()


def test_what_our_own_code_logs_there_is_a_warning_here(module: Path) -> None:
    said = "logging.getLogger('mutualformer.x').warning('of 12 %s', 'bits'); frame = frame if self.n < 2 else None"
    camera = child(module, said)
    assert len(list(camera)) == 2
    assert "of 12 bits" in camera.warnings


def test_printing_does_not_disturb_the_frames(module: Path, capfd: pytest.CaptureFixture[str]) -> None:
    camera = child(
        module, "print('an SDK speaks', flush=True) if self.n < 5 else None; frame = frame if self.n < 5 else None"
    )
    assert [frame.sequence for frame in camera] == list(range(5))
    assert capfd.readouterr().out == ""


def test_closing_early_ends_the_child_at_once_and_a_reader_may_take_its_time(module: Path) -> None:
    camera = child(module, "pass")
    assert camera.read(30) is not None
    time.sleep(3)  # longer than the silence allowed: a paused parent is not a hung child
    assert camera.read(30) is not None
    began = time.monotonic()
    camera.close()
    camera.close()
    assert time.monotonic() - began < 20
    assert camera._process.returncode is not None


def test_a_child_whose_parent_is_gone_ends(module: Path) -> None:
    camera = child(module, "pass")
    assert camera.read(30) is not None
    process = camera._process
    assert process.stdin is not None
    process.stdin.close()  # as the system does for a parent that dies
    assert process.wait(10) is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, signal.SIG_DFL)
    camera.close()
