"""Stand-ins for the streaming tests: a session of known speed, and a camera that misbehaves to order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.session.base import Arrays, Session
from mutualformer.runtime.sources.base import BaseCamera, CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.sources.frame import Frame, Intrinsics


class FakeSession(Session):
    """Answers after ``delay`` seconds. SOD: saliency = red channel / 255; ReID: the mean colours, unit length."""

    device = "cpu"

    def __init__(self, delay: float = 0.0, task: str = "sod", size: tuple[int, int] = (32, 48)) -> None:
        self.contract = Contract(task=task, model="fake", input_size=size)
        self.delay = delay

    def _run(self, inputs: Arrays) -> Arrays:
        time.sleep(self.delay)
        if self.contract.task == "sod":
            return {"saliency": inputs["rgb"][..., 0].astype(np.float32) / 255}
        both = np.concatenate([inputs["rgb"].mean((1, 2)), inputs["nir"].mean((1, 2))], axis=1).astype(np.float32)
        return {"feature": both / np.linalg.norm(both, axis=1, keepdims=True)}

    def describe(self) -> dict[str, Any]:
        return {"backend": "fake"}


def make_frame(index: int, shape: tuple[int, int] = (48, 64)) -> Frame:
    """A small frame whose content depends on ``index``; depth in whole millimetres."""
    rng = np.random.default_rng(index)
    rgb = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    units = rng.integers(0, 5000, shape, dtype=np.uint16)
    return Frame(rgb, units * np.float32(0.001), index / 30, index / 30 - 0.002, index)


class ScriptedCamera(BaseCamera):
    """Calls ``script(index)`` for each read: it returns a frame, None, raises, or blocks as long as it likes."""

    def __init__(self, script: Callable[[int], Frame | None], *, live: bool, fps: float = 0.0) -> None:
        lens = Intrinsics(64, 48, 60.0, 60.0, 32.0, 24.0)
        super().__init__("scripted://", live=live, intrinsics=lens, depth_scale=0.001)
        self._script, self._period, self._index = script, 1 / fps if fps else 0.0, 0
        self._due = time.monotonic()
        self.closed = threading.Event()

    def read(self, timeout: float = 1.0) -> Frame | None:
        if self.closed.is_set():
            raise CameraError("scripted://: read after close")
        if self._period:
            self._due = max(self._due + self._period, time.monotonic() - self._period)
            time.sleep(max(0.0, self._due - time.monotonic()))
        self._index += 1
        return self._script(self._index - 1)

    def close(self) -> None:
        self.closed.set()


def write_model(path: Path, size: tuple[int, int] = (64, 96)) -> Path:
    """A real SOD model file without weights: saliency = red / 255 where depth was measured, else 0."""
    import onnx
    from onnx import TensorProto, helper

    height, width = size
    nodes = [
        helper.make_node("Cast", ["rgb"], ["colour"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["colour", "first"], ["red"], axis=3),
        helper.make_node("Div", ["red", "most"], ["level"]),
        helper.make_node("Sign", ["depth"], ["measured"]),
        helper.make_node("Mul", ["level", "measured"], ["saliency"]),
    ]
    inputs = [
        helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["batch", height, width, 3]),
        helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["batch", height, width]),
    ]
    outputs = [helper.make_tensor_value_info("saliency", TensorProto.FLOAT, ["batch", height, width])]
    constants = [
        helper.make_tensor("first", TensorProto.INT64, [], [0]),
        helper.make_tensor("most", TensorProto.FLOAT, [], [255.0]),
    ]
    graph = helper.make_graph(nodes, "red", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, Contract(task="sod", model="red-channel", input_size=size, opset=18).to_props())
    onnx.save(model, str(path))
    return path


def lose(*_: object) -> Frame:
    raise CameraLost("scripted://: unplugged")


def late(*_: object) -> Frame:
    time.sleep(0.05)
    raise CameraTimeout("scripted://: no frame")


class MjpegCamera(BaseHTTPRequestHandler):
    """What cameras of the network that serve MJPEG have in common."""

    def send(self, pictures: Iterable[bytes], pause_s: float = 0.0) -> None:
        """Answer with ``pictures``, each a JPEG, and hang up. Raises OSError where the client has left."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for data in pictures:
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
            self.wfile.write(data + b"\r\n")
            time.sleep(pause_s)

    def log_message(self, *_: object) -> None:
        pass


class Callback:
    """A sink around a plain function."""

    def __init__(self, function: Any, name: str = "callback") -> None:
        self.name, self.write = name, function

    def open(self, camera: BaseCamera) -> None:
        """As Sink.open."""

    def close(self) -> None:
        """As Sink.close."""
