"""The acceptance's machine without a GPU: the stand-in driver, whose launches NumPy executes."""

from __future__ import annotations

import importlib

from mutualformer.export.checks.rig.amount import Amount
from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.driver import CheckDriver
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckSkipped
from mutualformer.plugins import library
from tests.standins import numpy_kernels
from tests.standins.driver import Driver

CAPABILITY = 87  # it pretends to be an Orin

FEW = Amount(
    tokens=(1, 17, 45),
    head_dims=(4, 16, 32),
    heads=(1, 2),
    batches=(1, 2),
    limit=200,
    usual=33,
    repeats=2,
    replays=3,
    rounds=2,
    per_graph=2,
    timed=(Case(17, 16, 1),),
)


class EmulatedMachine(Machine):
    """As a GPU's, with few and small nodes. ``stand_in``: the driver, where faults are planted."""

    amount = FEW

    def __init__(self, seconds: float = 600.0, capability: int = CAPABILITY) -> None:
        self.stand_in = Driver(library.find().parent, numpy_kernels.execute)
        self.stand_in.reset(capability, context=0)
        self.stand_in.library.test_driver_show_device(1)
        self.stand_in.only_allocations = True
        super().__init__(CheckDriver(importlib.import_module("cuda.bindings.driver")), seconds)

    def words(self) -> str:
        """What the plugin said, and what an execution raised."""
        errors, self.stand_in.errors = self.stand_in.errors, []
        return " ".join([super().words(), *(error.strip().splitlines()[-1] for error in errors[:1])]).strip()

    def torch_device(self) -> str:
        """The CPU, whose tensors take a GPU's path, in Triton's interpreter, until this process ends."""
        try:
            from mutualformer.plugins.kernels import dispatch
            from tests.standins.interpreted import interpret_on_cpu
        except ImportError as error:
            raise CheckSkipped(f"PyTorch cannot be imported: {error}") from error
        interpret_on_cpu()
        dispatch.devices.add("cpu")
        return "cpu"
