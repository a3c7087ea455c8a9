"""The sources of a run, with a pipeline each, and the model that they share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.preprocess import Runner
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.recorder import Recorder


class StreamError(InputError):
    """The run cannot start or continue."""


@dataclass
class LiveSource:
    """One source of the run: its pipeline, its recorder where there is one, and the error that ended it.

    ``label``: "camera1", "camera2", … where there are several, else empty.
    """

    uri: str
    pipeline: Pipeline
    label: str = ""
    recorder: Recorder | None = None
    error: Exception | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Run to the end on this thread; an error is kept for the main thread."""
        try:
            self.summary = self.pipeline.run()
        except Exception as error:
            self.error = error
            self.summary = self.pipeline.snapshot(whole=True)


class SharedSession:
    """One model for several pipelines, one frame at a time: sessions and their buffers are not safe to share."""

    def __init__(self, session: Runner) -> None:
        self._session, self._turn = session, threading.Lock()

    @property
    def contract(self) -> Contract:
        """The contract of the one model."""
        return self._session.contract

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """As the session's own; the outputs are copies, since the next caller reuses its buffers."""
        with self._turn:
            return {name: np.array(value) for name, value in self._session.run(**inputs).items()}
