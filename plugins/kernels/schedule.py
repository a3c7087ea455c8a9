"""One CDA as a list of kernel launches and the tensors between them; cda_schedule.cpp is the same in C++.

With u_0 = V, u_{k+1} = P_o u_k (o the other modality) and g = A_0 u_T, the operator is

    g ← α P_mᵀ g + (1 − α)(P_m u_k + u_{k+1})          k = T − 1 … 0            gives A_T V

A cda_rows launch makes P_m u_k ("self") and u_{k+1} ("next") for both directions, a cda_columns launch takes the
step. tests/plugins compares this file with cda_schedule.cpp for every combination of attributes.
Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mutualformer.plugins.attributes import CdaAttributes

WRITE_NEXT, WRITE_LSE = 1, 2
"""Bits of cda_rows' ``writes``: which tensors it stores besides self."""

Base = Literal["qkv_r", "qkv_d", "y_r", "y_d", "workspace"]


@dataclass(frozen=True)
class Address:
    """A tensor (B, N, C). ``index``: which multiple of C in the rows of qkv or y, which tensor in the workspace."""

    base: Base
    index: int


@dataclass(frozen=True)
class TensorPair:
    """One tensor for direction r and one for d; ``width``: length of their rows as a multiple of C."""

    r: Address
    d: Address
    width: int

    def exchanged(self) -> TensorPair:
        """d's tensor for r and r's for d."""
        return TensorPair(self.d, self.r, self.width)


@dataclass(frozen=True)
class Launch:
    """One launch. ``x``: u_k of cda_rows, g of cda_columns. ``own`` and ``following`` (self and next in the kernels)
    are written by cda_rows and read by cda_columns, whose result goes to ``result``."""

    kernel: Literal["cda_rows", "cda_columns"]
    keys: TensorPair
    x: TensorPair
    own: TensorPair
    following: TensorPair
    result: TensorPair | None = None
    writes: int = 0


def workspace_pairs(attributes: CdaAttributes) -> int:
    """Pairs of (B, N, C) tensors in the workspace: u_2 … u_T, P u_1 … P u_{T−1}, A_0 u_T, and u_1 of ``figure``."""
    cross, figure = attributes.init == "cross", attributes.value_pairing == "figure"
    return 2 * (attributes.iterations - 1) + int(cross) + int(figure and not cross and attributes.iterations == 1)


def launches(attributes: CdaAttributes) -> list[Launch]:
    """Launches in their order: ``iterations`` (+ 1 for init = cross) of cda_rows, ``iterations`` of cda_columns."""
    used = iter(range(workspace_pairs(attributes)))

    def packed(index: int) -> TensorPair:
        return TensorPair(Address("qkv_r", index), Address("qkv_d", index), 3)

    def output(index: int) -> TensorPair:
        return TensorPair(Address("y_r", index), Address("y_d", index), 2)

    def workspace() -> TensorPair:
        pair = next(used)
        return TensorPair(Address("workspace", 2 * pair), Address("workspace", 2 * pair + 1), 1)

    keys, values, outputs, diffused = packed(1), packed(2), output(0), output(1)
    cross, last = attributes.init == "cross", attributes.iterations - 1
    if attributes.value_pairing == "released":
        # x = (V_d, V_r): u_1 = (P_d V_d, P_r V_r) = (out_d, out_r) goes straight into the outputs.
        u, own, following = values.exchanged(), diffused, outputs.exchanged()
    else:
        # x = (V_r, V_d): P_m V_m is out_m. u_1 may lie where the result goes unless cda_columns still multiplies it.
        u, own, following = values, outputs, diffused if cross or last > 0 else workspace()
    steps = [Launch("cda_rows", keys, u, own, following, writes=WRITE_NEXT | WRITE_LSE)]
    for _ in range(last):
        steps.append(Launch("cda_rows", keys, steps[-1].following, workspace(), workspace(), writes=WRITE_NEXT))
    rows = list(steps)
    g = rows[-1].following
    if cross:
        a_0_u = workspace()
        steps.append(Launch("cda_rows", keys.exchanged(), g, a_0_u, a_0_u))
        g = a_0_u
    for k in range(last, -1, -1):
        result = rows[k].own if k else diffused
        steps.append(Launch("cda_columns", keys, g, rows[k].own, rows[k].following, result))
        g = result
    return steps
