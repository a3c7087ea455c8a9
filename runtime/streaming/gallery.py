"""Known identities for ReID: features of their views, among which each new feature finds its nearest.

A gallery is one file: features, a thumbnail of each view, and the weights of the model that made them, since features
of different weights do not compare. It is an ``.npz`` archive without pickled objects. A folder serves as one too:
``DIR/rgb/IDENTITY_NUMBER.png`` beside ``DIR/nir/IDENTITY_NUMBER.png``, where the identity is the name without the
number after its last underscore.

The nearest identity is the answer where its similarity reaches the threshold, else "unknown". The threshold comes from
the model's card, which says how often it takes a stranger for something known.
"""

from __future__ import annotations

import json
import logging
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import replacing
from mutualformer.runtime.preprocess import Runner, answer
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import frames_in
from mutualformer.runtime.sources.pictures import read_colour
from mutualformer.runtime.untrusted.typed_json import parse_json

log = logging.getLogger("mutualformer")

UNKNOWN = "unknown"
THUMBNAIL = 96  # pixels of a thumbnail's side
MOST_BYTES = 1 << 30  # of an unpacked gallery; about 30,000 views
SCHEMA = 1
NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")  # of an identity


# Name, feature (F,) of unit length, colour picture (H, W, 3) uint8.
View = tuple[str, NDArray[np.float32], NDArray[np.uint8]]


class GalleryError(InputError):
    """The gallery cannot be used."""


