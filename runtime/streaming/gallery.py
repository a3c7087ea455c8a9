"""Known identities for ReID: features of a folder of image pairs, among which each new feature finds its nearest.

``DIR/rgb/IDENTITY_NUMBER.png`` beside ``DIR/nir/IDENTITY_NUMBER.png``: the identity is the name without the number
after its last underscore, so ``car_red_0`` and ``car_red_1`` are both ``car_red``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.runtime import preprocess
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import frames_in
from mutualformer.runtime.sources.pictures import read_colour
from mutualformer.runtime.streaming.flight import Runner

log = logging.getLogger("mutualformer")


class GalleryError(InputError):
    """The gallery folder cannot be used."""


class Gallery:
    """``features``: (M, F) float32, unit length, one row per image pair; ``identities``: their names.

    ``pictures``: the colour picture of each row, where the gallery came from files.
    """

    def __init__(
        self, features: NDArray[np.float32], identities: list[str], pictures: Sequence[Path] | None = None
    ) -> None:
        if len(features) != len(identities) or not identities:
            raise GalleryError(f"{len(features)} features for {len(identities)} identities, expected one each")
        self.features, self.identities = features, identities
        self.pictures = list(pictures) if pictures is not None else [Path()] * len(identities)

    def match(self, feature: NDArray[np.float32]) -> tuple[str, float]:
        """(F,) unit length → nearest identity and cosine similarity."""
        identity, similarity, _ = self.nearest(feature, 1)[0]
        return identity, similarity

    def nearest(self, feature: NDArray[np.float32], count: int) -> list[tuple[str, float, Path]]:
        """(F,) unit length → the ``count`` nearest rows, best first: identity, cosine similarity, colour picture."""
        similarity = self.features @ feature
        order = np.argsort(-similarity, kind="stable")[:count]
        return [(self.identities[row], float(similarity[row]), self.pictures[row]) for row in order]

    @classmethod
    def build(cls, folder: Path, session: Runner) -> Gallery:
        """Run the model on every pair of ``folder``. Raises GalleryError."""
        if session.contract.task != "reid":
            raise GalleryError(f"--gallery needs a reid model, {session.contract.model!r} is {session.contract.task}")
        try:
            rgb, nir = frames_in(folder / "rgb").files, frames_in(folder / "nir").files
        except DataError as error:
            raise GalleryError(f"gallery {folder}: expected the folders rgb and nir ({error})") from error
        names = [name for name in rgb if name in nir]
        if not names:
            raise GalleryError(f"gallery {folder}: no file name occurs in both rgb and nir")
        single = sorted(rgb.keys() ^ nir.keys())
        if single:
            log.warning(
                "gallery %s: %d pictures have no partner of the same name, left out: %s", folder, len(single), single[0]
            )
        rows = []
        for name in progress(names, "gallery"):
            inputs = preprocess.prepare(session.contract, read_colour(rgb[name]), read_colour(nir[name]))
            rows.append(np.asarray(session.run(**inputs)["feature"][0], np.float32))
        return cls(np.stack(rows), [identity_of(name) for name in names], [rgb[name] for name in names])


def identity_of(name: str) -> str:
    """A file's stem without the number after its last underscore."""
    return re.sub(r"(?<=.)_[0-9]+$", "", name)
