"""Re-identification: one feature a pair into a table, and the nearest known identities as pictures.

``OUT/features.csv`` has a row a pair (name, f0 … fN). With a gallery, ``OUT/matches.csv`` names the nearest ones and
``OUT/matches/NAME.jpg`` shows them: the asking pair first, then the answers with their similarity.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.files import replacing, spreadsheet
from mutualformer.runtime.images import rendering
from mutualformer.runtime.prediction import sheet
from mutualformer.runtime.prediction.run import Report, Summary, batches, in_order
from mutualformer.runtime.prediction.saving import write_fast
from mutualformer.runtime.prediction.unique_names import Names
from mutualformer.runtime.prediction.work import BROKEN
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.session import Session
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.grammar import parse
from mutualformer.runtime.sources.inputs import SourceError, is_address, moments
from mutualformer.runtime.sources.pictures import read_colour
from mutualformer.runtime.streaming.gallery import Gallery

ANSWERS = 5


@dataclass(frozen=True)
class Pair:
    """One thing seen in two spectra: (H, W, 3) uint8 each."""

    name: str
    rgb: NDArray[np.uint8]
    nir: NDArray[np.uint8]


@dataclass
class Features:
    """One batch's outcome: (pair, feature (F,)) each, and the reasons of those that could not be read."""

    pairs: list[tuple[Pair, NDArray[np.float32]]]
    errors: list[tuple[str, str]]


def pairs(source: str, size: tuple[int, int], limit: int | None) -> Iterator[tuple[str, Any]]:
    """(name, reader) of every pair of a SOURCE: a ReID folder, ``reid:…``, ``synthetic:N``, or a source with NIR."""
    if is_address(source) or parse(source).kind in ("pairs", "tum"):
        for moment in moments(source, limit):
            if moment.nir is None:
                raise SourceError(f"{source}: gives no near-infrared image; use pairs:RGB_DIR,NIR_DIR?nir=1")
            pair = Pair(moment.item.name, moment.item.rgb, moment.nir)
            yield pair.name, lambda pair=pair: pair
        return
    data: Any = opening.identities(source, size)
    for index in range(len(data) if limit is None else min(limit, len(data))):
        yield f"{source} #{index}", partial(_read, data, index)


def _read(data: Any, index: int) -> Pair:
    item = data[index]
    return Pair(item.name, item.rgb, item.nir)


def extract(group: Sequence[tuple[str, Any]], session: Session) -> Features:
    """Read one batch and run the model on it."""
    outcome, read, inputs = Features([], []), [], []
    for name, reader in group:
        try:
            pair = reader()
            inputs.append(prepare(session.contract, pair.rgb, pair.nir))
            read.append(pair)
        except BROKEN as error:
            outcome.errors.append((name, " ".join(str(error).split()) or type(error).__name__))
    if read:
        together = {key: np.concatenate([one[key] for one in inputs]) for key in inputs[0]}
        features = np.asarray(session.run(**together)["feature"], np.float32)
        outcome.pairs = list(zip(read, features, strict=True))
    return outcome


def predict_identities(
    sources: Sequence[str], session: Session, out: Path, *, gallery: Path | None, limit: int | None, batch: int
) -> Summary:
    """Features of every pair of ``sources``; matches against ``gallery`` where there is one. See the module's text."""
    known = Gallery.build(gallery, session) if gallery is not None else None
    report, written = Report(None, says_depth=False), [out / "features.csv"]
    names = Names()
    with ExitStack() as stack:
        table = _Table(stack, out / "features.csv")
        matches = _Table(stack, out / "matches.csv") if known is not None else None
        stream = (pair for source in sources for pair in pairs(source, session.contract.input_size, limit))
        # One worker: it reads and runs the next batch while this thread writes the last one.
        for outcome in in_order(batches(stream, batch), partial(extract, session=session), 1):
            for _, error in outcome.errors:
                report.add(error, True)
            for pair, feature in outcome.pairs:
                table.write(["name", *(f"f{i}" for i in range(len(feature)))], [pair.name, *map(_number, feature)])
                if known is not None and matches is not None:
                    _match(pair, feature, known, matches, out / "matches" / f"{names.give(pair.name)}.jpg")
                report.add("", True)
            report.summary.frames += len(outcome.errors) + len(outcome.pairs)
    report.close()
    if known is not None:
        written.append(out / "matches.csv")
    report.summary.files += written
    return report.summary


def _number(value: np.float32) -> str:
    return f"{float(value):.8g}"


def _match(pair: Pair, feature: NDArray[np.float32], known: Gallery, table: _Table, picture: Path) -> None:
    """The nearest identities of one pair, as rows and as a picture."""
    answers = known.nearest(feature, ANSWERS)
    for rank, (identity, similarity, path) in enumerate(answers, start=1):
        table.write(
            ["name", "rank", "identity", "similarity", "picture"],
            [pair.name, rank, identity, f"{similarity:.4f}", path.name],
        )
    cells = [sheet.captioned(pair.rgb, "query"), sheet.captioned(pair.nir, "NIR")]
    for identity, similarity, path in answers:
        cells.append(sheet.captioned(read_colour(path), f"{identity} {similarity:.3f}"))
    write_fast(picture, rendering.jpeg(np.hstack(cells)))


class _Table:
    """A CSV file written row by row beside its place and put there at the end."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        beside = stack.enter_context(replacing(path))
        self._writer = csv.writer(stack.enter_context(beside.open("w", newline="", encoding="utf-8")))
        self._header = False

    def write(self, header: Iterable[str], row: Iterable[Any]) -> None:
        """One row; the header goes before the first."""
        if not self._header:
            self._writer.writerow(header)
            self._header = True
        self._writer.writerow(spreadsheet(dict(enumerate(row))).values())
