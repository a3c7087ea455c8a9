"""Looks into a bag for what its topics hold: the first readable image of each, and the calibrations beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mutualformer.runtime.sources.bags import ros_images as pix
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.bags.containers import Bag
from mutualformer.runtime.sources.bags.topic_choice import Choice, TopicSample
from mutualformer.runtime.sources.frame import DataError, Intrinsics

IMAGE_TYPES = (ros.IMAGE, ros.COMPRESSED)
# How much of a bag is searched for the first image of every topic.
SEARCH_BYTES = 256 << 20
SEARCH_ATTEMPTS = 20


def sample_topics(bag: Bag) -> tuple[list[TopicSample], dict[str, ros.CameraInfo]]:
    """The first readable image of every image topic, and the first calibration of every CameraInfo topic."""
    searched = {topic for topic, kind in bag.topics.items() if kind in (*IMAGE_TYPES, ros.INFO_TYPE)}
    samples: dict[str, TopicSample] = {}
    infos: dict[str, ros.CameraInfo] = {}
    attempts = dict.fromkeys(searched, 0)
    read_bytes = 0
    for message in bag.messages(searched):
        read_bytes += len(message.data)
        if message.topic in searched:
            attempts[message.topic] += 1
            try:
                content = ros.read(message.kind, message.data, message.ros1)
                if isinstance(content, ros.CameraInfo):
                    infos[message.topic] = content
                else:
                    samples[message.topic] = _sample(message.topic, content)
            except (ros.MessageError, pix.PixelError, DataError) as error:
                samples[message.topic] = TopicSample(
                    message.topic, "", reason=f"its first images cannot be read ({error})"
                )
            readable = message.topic in infos or samples[message.topic].kind
            if readable or attempts[message.topic] >= SEARCH_ATTEMPTS:
                searched.discard(message.topic)
        if not searched or read_bytes > SEARCH_BYTES:
            break
    return [with_lens(samples[topic], infos) for topic in sorted(samples)], infos


def info_topic(sample: TopicSample) -> str:
    """Where ROS publishes the calibration of an image topic: beside it."""
    return "/" + "/".join((*sample.base[:-1], "camera_info"))


def with_lens(sample: TopicSample, infos: Mapping[str, ros.CameraInfo]) -> TopicSample:
    """The sample with the optics of the CameraInfo beside its topic, if that is of its size and eye."""
    info = infos.get(info_topic(sample))
    if info is None or (info.lens.height, info.lens.width) != sample.size:
        return sample
    if info.frame_id.strip("/") not in ("", sample.eye) or not calibrated(info.lens):
        return sample
    return replace(sample, lens=(info.lens.fx, info.lens.fy, info.lens.cx, info.lens.cy))


def _sample(topic: str, message: ros.Image | ros.CompressedImage) -> TopicSample:
    kind, reason = pix.kind_of(message)
    if isinstance(message, ros.Image):
        size, encoding = (message.height, message.width), pix.encoding_of(message)
        if kind and 0 in size:
            raise pix.PixelError(f"an image of {message.width}×{message.height} pixels")
    else:
        encoding = message.format.partition(";")[0].strip()
        size = pix.packed_size(message, topic) if kind else (0, 0)
    return TopicSample(topic, kind, size, message.frame_id, encoding, reason)


def calibration(choice: Choice, infos: Mapping[str, ros.CameraInfo]) -> tuple[Intrinsics | None, str, str]:
    """(calibration of the colour topic, where it stands or "", a note or ""): the CameraInfo of its eye and size."""
    colour = choice.colour
    beside = info_topic(colour)
    fitting = [topic for topic, info in infos.items() if info.frame_id.strip("/") == colour.eye and colour.eye]
    if beside in infos:
        topic = beside
    elif len(fitting) == 1:
        topic = fitting[0]
    else:
        return None, "", ""
    info = infos[topic]
    if (info.lens.height, info.lens.width) != colour.size:
        size = f"{info.lens.width}×{info.lens.height}"
        return None, "", f"{topic} is of {size} images and {colour.topic} {colour.size[1]}×{colour.size[0]}: not used"
    if colour.eye and info.frame_id.strip("/") not in ("", colour.eye):
        return None, "", f"{topic} is of {info.frame_id!r} and {colour.topic} of {colour.frame_id!r}: not used"
    if not calibrated(info.lens):
        return (
            None,
            "",
            f"{topic} says fx {info.lens.fx:g} and fy {info.lens.fy:g}, the camera is not calibrated: not used",
        )
    return info.lens, topic, ""


def calibrated(lens: Intrinsics) -> bool:
    """Whether the numbers can be a lens at all: drivers without a calibration publish zeros."""
    return lens.fx > 0 and lens.fy > 0
