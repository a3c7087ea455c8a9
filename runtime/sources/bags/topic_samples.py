"""Looks into a bag for what its topics hold: the first readable image of each, and the calibrations beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from mutualformer.runtime.sources.bags import ros_images as pix
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.bags.containers import Bag
from mutualformer.runtime.sources.bags.topic_choice import TopicSample
from mutualformer.runtime.sources.frame import Intrinsics

# How much of a bag is searched for the first image of every topic.
SEARCH_BYTES = 256 << 20
SEARCH_ATTEMPTS = 20


def sample_topics(bag: Bag) -> tuple[list[TopicSample], dict[str, ros.CameraInfo]]:
    """The first readable image of every image topic, and the first calibration of every CameraInfo topic."""
    searched = {topic for topic, kind in bag.topics.items() if kind in ros.READERS}
    samples: dict[str, TopicSample] = {}
    infos: dict[str, ros.CameraInfo] = {}
    attempts: Counter[str] = Counter()
    read_bytes = 0
    for message in bag.messages(searched):
        read_bytes += len(message.data)
        topic = message.topic
        if topic in searched:
            attempts[topic] += 1
            try:
                content = ros.read(message.kind, message.data, message.ros1)
                if isinstance(content, ros.CameraInfo):
                    infos[topic] = content
                else:
                    samples[topic] = _sample(topic, content)
            except ValueError as error:
                samples[topic] = TopicSample(topic, "", reason=f"its first images cannot be read ({error})")
            if topic in infos or samples[topic].kind or attempts[topic] >= SEARCH_ATTEMPTS:
                searched.discard(topic)
        if not searched or read_bytes > SEARCH_BYTES:
            break
    return [_with_lens(samples[topic], infos) for topic in sorted(samples)], infos


def _sample(topic: str, message: ros.Image | ros.CompressedImage) -> TopicSample:
    kind, reason = pix.kind_of(message)
    height, width = pix.pixels(message).shape[:2] if kind else (0, 0)
    encoding = pix.encoding_of(message) if isinstance(message, ros.Image) else message.format.partition(";")[0].strip()
    return TopicSample(topic, kind, (height, width), message.frame_id.strip("/"), encoding, reason)


def _unfit(info: ros.CameraInfo, sample: TopicSample) -> str:
    """Why a calibration does not fit a topic's images, or ""."""
    lens = info.lens
    if (lens.height, lens.width) != sample.size:
        return f"is of {lens.width}×{lens.height} images and {sample.topic} {sample.size[1]}×{sample.size[0]}"
    if sample.frame_id and info.frame_id.strip("/") not in ("", sample.frame_id):
        return f"is of {info.frame_id!r} and {sample.topic} of {sample.frame_id!r}"
    if lens.fx <= 0 or lens.fy <= 0:  # drivers without a calibration publish zeros
        return f"says fx {lens.fx:g} and fy {lens.fy:g}, the camera is not calibrated"
    return ""


def _info_topic(sample: TopicSample) -> str:
    """Where ROS publishes the calibration of an image topic: beside it."""
    return "/" + "/".join((*sample.base[:-1], "camera_info"))


def _with_lens(sample: TopicSample, infos: Mapping[str, ros.CameraInfo]) -> TopicSample:
    """The sample with the optics of the CameraInfo beside its topic, if that fits."""
    info = infos.get(_info_topic(sample))
    if info is None or _unfit(info, sample):
        return sample
    return replace(sample, lens=(info.lens.fx, info.lens.fy, info.lens.cx, info.lens.cy))


def calibration(colour: TopicSample, infos: Mapping[str, ros.CameraInfo]) -> tuple[Intrinsics | None, str]:
    """Calibration of a colour topic, and a note or "": the first CameraInfo beside it or of its frame_id."""
    topic = _info_topic(colour)
    if topic not in infos:
        fitting = [name for name, info in infos.items() if info.frame_id.strip("/") == colour.frame_id != ""]
        if len(fitting) != 1:
            return None, ""
        (topic,) = fitting
    why = _unfit(infos[topic], colour)
    return (None, f"{topic} {why}: not used") if why else (infos[topic].lens, "")
