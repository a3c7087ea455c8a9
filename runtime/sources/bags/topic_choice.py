"""Which two topics of a bag belong together: colour, and the depth that is aligned to it. Never a guess in silence.

The two must have one shape, be seen by the same eye (``frame_id``) and belong to the same camera (namespace). Where
more than one pair fits the choice is refused and the options are named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from mutualformer.errors import DataError
from mutualformer.runtime.sources.depth import same_shape

TRANSPORTS = ("compressed", "compressedDepth", "theora", "zstd", "ffmpeg")
ALIGNED = ("aligned", "registered", "to_color", "to_colour", "to_rgb")
COLOUR_WORDS = ("color", "colour", "rgb")


class TopicError(DataError):
    """No two topics fit, or too many do: one clause."""


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
        """The topic's path without what image_transport hangs on it."""
        parts = [part for part in self.topic.split("/") if part]
        return tuple(parts[:-1] if len(parts) > 1 and parts[-1] in TRANSPORTS else parts)

    @property
    def camera(self) -> tuple[str, ...]:
        """The namespace of the camera: all but the last two parts, ``/front/color/image_raw`` → ``front``."""
        return self.base[:-2]

    @property
    def eye(self) -> str:
        """The camera's frame id without slashes; equal ones look through the same lens."""
        return self.frame_id.strip("/")

    @property
    def says_aligned(self) -> bool:
        """Whether the topic's name says that its depth is aligned to colour."""
        return any(word in self.topic.lower() for word in ALIGNED)

    @property
    def aligned_to(self) -> str:
        """The eye that the topic's name says its depth was aligned to, ``aligned_depth_to_infra1`` → ``infra1``."""
        words = re.search(r"(?:aligned|registered|depth)_to_([a-z0-9]+)", "/".join(self.base).lower())
        return words[1] if words else ""


@dataclass(frozen=True)
class Choice:
    """``notes``: what people should be told about it, one sentence each."""

    colour: TopicSample
    depth: TopicSample
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Pair:
    colour: TopicSample
    depth: TopicSample

    @property
    def shared(self) -> tuple[str, ...]:
        """The leading parts that both paths have in common."""
        parts = []
        for one, two in zip(self.colour.base[:-1], self.depth.base[:-1], strict=False):
            if one != two:
                break
            parts.append(one)
        return tuple(parts)

    @property
    def one_eye(self) -> bool:
        return bool(self.colour.eye) and self.colour.eye == self.depth.eye

    @property
    def fit(self) -> tuple[int, bool, bool, bool, bool]:
        c, d = self.colour, self.depth
        return len(self.shared), self.one_eye, d.says_aligned, c.size == d.size, d.encoding != "mono16"

    def obstacle(self, named: bool) -> str:
        """Why the two cannot be used together, or "". ``named``: people asked for this depth or colour by name."""
        c, d = self.colour, self.depth
        if not same_shape(c.size, d.size):
            return (
                f"{c.topic} is {c.size} and {d.topic} {d.size}, expected depth aligned to colour; choose an aligned "
                "topic with ?depth=/topic"
            )
        if named:
            return ""
        if d.aligned_to and not _named_by(c, d.aligned_to):
            return (
                f"{d.topic} is aligned to {d.aligned_to!r} and not to {c.topic}, expected depth aligned to colour; "
                f"record that topic, or take it as it is with ?colour={c.topic}&depth={d.topic}"
            )
        if c.eye and d.eye and c.eye != d.eye and not d.says_aligned:
            return (
                f"{d.topic} is seen from {d.frame_id!r} and {c.topic} from {c.frame_id!r}, expected depth aligned to "
                f"colour; record the aligned topic, or take it as it is with ?depth={d.topic}"
            )
        if c.lens and d.lens and not _same_optics(c.lens, d.lens, c.size):
            return (
                f"{d.topic} is seen with other optics (fx {d.lens[0]:.4g}) than {c.topic} (fx {c.lens[0]:.4g}), "
                f"expected depth aligned to colour; record the aligned topic, or take it as it is with ?depth={d.topic}"
            )
        one, two = c.camera, d.camera
        if one[: len(two)] != two[: len(one)]:
            return (
                f"{c.topic} and {d.topic} belong to different cameras; if they are one, name both with "
                f"?colour={c.topic}&depth={d.topic}"
            )
        return ""

    @property
    def address(self) -> str:
        return f"?colour={self.colour.topic}&depth={self.depth.topic}"


def _named_by(colour: TopicSample, eye: str) -> bool:
    """Whether ``eye``, the end of a depth topic's ``aligned_to_…``, can mean this colour topic."""
    path = "/".join(colour.base).lower()
    if eye not in COLOUR_WORDS:
        return eye in path
    return not re.search(r"infra|\bir\b|thermal", path)


def _same_optics(one: tuple[float, ...], two: tuple[float, ...], size: tuple[int, int]) -> bool:
    """Whether two calibrations of images of one ``size`` (H, W) differ by less than 1 % of it."""
    return all(abs(a - b) <= 0.01 * max(size) for a, b in zip(one, two, strict=True))


