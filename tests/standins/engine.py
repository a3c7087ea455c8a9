"""One CDA node in host memory, its tensors PyTorch's."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.harness import engine
from mutualformer.plugins.harness.harness import Harness
from mutualformer.plugins.kernels.pytorch import SUPPORTED
from tests.standins.memory import Buffer


def stored(tensor: torch.Tensor) -> NDArray[Any]:
    """As mutualformer.plugins.harness.numbers keeps it: the bits of BF16, the values of other types."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


class Engine:
    """As mutualformer.plugins.harness.engine.Engine; inputs (B, N, 3C) and outputs (B, N, 2C) are CPU tensors."""

    def __init__(
        self,
        harness: Harness,
        attributes: CdaAttributes,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        tactic: int = 0,
    ) -> None:
        self.dtype, self.attributes, self.harness = dtype, attributes, harness
        self.node = engine.Engine(harness, attributes, shape, SUPPORTED[dtype], Buffer, tactic)
        self.kind, self.workspace_bytes = self.node.kind, self.node.workspace_bytes

    @property
    def plugin(self) -> int:
        """The plugin's handle."""
        return self.node.plugin

    @plugin.setter
    def plugin(self, handle: int) -> None:
        self.node.plugin = handle

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(B, N, 3C)."""
        return self.node.in_shape

    @property
    def addresses(self) -> list[int]:
        """Of qkv_r, qkv_d, y_r, y_d and the workspace."""
        return [b.address for b in (*self.node.inputs, *self.node.outputs, self.node.scratch)]

    def reshape(self, shape: tuple[int, int, int]) -> None:
        """Another input shape, at most as large."""
        self.node.reshape(shape)

    def write(self, qkv_r: torch.Tensor, qkv_d: torch.Tensor) -> None:
        """Copy the inputs into their buffers."""
        self.node.write(stored(qkv_r), stored(qkv_d))

    def run(self, qkv_r: torch.Tensor, qkv_d: torch.Tensor, stream: int = 7) -> int:
        """Write the inputs and queue the node; 0 is success."""
        self.write(qkv_r, qkv_d)
        return self.node.enqueue(stream)

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``y_r`` and ``y_d``."""
        y_r, y_d = (torch.from_numpy(y).view(self.dtype) for y in self.node.result())
        return y_r, y_d

    def assert_nothing_else_written(self, qkv_r: torch.Tensor, qkv_d: torch.Tensor) -> None:
        """Raise AssertionError where a guard or an input has changed."""
        self.node.assert_nothing_else_written(stored(qkv_r), stored(qkv_d))

    def close(self) -> None:
        """Release the plugin."""
        self.node.close()
