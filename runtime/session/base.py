"""The Session interface that every backend implements, its errors, and reading a model file."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import ModelError
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import read_regular, reason
from mutualformer.runtime.preprocess import InputError, check

LARGEST_MODEL = 4 << 30  # bytes of a model file; an ONNX file cannot have more than 2 GiB
Arrays = dict[str, NDArray[Any]]
# "auto", "cpu", "cuda", "cuda:1", or ONNX Runtime's execution providers in order, each alone or with its options.
Device: TypeAlias = "str | Sequence[str | tuple[str, dict[str, Any]]]"
Opened = TypeVar("Opened", bound="Session")

KEEP_FP16 = "MUTUALFORMER_KEEP_FP16"  # environment variable: keep FP16 weights on a CPU; less memory, more time


class ModelFileError(ModelError, RuntimeError):
    """A model file cannot be used: names the file, what was found and expected, and what to do."""


class ModelOutputError(ModelError, RuntimeError):
    """A model answered with NaN or infinity: names the model, the tensor and the number of values."""


class Session(abc.ABC):
    """A loaded model.

    ``contract``: what the file promises. ``device``: where it runs. ``in_flight``: how many calls the backend
    overlaps; above 1 it has ``submit`` and ``collect`` as well. ``concurrent``: whether several threads may call
    ``run`` at once. ``largest_batch``: the most frames that one call takes. ``describe()``: backend, versions,
    precision and artifact hash, for reports and benchmarks.
    """

    contract: Contract
    device: str
    in_flight: int = 1
    concurrent: bool = False
    largest_batch: int = 1024

    def __repr__(self) -> str:
        height, width = self.contract.input_size
        return f"<{self.contract.model} {self.contract.precision}, {width}×{height}, {self.device}>"

    def run(self, **inputs: NDArray[Any]) -> Arrays:
        """Named graph inputs, batch first (``preprocess.prepare`` makes them) → named outputs, which the caller owns.

        Raises InputError naming the tensor that does not fit, ModelOutputError for an answer that is not finite.
        """
        return self._finite(self.run_unchecked(**inputs))

    def run_unchecked(self, **inputs: NDArray[Any]) -> Arrays:
        """As :meth:`run`, but answers may hold NaN and infinity (parity counts these)."""
        return self._run(self._checked(inputs))

    def _checked(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        specs = self.contract.inputs
        names = [spec.name for spec in specs]
        if set(inputs) != set(names):
            raise InputError(f"inputs are {', '.join(sorted(inputs)) or 'none'}, expected {', '.join(names)}")
        for spec in specs:
            check(spec, np.asarray(inputs[spec.name]))
        batches = {int(inputs[name].shape[0]) for name in names}
        if len(batches) != 1:
            raise InputError(f"inputs have batches {sorted(batches)}, expected one batch for all")
        return {name: np.ascontiguousarray(inputs[name]) for name in names}

    def _finite(self, outputs: Arrays) -> Arrays:
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                wrong = int(value.size - np.isfinite(value).sum())
                what = "NaN" if np.isnan(value).any() else "infinity"
                raise ModelOutputError(
                    f"{self.contract.model} ({self.contract.precision}) answered with {what}: {wrong} of {value.size} "
                    f"values of output {name!r}; its weights are corrupt or its precision overflows. Use the fp32 "
                    "file, and find the cause with `mutualformer parity`"
                )
        return outputs

    @abc.abstractmethod
    def _run(self, inputs: Arrays) -> Arrays: ...

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Backend and its version, device, precision, file and its sha256, for reports and benchmarks."""

    def close(self) -> None:  # noqa: B027 - most backends hold nothing
        """Release all resources; calling it twice is harmless."""

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def existing_file(path: str | Path, what: str = "model file") -> Path:
    """The path, or ModelFileError when it is missing or empty."""
    file = Path(path)
    if not file.is_file():
        raise ModelFileError(f"{file}: no such {what}")
    if file.stat().st_size == 0:
        raise ModelFileError(f"{file}: the {what} is empty (0 bytes); make it again")
    return file


def read_file(path: str | Path, what: str = "model file") -> bytes:
    """All bytes, read once, so that the bytes checked are the bytes used. Raises ModelFileError."""
    file = existing_file(path, what)
    try:
        return read_regular(file, LARGEST_MODEL)
    except OSError as error:
        raise ModelFileError(f"{file}: the {what} cannot be read: {reason(error)}") from error
