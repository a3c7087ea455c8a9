"""Training batches of real photographs: which kind of frame every slot gets, a function of (seed, step, slot)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lab.photographs.faults import holed, spoil
from lab.photographs.mixture import Mixture
from lab.photographs.paste import Canvas
from lab.photographs.photographs import Photographs
from lab.photographs.plausible import plausible_depth
from lab.photographs.scenes import Composite, bystanders, into_sensor_frame, on_a_table
from lab.photographs.sensor import SensorFrames
from mutualformer.runtime.sources.frame import DataError, Frames, Item
from mutualformer.runtime.sources.masks import MIDDLE
from mutualformer.train.data.augment import augment
from mutualformer.train.fitting.batches.sod_batches import first_readable
from mutualformer.train.fitting.recipes import Recipe
from mutualformer.train.fitting.recipes.reading import record

Rng = np.random.Generator


SURELY_NOT, SURELY = 60, 150  # of 255: between them the teacher's word is worth nothing
CHANGED = 4.0  # grey levels from which on a pixel shows a bystander


class PhotoBatches:
    """A BatchSource: ``rgb`` uint8, ``depth`` float32, ``mask`` uint8 0 … 255, ``certain`` uint8 0 or 1.

    ``rendered``: synthetic scenes, or None (their share goes to the photographs).
    """

    def __init__(
        self,
        photographs: Photographs,
        sensor: SensorFrames | None,
        rendered: Frames | None,
        recipe: Recipe,
        seed: int,
    ) -> None:
        self.photographs, self.sensor, self.rendered = photographs, sensor, rendered
        self.batch, self.seed, self.augmentation = recipe.batch, seed, recipe.augmentation
        self.mixture = record(Mixture, recipe.mixture, "recipe.mixture.")
        total = sum(share for _, share in self.mixture.kinds())
        if abs(total - 1) > 1e-6:
            raise DataError(f"the mixture's shares sum to {total:.3f}, expected 1")

    def __len__(self) -> int:
        return len(self.photographs)

    def kind(self, rng: Rng) -> str:
        """The kind of frame for one slot; kinds without data fall to the photographs."""
        draw, name = float(rng.random()), "photograph"
        for kind, share in self.mixture.kinds():
            if draw < share:
                name = kind
                break
            draw -= share
        absent = (name == "rendered" and self.rendered is None) or (
            name in ("sensor", "taught") and self.sensor is None
        )
        return "photograph" if absent else name

    def _photograph(self, index: int, size: tuple[int, int], rng: Rng) -> Composite:
        item = augment(self.photographs[index], size, self.augmentation, rng)
        assert item.mask is not None
        rgb, depth, here = item.rgb, item.depth, None
        if rng.random() < self.mixture.bystanders:
            rgb, here = self._with_bystanders(item.rgb, item.mask, rng)
        if rng.random() < self.mixture.depth_of_photograph:
            depth = self._drawn(rgb, item.mask, rng, here)
        return Composite(rgb, depth, item.mask, np.ones(size, np.uint8))

    def _drawn(
        self, rgb: NDArray[np.uint8], mask: NDArray[np.uint8], rng: Rng, here: NDArray[np.uint8] | None = None
    ) -> NDArray[np.float32]:
        others = [self.photographs.outline(rng) for _ in range(int(rng.integers(0, 5)))]
        return plausible_depth(rgb, mask, rng, others, here)

    def _with_bystanders(
        self, rgb: NDArray[np.uint8], mask: NDArray[np.uint8], rng: Rng
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The picture with things that are background in it, and where they are (uint8, 0 or 1)."""
        solid = (mask > MIDDLE).astype(np.uint8)
        _, _, width, height = cv2.boundingRect(solid)
        canvas = Canvas(rgb.astype(np.float32), np.full(mask.shape, 1.0, np.float32), solid.copy(), np.ones_like(solid))
        bystanders(canvas, self.photographs, int(rng.integers(1, 3)), 0.6 * max(width, height), rng)
        changed = (np.abs(canvas.rgb - rgb).max(axis=2) > CHANGED).astype(np.uint8)
        return np.clip(canvas.rgb, 0, 255).astype(np.uint8), changed

    def _taught(self, size: tuple[int, int], rng: Rng) -> Composite:
        assert self.sensor is not None
        frame = self.sensor.window(size, rng, smallest=0.6)
        certain = (frame.salient < SURELY_NOT) | (frame.salient > SURELY)
        mask = np.where(frame.salient > SURELY, 255, 0).astype(np.uint8)
        return Composite(frame.rgb, frame.depth, mask, certain.astype(np.uint8))

    def frame(self, step: int, slot: int, size: tuple[int, int]) -> Composite:
        """The frame of one slot at ``size`` (height, width). Raises DataError where no file can be read."""
        return first_readable(lambda attempt: self._frame(step, slot, size, attempt))

    def _frame(self, step: int, slot: int, size: tuple[int, int], attempt: int) -> Composite:
        rng = np.random.default_rng([self.seed, 2, step, slot, *((attempt,) if attempt else ())])
        kind = self.kind(rng)
        if kind == "photograph":
            scene = self._photograph((self.index(step, slot) + attempt) % len(self.photographs), size, rng)
        elif kind == "rendered":
            assert self.rendered is not None
            item = augment(self.rendered[int(rng.integers(len(self.rendered)))], size, self.augmentation, rng)
            assert item.mask is not None
            scene = Composite(item.rgb, item.depth, item.mask, np.ones(size, np.uint8))
        else:
            if kind == "sensor":
                assert self.sensor is not None
                scene = into_sensor_frame(self.photographs, self.sensor, size, rng)
            elif kind == "table":
                scene = on_a_table(self.photographs, size, rng)
            else:
                scene = self._taught(size, rng)
            scene = self._augmented(scene, rng)
        return self._with_faults(scene, size, rng, kind == "table")

    def _with_faults(self, scene: Composite, size: tuple[int, int], rng: Rng, needed: bool) -> Composite:
        """``needed``: depth defines the frame's truth, so it may get holes and nothing worse."""
        depth, how = scene.depth, self.mixture
        if not depth.any():
            return scene
        draw = float(rng.random())
        if draw < how.holed:
            depth = holed(depth, float(rng.uniform(0.05, 0.6)), rng)
        elif needed:
            pass
        elif draw < how.holed + how.dropped:
            depth = np.zeros_like(depth)
        elif draw < how.holed + how.dropped + how.spoiled:
            if self.sensor is not None and rng.random() < 0.5:
                other = self.sensor.window(size, rng).depth
            else:
                item = self.photographs[int(rng.integers(len(self.photographs)))]
                assert item.mask is not None
                rgb, mask = (cv2.resize(x, size[::-1], interpolation=cv2.INTER_AREA) for x in (item.rgb, item.mask))
                other = self._drawn(rgb, mask, rng)
            depth = spoil(depth, np.ascontiguousarray(other), rng)
        return scene._replace(depth=depth)

    def index(self, step: int, slot: int) -> int:
        """Photographs in an order that visits each once per epoch of slots."""
        epoch, place = divmod(step * self.batch + slot, len(self.photographs))
        return int(np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.photographs))[place])

    def make(self, step: int, slots: range, side: int) -> dict[str, NDArray[Any]]:
        """The samples ``slots`` of optimiser step ``step``, stacked; ``side`` pixels square."""
        scenes = [self.frame(step, slot, (side, side)) for slot in slots]
        return {name: np.stack([getattr(scene, name) for scene in scenes]) for name in Composite._fields}

    def _augmented(self, scene: Composite, rng: Rng) -> Composite:
        """Appearance of a composite; it is at its size and place already."""
        how = replace(self.augmentation, crop=0.0, flip=0.0, holes=0.0, drop_rgb=0.0, drop_depth=0.0)
        item = augment(Item(scene.rgb, scene.depth, scene.mask, ""), scene.mask.shape, how, rng)
        return scene._replace(rgb=item.rgb)
