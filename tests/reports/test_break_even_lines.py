"""Break-even lengths of planted lines in `breakeven.csv`: what carries no claim says why, and what is mirrored.

The lines themselves: `tests/harness/test_break_even.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted import stored

from modbench import planted_runs
from modbench.harness.core.labels import Label
from modbench.planted_runs import planted_plan
from modbench.reports.blocks import pivot
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import break_even
from modbench.reports.tables import claims
from modbench.reports.tables.load import Loaded, load

pytestmark = pytest.mark.slow

LENGTHS = (64, 128, 256, 512)
FAST, SLOW = "mod[c0.125]", "mod[c0.5]"
# What both take at each length: they begin to pay at 181 tokens, and their log effect grows by 0.1 for each doubling.
CROSSES = {(variant, "forward", t): math.exp(-0.1 * math.log2(t / 181)) for variant in (FAST, SLOW) for t in LENGTHS}

Stored = Callable[..., tuple[Loaded, pd.DataFrame]]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """Plants a run; gives it with its `breakeven.csv`. The matched baseline takes 0.7 of dense."""
    monkeypatch.setattr(planted_runs, "PLANTED", planted_runs.PLANTED | {"dense-f0.55": 0.7})

    def made(effort: str = "draft", lacks: str = "", **trouble: Any) -> Any:
        size = {"processes": 5, "rounds": 2} if effort == "draft" else {}
        metrics = ["flops/forward", "latency/forward"]
        plan = planted_plan(effort, metrics=metrics, grid={"seq_len": LENGTHS}, train=None, **size)
        gone = next((job.name for job in plan.jobs if lacks and job.made_in == "time" and lacks in job.name), None)
        stored(tmp_path, plan, leave_out=gone, grid=CROSSES, **trouble)
        return load(tmp_path / "run"), pd.read_csv(tmp_path / "run" / "breakeven.csv")

    return made


def written(loaded: Loaded) -> dict[str, list[str]]:
    """From where on each variant is faster, by variant, as it is written."""
    made = pivot("", break_even.cells(loaded, break_even.claimed(loaded)))
    return {plain(variant): list(map(plain, cells)) for variant, *cells in made.rows}


@pytest.mark.parametrize(
    ("trouble", "why", "measured"),
    [
        ({"effort": "smoke"}, break_even.SMOKE, "0"),
        ({"certificate": None}, claims.UNCHECKED, "all"),
    ],
    ids=["smoke", "unchecked machine"],
)
def test_what_carries_no_claim_says_so(trouble: dict[str, Any], why: str, measured: str, planted: Stored) -> None:
    loaded, lines = planted(**trouble)
    assert lines.outcome.isna().all()
    assert lines.reason.str.startswith(why).all()
    assert break_even.claimed(loaded) == []
    assert lines.value.notna().any() == (measured == "all")


@pytest.mark.parametrize(
    ("trouble", "why", "measured", "all_judged"),
    [
        ({"waits": FAST}, "without 64: noisy, 128: noisy", None, True),
        ({"fails": FAST}, "64: failed, 128: failed", None, True),
        ({"lacks": "T128"}, "without 128: incomplete", "64 256 512", False),  # one job: the others carry the line
    ],
    ids=["noisy", "failed", "incomplete"],
)
def test_a_point_that_is_not_known_is_left_out(
    trouble: dict[str, Any], why: str, measured: str | None, all_judged: bool, planted: Stored
) -> None:
    """A variant without any has no line, and others keep theirs."""
    loaded, lines = planted(**trouble)
    mine, others = lines[lines.variant == FAST], lines[lines.variant == "moe"]
    assert mine.reason.str.contains(why).all()
    assert {*mine.measured.dropna()} == ({measured} if measured else set())
    assert mine.outcome.isna().all() == (measured is None)
    assert not measured or set(mine.measured) == {measured}
    assert others.outcome.notna().all() or not all_judged
    assert (written(loaded)["MoD 0.125"] == ["?", "?"]) is (measured is None)


def test_a_variant_in_doubt_has_no_claim(planted: Stored) -> None:
    loaded, _ = planted()
    loaded.pairs.loc[(loaded.pairs.variant == FAST) & (loaded.pairs.seq_len == 512), "labels"] = Label.FASTER
    lines = break_even.TABLE.frame(loaded)
    mine = lines[lines.variant == FAST]
    assert mine.outcome.isna().all()
    assert set(mine.labels) == set(mine.reason.str.removeprefix("in doubt: ")) == {str(Label.FASTER)}
    assert written(loaded)["MoD 0.125"] == ["?", "?"]


def test_against_another_baseline_the_line_is_mirrored(planted: Stored) -> None:
    """Dense against MoD 0.125 stops to pay where MoD 0.125 begins: its effect falls, so that it has no line."""
    first, _ = planted()
    loaded = load(first.path, FAST)
    found = break_even.TABLE.frame(loaded).set_index(["variant", "estimand"])
    outcomes = {variant: found.loc[(variant, "median"), "outcome"] for variant in ("dense", "moe")}
    assert outcomes == {"dense": "not monotone", "moe": "never"}
    # The same line, from the pair that is stored in the other direction.
    own = next(line for line in break_even.lines(first) if line.case.variant == FAST).found
    rows = break_even._rows(loaded, "latency/forward", FAST, "dense")
    assert {(row.variant, sign) for row, sign in rows.values()} == {("dense", -1)}
    here = {row.seq_len: (row, sign) for row, sign in rows.values()}
    again = next(break_even._by_estimand(loaded, "seq_len", "same shape", own, here, None)).found
    assert dataclasses.astuple(again.typical)[:3] == pytest.approx(dataclasses.astuple(own.typical)[:3])
