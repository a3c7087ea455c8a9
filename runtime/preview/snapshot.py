"""One frame to keep: everything at the picture's own size and aligned, without loss."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from mutualformer.runtime.images.finishing import finish, foreground
from mutualformer.runtime.images.rendering import cutout, grey, overlay, png
from mutualformer.runtime.preprocess import restore
from mutualformer.runtime.untrusted.finite import finite_json

if TYPE_CHECKING:
    from mutualformer.runtime.streaming.sinks import Result


def snapshot_zip(result: Result) -> bytes:
    """A ZIP file of PNG pictures of one size and one ``frame.json``.

    ``rgb.png``; ``depth_mm.png`` (uint16 millimetres), ``nir.png`` where there is one; with a saliency map ``mask.png``
    (soft, 0…255), ``cutout.png`` (RGBA), ``overlay.png``, and ``saliency.png``, the map at the model's own size.
    """
    rgb, nir = result.frame.rgb, result.frame.nir
    images: dict[str, Any] = {"rgb.png": rgb}
    if nir is not None:
        images["nir.png"] = nir
    images["depth_mm.png"] = np.clip(np.rint(result.frame.depth * 1000), 0, 65535).astype(np.uint16)
    if (saliency := result.outputs.get("saliency")) is not None:
        alpha = finish(saliency, rgb)
        images["mask.png"] = grey(restore(saliency, (rgb.shape[0], rgb.shape[1])))
        images["cutout.png"] = cutout(foreground(rgb, alpha), alpha)
        images["overlay.png"] = overlay(rgb, alpha)
        images["saliency.png"] = grey(saliency)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, image in images.items():
            archive.writestr(name, png(image))
        archive.writestr("frame.json", finite_json(result.to_json(), indent=1))
    return out.getvalue()
