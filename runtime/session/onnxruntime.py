"""ONNX Runtime backend, the default: it needs no GPU."""

from __future__ import annotations

import functools
import os
import re
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mutualformer.runtime.contract import Contract, ContractError
from mutualformer.runtime.session.base import KEEP_FP16, Device, ModelFileError, Session
from mutualformer.runtime.session.onnx_file import TRUST, OnnxFile, read_onnx_file, widened
from mutualformer.runtime.session.threads import usable_threads

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


def session_options(threads: int = 0) -> ort.SessionOptions:
    """The options of every session. ``threads``: 0 = all this process may use.

    ONNX Runtime's threads spin while they wait for work, since waking a thread costs 50 µs, as a small operator does.
    They would go on spinning after a call and take a core from the camera, so spinning stops with the call.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_threads()  # ONNX Runtime's own default ignores the affinity
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def open_graph(file: OnnxFile, options: ort.SessionOptions, providers: list[Any]) -> ort.InferenceSession:
    """Open an ONNX file that was checked before, whoever made it. Raises ModelFileError."""
    try:
        return ort.InferenceSession(file.data, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types
        raise ModelFileError(f"{file.path}: ONNX Runtime cannot load it: {_first_line(error)}") from error


def _providers(path: Path, device: Device) -> list[Any]:
    """ONNX Runtime's execution providers for a device, or those of a list. Raises ModelFileError for one it lacks."""
    available, cuda = ort.get_available_providers(), "CUDAExecutionProvider"
    if not isinstance(device, str):
        names = [one if isinstance(one, str) else one[0] for one in device]
        if not names or set(names) - set(available):
            raise ModelFileError(f"{path}: providers are {names}, this ONNX Runtime offers {', '.join(available)}")
        return list(device)
    if device.startswith("cuda") and cuda not in available:
        raise ModelFileError(
            f"{path}: device is {device}, but this ONNX Runtime offers {', '.join(available)}; "
            "install onnxruntime-gpu or use --device cpu"
        )
    if device == "cpu" or cuda not in available:
        return ["CPUExecutionProvider"]
    return [(cuda, {"device_id": int(device.partition(":")[2] or 0)}), "CPUExecutionProvider"]


class OnnxSession(Session):
    """One ONNX file in ONNX Runtime. ``threads``: 0 = all this process may use. Raises ModelFileError."""

    concurrent = True

    def __init__(self, path: Path, device: Device = "auto", threads: int = 0, sha256: str = "") -> None:
        self.path, file = path, read_onnx_file(path)
        if sha256 and file.sha256 != sha256:
            raise ModelFileError(
                f"{path}: sha256 is {file.sha256[:12]}…, expected {sha256[:12]}…: the file was changed or cut short; "
                "install the package again"
            )
        try:
            self.contract = Contract.from_props(file.props)
        except ContractError as error:
            raise ModelFileError(f"{path}: {error}") from error
        if not sha256 and not os.environ.get(TRUST):
            _limit_memory()
        providers = _providers(path, device)
        options = session_options(threads)
        # On a CPU, ONNX Runtime would convert FP16 weights again in every call.
        half = self.contract.precision == "fp16" and providers == ["CPUExecutionProvider"]
        self._widened = half and not os.environ.get(KEEP_FP16)
        self._session = open_graph(widened(file) if self._widened else file, options, providers)
        try:
            self._check_graph()
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{path}: a name in its graph is not UTF-8; export it again") from error
        self.threads = options.intra_op_num_threads
        self.device = "cuda" if self._session.get_providers()[0] == "CUDAExecutionProvider" else "cpu"
        if isinstance(device, str) and device.startswith("cuda") and self.device != "cuda":
            raise ModelFileError(f"{path}: ONNX Runtime could not start CUDA and would run on the CPU instead")
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._sha256 = file.sha256

    def _check_graph(self) -> None:
        """Refuse a graph whose inputs or outputs differ from those in its metadata."""
        for kind, nodes, specs in (
            ("input", self._session.get_inputs(), self.contract.inputs),
            ("output", self._session.get_outputs(), self.contract.outputs),
        ):
            nodes_by_name = {node.name: node for node in nodes}
            for spec in specs:
                node = nodes_by_name.get(spec.name)
                if node is None:
                    raise ModelFileError(
                        f"{self.path}: graph {kind}s are {', '.join(nodes_by_name)}, but its metadata says "
                        f"{self.contract.model} with {kind} {spec.name!r}"
                    )
                shape = tuple(n if isinstance(n, int) else -1 for n in node.shape)
                fits = len(shape) == len(spec.shape) and all(
                    want in (-1, actual) for want, actual in zip(spec.shape, shape, strict=True)
                )
                if _DTYPES.get(node.type) != spec.dtype or not fits:
                    raise ModelFileError(
                        f"{self.path}: graph {kind} {spec.name!r} is {node.type} {shape}, expected {spec.dtype} "
                        f"{spec.shape} for {self.contract.model}"
                    )

    def _run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        results = self._session.run(self._outputs, inputs)
        return {name: np.asarray(value) for name, value in zip(self._outputs, results, strict=True)}

    def describe(self) -> dict[str, Any]:
        """As Session.describe; also the execution providers in order, and the threads."""
        return {
            "file": self.path.name,
            "sha256": self._sha256,
            "backend": f"onnxruntime {ort.__version__}",
            "device": self.device,
            "providers": list(self._session.get_providers()),
            "threads": self.threads,
            "precision": self.contract.precision,
            "computes": "fp32" if self._widened else self.contract.precision,
        }


@functools.cache
def _limit_memory() -> None:
    """Limit this process to half of the machine's memory, at least 4 GiB, once.

    An untrusted file does not reveal how much memory its model takes at run time. Beyond this limit an allocation
    fails with an error; without it, the system would kill this or another program.
    """
    most = max(4 << 30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > most:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _first_line(error: Exception) -> str:
    """ONNX Runtime's message without the signature of the C++ function that raised it."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return (re.split(r"\) (?=[A-Z])", lines[0])[-1] if "onnxruntime::" in lines[0] else lines[0])[:300]
