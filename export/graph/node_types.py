"""Kinds of ONNX nodes that precision is decided for and proven on."""

from __future__ import annotations

HEAVY_OPS = ("Conv", "ConvTranspose", "MatMul", "Gemm")  # what computes; all else moves values or is small beside it
