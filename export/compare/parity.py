"""Compares two model files on the same frames and judges the difference by the budgets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mutualformer.export.compare.features import compare_reid
from mutualformer.export.compare.maps import compare_sod
from mutualformer.export.compare.result import Parity
from mutualformer.export.criteria.frames import Selection, Share, parity_frames, parity_identities
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.node_types import graph_problems, heavy_node_types
from mutualformer.runtime import zoo
from mutualformer.runtime.environment import variables
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session import Session
from mutualformer.runtime.session.base import KEEP_FP16
from mutualformer.runtime.session.onnx_file import read_onnx_file
from mutualformer.runtime.sources import opening


def compare(reference: Path, candidate: Path, data: Sequence[str] = ()) -> Parity:
    """Open both files and the data, and compare. Raises on unreadable files or data.

    ``data``: DATA; none = the real pair, photographs, sensor frames (as far as they are here) and rendered scenes.
    """
    # Judge the file, not what the runtime makes of it: keep FP16 weights in FP16.
    with variables({KEEP_FP16: "1"}), zoo.load(reference) as left, zoo.load(candidate) as right:
        result = compare_sessions(left, right, data)
    if candidate.suffix == ".onnx":  # an engine is proven when it is built
        result.problems[:0] = graph_problems(result.precision, heavy_node_types(read_onnx_file(candidate).model))
    return result


def compare_sessions(reference: Session, candidate: Session, data: Sequence[str] = (), show: int = 6) -> Parity:
    """As :func:`compare`, for two open sessions. ``show``: number of frames shown as pictures."""
    contract = reference.contract
    if contract.task == "reid":
        if len(data) > 1:
            raise ExportError(f"ReID is compared on one DATA at a time, found {len(data)}: identities must not mix")
        taken = (opening.identities(data[0], contract.input_size), data[0]) if data else parity_identities(contract)
        result = compare_reid(reference, candidate, taken[0])
        result.data = taken[1]
        return result
    if data:
        frames = opening.frames(data, contract.input_size)
        selection = Selection((Share(", ".join(data), frames.__getitem__, len(frames), len(frames)),))
    else:
        selection = parity_frames(contract)
    result = compare_sod(reference, candidate, progress(selection, "parity"), show)
    result.data = ", ".join(data) or selection.text
    return result
