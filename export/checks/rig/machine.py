"""The machine under test: its driver, the plugin driven without TensorRT, and how much is asked of it.

A GPU where there is one; otherwise the stand-in driver of ``plugins/standins``, which hands every launch to Triton's
interpreter, so that the checks themselves run everywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutualformer.export.checks.rig.amount import EMULATED, GPU, Amount
from mutualformer.export.checks.rig.driver import LIBRARY, CudaDriver
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.plugins import library
from mutualformer.plugins.architectures import RUNS_AS
from mutualformer.plugins.standins.simulator import Driver as StandInDriver
from mutualformer.plugins.standins.simulator import Harness
from mutualformer.runtime.session.cuda import CudaError
from mutualformer.runtime.untrusted.typed_json import parse_json

EMULATED_CAPABILITY = 87  # the stand-in pretends to be an Orin


class Machine:
    """One GPU, or the stand-in, with the plugin in ``folder``.

    ``images``: the rows of cubins.json; ``blob``: what their offsets count in. ``architecture``: the one whose cubins
    this GPU runs. ``dtypes``: the types the plugin has kernels for. Raises CheckFailed where any part is missing.
    """

    def __init__(self, emulated: bool) -> None:
        self.emulated = emulated
        self.amount: Amount = EMULATED if emulated else GPU
        try:
            self.plugin = library.find()
            self.record = library.check(self.plugin)
        except library.PluginError as error:
            raise CheckFailed(str(error)) from error
        self.folder = self.plugin.parent
        self.images: list[dict[str, Any]] = parse_json(self._file("generated/cubins.json").read_text())
        self.blob = self._file("generated/cubins.bin").read_bytes()
        self._file("libplugin_harness.so")
        self.stand_in = StandInDriver(self._file("libtest_cuda_driver.so").parent) if emulated else None
        if self.stand_in is not None:
            self.stand_in.reset(EMULATED_CAPABILITY, context=0)
            self.stand_in.library.test_driver_show_device(1)
            self.stand_in.only_allocations = True
        try:
            cuda = self.stand_in.library if self.stand_in is not None else ctypes.CDLL(LIBRARY)
            self.driver = CudaDriver(cuda)
            self.capability = self.driver.capability()
            self.primary = self.driver.retain_primary()
        except (OSError, CudaError) as error:
            raise CheckFailed(f"the CUDA driver cannot be used: {error}") from error
        self.harness = Harness(self.folder, self.plugin, direct=True)
        self.session_class: Any = None  # a planted one; the real one where there is none
        self.planted = ""

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise CheckFailed(f"{path} is missing beside the plugin; build it again with `make plugin`")
        return path

    @property
    def architecture(self) -> int:
        """The architecture whose cubins this GPU runs, e.g. 86 for a GPU of 8.6."""
        return RUNS_AS.get(self.capability, self.capability)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Types that the native cubins exist for, sorted; those of all cubins where none is native."""
        names = {str(image["name"]).split("_")[2] for image in self.native_images() or self.images}
        return tuple(sorted(names & {"fp16", "bf16", "fp32"}))

    @property
    def torch_device(self) -> str:
        """Where PyTorch computes references."""
        if self.emulated:
            return "cpu"
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def native_images(self) -> list[dict[str, Any]]:
        """The rows of cubins.json for :attr:`architecture`; empty where this GPU needs the PTX."""
        return [image for image in self.images if image["arch"] == self.architecture]

    def cubin(self, image: dict[str, Any]) -> bytes:
        """The bytes of one row's cubin."""
        return self.blob[image["offset"] : image["offset"] + image["size"]]

    def interpreter_error(self) -> str:
        """The last line of what Triton's interpreter raised since this was last asked; "" on a GPU."""
        if self.stand_in is None or not self.stand_in.errors:
            return ""
        text, self.stand_in.errors = self.stand_in.errors[0], []
        return text.strip().splitlines()[-1]

    def is_broken(self) -> bool:
        """Whether a launch has left the context unusable, as an illegal address does."""
        try:
            self.driver.synchronize()
        except CudaError:
            return True
        return False

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """The primary context, current on this thread inside the ``with``."""
        with self.driver.context(self.primary):
            yield

    def close(self) -> None:
        """Give the primary context back; the harness keeps the plugin mapped."""
        self.harness.release_log()
        self.driver.release_primary()
        if self.stand_in is not None:
            self.stand_in.library.test_driver_show_device(0)
