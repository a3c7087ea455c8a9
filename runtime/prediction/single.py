"""``mutualformer.predict(model, picture)``: one picture as a file or an array, with depth or without."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard, overload

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime import preprocess
from mutualformer.runtime.images import rendering
from mutualformer.runtime.images.salient import THRESHOLD
from mutualformer.runtime.prediction.result import Embedding, Prediction
from mutualformer.runtime.preprocess import InputError
from mutualformer.runtime.session import Session
from mutualformer.runtime.sources.depth_range import plausible
from mutualformer.runtime.sources.folders.file_frames import FileFrames, ReadOptions
from mutualformer.runtime.sources.frame import Item
from mutualformer.runtime.sources.pictures import read_colour
from mutualformer.runtime.sources.walk import Entry

PictureLike: TypeAlias = "str | os.PathLike[str] | NDArray[Any]"


def answer(session: Session, item: Item, *, has_depth: bool = True, threshold: float = THRESHOLD) -> Prediction:
    """Run a SOD model on one frame. ``has_depth``: False where the frame's depth is only a place-holder.

    The picture is stretched to the model's input size as in training and evaluation; the map comes back bilinearly.
    """
    inputs = preprocess.prepare(session.contract, item.rgb, item.depth)
    return from_saliency(session, item, session.run(**inputs)["saliency"][0], has_depth, threshold)


def from_saliency(
    session: Session, item: Item, saliency: NDArray[np.float32], has_depth: bool, threshold: float
) -> Prediction:
    """The model's map (h, w) → a prediction at the picture's own size."""
    mask = rendering.soft_mask(np.asarray(saliency, np.float32), item.rgb.shape[:2])
    depth = item.depth if has_depth else None
    return Prediction(item.rgb, mask, depth, item.name, session.contract.model, item.metric, threshold)


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
    rgb: PictureLike,
    depth: PictureLike | None = None,
    *,
    depth_scale: float | None = None,
    nir: PictureLike | None = None,
    threshold: float = THRESHOLD,
) -> Prediction | Embedding:
    """What ``model`` sees in one picture.

    ``model``: a session from :func:`mutualformer.load`, or what that takes (opened and closed for this one picture).
    ``rgb``: a file, or uint8 (H, W, 3) in RGB order (grey (H, W) is taken three times, an alpha plane dropped).
    ``depth``: none; a file; uint16 (H, W) with ``depth_scale``; or float metres (H, W), 0 or NaN = no measurement.
    ``depth_scale``: metres per unit of integer depth: 0.001 for millimetres, which 16-bit *files* have by default.
    ``nir``: the near-infrared picture, for ReID models only; the answer is then an :class:`Embedding`.
    ``threshold``: above which a pixel counts as salient for box, distance and binary mask.

    Raises InputError (an array does not fit), DataError or ImageError (a file cannot be read), and what
    :func:`mutualformer.load` raises.
    """
    if not 0 <= threshold < 1:
        raise InputError(f"threshold is {threshold:g}, expected 0 or more and less than 1")
    if not isinstance(model, (str, Path)):
        return _predict(model, rgb, depth, depth_scale, nir, threshold)
    from mutualformer.runtime import zoo

    with zoo.load(model) as session:
        return _predict(session, rgb, depth, depth_scale, nir, threshold)


def _predict(
    session: Session,
    rgb: PictureLike,
    depth: PictureLike | None,
    depth_scale: float | None,
    nir: PictureLike | None,
    threshold: float,
) -> Prediction | Embedding:
    contract = session.contract
    if contract.task == "reid":
        if nir is None or depth is not None:
            raise InputError(f"{contract.model} compares RGB-NIR pairs: give nir=, and no depth")
        colour, infrared = (_colour(picture) for picture in (rgb, nir))
        feature = session.run(**preprocess.prepare(contract, colour, infrared))["feature"][0]
        return Embedding(colour, infrared, np.asarray(feature, np.float32), _name(rgb), contract.model)
    if nir is not None:
        raise InputError(f"{contract.model} finds salient objects: it takes depth=, not nir=")
    item = _item(rgb, depth, depth_scale)
    return answer(session, item, has_depth=depth is not None, threshold=threshold)


def _item(rgb: PictureLike, depth: PictureLike | None, depth_scale: float | None) -> Item:
    """One frame from files, arrays, or one of each."""
    if depth is None:
        _say_once("no depth given: the model works from colour alone")
    if _is_file(rgb) and (depth is None or _is_file(depth)):
        options = ReadOptions(0.0 if depth_scale is None else _positive(depth_scale))
        return FileFrames([Entry(_name(rgb), Path(rgb), None if depth is None else Path(depth))], options)[0]
    if depth is None:
        colour = _colour(rgb)
        return Item(colour, np.zeros(colour.shape[:2], np.float32), None, _name(rgb))
    if _is_file(depth):
        raise InputError("rgb is an array and depth a file, expected both as arrays or both as files")
    # A file beside an array is read as stored: the array was made for the pixels that are in the file.
    colour = read_colour(Path(rgb)) if _is_file(rgb) else colour_array(np.asarray(rgb))
    metres = depth_array(np.asarray(depth), depth_scale)
    if clause := plausible(metres):
        _say_once(f"depth: {clause}; is it in metres?")
    return Item(colour, metres, None, _name(rgb))


def _is_file(picture: PictureLike) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(picture, (str, os.PathLike))


def _name(picture: PictureLike) -> str:
    return Path(picture).stem if _is_file(picture) else "picture"


def _colour(picture: PictureLike) -> NDArray[np.uint8]:
    if _is_file(picture):
        return read_colour(Path(picture), upright=True)
    return colour_array(np.asarray(picture))


def _positive(scale: float) -> float:
    if not (scale > 0 and np.isfinite(scale)):
        raise InputError(f"depth_scale is {scale:g}, expected metres per unit, for example 0.001 for millimetres")
    return scale


def colour_array(image: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3), (H, W, 4) or (H, W) → (H, W, 3). Raises InputError."""
    if image.dtype != np.uint8:
        hint = "; multiply a picture in [0, 1] by 255" if image.dtype.kind == "f" else ""
        raise InputError(f"rgb is {image.dtype} {image.shape}, expected uint8 (H, W, 3){hint}")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] not in (3, 4) or not image.size:
        raise InputError(f"rgb is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    return np.ascontiguousarray(image[..., :3])


def depth_array(depth: NDArray[Any], scale: float | None) -> NDArray[np.float32]:
    """uint16 (H, W) times ``scale``, or float metres (H, W) → float32 metres, 0 = no measurement. Raises InputError."""
    if depth.ndim != 2:
        raise InputError(f"depth is {depth.dtype} {depth.shape}, expected (H, W)")
    if depth.dtype.kind == "f":
        if scale is not None:
            raise InputError("depth is float, which is metres already: leave depth_scale out, or multiply it yourself")
        return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)
    if depth.dtype != np.uint16:
        raise InputError(f"depth is {depth.dtype}, expected uint16 with depth_scale, or float metres")
    if scale is None:
        raise InputError("depth is uint16 without a unit: give depth_scale in metres per unit, 0.001 for millimetres")
    return np.asarray(np.multiply(depth, np.float32(_positive(scale)), dtype=np.float32))


_reported: set[str] = set()


def _say_once(sentence: str) -> None:
    if sentence not in _reported:
        _reported.add(sentence)
        logging.getLogger("mutualformer").info("%s", sentence)
