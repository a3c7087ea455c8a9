"""Chooses the two topics of a bag that belong together: colour, and the depth that is aligned to it.

The two must have one shape, be seen by the same camera (``frame_id``, optics) and belong to one device (namespace).
Where more than one pair fits equally well the bag is refused, and the message names the options. A choice that the
names of the topics alone do not settle is reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from mutualformer.errors import DataError
from mutualformer.runtime.sources.depth import same_shape

TRANSPORTS = ("compressed", "compressedDepth", "theora", "zstd", "ffmpeg")
ALIGNED = ("aligned", "registered", "to_color", "to_colour", "to_rgb")
COLOUR_WORDS = ("color", "colour", "rgb")
SAME_OPTICS = 0.01  # of the larger side: calibrations of one lens differ by less, those of two lenses by more


@dataclass(frozen=True)
class TopicSample:
    """A topic's first readable message. ``kind``: colour, grey, depth, or "" and a ``reason``. ``size``: (H, W).

    ``lens``: fx, fy, cx, cy of the CameraInfo beside the topic, None where there is none of that size.
    """

    topic: str
    kind: str
    size: tuple[int, int] = (0, 0)
    frame_id: str = ""
    encoding: str = ""
    reason: str = ""
    lens: tuple[float, float, float, float] | None = None

    @property
    def base(self) -> tuple[str, ...]:
        """The topic's path without the ending that image_transport appends."""
        parts = [part for part in self.topic.split("/") if part]
        return tuple(parts[:-1] if len(parts) > 1 and parts[-1] in TRANSPORTS else parts)

    @property
    def device(self) -> tuple[str, ...]:
        """The namespace of the device: all but the last two parts, ``/front/color/image_raw`` → ``front``."""
        return self.base[:-2]

    @property
    def says_aligned(self) -> bool:
        """Whether the topic's name says that its depth is aligned to colour."""
        return any(word in self.topic.lower() for word in ALIGNED)

    @property
    def aligned_to(self) -> str:
        """The camera that the topic's name says its depth is aligned to, ``aligned_depth_to_infra1`` → ``infra1``."""
        words = re.search(r"(?:aligned|registered|depth)_to_([a-z0-9]+)", "/".join(self.base).lower())
        return words[1] if words else ""


class Pair(NamedTuple):
    """Two topics that may belong together."""

    colour: TopicSample
    depth: TopicSample

    @property
    def address(self) -> str:
        """The options that name the two."""
        return f"?colour={self.colour.topic}&depth={self.depth.topic}"

    @property
    def one_frame(self) -> bool:
        """Whether both name the same frame_id."""
        return bool(self.colour.frame_id) and self.colour.frame_id == self.depth.frame_id

    @property
    def other_frame(self) -> bool:
        """Whether both name a frame_id, and different ones."""
        return bool(self.colour.frame_id and self.depth.frame_id) and not self.one_frame

    @property
    def fit(self) -> tuple[int, bool, bool, bool, bool]:
        """The larger the better: leading parts of the paths in common, frame_id, name, size, encoding."""
        c, d = self
        folders = list(zip(c.base[:-1], d.base[:-1], strict=False))
        shared = next((at for at, (one, two) in enumerate(folders) if one != two), len(folders))
        return shared, self.one_frame, d.says_aligned, c.size == d.size, d.encoding != "mono16"

    def obstacle(self, named: bool) -> str:
        """Why the two cannot be used together, or "". ``named``: the user asked for this depth by name."""
        c, d = self
        if not same_shape(c.size, d.size):
            why = f"{c.topic} is {c.size} and {d.topic} {d.size}"
        elif named:
            return ""
        elif d.aligned_to and not _named_by(c, d.aligned_to):
            why = f"{d.topic} is aligned to {d.aligned_to!r} and not to {c.topic}"
        elif self.other_frame and not d.says_aligned:
            why = f"{d.topic} is seen from {d.frame_id!r} and {c.topic} from {c.frame_id!r}"
        elif c.lens and d.lens and not _same_optics(c.lens, d.lens, c.size):
            why = f"{d.topic} is seen with other optics (fx {d.lens[0]:.4g}) than {c.topic} (fx {c.lens[0]:.4g})"
        elif c.device[: len(d.device)] != d.device[: len(c.device)]:
            why = f"{c.topic} and {d.topic} belong to different cameras"
        else:
            return ""
        return f"{why}, expected depth aligned to colour; record an aligned topic, or overrule with {self.address}"


