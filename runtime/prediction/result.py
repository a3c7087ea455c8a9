"""One picture's answer: a :class:`Prediction` (salient object) or an :class:`Embedding` (re-identification)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images import rendering
from mutualformer.runtime.images.salient import THRESHOLD, SalientObject, salient_object
from mutualformer.runtime.prediction import files, show


@dataclass(frozen=True)
class Prediction:
    """What a SOD model says about one picture.

    ``rgb`` (H, W, 3) uint8, upright. ``mask`` (H, W) float32 in [0, 1]: how salient each pixel is, at the picture's
    own size. ``depth`` (H, W) float32 metres, 0 = no measurement, or None where there was none. ``metric``: False
    where ``depth`` is relative only (8-bit maps), so that no distance can be told. ``model``: its name.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.float32]
    depth: NDArray[np.float32] | None = None
    name: str = "picture"
    model: str = ""
    metric: bool = True
    threshold: float = field(default=THRESHOLD, repr=False)

    @cached_property
    def salient(self) -> SalientObject:
        """Share of the picture, box and distance of what lies above ``threshold``."""
        return salient_object(self.mask, self.depth if self.metric else None, self.threshold)

    @property
    def distance_m(self) -> float | None:
        """Median measured depth of the salient object in metres; None where nothing tells it."""
        return self.salient.distance_m

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) in pixels, right and bottom exclusive; None where nothing is salient."""
        if self.salient.box is None:
            return None
        height, width = self.mask.shape
        left, top, right, bottom = self.salient.box
        return round(left * width), round(top * height), round(right * width), round(bottom * height)

    def binary(self, threshold: float | None = None) -> NDArray[np.bool_]:
        """(H, W): the mask above ``threshold`` (this prediction's own, 0.5 unless it was made with another)."""
        return np.asarray(self.mask > (self.threshold if threshold is None else threshold))

    def cutout(self) -> NDArray[np.uint8]:
        """(H, W, 4) RGBA: the picture with the soft mask as alpha."""
        return rendering.cutout(self.rgb, self.mask)

    def overlay(self) -> NDArray[np.uint8]:
        """(H, W, 3): the picture, tinted where it is salient, darker elsewhere."""
        return rendering.overlay(self.rgb, self.mask)

    def contour(self) -> NDArray[np.uint8]:
        """(H, W, 3): the picture with a line around the salient object."""
        return rendering.contour(self.rgb, self.mask, self.threshold)

    def to_json(self) -> dict[str, Any]:
        """Box, distance and the mask as COCO has them, in plain JSON types.

        ``bbox``: [left, top, width, height] in pixels. ``segmentation``: COCO's uncompressed run-length code of the
        binary mask, column by column, starting with background. ``score``: mean of the soft mask inside.
        """
        inside, box = self.binary(), self.box
        return {
            "name": self.name,
            "model": self.model,
            "category": "salient",
            "size": list(self.mask.shape),
            "threshold": self.threshold,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]] if box else None,
            "area": int(inside.sum()),
            "score": round(float(self.mask[inside].mean()), 5) if box else 0.0,
            "distance_m": None if self.distance_m is None else round(self.distance_m, 3),
            "segmentation": run_lengths(inside),
        }

    def save(self, folder: str | Path, what: Sequence[str] = ("mask", "cutout", "overlay")) -> list[Path]:
        """Write the chosen kinds as ``FOLDER/KIND/NAME.png`` (or .jpg, .json); returns the paths.

        Kinds: mask, binary, cutout, overlay, contour, json.
        """
        kinds = files.kinds(what if isinstance(what, str) else ",".join(what))
        return files.write(self, Path(folder), kinds)

    def show(self) -> None:
        """Show picture, overlay and cut-out: in a notebook below the cell, elsewhere in the system's picture viewer.

        Raises InputError where there is neither; :meth:`save` then writes them.
        """
        show.show(rendering.png(show.sheet(self.rgb, self.overlay(), self.cutout())))

    def __repr__(self) -> str:
        height, width = self.rgb.shape[:2]
        depth = "without depth" if self.depth is None else "with depth"
        return f"<{type(self).__name__} {self.name!r} by {self.model}, {width}×{height} {depth}>"


@dataclass(frozen=True)
class Embedding:
    """What a ReID model says about one pair: ``feature`` (F,) float32, unit length; compare by dot product.

    ``rgb`` and ``nir`` (H, W, 3) uint8 as they were read.
    """

    rgb: NDArray[np.uint8]
    nir: NDArray[np.uint8]
    feature: NDArray[np.float32]
    name: str = "pair"
    model: str = ""

    def __repr__(self) -> str:
        return f"<Embedding {self.name!r} by {self.model}, {self.feature.size} values>"

    def similarity(self, other: Embedding) -> float:
        """Cosine similarity, 1 = the same."""
        return float(self.feature @ other.feature)


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed run-length code of a mask (H, W): {"size": [H, W], "counts": [...]}.

    Runs go down the columns and alternate, background first (0 long where the first pixel is salient), as
    pycocotools' ``frPyObjects`` reads them.
    """
    flat = np.asarray(mask, np.uint8).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate(([0], edges, [flat.size])))
    starts = [0] if flat.size and flat[0] else []
    return {"size": [int(side) for side in mask.shape], "counts": [*starts, *(int(count) for count in counts)]}
