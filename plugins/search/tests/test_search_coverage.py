"""A search as a whole finds the planted line as surely as the whole grid, for half of its time (benchmarks/search.py)."""

from __future__ import annotations

import pytest
import search as script

# Seconds of the cells of `breakeven`, roughly: a start, and what grows with the length.
SECONDS = {length: 0.5 + length / 200 for length in (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sd"), [("0.1 for each doubling", 0.01), ("0.03 for each doubling", 0.01)])
def test_a_search_holds_the_line_for_half_of_the_time(name: str, sd: float) -> None:
    found, grid = script.over_lines(script.CURVES[name], 135, processes=7, sd=sd, seconds=SECONDS)
    assert 0.91 <= found.coverage <= 0.99
    assert abs(found.coverage - grid.coverage) <= 0.02
    assert sum(found.seconds) <= 0.5 * sum(grid.seconds)
    assert sum(found.widths) <= 1.02 * sum(grid.widths)


def test_where_there_is_no_line_a_search_says_so() -> None:
    for name, cells in (("no line: never pays", 4), ("no line: always pays", 3)):
        found, _ = script.over_lines(script.CURVES[name], 18, processes=5, sd=0.01, seconds=SECONDS)
        assert found.coverage == 1
        assert set(found.cells) == {cells}
