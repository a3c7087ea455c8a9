"""The metadata of a model file, with one schema from the checkpoint through ONNX to the engine.

ONNX keeps it in ``metadata_props`` (string → string, each key prefixed ``mutualformer.``, values JSON), an engine in
``X.engine.json``. This module reads and writes it; nothing else does.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mutualformer.errors import ModelError
from mutualformer.runtime.tasks import TASKS, Port
from mutualformer.runtime.untrusted.typed_json import parse_json

SCHEMA_VERSION = 1
PREFIX = "mutualformer."
PRECISIONS = ("fp32", "fp16", "int8")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # a model's name, which becomes a folder's name
MAX_SIDE = 8192


class ContractError(ModelError, ValueError):
    """A model file's metadata is missing, unreadable or of another schema."""


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output: numpy dtype name and shape, -1 = dynamic."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Contract:
    """What a model file promises.

    ``input_size``: (height, width) in pixels. ``depth_range_m``: (near, far) in metres, outside of which depth is
    clipped (SOD only). ``labels``: class names, ``("salient",)`` for SOD, empty for ReID.
    ``weights_sha256``: hash of the safetensors file the graph was traced from. ``card``: the model card (data,
    recipe, metrics). ``cda_nodes``: how many Cross-Diffusion Attention nodes the graph has, None in older files.
    """

    task: str
    model: str
    input_size: tuple[int, int]
    precision: str = "fp32"
    depth_range_m: tuple[float, float] = (0.3, 10.0)
    labels: tuple[str, ...] = ()
    opset: int = 0
    git_revision: str = "unknown"
    weights_sha256: str = ""
    schema_version: int = SCHEMA_VERSION
    card: dict[str, Any] = field(default_factory=dict)
    cda_nodes: int | None = None

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ContractError(
                f"metadata schema is version {self.schema_version}, this program reads version {SCHEMA_VERSION}; "
                "export the model again"
            )

        def expect(valid: bool, key: str, expected: str) -> None:
            if not valid:
                raise ContractError(f"metadata {key} is {getattr(self, key)!r:.80}, expected {expected}")

        size, near_far, nodes = self.input_size, self.depth_range_m, self.cda_nodes
        expect(isinstance(self.task, str) and self.task in TASKS, "task", f"one of {', '.join(TASKS)}")
        expect(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}")
        # The name becomes part of paths and commands.
        name = "a name of up to 64 lower-case letters, digits, '.', '_' and '-'"
        expect(isinstance(self.model, str) and bool(NAME.fullmatch(self.model)), "model", name)
        sides = len(size) == 2 and all(type(side) is int and 1 <= side <= MAX_SIDE for side in size)
        expect(sides, "input_size", f"(height, width) in pixels, 1 to {MAX_SIDE}")
        ordered = len(near_far) == 2 and 0 < near_far[0] < near_far[1] < math.inf
        expect(ordered, "depth_range_m", "(near, far) in metres with 0 < near < far")
        expect(type(self.opset) is int, "opset", "a whole number")
        for key in ("git_revision", "weights_sha256"):
            expect(isinstance(getattr(self, key), str), key, "text")
        expect(nodes is None or (type(nodes) is int and nodes >= 0), "cda_nodes", "a number of nodes")
        expect(isinstance(self.card, dict), "card", "an object")

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Graph inputs in order: what a camera gives, already resized; the batch is dynamic."""
        return tuple(self._spec(port) for port in TASKS[self.task].inputs)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Graph outputs: SOD ``saliency`` in [0, 1]; ReID ``feature``, unit length, of any width."""
        return (self._spec(TASKS[self.task].output),)

    def _spec(self, port: Port) -> TensorSpec:
        return TensorSpec(port.name, port.dtype, port.at(self.input_size))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contract:
        """Inverse of :meth:`to_json`. Raises ContractError naming the key that is missing, unknown or malformed."""
        names = {f.name for f in fields(cls)}
        unknown = sorted(set(data) - names)
        if unknown:
            raise ContractError(
                f"metadata has unknown keys {', '.join(unknown)[:200]}; was it written by a newer version?"
            )
        for key in ("task", "model", "input_size"):
            if key not in data:
                raise ContractError(f"metadata key {key!r} is missing: not a MutualFormer model file")
        values = dict(data)
        for key, kinds in (("input_size", (int,)), ("depth_range_m", (int, float)), ("labels", (str,))):
            items = values.get(key, ())
            if not isinstance(items, (list, tuple)) or not all(type(item) in kinds for item in items):
                kind = "texts" if str in kinds else "numbers" if float in kinds else "whole numbers"
                raise ContractError(f"metadata {key} is {repr(items)[:80]}, expected a list of {kind}")
            if key in values:
                values[key] = tuple(map(kinds[-1], items))
        return cls(**values)

    def to_props(self) -> dict[str, str]:
        """ONNX ``metadata_props``."""
        return {PREFIX + key: json.dumps(value, sort_keys=True) for key, value in self.to_json().items()}

    @classmethod
    def from_props(cls, props: Mapping[str, str]) -> Contract:
        """Inverse of :meth:`to_props`; foreign keys are ignored."""
        ours = {key[len(PREFIX) :]: value for key, value in props.items() if key.startswith(PREFIX)}
        if not ours:
            raise ContractError("no mutualformer metadata: not a model exported by this project")
        return cls.from_json({key: parse_json(value, "metadata", ContractError) for key, value in ours.items()})
