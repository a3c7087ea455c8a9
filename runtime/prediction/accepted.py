"""Turn what :func:`mutualformer.predict` takes (files, bytes, arrays, PIL images, tensors) into one frame.

The same picture gives the same frame in every form: turned upright by its EXIF tag unless depth belongs to it, colours
as sRGB, wholly transparent pixels grey, depth by the one rule of :mod:`mutualformer.runtime.sources.depth`. PyTorch is
not imported here: a caller with a tensor has imported it.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import DataError, InputError
from mutualformer.runtime.sources.depth import MILLIMETRES, DepthRule, aligned, is_relative, stored_depth, to_metres
from mutualformer.runtime.sources.depth_range import plausible
from mutualformer.runtime.sources.folders.file_frames import FileFrames, ReadOptions
from mutualformer.runtime.sources.frame import Item
from mutualformer.runtime.sources.pictures import NEUTRAL, Picture, picture, read_bytes, read_picture
from mutualformer.runtime.sources.profiles import ink_to_srgb
from mutualformer.runtime.sources.walk import Entry

if TYPE_CHECKING:
    from PIL.Image import Image


class Tensor(Protocol):
    """The part of PyTorch's tensors that is used here."""

    def detach(self) -> Any:
        """The tensor without its graph."""

    def cpu(self) -> Any:
        """The tensor in the CPU's memory."""


PictureLike: TypeAlias = "str | os.PathLike[str] | bytes | NDArray[Any] | Image | Tensor"
UNNAMED = "picture"
_AS_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # Pillow modes that a PNG stores unchanged


def frame_of(rgb: Any, depth: Any, depth_scale: float | None) -> Item:
    """One frame for a detector; depth is all 0 where none is given. Raises InputError, DataError."""
    rgb, depth = (one.read() if hasattr(one, "read") else one for one in (rgb, depth))  # open files
    if depth is None:
        if depth_scale is not None:
            raise InputError(f"depth_scale is {depth_scale:g}, but there is no depth")
        seen = colour(rgb, upright=True)
        nothing = np.zeros(seen.rgb.shape[:2], np.float32)
        return Item(seen.rgb, nothing, None, name_of(rgb), True, seen.alpha, seen.icc, seen.original)
    if depth_scale is not None and not (depth_scale > 0 and np.isfinite(depth_scale)):
        raise InputError(f"depth_scale is {depth_scale:g}, expected metres per unit, for example 0.001 for millimetres")
    # Two files go the way of a folder with one pair, which looks for a declared unit and warns of implausible depth.
    if _is_file(rgb) and _is_file(depth):
        return FileFrames([Entry(name_of(rgb), Path(rgb), Path(depth))], ReadOptions(depth_scale or 0.0))[0]
    # Turning the picture by its EXIF tag would part it from its depth, which has no tag.
    seen = colour(rgb, upright=False)
    metres, metric = _depth(depth, depth_scale)
    height, width = seen.rgb.shape[:2]
    try:
        metres, _ = aligned(metres, (height, width))
    except DataError as error:
        raise InputError(str(error)) from error
    if clause := plausible(metres):
        warnings.warn(f"depth: {clause}; is it in metres?", stacklevel=3)
    return Item(seen.rgb, np.asarray(metres), None, name_of(rgb), metric, seen.alpha, seen.icc, seen.original)


def name_of(image: Any) -> str:
    """The name of an answer: the file's name without its suffix."""
    return Path(image).stem if _is_file(image) else UNNAMED


def colour(image: Any, upright: bool) -> Picture:
    """Read the colour image. ``upright``: turn it as its EXIF tag asks. Raises InputError, DataError."""
    if _is_file(image):
        return read_picture(Path(image), upright)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return picture(bytes(image), "the picture's bytes", upright)
    if _is_pillow(image):
        return _from_pillow(image, upright)
    array = colour_array(_array(image, "rgb"))
    if array.shape[2] == 3:
        return Picture(array)
    # What lies under wholly transparent pixels is arbitrary, often black or the editor's last colour. The model sees
    # grey there; the original colours are kept for the cut-out.
    alpha = np.ascontiguousarray(array[..., 3])
    shown = np.where(alpha[..., None] == 0, np.uint8(NEUTRAL), array[..., :3])
    if alpha.min() == 255:
        return Picture(np.ascontiguousarray(shown))
    return Picture(np.ascontiguousarray(shown), alpha, None, np.ascontiguousarray(array[..., :3]))


