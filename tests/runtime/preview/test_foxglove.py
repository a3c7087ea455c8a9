"""Foxglove gets a recording's messages over its own protocol; a slow client delays no other; a token is required."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import threading
import time
from typing import Any

import aiohttp
import numpy as np
import pytest

from mutualformer.runtime.preview.addresses import AddressError
from mutualformer.runtime.preview.foxglove import MOST_CLIENTS, Foxglove, allowed_origin
from mutualformer.runtime.preview.server import Server
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.bags.ros_images import pixels
from mutualformer.runtime.sources.bags.ros_messages import IMAGE, SCHEMAS, STRING, Image, read
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.run import stream
from mutualformer.runtime.streaming.sinks import SinkRunner
from tests.runtime.fakes import FakeSession

PROTOCOLS = ["foxglove.websocket.v1"]
TOKEN = "open sesame please"
TOPICS = {
    "/camera/color/image",
    "/camera/color/camera_info",
    "/camera/depth/image",
    "/mutualformer/output/saliency",
    "/mutualformer/frame",
}


class Talk:
    """One side of a conversation, kept: every text as JSON, every binary message by subscription."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.texts: list[dict[str, Any]] = []
        self.data: dict[int, list[tuple[int, bytes]]] = {}

    async def until(self, condition: Any, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            message = await self.socket.receive(end - time.monotonic())
            if message.type is aiohttp.WSMsgType.TEXT:
                self.texts.append(json.loads(message.data))
            else:
                assert message.type is aiohttp.WSMsgType.BINARY, message
                # By the protocol's text: opcode, uint32 subscription and uint64 time in ns, little-endian, payload.
                assert message.data[0] == 0x01
                number = message.data[1] + (message.data[2] << 8) + (message.data[3] << 16) + (message.data[4] << 24)
                stamp = int.from_bytes(message.data[5:13], "little")
                self.data.setdefault(number, []).append((stamp, message.data[13:]))

    @property
    def channels(self) -> dict[str, dict[str, Any]]:
        """What was advertised, by topic."""
        return {
            channel["topic"]: channel
            for text in self.texts
            if text["op"] == "advertise"
            for channel in text["channels"]
        }

    async def ask(self, op: str, **fields: Any) -> None:
        await self.socket.send_str(json.dumps({"op": op, **fields}))


class Running:
    """A pipeline with a server for Foxglove, in a thread; ``size`` of its frames."""

    def __init__(self, token: str | None = None, size: str = "64x48") -> None:
        self.server = Server("127.0.0.1:0", token)
        self.foxglove = Foxglove(self.server)
        self.runner = SinkRunner(self.foxglove.sink(), latest=True)
        self.pipeline = Pipeline(
            lambda: opening.camera(f"synthetic://?fps=20&size={size}"), FakeSession(), [self.runner]
        )
        self.server.__enter__()
        self.thread = threading.Thread(target=self.pipeline.run)
        self.thread.start()
        self.url = f"ws://127.0.0.1:{self.server.port}/foxglove"

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.stop()
        self.thread.join(10)
        self.server.__exit__()


async def everything(url: str) -> Talk:
    """Subscribe to every topic, numbers chosen by the client, until each has sent a message."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=PROTOCOLS, max_msg_size=0) as ws:
        assert ws.protocol == PROTOCOLS[0]
        talk = Talk(ws)
        await talk.until(lambda: set(talk.channels) >= TOPICS)
        wishes = [{"id": 1000 + c["id"], "channelId": c["id"]} for c in talk.channels.values()]
        await talk.ask("subscribe", subscriptions=wishes)
        await talk.until(lambda: set(talk.data) == {wish["id"] for wish in wishes})
        return talk


def test_a_viewer_gets_the_messages_of_a_recording() -> None:
    with Running() as running:
        began = time.time_ns()
        talk = asyncio.run(everything(running.url))
    info = talk.texts[0]
    assert (info["op"], info["name"], info["capabilities"]) == ("serverInfo", "mutualformer", [])
    images = {}
    for topic in ("/camera/color/image", "/camera/depth/image"):
        channel = talk.channels[topic]
        assert (channel["encoding"], channel["schemaName"], channel["schemaEncoding"]) == ("cdr", IMAGE, "ros2msg")
        assert channel["schema"] == SCHEMAS[IMAGE]
        stamp, data = talk.data[1000 + channel["id"]][0]
        assert began < stamp < time.time_ns()
        image = read(IMAGE, data)
        assert isinstance(image, Image)
        images[image.encoding] = pixels(image)
    assert images["rgb8"].shape == (48, 64, 3)
    assert images["rgb8"].any()
    assert (images["16UC1"].shape, images["16UC1"].dtype) == ((48, 64), np.dtype(np.uint16))
    assert 500 < np.median(images["16UC1"]) < 6000, "millimetres"


def test_unsubscribed_topics_fall_silent_and_nonsense_is_answered() -> None:
    async def talk_to(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=PROTOCOLS) as ws:
            talk = Talk(ws)
            await talk.until(lambda: set(talk.channels) >= TOPICS)
            frame = talk.channels["/mutualformer/frame"]["id"]
            await talk.ask("subscribe", subscriptions=[{"id": 7, "channelId": frame}])
            await talk.until(lambda: len(talk.data.get(7, [])) > 1)
            await talk.ask("unsubscribe", subscriptionIds=[7])
            await talk.ask("subscribe", subscriptions=[{"id": 8, "channelId": frame}])
            await talk.until(lambda: len(talk.data.get(8, [])) > 2)
            seen = len(talk.data[7])
            await talk.until(lambda: len(talk.data[8]) > 5)
            assert len(talk.data[7]) == seen
            nonsense = [
                "{",
                "[]",
                '{"op": "login"}',
                '{"op": "subscribe"}',
                '{"op": "unsubscribe", "subscriptionIds": 7}',
            ]
            nonsense += [
                json.dumps({"op": "subscribe", "subscriptions": [wish]})
                for wish in ({"id": 9, "channelId": 99}, {"id": 8, "channelId": 1}, {"id": -1, "channelId": 1}, 5)
            ]
            for text in nonsense:
                await ws.send_str(text)
            await talk.until(lambda: sum(text["op"] == "status" for text in talk.texts) == len(nonsense))
            assert all(text["level"] == 2 and text["message"] for text in talk.texts if text["op"] == "status")
            assert set(talk.data) == {7, 8}

    with Running() as running:
        asyncio.run(talk_to(running.url))


def test_a_client_that_does_not_read_stalls_nobody_and_loses_the_oldest() -> None:
    async def two(running: Running) -> tuple[int, int]:
        url = running.url
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, protocols=PROTOCOLS, max_msg_size=0) as stuck,
            session.ws_connect(url, protocols=PROTOCOLS, max_msg_size=0) as good,
        ):
            slow, quick = Talk(stuck), Talk(good)
            for talk in (slow, quick):
                await talk.until(lambda talk=talk: set(talk.channels) >= TOPICS)
                wishes = [{"id": c["id"], "channelId": c["id"]} for c in talk.channels.values()]
                await talk.ask("subscribe", subscriptions=wishes)
            frame = quick.channels["/mutualformer/frame"]["id"]
            await quick.until(
                lambda: len(quick.data.get(frame, [])) > 60
            )  # about 3 MB each, far more than sockets hold
            waiting = [len(client.frames) for client in running.foxglove._clients]
            return max(waiting), len(quick.data[frame])

    with Running(size="640x480") as running:
        waiting, received = asyncio.run(two(running))
        sent = running.runner.status.delivered
    assert waiting == 4, "the backlog of one camera is bounded"
    assert received > 0.8 * (sent - 20), "the other one misses nothing"


def test_the_bytes_are_those_of_the_reference_implementation() -> None:
    """Foxglove's own SDK serves one message beside us; a client tells neither from the other."""
    if importlib.util.find_spec("foxglove") is None:
        pytest.skip("foxglove-sdk is not installed")
    import foxglove
    from foxglove.websocket import ServerListener

    payload = b"\x00\x01\x00\x00\x03\x00\x00\x00hi\x00"
    subscribed = threading.Event()

    class Listener(ServerListener):  # type: ignore[misc]
        def on_subscribe(self, client: Any, channel: Any) -> None:
            subscribed.set()

    async def conversation(url: str, publish: Any) -> tuple[list[Any], bytes]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, protocols=["foxglove.sdk.v1"]) as ws,
        ):
            talk = Talk(ws)
            await talk.until(lambda: "/words" in talk.channels)
            channel = talk.channels["/words"]["id"]
            await talk.ask("subscribe", subscriptions=[{"id": 5, "channelId": channel}])
            loop = asyncio.get_running_loop()
            publishing = loop.run_in_executor(None, publish)
            message = await ws.receive(10)
            await publishing
            # Keys without a value may be left out; what differs by design is the session and the SDK's own version.
            info = {key: value for key, value in talk.texts[0].items() if value and key != "metadata"}
            named = {**info, "sessionId": type(info["sessionId"]).__name__}
            return [ws.protocol, named, {**talk.channels["/words"], "id": 0}], message.data

    context = foxglove.Context()
    theirs = foxglove.start_server(
        name="mutualformer", host="127.0.0.1", port=0, context=context, server_listener=Listener()
    )
    schema = foxglove.Schema(name=STRING, encoding="ros2msg", data=SCHEMAS[STRING].encode())
    words = foxglove.Channel("/words", schema=schema, message_encoding="cdr", context=context)

    def log() -> None:
        assert subscribed.wait(10)
        words.log(payload, log_time=1_234_567_890_123_456_789)

    try:
        expected = asyncio.run(conversation(f"ws://127.0.0.1:{theirs.port}", log))
    finally:
        theirs.stop()
    server = Server("127.0.0.1:0", None)
    ours = Foxglove(server)
    number = ours.add("/words", STRING)

    def publish() -> None:
        end = time.monotonic() + 10
        while not ours.wanted({"/words": number}) and time.monotonic() < end:
            time.sleep(0.01)
        ours.publish((1_234_567_890_123_456_789, {number: payload}))

    with server:
        assert asyncio.run(conversation(f"ws://127.0.0.1:{server.port}/foxglove", publish)) == expected


