"""Read the builder's final layer list: the one place where actual precision and plugin use show without a GPU.

With ``profiling_verbosity = DETAILED`` TensorRT's builder logs, at VERBOSE, one ``Layers:`` block per engine, one layer
a line: name, kind, tensors with data types, and the ONNX nodes it came from.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_LINE = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]+), Inputs: \[(?P<rest>.*)$")
_DATATYPE = re.compile(r"Datatype: (\w+)")
_ONNX = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_PLUGIN_KINDS = {"custom_layer", "PluginV3", "PLUGIN_V3", "PluginV2"}


@dataclass(frozen=True)
class Layer:
    """One layer of the built engine; data types as TensorRT spells them (Float, Half, Int8, UInt8, …)."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    onnx_nodes: tuple[str, ...]

    @property
    def is_plugin(self) -> bool:
        return self.kind in _PLUGIN_KINDS

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "kind": self.kind,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "onnx_nodes": list(self.onnx_nodes),
        }


def parse_layers(messages: Iterable[str]) -> list[Layer]:
    """Layers of the last ``Layers:`` block among the log messages; empty when the builder printed none."""
    layers: list[Layer] = []
    for message in messages:
        if message.startswith("Layers:"):
            layers = [layer for line in message.splitlines()[1:] if (layer := _parse(line)) is not None]
    return layers


def _parse(line: str) -> Layer | None:
    match = _LINE.match(line)
    if match is None:
        return None
    inputs, _, after = match["rest"].partition("Constants: [")
    _, _, outputs = after.partition("Outputs: [")
    outputs, _, tail = outputs.partition("TacticName:")
    return Layer(
        name=match["name"],
        kind=match["kind"].strip(),
        inputs=tuple(_DATATYPE.findall(inputs)),
        outputs=tuple(_DATATYPE.findall(outputs)),
        onnx_nodes=tuple(_ONNX.findall(tail)),
    )


def precision_counts(layers: Iterable[Layer]) -> dict[str, int]:
    """Data type → number of layers that write it."""
    counts: Counter[str] = Counter()
    for layer in layers:
        counts.update(set(layer.outputs))
    return dict(sorted(counts.items()))
