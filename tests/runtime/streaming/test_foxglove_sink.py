"""Foxglove gets a recording's messages over its own protocol, and strangers get nothing."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import struct
import threading
from typing import Any

import aiohttp
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.bags.ros_images import pixels
from mutualformer.runtime.sources.bags.ros_messages import IMAGE, Image, read
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.run import StreamError, stream
from mutualformer.runtime.streaming.sinks import SinkRunner
from mutualformer.runtime.web.addresses import AddressError
from mutualformer.runtime.web.relay import welcome_origin
from tests.runtime.fakes import FakeSession

INSTALLED = importlib.util.find_spec("foxglove") is not None
needs_sdk = pytest.mark.skipif(not INSTALLED, reason="foxglove-sdk is not installed")
TOKEN = "open sesame please"


async def listen(url: str, wanted: int, until: frozenset[str] = frozenset(), **headers: str) -> dict[str, list[bytes]]:
    """Messages by topic until there are ``wanted`` of them, of ``until`` at least one each; subscribes to all."""
    messages: dict[str, list[bytes]] = {}
    topics: dict[int, str] = {}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=["foxglove.sdk.v1"], max_msg_size=0, headers=headers) as socket,
    ):
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                news = json.loads(message.data)
                if news["op"] == "advertise":
                    topics.update({channel["id"]: channel["topic"] for channel in news["channels"]})
                    pairs = [{"id": channel["id"], "channelId": channel["id"]} for channel in news["channels"]]
                    await socket.send_str(json.dumps({"op": "subscribe", "subscriptions": pairs}))
            elif message.type is aiohttp.WSMsgType.BINARY and message.data[0] == 1:
                subscription = struct.unpack_from("<I", message.data, 1)[0]
                messages.setdefault(topics[subscription], []).append(message.data[13:])
                if sum(map(len, messages.values())) >= wanted and until <= set(messages):
                    break
    return messages


class Running:
    """A pipeline with a Foxglove server, in a thread."""

    def __init__(self, token: str | None = None) -> None:
        from mutualformer.runtime.streaming.foxglove_sink import FoxgloveServer

        self.server = FoxgloveServer("127.0.0.1:0", token)
        self.server.__enter__()
        self.pipeline = Pipeline(
            lambda: opening.open("synthetic://?fps=20&size=64x48"),
            FakeSession(),
            [SinkRunner(self.server.sink(), latest=True)],
        )
        self.thread = threading.Thread(target=self.pipeline.run)
        self.thread.start()
        self.url = f"ws://127.0.0.1:{self.server._relay.port}/"

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.stop()
        self.thread.join(10)
        self.server.__exit__()


@needs_sdk
def test_a_viewer_gets_the_messages_of_a_recording() -> None:
    topics = frozenset(
        {
            "/camera/color/image",
            "/camera/color/camera_info",
            "/camera/depth/image",
            "/mutualformer/output/saliency",
            "/mutualformer/frame",
        }
    )
    with Running() as running:  # on a busy machine a topic may come late, but it comes
        messages = asyncio.run(asyncio.wait_for(listen(running.url, 20, topics), 20))
    assert set(messages) >= topics
    colour = read(IMAGE, messages["/camera/color/image"][0])
    assert isinstance(colour, Image)
    assert (pixels(colour).shape, colour.encoding) == ((48, 64, 3), "rgb8")
    assert pixels(colour).any()
    image = read(IMAGE, messages["/camera/depth/image"][0])
    assert isinstance(image, Image)
    depth = pixels(image)
    assert (depth.shape, image.encoding, depth.dtype) == ((48, 64), "16UC1", np.dtype(np.uint16))
    assert 500 < np.median(depth) < 6000, "millimetres"


def refusal(url: str, **headers: str) -> int:
    async def attempt() -> int:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.ws_connect(url, protocols=["foxglove.sdk.v1"], headers=headers):
                    return 101
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    return asyncio.run(attempt())


@needs_sdk
def test_the_token_rule_is_the_page_s() -> None:
    with Running(TOKEN) as running:
        assert refusal(running.url) == 401
        assert refusal(running.url + "?token=wrong") == 401
        assert refusal(running.url + "?token=open%20sesame%20please") == 101
        assert refusal(running.url, Authorization=f"Bearer {TOKEN}") == 101
        assert TOKEN not in running.server.url
    with Running() as running:
        assert refusal(running.url, Host="evil.example") == 403
        assert refusal(running.url, Origin="https://evil.example") == 403
        assert refusal(running.url, Origin="https://app.foxglove.dev") == 101


@needs_sdk
def test_addresses_open_to_others_need_a_token() -> None:
    from mutualformer.runtime.streaming.foxglove_sink import FoxgloveServer

    with pytest.raises(AddressError, match=r"--foxglove 0\.0\.0\.0:1 can be reached"):
        FoxgloveServer("0.0.0.0:1", None)


def test_web_pages_that_may_connect() -> None:
    assert all(map(welcome_origin, (None, "file://", "http://localhost:8080", "https://app.foxglove.dev")))
    foreign: list[Any] = ["https://evil.example", "null", "https://app.foxglove.dev.evil.example", "http://[::1", ""]
    assert not any(map(welcome_origin, foreign))


def test_without_the_package_the_verb_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StreamError, match=r"pip install 'mutualformer\[foxglove\]'"):
        stream("synthetic://?fps=0&frames=1&size=64x48", foxglove="127.0.0.1:0")
