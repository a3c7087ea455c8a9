"""The metadata of a model file, with one schema from the checkpoint through ONNX to the engine.

ONNX keeps it in ``metadata_props`` (string → string, each key prefixed ``mutualformer.``, values JSON), an engine in
``X.engine.json``. This module reads and writes it; nothing else does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mutualformer.errors import ModelError
from mutualformer.runtime.tasks import TASKS, TensorSpec
from mutualformer.runtime.untrusted.typed_json import Fields, parse_json, plain

SCHEMA_VERSION = 1
PREFIX = "mutualformer."
PRECISIONS = ("fp32", "fp16", "int8")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # a model's name, which becomes part of paths and commands
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # a file's, beside a card or an index
MAX_SIDE = 8192


class ContractError(ModelError, ValueError):
    """A model file's metadata is missing, unreadable or of another schema."""


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

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Graph inputs in order: what a camera gives, already resized; the batch is dynamic."""
        return tuple(spec.at(self.input_size) for spec in TASKS[self.task].inputs)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Graph outputs: SOD ``saliency`` in [0, 1]; ReID ``feature``, unit length, of any width."""
        return (TASKS[self.task].output.at(self.input_size),)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return dict(plain(asdict(self)))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contract:
        """Inverse of :meth:`to_json`. Raises ContractError naming the key that is missing, unknown or malformed."""
        found = Fields(data, "metadata", ContractError)
        if found.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
            raise found.refuse("schema_version", f"{SCHEMA_VERSION}; export the model again")
        found.only(*(each.name for each in fields(cls)))
        height, width = found.wholes("input_size", 2, 1, MAX_SIDE)
        near, far = found.numbers("depth_range_m", 2, 0, 1e6, cls.depth_range_m)
        if not 0 < near < far:
            raise found.refuse("depth_range_m", "(near, far) in metres with 0 < near < far")
        return cls(
            task=found.text("task", one_of=tuple(TASKS)),
            model=found.text("model", form=NAME),
            input_size=(height, width),
            precision=found.text("precision", cls.precision, PRECISIONS),
            depth_range_m=(near, far),
            labels=found.texts("labels", ()),
            opset=found.whole("opset", 0, 1 << 20, 0),
            git_revision=found.text("git_revision", cls.git_revision),
            weights_sha256=found.text("weights_sha256", ""),
            card=dict(found.fields("card", {})),
            cda_nodes=None if found.get("cda_nodes") is None else found.whole("cda_nodes", 0, 1 << 20),
        )

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
