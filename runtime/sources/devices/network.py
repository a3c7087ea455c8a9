"""Cameras of the network: ``rtsp://USER:PASSWORD@HOST/PATH`` and ``http://HOST/video.mjpg``, through PyAV. Colour only.

What follows the "?" belongs to the camera's own address, except ``transport`` (``tcp`` or ``udp``, of RTSP). Decoding
happens in a child process; the name that is shown and recorded holds neither password nor options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mutualformer.runtime.sources.base import CameraError, CameraLost, ColourCamera
from mutualformer.runtime.sources.describe import MAX_PIXELS
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.sources.grammar import shown

TIMEOUT_SECONDS = 8.0
PROTOCOLS = {
    "rtsp": "rtsp,rtsps,rtp,srtp,udp,tcp,tls",
    "http": "http,https,tcp,tls,crypto",
}
TRANSPORTS = ("tcp", "udp")


class NetworkCamera(ColourCamera):
    """Raises CameraError where the camera cannot be reached."""

    _container: Any

    def __init__(self, address: str, transport: str) -> None:
        import av

        super().__init__(shown(address), stop=lambda: self._container.close())
        av.logging.set_level(None)  # see video/tracks
        self._av = av
        scheme = "rtsp" if address.startswith("rtsp") else "http"
        options = {"protocol_whitelist": PROTOCOLS[scheme], "max_pixels": str(MAX_PIXELS), "fflags": "nobuffer"}
        if scheme == "rtsp":
            options["rtsp_transport"] = transport
        try:
            self._container = av.open(address, container_options=options, timeout=TIMEOUT_SECONDS)
            (stream, *_) = self._container.streams.video
        except ValueError:
            raise CameraError(f"{self.name}: sends no pictures") from None
        except av.error.FFmpegError as error:  # its text holds the whole address
            raise CameraError(f"{self.name}: cannot be opened ({error.strerror})") from None
        stream.codec_context.flags |= av.codec.context.Flags.low_delay
        self._packets = self._container.demux(stream)
        self._decoded: list[Any] = []

    def grab(self, timeout: float) -> Any:
        """The next decoded frame; FFmpeg has a timeout of its own. Raises CameraLost."""
        while not self._decoded:
            try:
                self._decoded += next(self._packets).decode()
            except self._av.error.InvalidDataError:
                continue
            except (self._av.error.FFmpegError, StopIteration) as error:
                why = getattr(error, "strerror", None) or "it sends no more"
                raise CameraLost(f"{self.name}: the connection is lost ({why})") from None
        return self._decoded.pop(0)

    def convert(self, raw: Any) -> Frame:
        """As DeviceCamera.convert, of :meth:`grab`'s frame."""
        return self.colour(raw.to_ndarray(format="rgb24"))


def open_source(target: str, query: Mapping[str, Any]) -> NetworkCamera:
    """``target``: the whole address, its options included. Raises CameraError, later CameraLost."""
    parts = urlsplit(target)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    transport = dict(pairs).get("transport", "tcp")
    if "transport" in dict(pairs):
        target = urlunsplit(parts._replace(query=urlencode([pair for pair in pairs if pair[0] != "transport"])))
    if transport not in TRANSPORTS:
        raise CameraError(f"{shown(target)}: transport={transport} is not one of {', '.join(TRANSPORTS)}")
    return NetworkCamera(target, transport)
