"""TensorRT backend (classic or RTX) through pycuda: every check before TensorRT sees a byte of the engine."""

from __future__ import annotations

import importlib
import logging
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
from mutualformer.runtime.session import ModelFileError, Session, engine_card
from mutualformer.runtime.session.buffers import Slot
from mutualformer.runtime.session.engine_card import EngineCard

log = logging.getLogger("mutualformer")


def import_cuda(engine: Path) -> ModuleType:
    """``pycuda.driver``, initialised, with at least one GPU. Raises ModelFileError saying what is missing."""
    try:
        cuda = importlib.import_module("pycuda.driver")
        cuda.init()
        count = cuda.Device.count()
    except ImportError as error:
        raise ModelFileError(
            f"{engine}: running an engine needs pycuda and an NVIDIA driver ({error}); "
            "pip install 'mutualformer[pycuda]' on a machine with a GPU, or run the .onnx file instead"
        ) from error
    except Exception as error:
        raise ModelFileError(f"{engine}: CUDA cannot start ({error}); run the .onnx file instead") from error
    if count < 1:
        raise ModelFileError(f"{engine}: no NVIDIA GPU here; run the .onnx file instead")
    return cuda


class EngineSession(Session):
    """One engine on GPU 0, in the primary context; usable from any thread, one call at a time per slot.

    ``submit``/``collect`` keep up to ``slots`` calls in flight; ``run`` is both in one.
    """

    def __init__(self, path: Path, card: EngineCard, trt: ModuleType, cuda: ModuleType, slots: int = 2) -> None:
        self.path, self.card, self.contract, self.device = path, card, card.contract, "cuda"
        self._trt, self._cuda = trt, cuda
        self._lock = threading.Lock()
        self._flying: deque[Slot] = deque()
        gpu = cuda.Device(0)
        self.gpu = gpu.name()
        capability = ".".join(str(n) for n in gpu.compute_capability())
        engine_card.verify_host(path, card, str(trt.__version__), capability)
        if card.cda_nodes:
            plugin = library.find()
            engine_card.verify_plugin(path, card, plugin)
            library.load(card.flavor)
        self._primary = gpu.retain_primary_context()
        self._primary.push()
        try:
            self._logger = trt.Logger(trt.Logger.WARNING)
            self._runtime = trt.Runtime(self._logger)
            self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
            if self._engine is None:
                raise ModelFileError(
                    f"{path}: TensorRT cannot load it; its log above says why. Rebuild: {card.rebuild}"
                )
            specs = [self._spec(self._engine.get_tensor_name(i)) for i in range(self._engine.num_io_tensors)]
            self._slots = [Slot(cuda, self._new_context(), specs, card.profile[2]) for _ in range(max(1, slots))]
            self._free = deque(self._slots)
        finally:
            cuda.Context.pop()

    @classmethod
    def open(cls, path: Path, device: str = "auto") -> EngineSession:
        """Check the card and the file's hash, find TensorRT and CUDA, then load. Raises ModelFileError."""
        card = engine_card.read(path)
        engine_card.verify_file(path, card)
        if device == "cpu":
            raise ModelFileError(f"{path}: an engine runs on a GPU only; load the .onnx file for --device cpu")
        try:
            trt = flavor.import_flavor(card.flavor)
            cuda = import_cuda(path)
            return cls(path, card, trt, cuda)
        except (flavor.FlavorError, library.PluginError) as error:
            raise ModelFileError(f"{path}: {error}") from error

    def _spec(self, name: str) -> tuple[str, str, tuple[int, ...], bool]:
        trt, engine = self._trt, self._engine
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        return name, dtype, tuple(engine.get_tensor_shape(name))[1:], is_input

    def _new_context(self) -> Any:
        """Execution context, with the flavour's CUDA graphs and compilation cache where it offers them (RTX)."""
        if not hasattr(self._trt, "CudaGraphStrategy"):
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return self._engine.create_execution_context(config)

    def _start(self, inputs: dict[str, NDArray[Any]]) -> Slot:
        batch = next(iter(inputs.values())).shape[0]
        low, _, high = self.card.profile
        if not low <= batch <= high:
            raise InputError(f"batch is {batch}, {self.path.name} was built for {low} to {high}")
        with self._lock:
            if not self._free:
                raise InputError(f"{len(self._slots)} calls are in flight already; collect one first")
            slot = self._free.popleft()
            self._primary.push()
            try:
                slot.submit(inputs)
            except BaseException:
                self._free.append(slot)
                raise
            finally:
                self._cuda.Context.pop()
        return slot

    def _finish(self, slot: Slot) -> dict[str, NDArray[Any]]:
        """Wait outside of the lock, so that another thread can submit meanwhile; contexts are per thread."""
        self._primary.push()
        try:
            return slot.collect()
        finally:
            self._cuda.Context.pop()
            with self._lock:
                self._free.append(slot)

    def submit(self, **inputs: NDArray[Any]) -> None:
        """Queue one call. Raises InputError on a batch outside of the profile or when no slot is free."""
        slot = self._start(inputs)
        with self._lock:
            self._flying.append(slot)

    def collect(self) -> dict[str, NDArray[Any]]:
        """Outputs of the oldest submitted call, waiting for it."""
        with self._lock:
            if not self._flying:
                raise InputError("no call is in flight; submit one first")
            slot = self._flying.popleft()
        return self._finish(slot)

    def _run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return self._finish(self._start(inputs))

    def describe(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "sha256": self.card.engine_sha256,
            "backend": f"{self.card.flavor} {self.card.builder_version}",
            "device": self.gpu,
            "precision": self.card.requested_precision,
        }

    def close(self) -> None:
        """Free device memory and release the primary context."""
        if not self._slots:
            return
        self._primary.push()
        try:
            for slot in self._slots:
                slot.stream.synchronize()
                slot.free()
            self._slots, self._free = [], deque()
            self._engine = self._runtime = None
        finally:
            self._cuda.Context.pop()
            self._primary.detach()
