"""Known identities for ReID: a folder of image pairs becomes features once, then each live feature finds its nearest.

``DIR/rgb/IDENTITY_anything.png`` beside ``DIR/nir/IDENTITY_anything.png``; the identity ends at the first underscore.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime import preprocess
from mutualformer.runtime.cameras.base import CameraError
from mutualformer.runtime.cameras.pairs import images
from mutualformer.runtime.cameras.tum import load_colour
from mutualformer.runtime.progress import progress
from mutualformer.runtime.streaming.pipeline import Session


class GalleryError(ValueError):
    """The gallery folder cannot be used: says what is missing."""


class Gallery:
    """``features``: (M, F) float32, unit length, one row per image pair; ``identities``: their names."""

    def __init__(self, features: NDArray[np.float32], identities: list[str]) -> None:
        if len(features) != len(identities) or not identities:
            raise GalleryError(f"{len(features)} features for {len(identities)} identities, expected one each")
        self.features, self.identities = features, identities

    def match(self, feature: NDArray[np.float32]) -> tuple[str, float]:
        """(F,) unit length → nearest identity and cosine similarity."""
        similarity = self.features @ feature
        best = int(np.argmax(similarity))
        return self.identities[best], float(similarity[best])

    @classmethod
    def build(cls, folder: Path, session: Session) -> Gallery:
        """Run the model on every pair of ``folder``. Raises GalleryError."""
        if session.contract.task != "reid":
            raise GalleryError(f"--gallery needs a reid model, {session.contract.model!r} is {session.contract.task}")
        try:
            rgb, nir = images(folder / "rgb"), images(folder / "nir")
        except CameraError as error:
            raise GalleryError(f"gallery {folder}: expected the folders rgb and nir ({error})") from error
        names = sorted(rgb.keys() & nir.keys())
        if not names:
            raise GalleryError(f"gallery {folder}: no file name occurs in both rgb and nir")
        rows = []
        for name in progress(names, "gallery"):
            inputs = preprocess.prepare(session.contract, load_colour(rgb[name]), load_colour(nir[name]))
            rows.append(np.asarray(session.run(**inputs)["feature"][0], np.float32))
        return cls(np.stack(rows), [name.split("_")[0] for name in names])
