"""Sections of memory and method: bytes by kind add up to what was measured, shares are of the blocks' time."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from modbench.harness.domain.records import Blocks, Record
from modbench.planted_runs import planted_plan
from modbench.reports.sections.memory import Bar, stacked
from modbench.reports.tables.timings import timings


@pytest.mark.parametrize(
    ("optimizer", "activations", "rest"),
    [
        (20.0, 30.0, {"optimizer": 20.0, "activations": 30.0, "gradients, workspace": 40.0}),
        (20.0, None, {"optimizer": 20.0, "activations, gradients, workspace": 70.0}),
        (None, None, {"everything else": 90.0}),
        (200.0, None, {"everything else": 100.0}),  # more than the whole: one of them is not what was weighed
    ],
)
def test_kinds_of_memory_add_up_to_what_was_measured(
    optimizer: float | None, activations: float | None, rest: dict[str, float]
) -> None:
    kinds = {"parameters": 10.0, "optimizer": optimizer, "activations": activations}
    assert stacked(100.0, kinds) == ({"parameters": 10.0} if optimizer != 200.0 else {}) | rest
    assert sum(stacked(100.0, kinds).values()) == 100.0
    assert stacked(None, kinds) == {}


@pytest.mark.parametrize(("forecast", "off"), [(100.0, 0.0), (80.0, 0.25), (125.0, -0.2), (0, None)])
def test_the_difference_from_the_forecast(forecast: float, off: float | None) -> None:
    case = planted_plan("draft", metrics=["memory/peak_allocated"], train=None).cases[0]
    found = Bar(case, {"parameters": 100.0}, {"parameters": forecast} if forecast else {}).off
    assert (found and found.value) == (None if off is None else pytest.approx(off))


@pytest.mark.parametrize(("stolen", "share"), [((0.3, 0.1), 0.1), ((0.3, None), None)])
def test_what_the_host_took_is_a_share_of_all_blocks_or_unknown(
    stolen: Sequence[float | None], share: float | None
) -> None:
    """Two processes of two blocks each, of a second each."""
    job = next(job for job in planted_plan("draft").jobs if job.made_in == "time")
    taken = ({} if some is None else {"steal_s": [some, 0.0]} for some in stolen)
    columns = [{"block": [0.0, 1.0], "wall_s": [1.0, 1.0], **each} for each in taken]
    blocks = ((Blocks(group="forward", columns=each),) for each in columns)
    records = [Record(job=job, started="", wall_s=1.0, outcomes=(), blocks=each) for each in blocks]
    loaded: Any = SimpleNamespace(run=SimpleNamespace(records=records))
    (timing,) = timings(loaded)
    assert (timing.blocks, timing.stolen, timing.waited) == (4, share, None)
