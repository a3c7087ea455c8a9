"""A few seconds of each fuzzer with fixed seeds; ``python -m tests.fuzz --cases 100000`` by hand for more."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import TARGETS
from tests.fuzz.campaign import campaign

NEVER_REFUSES = ("declared-units", "journal")  # a line that says nothing is passed over
CASES = {"address": 1500, "message": 1500, "recording-info": 1500}


@pytest.mark.parametrize("name", TARGETS)
def test_broken_inputs_are_refused_in_our_own_words_in_time_and_in_bounds(name: str) -> None:
    report = campaign(TARGETS[name], CASES.get(name, 250), seed=15, seconds=4)
    assert report.failures == {}
    assert report.cases >= 10
    assert report.refused > 0 or name in NEVER_REFUSES
    assert report.slowest_s < 5
