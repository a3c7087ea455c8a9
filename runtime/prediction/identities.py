"""Re-identification: one feature a pair into a table, and the nearest known identities as pictures.

``OUT/features.csv`` has one row per pair (name, f0 … fN). With a gallery, ``OUT/matches.csv`` names the nearest
identities and ``OUT/matches/NAME.jpg`` shows them: the query pair first, then the answers with their similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.files import csv_table
from mutualformer.runtime.images import rendering
from mutualformer.runtime.prediction import sheet
from mutualformer.runtime.prediction.run import Report, Summary, batches, in_order
from mutualformer.runtime.prediction.saving import write_fast
from mutualformer.runtime.prediction.unique_names import Names
from mutualformer.runtime.prediction.work import BROKEN, given, sentence
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.session import Session
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.grammar import parse
from mutualformer.runtime.sources.inputs import SourceError, is_address, moments
from mutualformer.runtime.streaming.gallery import Gallery

ANSWERS = 5  # nearest identities that are reported for a pair


class Pair(NamedTuple):
    """One thing seen in two spectra, each (H, W, 3) uint8."""

    name: str
    rgb: NDArray[np.uint8]
    nir: NDArray[np.uint8]


Reader = Callable[[], Pair]


def pairs(source: str, size: tuple[int, int], limit: int | None) -> Iterator[tuple[str, Reader]]:
    """(name, reader) of every pair of a SOURCE: a ReID folder, ``reid:…``, ``synthetic:N``, or a source with NIR."""
    if is_address(source) or parse(source).kind in ("pairs", "tum"):
        for item in moments(source, limit):
            if item.nir is None:
                raise SourceError(f"{source}: gives no near-infrared image; use pairs:RGB_DIR,NIR_DIR?nir=1")
            yield item.name, given(Pair(item.name, item.rgb, item.nir))
        return
    data: Any = opening.identities(source, size)
    for index in range(len(data))[:limit]:
        yield f"{source} #{index}", partial(_read, data, index)


def _read(data: Any, index: int) -> Pair:
    item = data[index]
    return Pair(item.name, item.rgb, item.nir)


def extract(
    group: Sequence[tuple[str, Reader]], session: Session
) -> tuple[list[tuple[Pair, NDArray[np.float32]]], list[str]]:
    """Read one batch and run the model: (pair, feature (F,)) each, and why the others could not be read."""
    errors, read, inputs = [], [], []
    for _, reader in group:
        try:
            pair = reader()
            inputs.append(prepare(session.contract, pair.rgb, pair.nir))
            read.append(pair)
        except BROKEN as error:
            errors.append(sentence(error))
    if not read:
        return [], errors
    together = {key: np.concatenate([one[key] for one in inputs]) for key in inputs[0]}
    features = np.asarray(session.run(**together)["feature"], np.float32)
    return list(zip(read, features, strict=True)), errors


def predict_identities(
    sources: Sequence[str], session: Session, out: Path, *, gallery: Path | None, limit: int | None, batch: int
) -> Summary:
    """Write the feature of every pair of ``sources``, and its nearest identities where there is a gallery."""
    known = Gallery.open(gallery, session) if gallery is not None else None
    report, names = Report(None, reports_depth=False), Names()
    summary = report.summary
    with ExitStack() as stack:
        stack.callback(report.close)
        tables = [out / "features.csv", *([out / "matches.csv"] if known is not None else [])]
        writers = [stack.enter_context(csv_table(path)) for path in tables]
        stream = (pair for source in sources for pair in pairs(source, session.contract.input_size, limit))
        # One worker: it reads and runs the next batch while this thread writes the last one.
        for answers, errors in in_order(batches(stream, batch), partial(extract, session=session), 1):
            for error in errors:
                report.add(error, True)
            for pair, feature in answers:
                writers[0]({"name": pair.name, **{f"f{i}": f"{value:.8g}" for i, value in enumerate(feature)}})
                if known is not None:
                    _match(pair, feature, known, writers[1], out / "matches" / f"{names.give(pair.name)}.jpg")
                report.add("", True)
            summary.frames = summary.computed + summary.broken
    summary.files += tables
    return summary


def _match(
    pair: Pair, feature: NDArray[np.float32], known: Gallery, write: Callable[[dict[str, Any]], None], picture: Path
) -> None:
    """Write the nearest identities of one pair as rows and as a picture."""
    cells = [sheet.captioned(pair.rgb, "query"), sheet.captioned(pair.nir, "NIR")]
    for rank, (identity, similarity, seen) in enumerate(known.nearest(feature, ANSWERS), start=1):
        told = {"identity": identity, "similarity": f"{similarity:.4f}"}
        write({"name": pair.name, "rank": rank, **told})
        cells.append(sheet.captioned(seen, f"{identity} {similarity:.3f}"))
    write_fast(picture, rendering.jpeg(np.hstack(cells)))
