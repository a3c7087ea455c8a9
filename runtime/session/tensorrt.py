"""TensorRT backend (classic or RTX). Every check is made before TensorRT reads a byte of the engine."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.plugins import library
from mutualformer.runtime import flavor
from mutualformer.runtime.preprocess import InputError
from mutualformer.runtime.session import engine_card
from mutualformer.runtime.session.base import Arrays, ModelFileError, Session, read_file
from mutualformer.runtime.session.buffers import Binding, Slot
from mutualformer.runtime.session.cuda import CudaError, Driver, open_driver
from mutualformer.runtime.session.engine_card import EngineCard
from mutualformer.runtime.session.rtx_cache import RuntimeCache

log = logging.getLogger("mutualformer")

_WARM_UP = 5  # calls of each slot: the second one records its graph, the others raise the clocks


def _graphs_wanted() -> bool:
    """Environment MUTUALFORMER_CUDA_GRAPHS=off launches kernels one by one, to measure what graphs gain."""
    return os.environ.get("MUTUALFORMER_CUDA_GRAPHS", "on") != "off"


class EngineSession(Session):
    """One engine on GPU 0, in the primary context. Any thread may use it; each slot runs one call at a time.

    ``submit``/``collect`` keep up to ``in_flight`` calls in flight; ``run`` is both in one. A call
    leaves the calling thread's current CUDA context as it was, also when it raises.
    """

    def __init__(
        self, path: Path, card: EngineCard, data: bytes, trt: ModuleType, driver: Driver, slots: int = 2
    ) -> None:
        """``data``: the engine's bytes, those whose hash was checked. Raises ModelFileError."""
        self.path, self.card, self.contract, self.device = path, card, card.contract, "cuda"
        self.gpu, self.in_flight, self.largest_batch = driver.gpu, max(1, slots), card.profile[2]
        self._trt, self._driver = trt, driver
        self._lock = threading.Lock()
        self._flying: deque[Slot] = deque()
        self._slots: list[Slot] = []
        # In this order: what costs nothing first, and nothing is loaded into this process before its hash is known.
        engine_card.verify_host(path, card, str(trt.__version__), driver.capability)
        if card.cda_nodes:
            engine_card.verify_plugin(path, card, library.find())
            library.load(card.flavor)
        # Compiled kernels are bound to the engine and the GPU; a cache of another pair is ignored.
        self._cache = RuntimeCache(path, card.engine_sha256, driver.gpu)
        with driver.context():
            try:
                self._open(data)
            except BaseException:
                self._drop()
                raise

    @classmethod
    def open(cls, path: Path, device: str = "auto", threads: int = 0) -> EngineSession:
        """Check the card and the file's hash, find TensorRT and CUDA, load and warm up. Raises ModelFileError.

        ``threads`` has no effect on an engine.
        """
        card = engine_card.read(path)
        # The file is read once. These bytes are hashed and handed to TensorRT, so a file that is swapped meanwhile has
        # no effect.
        data = read_file(path, "engine")
        engine_card.verify_bytes(path, card, data)
        if device not in ("auto", "cuda", "cuda:0", "cpu"):
            raise ModelFileError(f"{path}: device is {device}; let CUDA_VISIBLE_DEVICES choose the GPU of an engine")
        if device == "cpu":
            raise ModelFileError(f"{path}: an engine runs on a GPU only; load the .onnx file for --device cpu")
        try:
            session = cls(path, card, data, flavor.import_flavor(card.flavor), open_driver())
        except CudaError as error:
            raise ModelFileError(
                f"{path}: running an engine needs an NVIDIA GPU, its driver and cuda-bindings or pycuda ({error}); "
                "run the .onnx file instead"
            ) from error
        except (flavor.FlavorError, library.PluginError) as error:
            raise ModelFileError(f"{path}: {error}") from error
        # TensorRT loads kernels lazily, so without it the first frames of a stream would come late.
        session.warm_up()
        return session

    def _open(self, data: bytes) -> None:
        trt, card = self._trt, self.card
        self._logger = trt.Logger(trt.Logger.WARNING)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise ModelFileError(
                f"{self.path}: TensorRT cannot load it; its log above says why. Rebuild: {card.rebuild}"
            )
        bindings = [self._binding(self._engine.get_tensor_name(i)) for i in range(self._engine.num_io_tensors)]
        self._config = self._runtime_config()
        # A graph inside a graph cannot be recorded.
        graphs = self._config is None and _graphs_wanted()  # TensorRT-RTX records its own
        for _ in range(self.in_flight):
            self._slots.append(Slot(self._driver, self._new_context, bindings, card.profile[2], graphs))
        # First in, first out: slots take turns, so all of them stay warm.
        self._free = deque(self._slots)

    def _binding(self, name: str) -> Binding:
        trt, engine = self._trt, self._engine
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        return Binding(name, dtype, tuple(engine.get_tensor_shape(name))[1:], is_input)

    def _runtime_config(self) -> Any:
        """The runtime configuration of TensorRT-RTX; None on classic TensorRT.

        It switches on TensorRT-RTX's own CUDA graphs, specialises kernels for the shapes at once instead of among the
        first frames, and shares one cache of compiled kernels, kept in a file, among all contexts.
        """
        trt = self._trt
        if not hasattr(trt, "CudaGraphStrategy"):
            return None
        config = self._engine.create_runtime_config()
        strategy = trt.CudaGraphStrategy
        config.cuda_graph_strategy = strategy.WHOLE_GRAPH_CAPTURE if _graphs_wanted() else strategy.DISABLED
        if hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
            # Lazy specialisation would compile during the first frames, and each of these would come late.
            eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
            config.dynamic_shapes_kernel_specialization_strategy = eager
        if hasattr(config, "create_runtime_cache"):
            self._cache.attach(config)
        return config

    def _new_context(self) -> Any:
        arguments = () if self._config is None else (self._config,)
        context = self._engine.create_execution_context(*arguments)
        if context is None:
            raise ModelFileError(
                f"{self.path}: TensorRT could not make an execution context, perhaps for lack of GPU memory; its log "
                "above says why. Close other programs on the GPU, or build with a smaller --batch MAX"
            )
        return context

    def warm_up(self) -> None:
        """Call every slot a few times: then kernels are compiled and clocks are up.

        What TensorRT-RTX compiled meanwhile is saved to a file for the next start.
        """
        # The optimal batch of the profile is the one that streams use; other batches warm up when they come.
        batch = self.card.profile[1]
        inputs = {spec.name: np.zeros((batch, *spec.shape[1:]), spec.dtype) for spec in self.contract.inputs}
        for _ in range(_WARM_UP):
            for _ in range(self.in_flight):
                self.submit(**inputs)
            for _ in range(self.in_flight):
                self._collect()
        self._cache.save()

    def _start(self, inputs: Arrays) -> Slot:
        batch = next(iter(inputs.values())).shape[0]
        # TensorRT would refuse such a shape too, but only in its log.
        low, _, high = self.card.profile
        if not low <= batch <= high:
            raise InputError(
                f"batch is {batch}, {self.path.name} was built for {low} to {high} (to_trt --batch MIN OPT MAX)"
            )
        with self._lock:
            if not self._slots:
                raise InputError(f"{self.path.name}: the session is closed")
            if not self._free:
                raise InputError(f"{len(self._slots)} calls are in flight already; collect one first")
            slot = self._free.popleft()
            try:
                with self._driver.context():
                    slot.submit(inputs)
            except BaseException:
                self._free.append(slot)
                raise
        return slot

    def _finish(self, slot: Slot) -> Arrays:
        """Wait without holding the lock, so that another thread can submit meanwhile."""
        try:
            with self._driver.context():
                return slot.collect()
        finally:
            with self._lock:
                self._free.append(slot)

    def _collect(self) -> Arrays:
        with self._lock:
            if not self._flying:
                raise InputError("no call is in flight; submit one first")
            # Answers come in the order of the calls, so the caller needs no ticket.
            slot = self._flying.popleft()
        return self._finish(slot)

    def submit(self, **inputs: NDArray[Any]) -> None:
        """Queue one call. Raises InputError on a bad tensor, a batch outside of the profile, or no free slot."""
        slot = self._start(self._checked(inputs))
        with self._lock:
            self._flying.append(slot)

    def collect(self) -> Arrays:
        """Outputs of the oldest submitted call, waiting for it. Raises ModelOutputError when they are not finite."""
        return self._finite(self._collect())

    def _run(self, inputs: Arrays) -> Arrays:
        return self._finish(self._start(inputs))

    def describe(self) -> dict[str, Any]:
        """As Session.describe; "cuda" names the package that makes the driver calls."""
        return {
            "file": self.path.name,
            "sha256": self.card.engine_sha256,
            "backend": f"{self.card.flavor} {self.card.builder_version}",
            "device": self.gpu,
            "cuda": self._driver.package,
            "precision": self.card.requested_precision,
        }

    def _drop(self) -> None:
        """Release everything on the GPU, the newest first. The driver's context must be current."""
        for number in range(len(self._slots)):
            # All slots are drained before any is freed: the memory of one may be in use by a copy of another one's
            # stream.
            self._slots[number].drain()
        while self._slots:
            self._slots.pop().free()
        self._free = self._flying = deque()
        self._cache.detach()
        self._config = self._engine = self._runtime = self._logger = None

    def close(self) -> None:
        """Wait for calls in flight and free everything; the primary context stays for the process's other users."""
        with self._lock:
            if self._slots:
                with self._driver.context():
                    self._drop()