def refusal(url: str, protocols: list[str] = PROTOCOLS, **headers: str) -> int:
    async def attempt() -> int:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.ws_connect(url, protocols=protocols, headers=headers):
                    return 101
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    return asyncio.run(attempt())


def test_the_token_rule_is_the_page_s() -> None:
    with Running(TOKEN) as running:
        assert refusal(running.url) == 401
        assert refusal(running.url + "?token=wrong") == 401
        assert refusal(running.url + "?token=open%20sesame%20please") == 101
        assert refusal(running.url, Authorization=f"Bearer {TOKEN}") == 101
        assert refusal(running.url, Authorization=f"Bearer {TOKEN}", Origin="https://evil.example") == 403
        assert TOKEN not in running.foxglove.url()
    with Running() as running:
        assert refusal(running.url, Host="evil.example") == 403
        assert refusal(running.url, Origin="https://evil.example") == 403
        assert refusal(running.url, Via="1.1 proxy") == 403
        assert refusal(running.url, Origin="https://app.foxglove.dev") == 101
        assert refusal(running.url, ["chat.v1"]) == 400


def test_there_is_a_limit_on_clients() -> None:
    async def crowd(url: str) -> int:
        async with aiohttp.ClientSession() as session:
            kept = [await session.ws_connect(url, protocols=PROTOCOLS) for _ in range(MOST_CLIENTS)]
            try:
                await session.ws_connect(url, protocols=PROTOCOLS)
            except aiohttp.WSServerHandshakeError as error:
                return error.status
            return len(kept)

    with Running() as running:
        assert asyncio.run(crowd(running.url)) == 503


def test_addresses_open_to_others_need_a_token() -> None:
    with pytest.raises(AddressError, match=r"--foxglove 0\.0\.0\.0:1 can be reached"):
        Server("0.0.0.0:1", None, option="--foxglove")
    with pytest.raises(AddressError, match="--preview"):
        stream("synthetic://?fps=0&frames=1&size=64x48", foxglove="")


def test_web_pages_that_may_connect() -> None:
    assert all(map(allowed_origin, (None, "file://", "http://localhost:8080", "https://app.foxglove.dev")))
    foreign: list[Any] = ["https://evil.example", "null", "https://app.foxglove.dev.evil.example", "http://[::1", ""]
    assert not any(map(allowed_origin, foreign))


def test_page_and_foxglove_share_one_address(capsys: pytest.CaptureFixture[str]) -> None:
    summary, _ = stream("synthetic://?fps=0&size=64x48", frames=3, preview="127.0.0.1:0", foxglove="")
    sinks = summary["sinks"]
    assert sinks["foxglove"]["url"] == sinks["preview"]["url"].replace("http:", "ws:") + "foxglove"
    out = capsys.readouterr().err
    assert f"foxglove: {sinks['foxglove']['url']}" in out
    assert out.count("ssh -L ") == 1