class Gallery:
    """``features``: (M, F) float32, unit length, one row a view; ``identities``: their names.

    ``thumbnails``: (M, THUMBNAIL, THUMBNAIL, 3) uint8, the colour picture of each view. ``contract``: of the model.
    ``whole``: the views are whole frames, not the boxes of objects in them.
    """

    def __init__(
        self,
        contract: Contract,
        features: NDArray[np.float32] | None = None,
        identities: Sequence[str] = (),
        thumbnails: NDArray[np.uint8] | None = None,
        whole: bool = False,
    ) -> None:
        if contract.task != "reid":
            raise GalleryError(f"a gallery needs a reid model, {contract.model!r} is {contract.task}")
        self.contract, self.identities, self.whole = contract, list(identities), whole
        self.features = features if features is not None else np.zeros((0, 0), np.float32)
        side = (len(self.identities), THUMBNAIL, THUMBNAIL, 3)
        self.thumbnails = thumbnails if thumbnails is not None else np.zeros(side, np.uint8)
        if len(self.features) != len(self.identities) or self.thumbnails.shape != side:
            raise GalleryError(
                f"{len(self.features)} features, {len(self.identities)} names and thumbnails of "
                f"{self.thumbnails.shape}, expected one of each for every view"
            )

    @property
    def decision(self) -> dict[str, Any]:
        """What the model's card says of its decisions: ``threshold`` (cosine similarity), ``false_accepts``, ``found``.

        Empty where nobody measured them: then the nearest identity is always the answer.
        """
        found = self.contract.card.get("decision")
        return found if isinstance(found, dict) and isinstance(found.get("threshold"), float) else {}

    def match(self, feature: NDArray[np.float32]) -> tuple[str, float]:
        """(F,) unit length → nearest identity, or UNKNOWN below the threshold, and its cosine similarity."""
        nearest = self.nearest(feature, 1)
        if not nearest:
            return UNKNOWN, 0.0
        identity, similarity, _ = nearest[0]
        return (identity if similarity >= self.decision.get("threshold", -1.0) else UNKNOWN), similarity

    def nearest(self, feature: NDArray[np.float32], count: int) -> list[tuple[str, float, NDArray[np.uint8]]]:
        """(F,) unit length → the ``count`` nearest rows, best first: identity, cosine similarity, thumbnail."""
        if not self.identities:
            return []
        similarity = self.features @ feature
        order = np.argsort(-similarity, kind="stable")[:count]
        return [(self.identities[row], float(similarity[row]), self.thumbnails[row]) for row in order]

    def add(self, views: Iterable[View]) -> int:
        """Add views; returns how many. Raises GalleryError for a name that cannot be one."""
        names, features, thumbnails = [], [], []
        for name, feature, picture in views:
            if not NAME.fullmatch(name) or name == UNKNOWN:
                raise GalleryError(f"name {name!r:.80}: expected up to 64 printable characters, and not {UNKNOWN!r}")
            names.append(name)
            features.append(np.asarray(feature, np.float32))
            small = cv2.resize(picture, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
            thumbnails.append(np.asarray(small, np.uint8))
        if names:  # once for all of them: an array is copied whole whenever it grows
            self.features = np.stack([*self.features, *features])
            self.thumbnails = np.stack([*self.thumbnails, *thumbnails])
            self.identities += names
        return len(names)

    def remove(self, name: str) -> int:
        """Forget all views of ``name``; returns how many there were. Raises GalleryError for an unknown name."""
        kept = [row for row, other in enumerate(self.identities) if other != name]
        gone = len(self.identities) - len(kept)
        if not gone:
            raise GalleryError(f"{name!r} is not in the gallery, which knows {', '.join(self.names) or 'nothing'}")
        self.identities = [self.identities[row] for row in kept]
        self.features, self.thumbnails = self.features[kept], self.thumbnails[kept]
        return gone

    @property
    def names(self) -> list[str]:
        """The identities, each once, in the order in which they came."""
        return list(dict.fromkeys(self.identities))

    def save(self, path: Path) -> None:
        """Write the gallery as one file."""
        about = {
            "schema": SCHEMA,
            "model": self.contract.model,
            "weights_sha256": self.contract.weights_sha256,
            "identities": self.identities,
            "whole": self.whole,
        }
        with replacing(path) as beside, open(beside, "wb") as stream:
            text = np.frombuffer(json.dumps(about).encode(), np.uint8)
            np.savez_compressed(stream, about=text, features=self.features, thumbnails=self.thumbnails)

    @classmethod
    def load(cls, path: Path, contract: Contract) -> Gallery:
        """Read a gallery that a model of the same weights made. Raises GalleryError."""
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(part.file_size for part in archive.infolist()) > MOST_BYTES:
                    raise GalleryError(f"{path}: unpacks to more than {MOST_BYTES >> 20} MiB, expected a gallery")
            with np.load(path, allow_pickle=False) as stored:
                about = parse_json(bytes(stored["about"]).decode(), "gallery", ValueError)
                features, thumbnails = stored["features"], stored["thumbnails"]
                names, whole, sha = about["identities"], about["whole"], about["weights_sha256"]
            valid = features.dtype == np.float32 and thumbnails.dtype == np.uint8 and features.ndim == 2
            if about["schema"] != SCHEMA or not valid or not all(map(NAME.fullmatch, names)):
                raise ValueError("another schema")
        except GalleryError:
            raise
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise GalleryError(f"{path}: is no gallery ({error}); make one with mutualformer gallery enrol") from error
        if sha != contract.weights_sha256:
            raise GalleryError(
                f"{path}: was made with {about['model']} of other weights ({str(sha)[:12]}…) than those of this "
                f"{contract.model} ({contract.weights_sha256[:12]}…); enrol the things again"
            )
        return cls(contract, features, names, thumbnails, bool(whole))

    @classmethod
    def open(cls, path: Path, session: Runner) -> Gallery:
        """A gallery's file, or a folder of pairs through ``session``. Raises GalleryError."""
        return cls.build(path, session) if path.is_dir() else cls.load(path, session.contract)

    @classmethod
    def build(cls, folder: Path, session: Runner) -> Gallery:
        """Run the model on every pair of ``folder``. Raises GalleryError."""
        gallery = cls(session.contract, whole=True)
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

        def views() -> Iterator[View]:
            for name in progress(names, "gallery"):
                picture = read_colour(rgb[name])
                yield identity_of(name), answer(session, picture, read_colour(nir[name])), picture

        gallery.add(views())
        return gallery


def identity_of(name: str) -> str:
    """A file's stem without the number after its last underscore."""
    return re.sub(r"(?<=.)_[0-9]+$", "", name)
