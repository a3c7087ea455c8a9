"""Which two topics of a bag belong together: colour, and the depth that is aligned to it. Never a guess in silence.

The two must have one size, be seen by the same eye (``frame_id``) and belong to the same camera (namespace). Where
more than one pair fits the choice is refused and the options are named.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

TRANSPORTS = ("compressed", "compressedDepth", "theora", "zstd", "ffmpeg")
ALIGNED = ("aligned", "registered", "to_color", "to_colour", "to_rgb")


class TopicError(ValueError):
    """No two topics fit, or too many do: one clause."""


@dataclass(frozen=True)
class Sample:
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


@dataclass(frozen=True)
class Choice:
    """``notes``: what people should be told about it, one sentence each."""

    colour: Sample
    depth: Sample
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Pair:
    colour: Sample
    depth: Sample

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
    def fit(self) -> tuple[int, bool, bool]:
        return len(self.shared), self.depth.says_aligned, self.depth.encoding != "mono16"

    def obstacle(self, named: bool) -> str:
        """Why the two cannot be used together, or "". ``named``: people asked for this depth or colour by name."""
        c, d = self.colour, self.depth
        if c.size != d.size:
            return (
                f"{c.topic} is {c.size} and {d.topic} {d.size}, expected depth aligned to colour; choose an aligned "
                "topic with ?depth=/topic"
            )
        if named:
            return ""
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


def _same_optics(one: tuple[float, ...], two: tuple[float, ...], size: tuple[int, int]) -> bool:
    """Whether two calibrations of images of one ``size`` (H, W) differ by less than 1 % of it."""
    return all(abs(a - b) <= 0.01 * max(size) for a, b in zip(one, two, strict=True))


def choose(samples: list[Sample], topics: list[str], colour: str = "", depth: str = "") -> Choice:
    """The pair to play. ``topics``: all there are. ``colour``, ``depth``: as asked for, or "". Raises TopicError."""
    colours = _candidates(samples, topics, "colour", colour)
    depths = _candidates(samples, topics, "depth", depth)
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


def _candidates(samples: list[Sample], topics: list[str], kind: str, wish: str) -> list[Sample]:
    kinds = ("colour", "grey") if kind == "colour" else ("depth",)
    fitting = [sample for sample in samples if sample.kind in kinds and (not wish or sample.topic == wish)]
    if not fitting:
        what = f"topic {wish!r} with {kind} images" if wish else f"{kind} image topic"
        reasons = [
            f"{sample.topic}: {sample.reason}" for sample in samples if sample.reason and wish in ("", sample.topic)
        ]
        tail = "".join(f"; {reason}" for reason in reasons[:4])
        raise TopicError(f"no {what}; the bag has {', '.join(sorted(topics)[:40]) or 'no topics'}{tail}")
    # An infrared picture stands in for colour only where there is none, or where it was asked for.
    return [sample for sample in fitting if sample.kind == "colour"] or fitting


def _best(pairs: list[_Pair]) -> _Pair:
    """The best pair of the only camera that has the best. Raises TopicError where two are as good."""
    closest = max(len(pair.shared) for pair in pairs)
    cameras: dict[tuple[str, ...], list[_Pair]] = defaultdict(list)
    for pair in pairs:
        if len(pair.shared) == closest:
            cameras[pair.shared].append(pair)
    tops = [_top(group) for group in cameras.values()]
    options = [pair for top in tops for pair in top]
    if len(options) > 1:
        raise TopicError(
            f"{len(options)} pairs of topics fit equally well; choose one with "
            + " or ".join(pair.address for pair in options[:6])
        )
    return options[0]


def _top(pairs: list[_Pair]) -> list[_Pair]:
    """The best pairs of one camera; raw and compressed forms of one picture are one, the raw one."""
    best = max(pair.fit for pair in pairs)
    distinct: dict[tuple[tuple[str, ...], tuple[str, ...]], _Pair] = {}
    for pair in sorted(pairs, key=lambda pair: (len(pair.colour.topic) + len(pair.depth.topic), pair.address)):
        if pair.fit == best:
            distinct.setdefault((pair.colour.base, pair.depth.base), pair)
    return list(distinct.values())


def _notes(pair: _Pair, candidates: int, named: bool) -> list[str]:
    c, d = pair.colour, pair.depth
    notes = []
    if candidates > 1:
        notes.append(f"plays {c.topic} with {d.topic}; others fit less well, name them with ?colour= and ?depth=")
    if c.kind == "grey":
        notes.append(f"{c.topic} is grey, there is no colour topic")
    if c.eye != d.eye and c.eye and d.eye:
        notes.append(
            f"{d.topic} is seen from {d.frame_id!r} and colour from {c.frame_id!r}: taken as aligned because "
            + ("it was asked for" if named else "its name says so")
        )
    one, two = c.camera, d.camera
    if one[: len(two)] != two[: len(one)]:
        notes.append(f"{c.topic} and {d.topic} seem to be of different cameras: taken as one because they were named")
    return notes
