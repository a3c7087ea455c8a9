"""Known identities for ReID: a folder of image pairs becomes features once, then each live feature finds its nearest.

``DIR/rgb/IDENTITY_anything.png`` beside ``DIR/nir/IDENTITY_anything.png``; **the identity ends at the first
underscore**. Where that makes one identity of names that look like several (``car_red``, ``car_blue``), it is said.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mutualformer.runtime import preprocess
from mutualformer.runtime.images import ImageError, list_images, read_colour
from mutualformer.runtime.streaming.pipeline import Session

# What may follow an identity and still be one more view of it: a number, or a camera as in 0001_c2_05.
VIEW = re.compile(r"(c|cam|camera|v|view|s)?[0-9]+([-_.].*)?", re.IGNORECASE)


class GalleryError(ValueError):
    """The gallery folder cannot be used: says what is missing."""


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
    def build(cls, folder: Path, session: Session) -> Gallery:
        """Run the model on every pair of ``folder``. Raises GalleryError."""
        if session.contract.task != "reid":
            raise GalleryError(f"--gallery needs a reid model, {session.contract.model!r} is {session.contract.task}")
        try:
            rgb, nir = (list_images(folder / spectrum).files for spectrum in ("rgb", "nir"))
        except ImageError as error:
            raise GalleryError(f"gallery {folder}: expected the folders rgb and nir ({error})") from error
        names = [name for name in rgb if name in nir]
        if not names:
            raise GalleryError(f"gallery {folder}: no file name occurs in both rgb and nir")
        warn_merged(names)
        rows = []
        for name in tqdm(names, desc="gallery", unit="pair", delay=2):
            try:
                colour, infrared = read_colour(rgb[name]), read_colour(nir[name])
            except ImageError as error:
                raise GalleryError(f"gallery {folder}: {error}") from error
            inputs = preprocess.prepare(session.contract, colour, infrared)
            rows.append(np.asarray(session.run(**inputs)["feature"][0], np.float32))
        return cls(np.stack(rows), [identity(name) for name in names], [rgb[name] for name in names])


def identity(name: str) -> str:
    """``0001_c2_05`` → ``0001``: the identity ends at the first underscore."""
    return name.split("_")[0]


def warn_merged(names: Sequence[str]) -> None:
    """Say which names are taken as one identity although what follows the underscore is a word of their own."""
    groups: dict[str, list[str]] = {}
    for name in names:
        head, underscore, rest = name.partition("_")
        if underscore and VIEW.fullmatch(rest) is None:
            groups.setdefault(head, []).append(name)
    merged = [group for group in groups.values() if len(group) > 1]
    if merged:
        logging.getLogger("mutualformer").warning(
            "gallery: %s are taken as one identity %r, which ends at the first underscore%s; "
            "write %s if they are several",
            " and ".join(merged[0][:2]),
            identity(merged[0][0]),
            f" ({len(merged) - 1} more like it)" if len(merged) > 1 else "",
            merged[0][0].replace("_", "-"),
        )
