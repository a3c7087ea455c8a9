"""The standard operators of our exported graphs, each as one function of PyTorch tensors, in float32.

Only what ``export/to_onnx.py`` and the quantisers emit; an operator or a form of one that is not here is refused
by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mutualformer.export.errors import ExportError

Attributes = dict[str, Any]
Operator = Callable[[list[Any], Attributes], Any]  # absent optional inputs are None
OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register a function as what computes the ONNX operators ``names``."""

    def register(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


def _ints(tensor: Tensor) -> list[int]:
    return [int(value) for value in tensor.reshape(-1).tolist()]


def _check_pads(attributes: Attributes, rank: int) -> tuple[int, ...]:
    """Symmetric padding per spatial axis, the only one PyTorch's operators take."""
    pads = list(attributes.get("pads", [0] * 2 * rank))
    automatic = attributes.get("auto_pad", "NOTSET")
    if automatic not in ("NOTSET", "VALID") or pads[:rank] != pads[rank:] or attributes.get("ceil_mode", 0):
        raise ExportError(
            f"padding {pads}, auto_pad {automatic} with ceil_mode is not interpreted; expected equal sides"
        )
    return tuple(pads[:rank])


@operator("Conv")
def _conv(x: list[Any], a: Attributes) -> Any:
    rank = x[0].dim() - 2
    convolve = {1: F.conv1d, 2: F.conv2d}[rank]
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    bias = x[2] if len(x) > 2 else None
    inputs, pads = x[0], list(a.get("pads", []))
    if pads[:rank] != pads[rank:]:  # what TensorFlow calls SAME, at stride 2: zeros after, or more of them, only
        before_after = [pads[axis + end * rank] for axis in reversed(range(rank)) for end in (0, 1)]
        inputs, a = F.pad(inputs, before_after), {**a, "pads": [0] * 2 * rank}
    return convolve(inputs, x[1], bias, strides, _check_pads(a, rank), dilations, a.get("group", 1))


@operator("MatMul")
def _matmul(x: list[Any], a: Attributes) -> Any:
    return torch.matmul(x[0], x[1])


@operator("Gemm")
def _gemm(x: list[Any], a: Attributes) -> Any:
    left = x[0].T if a.get("transA", 0) else x[0]
    right = x[1].T if a.get("transB", 0) else x[1]
    product = a.get("alpha", 1.0) * (left @ right)
    return product + a.get("beta", 1.0) * x[2] if len(x) > 2 and x[2] is not None else product


@operator("MaxPool")
def _max_pool(x: list[Any], a: Attributes) -> Any:
    return F.max_pool2d(x[0], a["kernel_shape"], a.get("strides"), _check_pads(a, 2))


@operator("AveragePool")
def _average_pool(x: list[Any], a: Attributes) -> Any:
    counted = bool(a.get("count_include_pad", 0))
    return F.avg_pool2d(x[0], a["kernel_shape"], a.get("strides", 1), _check_pads(a, 2), False, counted)


@operator("Resize")
def _resize(x: list[Any], a: Attributes) -> Any:
    if a.get("mode") != "linear" or a.get("coordinate_transformation_mode") != "half_pixel":
        raise ExportError(f"Resize {a} is not interpreted; expected linear, half_pixel")
    has_size = len(x) > 3 and x[3] is not None
    before = x[0].shape[2:]
    size = _ints(x[3])[2:] if has_size else [int(n * s) for n, s in zip(before, x[2].tolist()[2:], strict=True)]
    return F.interpolate(x[0], size=size, mode="bilinear", align_corners=False)


@operator("LayerNormalization")
def _layer_norm(x: list[Any], a: Attributes) -> Any:
    axis = a.get("axis", -1) % x[0].dim()
    return F.layer_norm(x[0], x[0].shape[axis:], x[1], x[2] if len(x) > 2 else None, a.get("epsilon", 1e-5))


@operator("Softmax")
def _softmax(x: list[Any], a: Attributes) -> Any:
    return torch.softmax(x[0], a.get("axis", -1))


@operator("Gelu")
def _gelu(x: list[Any], a: Attributes) -> Any:
    return F.gelu(x[0], approximate=a.get("approximate", "none"))


@operator("Clip")
def _clip(x: list[Any], a: Attributes) -> Any:
    low, high = (x[i] if len(x) > i else None for i in (1, 2))
    return torch.clamp(x[0], low, high)


def _axes(x: list[Any]) -> list[int] | None:
    return _ints(x[1]) if len(x) > 1 and x[1] is not None else None


@operator("ReduceMean")
def _mean(x: list[Any], a: Attributes) -> Any:
    return x[0].mean(dim=_axes(x), keepdim=bool(a.get("keepdims", 1)))


@operator("ReduceSum")
def _sum(x: list[Any], a: Attributes) -> Any:
    return x[0].sum(dim=_axes(x), keepdim=bool(a.get("keepdims", 1)))


@operator("ReduceL2")
def _l2(x: list[Any], a: Attributes) -> Any:
    return torch.linalg.vector_norm(x[0], dim=_axes(x), keepdim=bool(a.get("keepdims", 1)))


@operator("Reshape")
def _reshape(x: list[Any], a: Attributes) -> Any:
    shape = _ints(x[1])
    if not a.get("allowzero", 0):
        shape = [x[0].shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return x[0].reshape(shape)


@operator("Transpose")
def _transpose(x: list[Any], a: Attributes) -> Any:
    return x[0].permute(a["perm"])


@operator("Squeeze")
def _squeeze(x: list[Any], a: Attributes) -> Any:
    return x[0].squeeze(tuple(_axes(x) or range(x[0].dim())))


@operator("Unsqueeze")
def _unsqueeze(x: list[Any], a: Attributes) -> Any:
    result, axes = x[0], _ints(x[1])
    for axis in sorted(axis % (x[0].dim() + len(axes)) for axis in axes):
        result = result.unsqueeze(axis)
    return result


@operator("Slice")
def _slice(x: list[Any], a: Attributes) -> Any:
    starts, ends = _ints(x[1]), _ints(x[2])
    axes = _ints(x[3]) if len(x) > 3 and x[3] is not None else list(range(len(starts)))
    steps = _ints(x[4]) if len(x) > 4 and x[4] is not None else [1] * len(starts)
    index = [slice(None)] * x[0].dim()
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return x[0][tuple(index)]


@operator("Split")
def _split(x: list[Any], a: Attributes) -> Any:
    axis = a.get("axis", 0)
    if len(x) > 1 and x[1] is not None:
        return list(torch.split(x[0], _ints(x[1]), axis))
    return list(torch.chunk(x[0], a["num_outputs"], axis))


@operator("Expand")
def _expand(x: list[Any], a: Attributes) -> Any:
    shape = torch.broadcast_shapes(x[0].shape, torch.Size(_ints(x[1])))  # type: ignore[no-untyped-call]
    return x[0].expand(shape)


@operator("Gather")
def _gather(x: list[Any], a: Attributes) -> Any:
    axis, index = a.get("axis", 0) % x[0].dim(), x[1].long()
    index = torch.where(index < 0, index + x[0].shape[axis], index)
    rows = x[0].index_select(axis, index.reshape(-1))
    return rows.reshape(*x[0].shape[:axis], *index.shape, *x[0].shape[axis + 1 :])


@operator("Shape")
def _shape(x: list[Any], a: Attributes) -> Any:
    return torch.tensor(list(x[0].shape)[a.get("start", 0) : a.get("end", x[0].dim())])


OPERATORS.update(
    {
        "Add": lambda x, a: x[0] + x[1],
        "Sub": lambda x, a: x[0] - x[1],
        "Mul": lambda x, a: x[0] * x[1],
        "Div": lambda x, a: x[0] / x[1],
        "Greater": lambda x, a: x[0] > x[1],
        "Relu": lambda x, a: torch.relu(x[0]),
        "Sigmoid": lambda x, a: torch.sigmoid(x[0]),
        "Sqrt": lambda x, a: torch.sqrt(x[0]),
        "Reciprocal": lambda x, a: torch.reciprocal(x[0]),
        "Identity": lambda x, a: x[0],
        "Concat": lambda x, a: torch.cat(x, dim=a["axis"]),
    }
)
