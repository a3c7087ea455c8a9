"""Text tables: nothing lost, columns aligned, whatever the cells."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mutualformer.runtime.reporting.tables import aligned, markdown

CELLS = st.text(st.characters(whitelist_categories=("L", "N")), min_size=1, max_size=9)


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=6)))
def test_every_column_starts_at_the_same_place(rows: list[list[str]]) -> None:
    lines = aligned(rows).split("\n")
    assert [line.split() for line in lines] == rows
    for column in range(1, len(rows[0])):
        width = sum(max(len(row[i]) for row in rows) + 2 for i in range(column))
        assert all(line[width:].startswith(row[column]) for line, row in zip(lines, rows, strict=True))


def test_markdown() -> None:
    assert markdown(["a", "b"], [["x", 1]]) == "| a | b |\n| --- | --- |\n| x | 1 |"
    assert markdown(["a", "b"], [], numbers=True).endswith("| --- | ---: |")
