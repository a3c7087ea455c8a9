"""Synthetic layer lists as TensorRT spells them: the three forms of the builder's log, and the inspector's JSON.

The words are those of real lists, shortened; the layers are a small model's: a camera kernel, two convolutions, a
matrix product, attention that Myelin fused, and the plugin.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

_SENTENCES = {
    "Half": "Channel major FP16 format where channel % 8 == 0",
    "Float": "Row major linear FP32",
    "Int8": "Thirty-two wide channel vectorized row major Int8 format",
    "UInt8": "Row major linear UInt8 format",
}


@dataclass(frozen=True)
class Row:
    """``kind``: (classic TensorRT's word, TensorRT-RTX's). ``nodes``: of the graph."""

    name: str
    kind: tuple[str, str]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    nodes: tuple[str, ...]
    tactic: str = "0x00000000000003e8"


CDA = "node_cda"
NODES = {"node_conv1": "Half", "node_conv2": "Half", "node_mm": "Half", "node_attn": "Half", CDA: "Half"}
ROWS = (
    Row("camera", ("kgen", "kgen"), ("UInt8",), ("Half",), ("node_cast", "node_sub")),
    Row("node_conv1 + node_relu1", ("CaskConvolution", "correlation"), ("Half",), ("Half",), ("node_conv1", "node_r1")),
    Row("node_conv2", ("CaskConvolution", "correlation"), ("Half", "Half"), ("Half",), ("node_conv2", "node_add")),
    Row("node_mm", ("CaskGemmMatrixMultiply", "gemm"), ("Half",), ("Half",), ("node_mm",)),
    Row("__myl_Attn", ("kgen", "kgen"), ("Half", "Half"), ("Half",), ("node_attn", "node_softmax")),
    Row(CDA, ("PluginV3", "custom_layer"), ("Half", "Half"), ("Half", "Half"), (CDA,)),
    Row("Reformatting CopyNode for Output", ("Reformat", "cast"), ("Half",), ("Float",), ()),
)


def change(node: str, reads: str, writes: str = "", tactic: str = "") -> tuple[Row, ...]:
    """ROWS with the layer of ``node`` reading another type, as after a fallback that nobody reported."""
    return tuple(
        replace(
            row,
            reads=(reads,) * len(row.reads),
            writes=(writes,) * len(row.writes) if writes else row.writes,
            tactic=tactic or row.tactic,
        )
        if node in row.nodes
        else row
        for row in ROWS
    )


def _metadata(row: Row) -> str:
    return "\x1e".join(f"[ONNX Layer: {node}]" for node in row.nodes)


def _list(tensors: list[str]) -> str:
    return f"[ {', '.join(tensors)}]" if tensors else "[]"


def rtx(rows: tuple[Row, ...]) -> str:
    """TensorRT-RTX 1.7: type and format apart, constants between inputs and outputs."""

    def tensors(kinds: tuple[str, ...], name: str) -> str:
        return _list(
            [
                f"{{ Name: {name}{i}, Dimensions: [-1,64,6,8], Strides: [3072,1,512,64], StrideOrder: [3,0,2,1], "
                f"Datatype: {kind}, Format: (NHWC) Channel major format }}"
                for i, kind in enumerate(kinds)
            ]
        )

    lines = [
        f"Name: {row.name}, LayerType: {row.kind[1]}, Inputs: {tensors(row.reads, 'x')}, Constants: "
        f"{tensors(('Float',), 'w')}, Outputs: {tensors(row.writes, 'y')}, TacticName: {row.tactic}, StreamId: 0, "
        f"Metadata: {_metadata(row)}"
        for row in rows
    ]
    event = "Name: entry^bb^signal^2, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , "
    return "\n".join(["Layers:", f"{event}StreamId: 0, EventId: 1, Metadata: ", *lines, "", "I/O Tensors:"])


def classic(rows: tuple[Row, ...], sentences: bool = False) -> str:
    """Classic TensorRT 10: one ``Format/Datatype``, a word from 10.4 on and a sentence before (``sentences``)."""

    def tensors(row: Row, kinds: tuple[str, ...], name: str) -> str:
        where = "" if row.kind[0] == "kgen" else "Location: Device, "  # fused layers do not tell it
        return _list(
            [
                f"{{ Name: {name}{i}, {where}Dimensions: [1,64,6,8], "
                f"Format/Datatype: {_SENTENCES[kind] if sentences else kind} }}"
                for i, kind in enumerate(kinds)
            ]
        )

    lines = []
    for row in rows:
        kernel = "ParameterType: Convolution, Kernel: [3,3], Stride: [1,1], " if "Convolution" in row.kind[0] else ""
        weights = 'Weights: {"Type": "Half", "Count": 23232}, HasBias: 1, ' if kernel else ""
        fused = row.kind[0] == "kgen"
        tactic = f"TacticName: {row.tactic}, " + ("" if fused else "TacticValue: 0xe6818811f865a21a, StreamId: 0, ")
        lines.append(
            f"Name: {row.name}, LayerType: {row.kind[0]}, Inputs: {tensors(row, row.reads, 'x')}, Outputs: "
            f"{tensors(row, row.writes, 'y')}, {kernel}{weights}{tactic}Metadata: {_metadata(row)}"
        )
    lines[-1] = lines[-1].rstrip(", ")
    return "\n".join(["Layers:", *lines, "", "Bindings:", "rgb", "depth", "saliency"])


def classic_sentences(rows: tuple[Row, ...]) -> str:
    """Classic TensorRT up to 10.3."""
    return classic(rows, sentences=True)


def inspector(rows: tuple[Row, ...]) -> str:
    """What the engine inspector of classic TensorRT answers."""
    layers = [
        {
            "Name": row.name,
            "LayerType": row.kind[0],
            "Inputs": [{"Name": f"x{i}", "Dimensions": [1, 64], "Format/Datatype": k} for i, k in enumerate(row.reads)],
            "Outputs": [{"Name": f"y{i}", "Format/Datatype": _SENTENCES[k]} for i, k in enumerate(row.writes)],
            "TacticName": row.tactic,
            "Metadata": _metadata(row),
        }
        for row in rows
    ]
    return json.dumps({"Layers": layers, "Bindings": ["rgb", "depth", "saliency"]})