def colour_array(image: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) or (H, W, 4) as it is, (H, W) or (H, W, 1) → (H, W, 3). Raises InputError."""
    if image.dtype != np.uint8:
        hint = "; multiply a picture in [0, 1] by 255" if image.dtype.kind == "f" else ""
        raise InputError(f"rgb is {image.dtype} {image.shape}, expected uint8 (H, W, 3){hint}")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim == 3 and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.ndim != 3 or image.shape[2] not in (3, 4) or not image.size:
        many = "; predict_many takes several" if image.ndim == 4 else ""
        turned = "; transpose(1, 2, 0) puts channels last" if image.ndim == 3 and image.shape[0] in (3, 4) else many
        raise InputError(f"rgb is {image.dtype} {image.shape}, expected uint8 (H, W, 3){turned}")
    return np.ascontiguousarray(image)


def depth_array(depth: NDArray[Any], scale: float | None) -> NDArray[np.float32]:
    """Integers (H, W) of 16 or 32 bits times ``scale``, or float metres → float32 metres, 0 = no measurement.

    Raises InputError, also for integers without a scale: an array has no file format that would imply a unit.
    """
    # (1, H, W) and (H, W, 1) are common in PyTorch and OpenCV; any other third axis is an error.
    if depth.ndim == 3 and 1 in (depth.shape[0], depth.shape[2]):
        depth = depth[0] if depth.shape[0] == 1 else depth[..., 0]
    if depth.ndim != 2:
        raise InputError(f"depth is {depth.dtype} {depth.shape}, expected (H, W)")
    if depth.dtype.kind == "f":
        if scale is not None:
            raise InputError("depth is float, which is metres already: leave depth_scale out, or multiply it yourself")
    elif depth.dtype.kind not in "iu" or depth.dtype.itemsize not in (2, 4):
        raise InputError(f"depth is {depth.dtype}, expected uint16 with depth_scale, or float metres")
    elif scale is None:
        hint = "give depth_scale in metres per unit, 0.001 for millimetres"
        raise InputError(f"depth is {depth.dtype} without a unit: {hint}")
    try:
        return to_metres(depth, DepthRule(scale))
    except DataError as error:
        raise InputError(str(error)) from error


def _depth(depth: Any, scale: float | None) -> tuple[NDArray[np.float32], bool]:
    """The map in metres, and whether it has a unit: an 8-bit map in a file has none."""
    if _is_file(depth) or isinstance(depth, (bytes, bytearray, memoryview)):
        data = read_bytes(depth) if _is_file(depth) else bytes(depth)
        stored, rule = stored_depth(data, str(depth) if _is_file(depth) else "depth's bytes"), DepthRule(scale)
        return to_metres(stored, rule), not is_relative(stored, rule)
    array = _array(depth, "depth")
    if _is_pillow(depth) and depth.mode.startswith("I"):  # Pillow has the values of 16-bit files in 32 bits
        if array.min() < 0 or array.max() > np.iinfo(np.uint16).max:
            raise InputError(f"depth is a PIL image of {array.min()} … {array.max()}, expected 16-bit values")
        array, scale = array.astype(np.uint16), scale or MILLIMETRES
    # An array has no format that would imply a unit, so depth_scale must be given.
    return depth_array(array, scale), True


def _from_pillow(image: Any, upright: bool) -> Picture:
    """Read a PIL image through a PNG, so that palettes, transparency and profiles follow the rule for files."""
    from PIL import ImageOps

    if upright:
        image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    if (image.mode.startswith("I") and image.mode != "I;16") or image.mode == "F":
        raise InputError(f"rgb is a PIL image of mode {image.mode}, expected a picture: RGB, RGBA, L, P, CMYK or I;16")
    if image.mode not in _AS_PNG:
        inks = image.mode == "CMYK" and profile
        image, profile = ink_to_srgb(image) if inks else image.convert("RGB"), None
    # Compression would cost more time than the model; the bytes are read again at once.
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=0, icc_profile=profile)
    return picture(buffer.getvalue(), "the PIL image", upright=False)


def _array(value: Any, name: str) -> NDArray[Any]:
    """A tensor (channels moved last), or anything NumPy converts, as an array. Raises InputError."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        if str(value.dtype) == "torch.bfloat16":
            raise InputError(f"{name} is a bfloat16 tensor, expected uint8, or float32 metres for depth")
        value = value.detach().cpu().numpy()
        # Tensors usually have their channels first. A tensor of 3 rows or columns could be either, and a guess would
        # transpose the picture without a sign of it.
        first, last = value.ndim == 3 and value.shape[0] in (1, 3, 4), value.ndim == 3 and value.shape[2] in (1, 3, 4)
        if first and last:
            raise InputError(f"{name} is a tensor {value.shape}: is it (C, H, W) or (H, W, C)? make it an array")
        if first:
            value = np.ascontiguousarray(value.transpose(1, 2, 0))
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind in "USO" or not array.ndim:
        raise InputError(f"{name} is {type(value).__name__}, expected a path, bytes, an array, a PIL image or a tensor")
    return array


def _is_file(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _is_pillow(value: Any) -> bool:
    # By name and by methods, so that Pillow need not be imported for arrays and paths.
    return type(value).__module__.split(".")[0] == "PIL" or (hasattr(value, "getbands") and hasattr(value, "convert"))
