"""One frame to keep: everything at the picture's own size and aligned, without loss."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from mutualformer.runtime.images.finishing import finish, foreground
from mutualformer.runtime.images.rendering import cutout, grey, overlay, png
from mutualformer.runtime.preprocess import restore
from mutualformer.runtime.untrusted.finite import finite

if TYPE_CHECKING:
    from mutualformer.runtime.streaming.sinks import Result


def snapshot_zip(result: Result) -> bytes:
    """A ZIP file of PNG pictures of one size and one ``frame.json``.

    ``rgb.png``; ``depth_mm.png`` (uint16 millimetres), ``nir.png`` where there is one; with a saliency map ``mask.png``
    (soft, 0…255), ``cutout.png`` (RGBA), ``overlay.png``, and ``saliency.png``, the map at the model's own size.
    """
    frame = result.frame
    images: dict[str, Any] = {"rgb.png": frame.rgb}
    if frame.nir is not None:
        images["nir.png"] = frame.nir
    images["depth_mm.png"] = np.clip(np.rint(frame.depth * 1000), 0, 65535).astype(np.uint16)
    if "saliency" in result.outputs:
        saliency = result.outputs["saliency"]
        alpha = finish(saliency, frame.rgb)
        images["mask.png"] = grey(restore(saliency, (frame.rgb.shape[0], frame.rgb.shape[1])))
        images["cutout.png"] = cutout(foreground(frame.rgb, alpha), alpha)
        images["overlay.png"] = overlay(frame.rgb, alpha)
        images["saliency.png"] = grey(saliency)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, image in images.items():
            archive.writestr(name, png(image))
        archive.writestr("frame.json", json.dumps(finite(result.to_json()), indent=1, allow_nan=False))
    return out.getvalue()


def snapshot_name(result: Result, camera: int | None = None) -> str:
    """``mutualformer-000012.zip``; the number is ours, since a recording's may be anything. ``camera``: of several."""
    which = "" if camera is None else f"camera{camera + 1}-"
    return f"mutualformer-{which}{result.number:06d}.zip"
