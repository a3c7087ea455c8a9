"""Activation ranges of a full-precision graph on calibration frames, by ONNX Runtime's calibrators."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    CalibrationMethod,
    TensorsData,
    create_calibrator,
)

from export.errors import ExportError
from runtime.progress import progress

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
MIN_FRAMES = 16
PERCENTILE = 99.999  # of 10⁵ … 10⁷ values per tensor: cuts sensor outliers and leaves the object
_CHUNK = 8  # frames whose intermediate tensors are in memory at once

Feed = dict[str, NDArray[Any]]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._left = list(reversed(feeds))

    def get_next(self) -> Feed | None:
        return self._left.pop() if self._left else None


def calibrate(model: onnx.ModelProto, feeds: Sequence[Feed], method: str, op_types: Sequence[str]) -> TensorsData:
    """Ranges of the inputs and outputs of every node of ``op_types``.

    ``feeds``: graph inputs frame by frame (``runtime.preprocess.prepare``). Raises ExportError for fewer than
    16 frames and for activations that are not finite.
    """
    if len(feeds) < MIN_FRAMES:
        raise ExportError(f"calibration has {len(feeds)} frames, expected at least {MIN_FRAMES}")
    options: dict[str, Any] = {"symmetric": True}
    if method == "percentile":
        options["percentile"] = PERCENTILE
    with tempfile.TemporaryDirectory(prefix="mutualformer-calibration-") as folder, _quiet():
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            str(path),
            list(op_types),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=METHODS[method],
            extra_options=options,
        )
        starts = range(0, len(feeds), _CHUNK)
        for start in progress(starts, f"calibration ({method}, groups of {_CHUNK} frames)"):
            calibrator.collect_data(_Reader(feeds[start : start + _CHUNK]))
        ranges: TensorsData = calibrator.compute_data()
    _check(ranges)
    return ranges


def _check(ranges: TensorsData) -> None:
    for name, data in ranges.items():
        low, high = (float(np.asarray(value).reshape(-1)[0]) for value in data.range_value)
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ExportError(f"calibration: activation {name!r} ranges over {low} … {high}, expected finite values")


@contextlib.contextmanager
def _quiet() -> Any:
    """ONNX Runtime's histogram calibrators print to standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
