"""One picture's answer: a :class:`Prediction` (salient object) or an :class:`Embedding` (re-identification)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images import rendering
from mutualformer.runtime.images.finishing import finish, foreground
from mutualformer.runtime.images.objects import THRESHOLD, SalientObject, find_objects, nearest_object_m, rounded
from mutualformer.runtime.prediction import look, saving, sheet, show
from mutualformer.runtime.prediction.look import Background
from mutualformer.runtime.prediction.unique_names import UNNAMED
from mutualformer.runtime.preprocess import restore


@dataclass(frozen=True)
class Prediction:
    """The answer of a SOD model to one picture.

    ``rgb`` (H, W, 3) uint8, upright. ``saliency`` (h, w) float32 in [0, 1]: how salient each pixel is, at the model's
    size or the picture's. ``depth`` (H, W) float32 metres, 0 = no measurement, or None where there was none.
    ``metric``: False where ``depth`` has no unit (8-bit maps): there are no distances then. ``model``: its
    name. ``threshold``: saliency above which a pixel counts as object. ``raw``: not finished. ``opacity`` (H, W)
    uint8: the picture's own transparency, None where it has none. ``icc``: its colour profile, which the cut-out keeps.
    """

    rgb: NDArray[np.uint8]
    saliency: NDArray[np.float32]
    depth: NDArray[np.float32] | None = None
    name: str = UNNAMED
    model: str = ""
    metric: bool = True
    threshold: float = field(default=THRESHOLD, repr=False)
    raw: bool = field(default=False, repr=False)
    opacity: NDArray[np.uint8] | None = field(default=None, repr=False)
    icc: bytes | None = field(default=None, repr=False)

    @property
    def mask(self) -> NDArray[np.float32]:
        """(H, W) float32 in [0, 1]: the soft mask at the picture's own size, as evaluation takes it.

        It is computed anew each time, and not kept in memory.
        """
        return restore(self.saliency, (self.rgb.shape[0], self.rgb.shape[1]))

    @cached_property
    def alpha(self) -> NDArray[np.uint8]:
        """(H, W) uint8: how much of each pixel is object, finished at the picture's own size (:mod:`.finishing`).

        The picture's own transparency is multiplied in. With ``raw`` the soft mask in 256 levels.
        """
        own = self._found_alpha
        return own if self.opacity is None else np.asarray(cv2.multiply(own, self.opacity, scale=1 / 255), np.uint8)

    @cached_property
    def _found_alpha(self) -> NDArray[np.uint8]:
        """``alpha`` without the picture's own transparency."""
        return rendering.grey(self.mask) if self.raw else finish(self.saliency, self.rgb, self.threshold)

    @cached_property
    def _found(self) -> tuple[tuple[SalientObject, ...], NDArray[np.uint8]]:
        return find_objects(self.saliency, self.depth if self.metric else None, salient=self.binary())

    @property
    def objects(self) -> tuple[SalientObject, ...]:
        """One entry for each connected salient region (split where the depth jumps), the nearest first."""
        return self._found[0]

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(H, W): each pixel's object, counted from 1 in the order of ``objects``; 0 where there is none."""
        return self._found[1]

    @property
    def nearest_object_m(self) -> float | None:
        """Metres to the nearest object (the median of its depth); None where none was measured."""
        return nearest_object_m(self.objects)

    def binary(self, threshold: float | None = None) -> NDArray[np.bool_]:
        """(H, W): what is salient. With a ``threshold`` the soft mask above it, not finished."""
        if threshold is None and not self.raw:
            return np.asarray(self.alpha > 127)
        return np.asarray(self.mask > (self.threshold if threshold is None else threshold))

    def cutout(self, background: Background = None, crop: bool = False) -> NDArray[np.uint8]:
        """(H, W, 4) RGBA: the picture with ``alpha``, and without the old background's colour along the edge.

        ``background``: upon a colour (r, g, b), a picture (h, w, 3) or "blur", then (H, W, 3). ``crop``: to the object.
        """
        # Colours under the picture's own transparency are free of any background already.
        front = self.rgb if self.raw else foreground(self.rgb, self._found_alpha)
        if background is None:
            image = rendering.cutout(front, self.alpha)
        else:
            image = look.composed(front, self.alpha, self.rgb, background, self.icc)
        return np.ascontiguousarray(image[look.cropping(self.alpha)]) if crop else image

    def overlay(self) -> NDArray[np.uint8]:
        """(H, W, 3): the picture, tinted where it is salient, darker elsewhere."""
        return rendering.overlay(self.rgb, self.alpha)

    def contour(self) -> NDArray[np.uint8]:
        """(H, W, 3): the picture with a line around what is salient."""
        return rendering.contour(self.rgb, self.binary().astype(np.uint8) * np.uint8(255))

    def annotated(self) -> NDArray[np.uint8]:
        """(H, W, 3): the overlay with each object's box and distance."""
        told = ("" if one.distance_m is None else f"{one.distance_m:.2f} m" for one in self.objects)
        boxes = (one.pixels(*self.alpha.shape) for one in self.objects)
        return rendering.boxes(self.overlay(), zip(boxes, told, strict=True))

    def thumbnail(self, scale: float) -> Prediction:
        """The same answer for a smaller picture: what is drawn small is shrunk first."""
        height, width = (max(1, round(side * scale)) for side in self.rgb.shape[:2])
        small = np.asarray(cv2.resize(self.rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        opacity = None if self.opacity is None else np.asarray(cv2.resize(self.opacity, (width, height)), np.uint8)
        return replace(self, rgb=small, depth=None, opacity=opacity)

    def to_json(self) -> dict[str, Any]:
        """The objects in plain JSON types, with their masks in COCO's format; the nearest object first.

        ``bbox``: [left, top, width, height] in pixels. ``segmentation``: COCO's uncompressed run-length code of the
        object's mask, column by column, starting with background. ``score``: mean of the soft mask inside.
        """
        objects = []
        for number, one in enumerate(self.objects, start=1):
            inside = self.labels == number
            left, top, right, bottom = one.pixels(*inside.shape)
            mask = {"bbox": [left, top, right - left, bottom - top], "segmentation": run_lengths(inside)}
            objects.append({"category": "salient", **one.numbers(), **mask, "area": int(inside.sum())})
        return {
            "name": self.name,
            "model": self.model,
            "size": list(self.labels.shape),
            "threshold": self.threshold,
            "nearest_object_m": rounded(self.nearest_object_m),
            "objects": objects,
        }

    def save(self, folder: str | Path, what: Sequence[str] = ("mask", "cutout", "overlay")) -> list[Path]:
        """Write the chosen kinds as ``FOLDER/KIND/NAME.png`` (or .jpg, .json); returns the paths.

        Kinds: mask, binary, cutout, overlay, contour, json. Files of another picture that this process saved are not
        overwritten, and for an array, which has no name, none that are there: ``-2``, ``-3``, … is added.
        """
        kinds = saving.kinds(what if isinstance(what, str) else ",".join(what))
        return saving.write(self, Path(folder), kinds, saving.free_name(self, Path(folder)))

    def show(self) -> None:
        """Show picture, overlay and cut-out: in a notebook below the cell, elsewhere in the system's picture viewer.

        Raises InputError where there is neither; :meth:`save` then writes them.
        """
        show.show(sheet.strip(self.rgb, [self], show.CELL))

    def __repr__(self) -> str:
        height, width = self.rgb.shape[:2]
        depth = "without depth" if self.depth is None else "with depth"
        return f"<{type(self).__name__} {self.name!r} by {self.model}, {width}×{height} {depth}>"


@dataclass(frozen=True)
class Embedding:
    """The answer of a ReID model to one pair: ``feature`` (F,) float32, unit length; compare by dot product.

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
