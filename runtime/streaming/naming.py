"""Names for the objects of a frame: each box is cut out of both pictures, and its feature is looked up in a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images.objects import SalientObject
from mutualformer.runtime.preprocess import Runner, answer
from mutualformer.runtime.sources.frame import Frame, infrared
from mutualformer.runtime.streaming.gallery import Gallery

Box = tuple[float, float, float, float]
MARGIN = 0.07  # of the box's side, on each of them: as the boxes that reid-lite was trained on
AT_ONCE = 1  # objects that are looked up in one frame, so that a table full of them does not slow the stream down
AGAIN = 3  # frames from one look-up of a named object to the next: two models keep 20 frames a second on two CPU cores
NEW = 0.3  # weight of the newest feature in an object's smoothed one


def cut(picture: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The part of ``picture`` (H, W, 3) around ``box`` (left, top, right, bottom as fractions), at least one pixel."""
    height, width = picture.shape[:2]
    corners = np.array(box).reshape(2, 2)  # (left, top), (right, bottom)
    corners += MARGIN * (corners[1] - corners[0]) * ((-1.0,), (1.0,))
    (left, top), (right, bottom) = np.clip(corners, 0, 1) * (width, height)
    x, y = min(int(left), width - 1), min(int(top), height - 1)
    return np.ascontiguousarray(picture[y : max(y + 1, round(bottom)), x : max(x + 1, round(right))])


class Naming:
    """Names the objects of one source. ``session``: the ReID model, of which ``gallery`` holds features.

    An object that is followed keeps its name, and its features are averaged over the frames. New objects are looked up
    at once, named ones in every AGAINth frame; those that have waited longest come first.
    """

    def __init__(self, session: Runner, gallery: Gallery) -> None:
        self.session, self.gallery = session, gallery
        self._features: dict[int | None, NDArray[np.float32]] = {}
        self._looked: dict[int | None, int] = {}  # identity → number of the frame that it was looked up in
        self._frame = 0

    def feature(self, frame: Frame, box: Box) -> NDArray[np.float32]:
        """The feature of what ``box`` holds. The near-infrared picture counts as aligned to colour."""
        return answer(self.session, cut(frame.rgb, box), cut(infrared(frame.rgb, frame.nir), box))

    def __call__(self, frame: Frame, objects: Sequence[SalientObject]) -> tuple[SalientObject, ...]:
        """``objects`` with ``name`` and ``similarity``; an object that nobody has looked up yet has none."""
        self._frame += 1
        present = {one.identity for one in objects}
        for gone in self._features.keys() - present:
            if self._frame - self._looked[gone] > 100:
                del self._features[gone], self._looked[gone]
        waiting = sorted(objects, key=lambda one: self._looked.get(one.identity, -1))
        if self._frame % AGAIN:
            waiting = [one for one in waiting if one.identity not in self._looked]
        fresh = {}
        for one in waiting[: AT_ONCE if None not in present else None]:
            feature = self.feature(frame, one.box)
            if one.identity is not None:
                before = self._features.get(one.identity, feature)
                feature = before + np.float32(NEW) * (feature - before)
                feature /= np.linalg.norm(feature)
                self._features[one.identity], self._looked[one.identity] = feature, self._frame
            fresh[one.box] = feature
        return tuple(self._named(one, fresh.get(one.box, self._features.get(one.identity))) for one in objects)

    def _named(self, one: SalientObject, feature: NDArray[np.float32] | None) -> SalientObject:
        if feature is None:
            return one
        name, similarity = self.gallery.match(feature)
        return replace(one, name=name, similarity=similarity)