def _named_by(colour: TopicSample, camera: str) -> bool:
    """Whether ``camera``, the end of a depth topic's ``aligned_to_…``, can mean this colour topic."""
    path = "/".join(colour.base).lower()
    if camera not in COLOUR_WORDS:
        return camera in path
    return not re.search(r"infra|\bir\b|thermal", path)


def _same_optics(one: tuple[float, ...], two: tuple[float, ...], size: tuple[int, int]) -> bool:
    return all(abs(a - b) <= SAME_OPTICS * max(size) for a, b in zip(one, two, strict=True))


def choose(samples: list[TopicSample], topics: list[str], colour: str = "", depth: str = "") -> tuple[Pair, list[str]]:
    """The pair to play, and what the user should know about it, one sentence each.

    ``topics``: all there are. ``colour``, ``depth``: as asked for, or "". Raises DataError.
    """
    colours = _candidates(samples, topics, "colour", colour)
    depths = _candidates([sample for sample in samples if sample.topic != colour], topics, "depth", depth)
    every = [Pair(c, d) for c in colours for d in depths]
    pairs = [pair for pair in every if not pair.obstacle(bool(depth))]
    if not pairs:
        raise DataError(max(every, key=lambda pair: pair.fit).obstacle(bool(depth)))
    # A device nested in another's namespace is still a device of its own: only a pair whose depth is the best for its
    # colour, and whose colour is the best for its depth, counts.
    best = [
        pair
        for pair in pairs
        if all(pair.fit >= other.fit for other in pairs if pair.colour is other.colour or pair.depth is other.depth)
    ]
    best.sort(key=lambda pair: (-len(pair.address), pair.address), reverse=True)
    distinct = {(pair.colour.base, pair.depth.base): pair for pair in reversed(best)}  # raw rather than compressed
    if len(distinct) > 1:
        options = " or ".join(pair.address for pair in list(distinct.values())[:6])
        raise DataError(f"{len(distinct)} pairs of topics fit equally well; choose one with {options}")
    (pair,) = distinct.values()
    return pair, _notes(pair, len(every), depth == pair.depth.topic)


def _candidates(samples: list[TopicSample], topics: list[str], kind: str, wish: str) -> list[TopicSample]:
    kinds = ("colour", "grey") if kind == "colour" else ("depth",)
    if kind == "colour" and wish:  # 16 bits of grey may be an infrared picture, if the user says so
        samples = [replace(s, kind="grey") if s.topic == wish and s.encoding == "mono16" else s for s in samples]
    fitting = [sample for sample in samples if sample.kind in kinds and wish in ("", sample.topic)]
    if not fitting:
        what = f"topic {wish!r} with {kind} images" if wish else f"{kind} image topic"
        reasons = [f"; {s.topic}: {s.reason}" for s in samples if s.reason and wish in ("", s.topic)]
        if kind == "colour" and not wish:
            grey = [s.topic for s in samples if s.encoding == "mono16"]
            reasons += [f"; {one}: is mono16, taken as depth; ?colour={one} takes it as a grey picture" for one in grey]
        there = ", ".join(sorted(topics)[:40]) or "no topics"
        raise DataError(f"no {what}; the bag has {there}{''.join(reasons[:4])}")
    # An infrared picture replaces colour only where there is none, or where the user asked for it.
    return [sample for sample in fitting if sample.kind == "colour"] or fitting


def _notes(pair: Pair, candidates: int, named: bool) -> list[str]:
    c, d = pair
    notes = []
    if candidates > 1:
        notes.append(f"plays {c.topic} with {d.topic}; others fit less well, name them with ?colour= and ?depth=")
    if pair.other_frame or (c.device != d.device and not pair.one_frame):
        why = "its name says so" if d.says_aligned else "nothing but their size says so"
        notes.append(f"{d.topic} is taken as aligned to {c.topic}: {'because it was asked for' if named else why}")
    return notes
