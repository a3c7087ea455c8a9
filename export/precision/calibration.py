"""Measures activation ranges on calibration frames: one histogram per tensor, and the range with the least squared
error, from rounding and clipping together (docs/quantization.md has the measurements)."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from mutualformer.export.errors import ExportError
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session.onnxruntime import session_options

MIN_FRAMES = 16
LEVELS = 127  # of a symmetric INT8 scale, on either side of zero
BINS = 8192
# Grey levels of 255. Below a mean of 16 a picture is dark, and a deviation up to 8 is sensor noise; else up to 2 is.
_DARK, _DARK_NOISE, _NOISE = 16, 8.0, 2.0
_ONE_DISTANCE = 1e-3  # of the mean: a smaller range of depth is one distance
_BLACK, _DEPTHLESS = 0.25, 0.5  # largest shares of blank pictures, of depth maps without relief

Feed = dict[str, NDArray[Any]]


@dataclass
class Histogram:
    """Counts of |x| in ``BINS`` equal bins up to ``top``. Exact zeros do not count: any scale represents them."""

    largest: float = 0.0
    top: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: NDArray[Any]) -> None:
        """Count values; ``top`` doubles, and bins merge in pairs, until they fit."""
        size = np.abs(values[values != 0].astype(np.float32))
        if not size.size:
            return
        largest = float(size.max())
        self.top = self.top or largest
        while self.top < largest:
            self.top *= 2
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
        index = np.minimum((size * (BINS / self.top)).astype(np.int64), BINS - 1)
        self.counts += np.bincount(index, minlength=BINS)
        self.largest = max(self.largest, largest)

    @property
    def centres(self) -> NDArray[np.float64]:
        """(BINS,) float64: the middle of each bin."""
        return np.asarray((np.arange(BINS) + 0.5) * (self.top / BINS), np.float64)


def best_limit(histogram: Histogram) -> float:
    """The limit with the least squared error among 100 between 1 % and 100 % of the largest value."""
    limits = histogram.largest * np.linspace(0.01, 1.0, 100)
    centres, counts = histogram.centres, histogram.counts

    def cost(limit: float) -> float:
        step = limit / LEVELS
        error = centres - step * np.minimum(np.round(centres / step), LEVELS)
        return float(counts @ (error * error))

    return float(min(limits, key=cost))


def check_frames(feeds: Sequence[Feed]) -> None:
    """Raise ExportError when too many frames are blank; warn when fewer than MIN_FRAMES of them differ.

    A camera with its cap on, or a depth map of holes, makes small activations, and scales made of them would clip those
    of real frames. A few such frames beside others do no harm.
    """
    for name in feeds[0] if feeds else ():
        empty = sum(map(_is_blank, (feed[name] for feed in feeds)))
        share = _DEPTHLESS if feeds[0][name].dtype == np.float32 else _BLACK
        if empty > share * len(feeds):
            what = (
                "measures no depth anywhere, or one distance,"
                if share == _DEPTHLESS
                else "shows nothing: black, or one colour"
            )
            raise ExportError(
                f"calibration: input {name!r} {what} in {empty} of {len(feeds)} frames, expected at most "
                f"{share:.0%}; give frames of what the model will see (--calibration DATA+DATA joins several)"
            )
    different = len({tuple(hashlib.sha256(one.tobytes()).digest() for one in feed.values()) for feed in feeds})
    if different < MIN_FRAMES:
        logging.getLogger("mutualformer").warning(
            "calibration: only %d of %d frames differ, expected %d; scales of so few may clip other frames",
            *(different, len(feeds), MIN_FRAMES),
        )


def _is_blank(values: NDArray[Any]) -> bool:
    """Whether a picture holds only noise, or a depth map only holes or one distance.

    One distance counts as blank because the network sees inverse depth less its mean."""
    if values.dtype == np.float32:
        measured = values[values > 0]
        return not measured.size or float(np.ptp(measured)) <= _ONE_DISTANCE * float(measured.mean())
    return float(values.std()) < (_DARK_NOISE if values.mean() < _DARK else _NOISE)


def collect(model: onnx.ModelProto, feeds: Sequence[Feed], names: Collection[str]) -> dict[str, Histogram]:
    """Histograms of the values ``names`` over all ``feeds`` (graph inputs frame by frame).

    Raises ExportError for fewer than 16 frames, for frames with nothing in them (:func:`check_frames`), and for values
    that are not finite.
    """
    if len(feeds) < MIN_FRAMES:
        raise ExportError(f"calibration has {len(feeds)} frames, expected at least {MIN_FRAMES}")
    check_frames(feeds)
    tensors = sorted(set(names))
    histograms = {name: Histogram() for name in tensors}
    session = _session_with_outputs(model, tensors)
    for feed in progress(feeds, f"calibration ({len(feeds)} frames)"):
        for name, values in zip(tensors, session.run(tensors, feed), strict=True):
            if not np.isfinite(values).all():
                raise ExportError(f"calibration: activation {name!r} holds NaN or infinity, expected finite values")
            histograms[name].add(values)
    return histograms


def limits(histograms: dict[str, Histogram]) -> dict[str, float]:
    """Largest magnitude that each tensor's scale shall represent; 1 for a tensor of zeros alone."""
    return {name: best_limit(h) if h.largest > 0 else 1.0 for name, h in histograms.items()}


def _session_with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> ort.InferenceSession:
    """A session of ``model`` with the values ``names`` as further outputs."""
    tapped = copy.deepcopy(model)
    present = {output.name for output in tapped.graph.output}
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    return ort.InferenceSession(tapped.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
