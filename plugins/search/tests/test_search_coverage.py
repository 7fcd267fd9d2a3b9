"""A search as a whole finds the planted line as surely as the whole grid, for half of its time (benchmarks/search.py)."""

from __future__ import annotations

import pytest
import search as script

from modbench.harness.stats.effects import Effect
from modbench.plugins.search.rule import Reading

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


@pytest.mark.slow
def test_undecided_cells_need_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them the search is cheaper, but bands lack an end that the whole grid shows: the test above can fail."""

    def stop_early(effect: Effect) -> Reading:
        return Reading(effect.value >= 0, decided=True)

    flat = script.CURVES["flat: 0.01 for each doubling"]
    found, grid = script.over_lines(flat, 135, processes=7, sd=0.01, seconds=SECONDS)
    assert sum(found.closed) >= 0.95 * sum(grid.closed)
    monkeypatch.setattr(script, "reading", stop_early)
    found, grid = script.over_lines(flat, 135, processes=7, sd=0.01, seconds=SECONDS)
    assert sum(found.closed) < 0.8 * sum(grid.closed)


def test_where_there_is_no_line_a_search_says_so() -> None:
    for name, cells in (("no line: never pays", 4), ("no line: always pays", 3)):
        found, _ = script.over_lines(script.CURVES[name], 18, processes=5, sd=0.01, seconds=SECONDS)
        assert found.coverage == 1
        assert set(found.cells) == {cells}


@pytest.mark.proof
@pytest.mark.parametrize("processes", script.PROCESSES)
@pytest.mark.parametrize("name", script.CURVES)
def test_a_search_holds_planted_lines_in_every_world(name: str, processes: int) -> None:
    """Where the effect is flat beside its spread any band holds more, the whole grid's too, and the search measures more."""
    seconds = script.seconds_of_cells()
    for sd in script.SPREADS:
        found, grid = script.over_lines(script.CURVES[name], 1800, processes=processes, sd=sd, seconds=seconds)
        time = sum(found.seconds) / sum(grid.seconds)
        if "no line" in name:
            assert found.coverage >= 0.99
            continue
        flat = name.startswith("flat: ")
        assert 0.93 <= found.coverage <= (1.0 if flat else 0.985)
        assert found.coverage >= grid.coverage - 0.025
        assert time <= (0.7 if flat else 0.52)
        assert sum(found.widths) <= 1.02 * sum(grid.widths)
