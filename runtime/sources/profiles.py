"""Colour profiles (ICC): pictures in sRGB, on which models are trained, and other colours in a picture's profile."""

from __future__ import annotations

import contextlib
import io
import logging
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAME = 3  # levels; sRGB profiles of two makers differ by 1 or 2, the next narrowest gamut in use by more than 20
MODES = {"RGB": "RGB", "GRAY": "L"}  # the profile's colour space → Pillow's mode; `ink_to_srgb` is for CMYK


def to_srgb(rgb: NDArray[np.uint8], profile: bytes) -> tuple[NDArray[np.uint8], bool]:
    """(H, W, 3) in the profile's colours → in sRGB, the same array where nothing changes; and whether it was grey."""
    into, _, mode = _transforms(profile)
    return (rgb if into is None else _applied(into, rgb, mode)), mode == "L"


def from_srgb(rgb: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """(H, W, 3) in sRGB → in the colours of ``profile``, as near as these come."""
    out = _transforms(profile)[1] if profile else None
    return rgb if out is None else _applied(out, rgb, "RGB")


def ink_to_srgb(image: Any) -> Any:
    """Pillow's CMYK image → its RGB image by its profile; by Pillow's formula where it has none that can be used."""
    from PIL import ImageCms

    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):  # `to_srgb` warns of a corrupt profile
        own = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        return ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return image.convert("RGB")


def _applied(transform: Any, rgb: NDArray[np.uint8], mode: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageCms

    image = Image.fromarray(rgb if mode == "RGB" else np.ascontiguousarray(rgb[..., 0]))
    return np.asarray(ImageCms.applyTransform(image, transform), np.uint8)


@lru_cache(maxsize=8)
def _transforms(profile: bytes) -> tuple[Any, Any, str]:
    """To sRGB, back from it (RGB only), Pillow's mode; None for those that change nothing to be seen."""
    from PIL import ImageCms

    try:
        own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        mode = MODES.get(own.profile.xcolor_space.strip(), "")
        if not mode:
            return None, None, mode
        into = ImageCms.buildTransform(own, srgb, mode, "RGB")
        out = ImageCms.buildTransform(srgb, own, "RGB", "RGB") if mode == "RGB" else None
    except (ImageCms.PyCMSError, OSError, ValueError):
        logging.getLogger("mutualformer").warning("a colour profile is corrupt, its colours are taken as sRGB")
        return None, None, ""
    # A profile's name says little ("Linear sRGB" is not sRGB), so some colours are converted.
    levels = np.linspace(0, 255, 6).astype(np.uint8)
    probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    if mode == "L":
        probe = np.repeat(levels[None, :, None], 3, axis=2)
    changed = np.abs(_applied(into, probe, mode).astype(int) - probe).max() > SAME
    return (into, out, mode) if changed else (None, None, "RGB")
