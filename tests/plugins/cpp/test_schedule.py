"""The schedule in C++ and in Python: the same launches on the same memory for every combination of attributes."""

from __future__ import annotations

import ctypes
import itertools

import pytest

from mutualformer.plugins.attributes import INITS, MAX_ITERATIONS, VALUE_PAIRINGS, CdaAttributes
from mutualformer.plugins.kernels import schedule
from mutualformer.plugins.kernels.schedule import Address, Launch, TensorPair
from tests.plugins import support

BASES = ("qkv_r", "qkv_d", "y_r", "y_d", "workspace")  # order of Base in cda_schedule.h
KERNELS = ("cda_rows", "cda_columns")
ELEMENT = {0: 4, 1: 2, 2: 2}  # bytes, by Type in kernel_images.h
BATCH, TOKENS, HEADS, HEAD_DIM = 3, 37, 5, 24
NUMBERS = 2 + 5 * 5  # per launch


def _align(size: int) -> int:
    return -(-size // 256) * 256


def _in_cpp(attributes: CdaAttributes, kind: int) -> tuple[list[list[int]], int]:
    library = ctypes.CDLL(str(support.built() / "libplugin_harness.so"))
    numbers = (ctypes.c_int64 * (NUMBERS * (2 * MAX_ITERATIONS + 1)))()
    workspace = ctypes.c_size_t()
    count = library.harness_schedule(
        attributes.num_heads, attributes.iterations, INITS.index(attributes.init),
        VALUE_PAIRINGS.index(attributes.value_pairing), kind, ctypes.c_int64(BATCH), ctypes.c_int64(TOKENS),
        ctypes.c_int64(HEAD_DIM), numbers, ctypes.byref(workspace),
    )  # fmt: skip
    return [list(numbers[i * NUMBERS : (i + 1) * NUMBERS]) for i in range(count)], workspace.value


def _in_python(attributes: CdaAttributes, kind: int) -> tuple[list[list[int]], int]:
    row = HEADS * HEAD_DIM * ELEMENT[kind]
    lse, tensor = 2 * BATCH * HEADS * TOKENS * 4, _align(BATCH * TOKENS * row)

    def place(address: Address) -> tuple[int, int]:
        inside = _align(lse) + address.index * tensor if address.base == "workspace" else address.index * row
        return BASES.index(address.base), inside

    def numbers(pair: TensorPair | None) -> list[int]:
        if pair is None:
            return [BASES.index("workspace"), 0, BASES.index("workspace"), 0, 0]  # a Pair{} of C++
        return [*place(pair.r), *place(pair.d), pair.width]

    def launch(step: Launch) -> list[int]:
        pairs = (step.keys, step.x, step.own, step.following, step.result)
        return [KERNELS.index(step.kernel), step.writes, *itertools.chain.from_iterable(map(numbers, pairs))]

    pairs = schedule.workspace_pairs(attributes)
    size = lse if pairs == 0 else _align(lse) + 2 * pairs * tensor
    return [launch(step) for step in schedule.launches(attributes)], size


@pytest.mark.parametrize("value_pairing", VALUE_PAIRINGS)
@pytest.mark.parametrize("init", INITS)
def test_both_statements_agree(init: str, value_pairing: str) -> None:
    for iterations, kind in itertools.product(range(1, MAX_ITERATIONS + 1), ELEMENT):
        attributes = CdaAttributes(HEADS, 0.6, iterations, init, value_pairing)
        assert _in_cpp(attributes, kind) == _in_python(attributes, kind), attributes


@pytest.mark.parametrize("value_pairing", VALUE_PAIRINGS)
@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("iterations", range(1, MAX_ITERATIONS + 1))
def test_nothing_is_read_before_it_is_written_or_written_while_it_is_read(
    iterations: int, init: str, value_pairing: str
) -> None:
    """What cda_columns multiplies, and what cda_rows multiplies, is read by every program: no launch may write it."""
    attributes = CdaAttributes(1, 0.6, iterations, init, value_pairing)
    steps = schedule.launches(attributes)
    written = {Address("qkv_r", i) for i in range(3)} | {Address("qkv_d", i) for i in range(3)}
    used = set()
    for step in steps:
        reads, writes = [step.keys, step.x], [step.own]
        if step.kernel == "cda_columns":
            reads, writes = [*reads, step.own, step.following], [step.result] if step.result else []
        elif step.writes & schedule.WRITE_NEXT:
            writes.append(step.following)
        whole = {a for pair in (step.keys, step.x) for a in (pair.r, pair.d)}
        targets = [a for pair in writes for a in (pair.r, pair.d)]
        assert {a for pair in reads for a in (pair.r, pair.d)} <= written
        assert not whole & set(targets), step
        assert len(set(targets)) == len(targets), step
        written |= set(targets)
        used |= {a.index for a in targets if a.base == "workspace"}
    assert {Address(base, index) for base in ("y_r", "y_d") for index in (0, 1)} <= written
    assert used == set(range(2 * schedule.workspace_pairs(attributes))), "workspace that nothing uses"
    assert len(steps) == 2 * iterations + (init == "cross") <= 2 * MAX_ITERATIONS + 1
