"""Cameras through GStreamer and of the network: pictures, loss, refusals, and no password in messages."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import grammar, listing, opening
from mutualformer.runtime.sources.base import CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.sources.devices import gstreamer
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.streaming.capture import Retry
from mutualformer.runtime.streaming.pipeline import Pipeline
from tests.runtime.fakes import MjpegCamera

with_gstreamer = pytest.mark.skipif(shutil.which(gstreamer.PROGRAM) is None, reason="gst-launch-1.0 is not installed")
BARS = "videotestsrc is-live=true pattern=smpte ! video/x-raw,width=320,height=240,framerate=30/1"


@with_gstreamer
def test_pictures_come_live_in_rgb_order_and_the_camera_is_given_back() -> None:
    camera = gstreamer.GstCamera(BARS.split(), "csi://0")
    assert camera.live
    frames = [camera.read(10) for _ in range(4)]
    for number, frame in enumerate(frames):
        assert frame is not None
        assert frame.sequence == number
        assert frame.rgb.shape == (240, 320, 3)
        assert np.abs(frame.rgb[20, 70].astype(int) - (191, 191, 0)).max() <= 64, "the second bar is yellow"
        assert frame.rgb[20, 70, 2] < 20
        assert not frame.depth.any()
        assert abs(frame.timestamp - time.time()) < 30
    assert sum("no depth" in sentence for sentence in camera.warnings) == 1
    camera.close()
    camera.close()
    assert camera._process.returncode is not None


@with_gstreamer
def test_a_slow_reader_gets_the_newest_picture() -> None:
    source = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=480,framerate=30/1"
    camera = gstreamer.GstCamera(source.split(), "csi://0")
    assert camera.read(10) is not None
    time.sleep(1.0)
    began = time.monotonic()
    for _ in range(10):
        camera.read(10)
    assert time.monotonic() - began > 0.1, "what waits is a few pictures, not a second of them"
    camera.close()


@with_gstreamer
def test_a_camera_that_ends_is_lost_and_opened_again() -> None:
    opened: list[gstreamer.GstCamera] = []

    def open_one() -> gstreamer.GstCamera:
        opened.append(gstreamer.GstCamera(BARS.split(), "csi://0"))
        return opened[-1]

    pipeline = Pipeline(open_one, retry=Retry(first_s=0.01))
    results = pipeline.results()
    next(results)
    os.kill(opened[0]._process.pid, signal.SIGKILL)
    for _ in range(60):
        next(results)
        if len(opened) > 1:
            break
    assert len(opened) == 2
    assert pipeline.capture.reconnects == 1
    results.close()


@with_gstreamer
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("v4l2:///dev/video77?format=mjpg&size=1280x720", "v4l2:///dev/video77: GStreamer says: .*/dev/video77"),
        ("csi://0", "csi://0: GStreamer says: "),
    ],
)
def test_a_camera_that_is_not_there_is_named_with_the_reason(address: str, says: str) -> None:
    with pytest.raises(CameraError, match=says):
        opening.camera(address)


def test_only_devices_and_numbers_reach_the_language_of_gstreamer() -> None:
    camera = gstreamer.elements("/dev/video0", {"format": "mjpg", "size": "1280x720", "fps": "30"}, "x")
    assert " ".join(camera) == "v4l2src device=/dev/video0 ! image/jpeg,width=1280,height=720,framerate=30/1 ! jpegdec"
    assert gstreamer.elements("1", {}, "x")[:2] == ["nvarguscamerasrc", "sensor-id=1"]
    for target in ("0 ! filesink location=/tmp/x", "/dev/video0 ! fakesink", "/etc/passwd", "front"):
        with pytest.raises(CameraError, match="expected a number"):
            gstreamer.elements(target, {}, "x")
    with pytest.raises(CameraError, match="format=h265 is not one of"):
        gstreamer.elements("/dev/video0", {"format": "h265"}, "x")


def test_without_gstreamer_its_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CameraError, match="apt-get install gstreamer1"):
        opening.camera("csi://0")
    entries = {entry["scheme"]: entry for entry in listing.sources()}
    assert not entries["csi"]["ready"]
    assert "gstreamer1.0-tools" in entries["v4l2"]["install"]


def test_the_list_names_the_cameras_people_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "video2").mkdir()
    (tmp_path / "video2/name").write_text("Desk camera\n")
    monkeypatch.setattr(listing, "VIDEO", tmp_path)
    text = listing.text(listing.sources())
    for example in ("csi://0", "v4l2:///dev/video0", "rtsp://", "http://"):
        assert example in text
    assert "Desk camera" in text
    assert "/dev/video2" in text


class Camera(MjpegCamera):
    """An MJPEG camera that wants a password and sends twelve pictures, then hangs up."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.headers.get("Authorization") is None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        pictures = (np.full((48, 64, 3), (20 * number, 0, 200), np.uint8) for number in range(12))
        self.send(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures)


@pytest.fixture
def server() -> Iterator[str]:
    Camera.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{served.server_address[1]}"
        served.shutdown()


def test_an_mjpeg_camera_plays_until_it_hangs_up_and_its_password_is_never_said(server: str) -> None:
    camera = opening.camera(f"http://ann:s3cret@{server}/video.mjpg?key=s3cret2&quality=5")
    assert camera.name == f"http://{server}/video.mjpg"
    assert camera.live
    frames: list[Frame | None] = []

    def read_all() -> None:
        while True:
            with contextlib.suppress(CameraTimeout):
                frames.append(camera.read(1.0))

    with pytest.raises(CameraLost, match="the connection is lost") as lost:
        read_all()
    assert len(frames) >= 10
    assert frames[0] is not None
    assert frames[0].rgb.shape == (48, 64, 3)
    assert frames[0].rgb[5, 5, 0] > 150, "RGB order"
    assert "/video.mjpg?key=s3cret2&quality=5" in Camera.asked
    camera.close()
    assert "s3cret" not in " ".join([str(lost.value), *camera.warnings, camera.name])


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_camera_that_cannot_be_reached_is_one_sentence_without_the_password(scheme: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with pytest.raises(CameraError, match=f"^{scheme}://127.0.0.1:{port}/x: cannot be opened") as error:
            opening.camera(f"{scheme}://ann:s3cret@127.0.0.1:{port}/x?key=s3cret")
    assert "s3cret" not in str(error.value)


def test_a_wrong_password_is_told_without_it(server: str) -> None:
    with pytest.raises(CameraError, match=r"cannot be opened \(.*401"):
        opening.camera(f"http://{server}/video.mjpg")


def test_what_is_shown_of_an_address() -> None:
    assert grammar.shown("rtsp://a:b@[::1]:554/ch0?token=x") == "rtsp://[::1]:554/ch0"
    assert grammar.shown("synthetic://?seed=1") == "synthetic://?seed=1"
    with pytest.raises(CameraError, match="transport=smoke is not one of tcp, udp"):
        opening.camera("rtsp://a:b@c/x?transport=smoke")
