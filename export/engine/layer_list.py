"""Reads the layers that the builder made of a network: only they show the actual precision and plugin use.

There are two sources. The engine inspector's JSON needs a GPU. Without one, TensorRT's builder logs, at VERBOSE and
with ``profiling_verbosity = DETAILED``, one ``Layers:`` block per engine, one layer a line, in one of three spellings:

* TensorRT-RTX       ``Inputs: [ { Name: x, …, Datatype: Half, Format: (Linear) … }], Constants: [ … ], Outputs: [ … ]``
* classic 10.4 …     ``Inputs: [ { Name: x, Location: Device, …, Format/Datatype: Half }], Outputs: [ … ], …``
* classic up to 10.3 ``… Format/Datatype: Channel major FP16 format where channel % 8 == 0 }], Outputs: [ … ]``

In all of them ``[ONNX Layer: NAME]`` at the end names the nodes of the graph that a layer computes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mutualformer.runtime.untrusted.typed_json import Fields, parse_json

_HEAD = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]+), Inputs: \[(?P<rest>.*)$")
_DATATYPE = re.compile(r"\bDatatype: ([^,}\]]+)")
_TACTIC = re.compile(r"\bTacticName: ([^,]*)")
_ONNX = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_PLUGIN_KINDS = {"custom_layer", "PluginV3", "PLUGIN_V3", "PluginV2"}
_NO_KERNEL = {"shape_call", "signal", "wait", "reshape", "NoOp", "Constant", "Signal", "Wait"}

# Substring of TensorRT's spelling → the type's name here. Longer ones first: "UInt8" contains "Int8".
_TYPES = (
    ("uint8", "UInt8"),
    ("int8", "Int8"),
    ("int4", "Int4"),
    ("int32", "Int32"),
    ("int64", "Int64"),
    ("bool", "Bool"),
    ("fp8", "FP8"),
    ("float8", "FP8"),
    ("bf16", "BFloat16"),
    ("bfloat16", "BFloat16"),
    ("fp16", "Half"),
    ("float16", "Half"),
    ("half", "Half"),
    ("fp32", "Float"),
    ("float", "Float"),
)


@dataclass(frozen=True)
class Layer:
    """One layer of the built engine.

    ``kind``: TensorRT's word (kgen, CaskConvolution, …). ``inputs``, ``outputs``: data types, Float, Half, Int8, UInt8
    …, whatever spelling the builder uses. ``onnx_nodes``: names of the graph's nodes it computes. ``tactic``: name of
    the chosen kernel, empty where TensorRT does not print it.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    onnx_nodes: tuple[str, ...]
    tactic: str = ""
    is_plugin: bool = False

    @property
    def launches(self) -> int:
        """How many kernels it launches: none for an event, a shape computation or a change of view, two for CDA."""
        return 2 if self.is_plugin else int(self.kind not in _NO_KERNEL)

    def as_dict(self) -> dict[str, object]:
        """For the engine card: plain JSON types."""
        return {
            "name": self.name,
            "kind": self.kind,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "onnx_nodes": list(self.onnx_nodes),
            **({"tactic": self.tactic} if self.tactic else {}),
        }


def datatype(spelling: str) -> str:
    """TensorRT's words for a tensor's format → the type alone: "Channel major FP16 format …" → "Half".

    A spelling that names no type known here is returned as it is, so that nothing passes for another type.
    """
    lower = spelling.strip().lower()
    return next((name for part, name in _TYPES if part in lower), spelling.strip())


def parse_layers(messages: Iterable[str], plugins: Collection[str] = ()) -> list[Layer]:
    """Layers of the last ``Layers:`` block among the builder's log messages; empty when it printed none.

    ``plugins``: names of the network's own plugin layers; they are recognised by name as well as by kind.
    """
    layers: list[Layer] = []
    for message in messages:
        if message.startswith("Layers:"):
            # Not splitlines(): TensorRT separates the names of nodes with U+001E, which that takes for a line's end.
            parsed = (_parse_line(line, plugins) for line in message.split("\n")[1:])
            layers = [layer for layer in parsed if layer is not None]
    return layers


def _parse_line(line: str, plugins: Collection[str]) -> Layer | None:
    head = _HEAD.match(line.strip())
    if head is None:
        return None
    before, _, after = head["rest"].partition("Outputs: [")
    inputs = before.partition("Constants: [")[0]
    outputs, _, rest = after.partition("}]")
    tactic = _TACTIC.search(rest)
    return _layer(
        name=head["name"],
        kind=head["kind"],
        inputs=_DATATYPE.findall(inputs),
        outputs=_DATATYPE.findall(outputs),
        metadata=line,
        tactic=tactic[1] if tactic else "",
        plugins=plugins,
    )


def inspected_layers(text: str, plugins: Collection[str] = ()) -> list[Layer]:
    """Layers of the engine inspector's JSON (``get_engine_information``, verbosity DETAILED).

    Raises ValueError when it is not that: not JSON, or names alone because the engine was built less verbosely.
    """
    inspected = Fields(parse_json(text), "the engine inspector's answer", ValueError)
    rows = [Fields(row, inspected.where, ValueError) for row in inspected.objects("Layers")]
    return [
        _layer(
            name=str(row.get("Name", "")),
            kind=str(row.get("LayerType", "")),
            inputs=[_spelling(tensor) for tensor in row.objects("Inputs", ())],
            outputs=[_spelling(tensor) for tensor in row.objects("Outputs", ())],
            metadata=str(row.get("Metadata", "")),
            tactic=str(row.get("TacticName", "")),
            plugins=plugins,
        )
        for row in rows
    ]


def _spelling(tensor: Mapping[str, Any]) -> str:
    return str(tensor.get("Format/Datatype") or tensor.get("Datatype") or tensor.get("DataType") or "unknown")


def _layer(
    name: str,
    kind: str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    metadata: str,
    tactic: str,
    plugins: Collection[str],
) -> Layer:
    nodes, kind = tuple(_ONNX.findall(metadata)), kind.strip()
    return Layer(
        name=name,
        kind=kind,
        inputs=tuple(map(datatype, inputs)),
        outputs=tuple(map(datatype, outputs)),
        onnx_nodes=nodes or ((name,) if name in plugins else ()),
        tactic=tactic.strip(),
        is_plugin=kind in _PLUGIN_KINDS or name in plugins,
    )


def precision_counts(layers: Iterable[Layer]) -> dict[str, int]:
    """Data type → number of layers that write it."""
    counts: Counter[str] = Counter()
    for layer in layers:
        counts.update(set(layer.outputs))
    return dict(sorted(counts.items()))


def kernel_count(layers: Iterable[Layer]) -> int:
    """How many kernels one frame launches."""
    return sum(layer.launches for layer in layers)
