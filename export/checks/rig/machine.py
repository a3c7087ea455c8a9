"""The machine under test: GPU 0 with its driver, the plugin driven without TensorRT, and the time that a check has.

A faulty plugin, and a driver that does not start although a GPU is there, are a FAIL; anything that the environment
lacks is a SKIP that names it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mutualformer.export.checks.rig.amount import GPU, Amount
from mutualformer.export.checks.rig.driver import CheckDriver
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped
from mutualformer.extras import missing
from mutualformer.plugins import library
from mutualformer.plugins.architectures import RUNS_AS
from mutualformer.plugins.files import parse_json
from mutualformer.plugins.harness.harness import Harness
from mutualformer.runtime.session.cuda import CudaError
from mutualformer.runtime.session.gpu import device_node


def open_driver() -> CheckDriver:
    """The driver of GPU 0. Raises CheckFailed where a GPU is there and CUDA does not start, else CheckSkipped."""
    try:
        return CheckDriver()
    except ModuleNotFoundError as error:
        raise CheckSkipped(missing("cuda.bindings")) from error
    except Exception as error:  # cuda-bindings has its own types for a missing or old library
        words = " ".join(str(error).split())
        if node := device_node():
            raise CheckFailed(f"there is a GPU ({node}), but its driver does not start: {words}") from error
        raise CheckSkipped(f"no NVIDIA GPU here ({words})") from error


class Machine:
    """One GPU, with the plugin in ``folder``.

    ``images``, ``ptx``: rows of cubins.json and ptx.json, with offsets into ``blob``. ``amount``: how much each check
    does. ``deadline``: time.monotonic() at which the running check should end. Raises CheckFailed, CheckSkipped.
    """

    amount: Amount = GPU

    def __init__(self, driver: CheckDriver | None = None, seconds: float = 600.0) -> None:
        self.deadline = time.monotonic() + seconds
        self.seconds = seconds
        try:
            self.plugin = library.find()
            self.record = library.check(self.plugin)
        except library.PluginError as error:
            raise CheckFailed(str(error)) from error
        self.folder = self.plugin.parent
        self.images: list[dict[str, Any]] = parse_json(self.file("generated/cubins.json").read_text())
        self.ptx: list[dict[str, Any]] = parse_json(self.file("generated/ptx.json").read_text())
        self.blob = self.file("generated/cubins.bin").read_bytes()
        self.file("libplugin_harness.so")
        self.driver = driver or open_driver()
        major, minor = (int(part) for part in self.driver.capability.split("."))
        self.capability = 10 * major + minor
        self.harness = Harness(self.folder, self.plugin, direct=True)

    def file(self, name: str) -> Path:
        """A file beside the plugin. Raises CheckFailed where it is missing."""
        path = self.folder / name
        if not path.is_file():
            raise CheckFailed(f"{path} is missing beside the plugin; build it again with `make plugin`")
        return path

    @property
    def architecture(self) -> int:
        """The architecture whose cubins this GPU runs, e.g. 86 for a GPU of 8.6."""
        return RUNS_AS.get(self.capability, self.capability)

    def native_images(self) -> list[dict[str, Any]]:
        """The rows of cubins.json for :attr:`architecture`; empty where this GPU needs the PTX."""
        return [image for image in self.images if image["arch"] == self.architecture]

    @property
    def runs_ptx(self) -> bool:
        """Whether the driver compiles the embedded PTX for this GPU, which has no cubins."""
        return not self.native_images() and any(image["arch"] <= self.capability for image in self.ptx)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Types that there are kernels for on this GPU, sorted."""
        images = self.native_images() or (self.ptx if self.runs_ptx else self.images)
        return tuple(sorted({str(image["name"]).split("_")[2] for image in images} & {"fp16", "bf16", "fp32"}))

    def cubin(self, image: dict[str, Any]) -> bytes:
        """The bytes of one row's cubin or PTX."""
        return self.blob[image["offset"] : image["offset"] + image["size"]]

    def left(self) -> float:
        """Seconds that the running check still has."""
        return self.deadline - time.monotonic()

    def words(self) -> str:
        """The plugin's messages since the last call, on one line."""
        return " ".join(self.harness.log().split())

    def is_broken(self) -> bool:
        """Whether a launch has left the context unusable, as an illegal address does."""
        try:
            self.driver.wait()
        except CudaError:
            return True
        return False

    def torch_device(self) -> str:
        """ "cuda", once PyTorch has computed there. Raises CheckSkipped with PyTorch's message where it cannot."""
        try:
            import torch
        except ImportError as error:
            raise CheckSkipped(f"PyTorch cannot be imported: {error}") from error
        torch.set_float32_matmul_precision("highest")  # some containers enable TF32
        torch.backends.cuda.matmul.allow_tf32 = False
        try:
            ones = torch.ones(16, 16, device="cuda")
            if float((ones @ ones).sum()) != 16.0**3:
                raise CheckSkipped(f"PyTorch {torch.__version__} multiplies wrongly on this GPU")
        except (RuntimeError, AssertionError) as error:  # no CUDA in this build, or no code for this GPU
            reason = " ".join(str(error).split())[:200]
            raise CheckSkipped(f"PyTorch {torch.__version__} does not compute on this GPU: {reason}") from error
        return "cuda"

    def close(self) -> None:
        """Stop recording the plugin's messages. The plugin stays mapped."""
        self.harness.release_log()