def choose(samples: list[TopicSample], topics: list[str], colour: str = "", depth: str = "") -> Choice:
    """The pair to play. ``topics``: all there are. ``colour``, ``depth``: as asked for, or "". Raises TopicError."""
    colours = _candidates(samples, topics, "colour", colour)
    depths = _candidates([sample for sample in samples if sample.topic != colour], topics, "depth", depth)
    pairs, obstacles = [], []
    for c in colours:
        for d in depths:
            pair = _Pair(c, d)
            reason = pair.obstacle(named=bool(colour and depth) or bool(depth))
            if reason:
                obstacles.append((pair.fit, reason))
            else:
                pairs.append(pair)
    if not pairs:
        raise TopicError(max(obstacles)[1])
    pair = _best(pairs)
    return Choice(pair.colour, pair.depth, _notes(pair, len(colours) * len(depths), depth == pair.depth.topic))


def _candidates(samples: list[TopicSample], topics: list[str], kind: str, wish: str) -> list[TopicSample]:
    kinds = ("colour", "grey") if kind == "colour" else ("depth",)
    if kind == "colour" and wish:  # 16 bits of grey may be an infrared picture, if people say so
        samples = [replace(s, kind="grey") if s.topic == wish and s.encoding == "mono16" else s for s in samples]
    fitting = [sample for sample in samples if sample.kind in kinds and (not wish or sample.topic == wish)]
    if not fitting:
        what = f"topic {wish!r} with {kind} images" if wish else f"{kind} image topic"
        reasons = [
            f"{sample.topic}: {sample.reason}" for sample in samples if sample.reason and wish in ("", sample.topic)
        ]
        if kind == "colour" and not wish:
            reasons += [
                f"{s.topic}: is mono16, taken as depth; ?colour={s.topic} takes it as a grey picture"
                for s in samples
                if s.encoding == "mono16"
            ]
        tail = "".join(f"; {reason}" for reason in reasons[:4])
        raise TopicError(f"no {what}; the bag has {', '.join(sorted(topics)[:40]) or 'no topics'}{tail}")
    # An infrared picture stands in for colour only where there is none, or where it was asked for.
    return [sample for sample in fitting if sample.kind == "colour"] or fitting


def _best(pairs: list[_Pair]) -> _Pair:
    """The only pair whose depth is the best for its colour and whose colour is the best for its depth.

    How deep a camera's name nests says nothing about it: two cameras are two. Raises TopicError where there are two.
    """
    for_colour, for_depth = _best_fits(pairs, "colour"), _best_fits(pairs, "depth")
    mutual = [
        pair for pair in pairs if pair.fit == for_colour[pair.colour.topic] and pair.fit == for_depth[pair.depth.topic]
    ]
    options = _distinct(mutual)
    if len(options) > 1:
        raise TopicError(
            f"{len(options)} pairs of topics fit equally well; choose one with "
            + " or ".join(pair.address for pair in options[:6])
        )
    return options[0]


def _best_fits(pairs: list[_Pair], side: str) -> dict[str, tuple[int, bool, bool, bool, bool]]:
    """Topic of one ``side``, colour or depth → the best fit it has."""
    fits: dict[str, tuple[int, bool, bool, bool, bool]] = {}
    for pair in pairs:
        topic = pair.colour.topic if side == "colour" else pair.depth.topic
        fits[topic] = max(pair.fit, fits.get(topic, pair.fit))
    return fits


def _distinct(pairs: list[_Pair]) -> list[_Pair]:
    """Raw and compressed forms of one picture are one, the raw one."""
    distinct: dict[tuple[tuple[str, ...], tuple[str, ...]], _Pair] = {}
    for pair in sorted(pairs, key=lambda pair: (len(pair.colour.topic) + len(pair.depth.topic), pair.address)):
        distinct.setdefault((pair.colour.base, pair.depth.base), pair)
    return list(distinct.values())


def _notes(pair: _Pair, candidates: int, named: bool) -> list[str]:
    c, d = pair.colour, pair.depth
    notes = []
    if candidates > 1:
        notes.append(f"plays {c.topic} with {d.topic}; others fit less well, name them with ?colour= and ?depth=")
    if c.kind == "grey":
        notes.append(f"{c.topic} is a grey picture, not a colour one")
    if c.eye != d.eye and c.eye and d.eye:
        notes.append(
            f"{d.topic} is seen from {d.frame_id!r} and colour from {c.frame_id!r}: taken as aligned because "
            + ("it was asked for" if named else "its name says so")
        )
    one, two = c.camera, d.camera
    if one[: len(two)] != two[: len(one)]:
        notes.append(f"{c.topic} and {d.topic} seem to be of different cameras: taken as one because they were named")
    elif one != two and not pair.one_eye:
        notes.append(f"{c.topic} and {d.topic} are taken as one camera, aligned; nothing but their size says so")
    return notes
