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


def answer(session: Session, item: Item, *, has_depth: bool = True, threshold: float = THRESHOLD) -> Prediction:
    """Run a SOD model on one frame. ``has_depth``: False where the frame's depth is only a place-holder.

    The picture is stretched to the model's input size as in training and evaluation; the map comes back bilinearly.
    """
    inputs = preprocess.prepare(session.contract, item.rgb, item.depth)
    return from_saliency(session, item, session.run(**inputs)["saliency"][0], has_depth, threshold)


def from_saliency(
    session: Session,
    item: Item,
    saliency: NDArray[np.float32],
    has_depth: bool,
    threshold: float,
    raw: bool = False,
) -> Prediction:
    """The model's map (h, w) → a prediction at the picture's own size."""
    return Prediction(
        item.rgb,
        np.asarray(saliency, np.float32),
        item.depth if has_depth else None,
        item.name,
        session.contract.model,
        item.metric,
        threshold,
        raw,
        getattr(item, "alpha", None),
        getattr(item, "icc", None),
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
    """What ``model`` sees in a picture, or in each of several.

    ``model``: a session from :func:`mutualformer.load`, or what that takes (opened and closed for this call).
    ``rgb``: a path; a file's bytes; uint8 (H, W, 3) in RGB order, (H, W) grey or (H, W, 4) with transparency, as an
    array or a PyTorch tensor, which may be (C, H, W) too; a PIL image of any mode, turned as its EXIF tag asks. A list
    or an iterator of these gives a list of answers; :func:`predict_many` gives them one by one.
    ``depth``: none; or the same forms: a file (16-bit: millimetres), uint16 (H, W) with ``depth_scale``, float metres
    (H, W), 0 or NaN = no measurement. Of a list of pictures a list.
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

    Raises InputError (what is handed in does not fit), DataError (a file cannot be read), ModelError as
    :func:`mutualformer.load`. Warns where depth is hardly in metres.
    """
    _check_threshold(threshold)
    with _opened(model) as session:
        if isinstance(rgb, (list, tuple, Iterator)):
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
            return _embedding(session, colour(rgb, True).rgb, colour(nir, True).rgb, name_of(rgb))
        if nir is not None:
            raise InputError(f"{session.contract.model} finds salient objects: it takes depth=, not nir=")
        item = frame_of(rgb, depth, depth_scale)
        return answer(session, item, has_depth=depth is not None, threshold=threshold)


def predict_many(
    model: Session | str | Path,
    pictures: Iterable[PictureLike | tuple[PictureLike, PictureLike | None]],
    *,
    depth_scale: float | None = None,
    threshold: float = THRESHOLD,
    batch: int = 0,
) -> Iterator[Prediction]:
    """The answers to ``pictures``, lazily and in their order: a folder of a million needs no more memory than a batch.

    ``pictures``: any iterable of what :func:`predict` takes, or of pairs (picture, depth). ``batch``: pictures per call
    of the model, 0 = one on a CPU, where more is no faster, eight on a GPU. The rest is as for :func:`predict`, also
    what it raises: the message says which picture it is, counted from 0.

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
    """Answers to the frames of a live source, one by one, until it ends or the loop is left; then all is closed.

    ``source``: any address that ``mutualformer stream`` takes: ``realsense://``, ``0`` (a webcam), ``rtsp://…``, a
    video, a recording, ``synthetic://``. A camera's frames are answered newest first and late ones dropped, a file's
    all and in order. ``model``: of salient objects, as for :func:`predict`. ``frames``: stop after so many.

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

    def answers() -> Iterator[Live]:
        with _opened(model, device) as session, contextlib.ExitStack() as stack:
            if session.contract.task != "sod":
                raise InputError(f"{session.contract.model} compares identities; stream() is for salient objects")
            results = Pipeline(lambda: opening.camera(source), session, frames=frames).results()
            stack.callback(results.close)
            for result in results:
                frame = result.frame
                item = Item(frame.rgb, frame.depth, None, f"frame-{frame.sequence:06d}")
                made = from_saliency(session, item, result.outputs["saliency"], bool(frame.depth.any()), threshold)
                known = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
                yield Live(**known, frame=frame, number=result.number, dropped=result.dropped,
                           latency_s=result.stages["total"])  # fmt: skip

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
        joined = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}
        maps = session.run(**joined)["saliency"]
        for (item, has_depth), saliency in zip(items, maps, strict=True):
            yield from_saliency(session, item, saliency, has_depth, threshold)
        first += len(part)


def _numbered(number: int, one: Any, depth_scale: float | None) -> tuple[Item, bool]:
    """A picture, or a pair with its depth, as a frame and whether it has depth; errors say which picture it is."""
    rgb, depth = one if isinstance(one, tuple) and len(one) == 2 else (one, None)
    try:
        item = frame_of(rgb, depth, None if depth is None else depth_scale)
    except ValueError as error:
        raise type(error)(f"picture {number}: {error}") from error
    return item, depth is not None


def _embedding(session: Session, rgb: NDArray[np.uint8], nir: NDArray[np.uint8], name: str) -> Embedding:
    feature = session.run(**preprocess.prepare(session.contract, rgb, nir))["feature"][0]
    return Embedding(rgb, nir, np.asarray(feature, np.float32), name, session.contract.model)


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold < 1:
        raise InputError(f"threshold is {threshold:g}, expected 0 or more and less than 1")


def _opened(model: Session | str | Path, device: Device = "auto") -> contextlib.AbstractContextManager[Session]:
    """A session of the caller's stays open; one that is opened here is closed here."""
    if isinstance(model, Session):
        return contextlib.nullcontext(model)
    if not isinstance(model, (str, Path)):
        raise InputError(f"model is {type(model).__name__}, expected a session, a name or a path")
    from mutualformer.runtime import zoo

    return zoo.load(model, device)
