"""Where a run's time went: inside measured work, and beside it in the parent."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from modbench.harness.process.clocks import union_s
from modbench.reports.tables.load import load

MOMENTS = st.integers(0, 60)
SPANS = st.lists(st.tuples(MOMENTS, MOMENTS).map(lambda ends: (float(min(ends)), float(max(ends)))), max_size=12)


@given(spans=SPANS)
def test_seconds_covered_by_two_are_counted_once(spans: list[tuple[float, float]]) -> None:
    covered = {second for low, high in spans for second in range(int(low), int(high))}
    assert union_s(spans) == len(covered)


def test_the_parent_only_waits(tiny_run: Path) -> None:
    """It blocks on its children's pipes: a parent that polls would take a core, not under 1 % of one."""
    loaded = load(str(tiny_run))
    assert loaded.parent_share is not None
    assert loaded.parent_share < 0.01
    assert loaded.inside is not None
    assert 0 < loaded.inside <= 1
