"""``mutualformer.predict(model, picture)``, ``predict_many`` and ``stream``: pictures of any form, one, many, live."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime import preprocess
from mutualformer.runtime.images.objects import THRESHOLD
from mutualformer.runtime.prediction.accepted import PictureLike, colour, frame_of, name_of
from mutualformer.runtime.prediction.result import Embedding, Prediction
from mutualformer.runtime.preprocess import InputError
from mutualformer.runtime.session import Device, Session
from mutualformer.runtime.sources.frame import Frame, Item


def from_saliency(
    session: Session, item: Item, saliency: NDArray[Any], has_depth: bool, threshold: float, **more: Any
) -> Prediction:
    """The model's map (h, w) → a prediction at the picture's own size. ``more``: further fields of the prediction."""
    kind = Live if "frame" in more else Prediction
    return kind(
        item.rgb if item.original is None else item.original,  # a cut-out keeps the picture's own colours
        np.asarray(saliency, np.float32),
        item.depth if has_depth else None,
        item.name,
        session.contract.model,
        item.metric,
        threshold,
        opacity=item.alpha,
        icc=item.icc,
        **more,
    )


@overload
def predict(
    model: Session | str | Path,
    rgb: list[Any] | tuple[Any, ...] | Iterator[Any],
    depth: list[Any] | tuple[Any, ...] | None = None,
    *,
    depth_scale: float | None = None,
    nir: None = None,
    threshold: float = THRESHOLD,
) -> list[Prediction]: ...


@overload
def predict(
    model: Session | str | Path,
    rgb: PictureLike,
    depth: PictureLike | None = None,
    *,
    depth_scale: float | None = None,
    nir: None = None,
    threshold: float = THRESHOLD,
) -> Prediction: ...


@overload
def predict(
    model: Session | str | Path,
    rgb: PictureLike,
    depth: None = None,
    *,
    depth_scale: float | None = None,
    nir: PictureLike,
    threshold: float = THRESHOLD,
) -> Embedding: ...


def predict(
    model: Session | str | Path,
    rgb: Any,
    depth: Any = None,
    *,
    depth_scale: float | None = None,
    nir: Any = None,
    threshold: float = THRESHOLD,
) -> Any:
    """Run ``model`` on a picture, or on each of several.

    ``model``: a session from :func:`mutualformer.load`, or what that takes (opened and closed for this call).
    ``rgb``: a path; a file's bytes, or the open file; uint8 (H, W, 3) in RGB order, (H, W) grey or (H, W, 4) with
    transparency, as an array or a PyTorch tensor, which may be (C, H, W) too; a PIL image of any mode, turned as its
    EXIF tag asks. A list or an iterator of these gives a list of answers; :func:`predict_many` gives them one by one.
    ``depth``: None, or the same forms: a file (16-bit: millimetres), uint16 (H, W) with ``depth_scale``, float metres
    (H, W), 0 or NaN = no measurement. For a list of pictures it is a list.
    ``depth_scale``: metres per unit of integer depth: 0.001 for millimetres.
    ``nir``: the near-infrared picture, for ReID models only; the answer is then an :class:`Embedding`.
    ``threshold``: above which a pixel counts as salient, 0 … 1.

    >>> picture = np.zeros((120, 160, 3), np.uint8)
    >>> picture[40:80, 60:100] = (200, 40, 30)
    >>> result = predict("sod-nano", picture)
    >>> result.mask.shape, result.mask.dtype
    ((120, 160), dtype('float32'))
    >>> [one.mask.shape for one in predict("sod-nano", [picture, picture[:60]])]
    [(120, 160), (60, 160)]

    The picture is stretched to the model's input size as in training and evaluation. Raises InputError (the arguments
    do not fit), DataError (a file cannot be read), ModelError as :func:`mutualformer.load`. Warns where depth is
    implausible as metres.
    """
    _check_threshold(threshold)
    with _opened(model) as session:
        if isinstance(rgb, (list, tuple, Iterator)) and not hasattr(rgb, "read"):
            if nir is not None:
                raise InputError("pairs with near-infrared are predicted one at a time")
            if depth is None:
                pairs: list[Any] = list(rgb)
            elif isinstance(depth, (list, tuple)) and len(depth) == len(rgb := list(rgb)):
                pairs = list(zip(rgb, depth, strict=True))
            else:
                raise InputError("depth of a list of pictures is a list of the same length")
            return list(_many(session, pairs, depth_scale, threshold, 0))
        if session.contract.task == "reid":
            if nir is None or depth is not None:
                raise InputError(f"{session.contract.model} compares RGB-NIR pairs: give nir=, and no depth")
            pair = colour(rgb, True).rgb, colour(nir, True).rgb
            return Embedding(*pair, preprocess.answer(session, *pair), name_of(rgb), session.contract.model)
        if nir is not None:
            raise InputError(f"{session.contract.model} finds salient objects: it takes depth=, not nir=")
        item = frame_of(rgb, depth, depth_scale)
        return from_saliency(
            session, item, preprocess.answer(session, item.rgb, item.depth), depth is not None, threshold
        )


def predict_many(
    model: Session | str | Path,
    pictures: Iterable[PictureLike | tuple[PictureLike, PictureLike | None]],
    *,
    depth_scale: float | None = None,
    threshold: float = THRESHOLD,
    batch: int = 0,
) -> Iterator[Prediction]:
    """Yield the answers to ``pictures`` in their order; at most one batch is in memory, however many there are.

    ``pictures``: any iterable of what :func:`predict` takes, or of pairs (picture, depth). ``batch``: pictures per call
    of the model, 0 = one on a CPU, where more is no faster, eight on a GPU. Everything else is as for :func:`predict`;
    errors name the picture's number, counted from 0.

    >>> picture = np.zeros((120, 160, 3), np.uint8)
    >>> for result in predict_many("sod-nano", [picture, (picture, np.full((120, 160), 1.5, np.float32))]):
    ...     print(result.mask.shape, result.depth is not None)
    (120, 160) False
    (120, 160) True
    """
    _check_threshold(threshold)
    if batch < 0:
        raise InputError(f"batch is {batch}, expected a number of pictures, or 0")

    def answers() -> Iterator[Prediction]:
        with _opened(model) as session:
            yield from _many(session, pictures, depth_scale, threshold, batch)

    return answers()


@dataclasses.dataclass(frozen=True, repr=False)
class Live(Prediction):
    """The answer to one frame of a stream: a :class:`Prediction` and where it came from.

    ``frame``: as the camera gave it, with its times. ``number``: counts answers from 0. ``dropped``: frames lost so far
    because the model was busy. ``latency_s``: from the frame's arrival to this answer.
    """

    frame: Frame | None = dataclasses.field(default=None, repr=False)
    number: int = 0
    dropped: int = 0
    latency_s: float = 0.0


def stream(
    source: str,
    model: Session | str | Path = "sod-lite",
    *,
    frames: int | None = None,
    threshold: float = THRESHOLD,
    device: Device = "auto",
) -> Iterator[Live]:
    """Yield the answers to the frames of a live source until it ends or the loop is left; then close everything.

    ``source``: any address that ``mutualformer stream`` takes: ``realsense://``, ``0`` (a webcam), ``rtsp://…``, a
    video, a recording, ``synthetic://``. Of a camera always the newest frame is taken and older ones are dropped; of
    a file every frame, in order. ``model``: a SOD model, as for :func:`predict`. ``frames``: stop after so many.

    >>> for result in stream("synthetic://?seed=1", "sod-nano", frames=2):
    ...     print(result.number, result.mask.shape == result.frame.rgb.shape[:2])
    0 True
    1 True

    Raises CameraError, DataError, InputError, ModelError.
    """
    from mutualformer.runtime.sources import opening
    from mutualformer.runtime.streaming.pipeline import Pipeline

    _check_threshold(threshold)
    if frames is not None and frames < 1:
        raise InputError(f"frames is {frames}, expected at least 1")

    def answers() -> Iterator[Any]:
        with _opened(model, device) as session, contextlib.ExitStack() as stack:
            if session.contract.task != "sod":
                raise InputError(f"{session.contract.model} compares identities; stream() is for salient objects")
            results = Pipeline(lambda: opening.camera(source), session, frames=frames).results()
            stack.callback(results.close)
            for result in results:
                frame = result.frame
                item = Item(frame.rgb, frame.depth, None, f"frame-{frame.sequence:06d}")
                about = {"number": result.number, "dropped": result.dropped, "latency_s": result.stages["total"]}
                saliency, has_depth = result.outputs["saliency"], bool(frame.depth.any())
                yield from_saliency(session, item, saliency, has_depth, threshold, frame=frame, **about)

    return answers()


def _many(
    session: Session, pictures: Iterable[Any], depth_scale: float | None, threshold: float, batch: int
) -> Iterator[Prediction]:
    if session.contract.task != "sod":
        raise InputError(f"{session.contract.model} compares identities: predict() takes one pair at a time, with nir=")
    size, waiting, first = batch or (1 if session.device == "cpu" else 8), iter(pictures), 0
    while part := list(islice(waiting, size)):
        items = [_numbered(first + index, one, depth_scale) for index, one in enumerate(part)]
        inputs = [preprocess.prepare(session.contract, item.rgb, item.depth) for item, _ in items]
        maps = session.run(**preprocess.together(inputs))["saliency"]
        for (item, has_depth), saliency in zip(items, maps, strict=True):
            yield from_saliency(session, item, saliency, has_depth, threshold)
        first += len(part)


def _numbered(number: int, one: Any, depth_scale: float | None) -> tuple[Item, bool]:
    """A picture, or a pair with its depth, as a frame, and whether it has depth; errors name the picture's number."""
    rgb, depth = one if isinstance(one, tuple) and len(one) == 2 else (one, None)
    try:
        item = frame_of(rgb, depth, None if depth is None else depth_scale)
    except ValueError as error:
        raise type(error)(f"picture {number}: {error}") from error
    return item, depth is not None


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold < 1:
        raise InputError(f"threshold is {threshold:g}, expected 0 or more and less than 1")


def _opened(model: Session | str | Path, device: Device = "auto") -> contextlib.AbstractContextManager[Session]:
    """The caller's own session, which stays open, or one that is opened and closed here."""
    if isinstance(model, Session):
        return contextlib.nullcontext(model)
    if not isinstance(model, (str, Path)):
        raise InputError(f"model is {type(model).__name__}, expected a session, a name or a path")
    from mutualformer.runtime import zoo

    return zoo.load(model, device)
