"""Break-even in `breakeven.csv`, in words and on the map: planted lines end to end, and what carries no claim."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted import stored

from modbench import planted_runs
from modbench.harness.core.labels import Label
from modbench.harness.planning.plan import Plan
from modbench.planted_runs import planted_plan
from modbench.reports.blocks import pivot
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import break_even
from modbench.reports.tables import claims
from modbench.reports.tables.load import Loaded, load

pytestmark = pytest.mark.slow

LENGTHS = (64, 128, 256, 512)
FAST, SLOW = "mod[c0.125]", "mod[c0.5]"
# Planted for MoD 0.125: where it begins to pay, and the log effect for each doubling.
AT, SLOPE = 181.0, 0.1


MATCHED_BASELINE = "dense-f0.55"


@pytest.fixture(autouse=True, scope="module")
def _known_matched() -> Iterator[None]:
    """The matched baseline, solved at the longest length, takes 0.7 of dense."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted_runs, "PLANTED", planted_runs.PLANTED | {MATCHED_BASELINE: 0.7})
        yield


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory, _known_matched: None) -> Path:
    """A run in which both capacities begin to pay at the same length."""
    folder = tmp_path_factory.mktemp("from")
    stored(folder, made(), grid=takes(FAST, AT) | takes(SLOW, AT))
    return folder


def takes(variant: str, at: float, workload: str = "forward", base: float = 1.0) -> dict[tuple[str, str, int], float]:
    """What a variant takes at each length if it begins to pay against something that takes `base`."""
    return {(variant, workload, length): base * math.exp(-SLOPE * math.log2(length / at)) for length in LENGTHS}


def made(effort: str = "draft", **changes: Any) -> Plan:
    return planted_plan(
        effort,
        **{"metrics": ["flops/forward", "latency/forward"], "grid": {"seq_len": LENGTHS}, "train": None}
        | ({"processes": 5, "rounds": 2} if effort == "draft" else {})
        | changes,
    )


def lines(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "run" / "breakeven.csv")


def table_of(loaded: Loaded) -> dict[str, list[str]]:
    """From where on each variant is faster, by variant, as it is written."""
    made = pivot("", break_even.cells(loaded, break_even.claimed(loaded)))
    return {plain(variant): list(map(plain, cells)) for variant, *cells in made.rows}


def test_what_carries_no_claim_says_so(tmp_path: Path) -> None:
    stored(tmp_path / "smoke", made("smoke"))
    smoke = lines(tmp_path / "smoke")
    assert smoke.outcome.isna().all()
    assert set(smoke.status) == {"skipped"}
    assert smoke.reason.str.startswith(break_even.SMOKE).all()
    assert break_even.claimed(load(tmp_path / "smoke" / "run")) == []
    stored(tmp_path / "unchecked", made(), certificate=None, grid=takes(FAST, AT))
    unchecked = lines(tmp_path / "unchecked")
    assert unchecked.outcome.isna().all()
    assert unchecked.value.notna().any()
    assert unchecked.reason.str.startswith(claims.UNCHECKED).all()
    assert break_even.claimed(load(tmp_path / "unchecked" / "run")) == []


def test_a_noisy_or_failed_point_is_left_out(tmp_path: Path) -> None:
    """Waits in every sample: nothing is left to judge by. A failed variant has no line, and others keep theirs."""
    stored(tmp_path / "waits", made(), waits=FAST)
    waits = lines(tmp_path / "waits")
    mine = waits[waits.variant == FAST]
    assert mine.outcome.isna().all()
    assert mine.measured.isna().all()
    assert mine.reason.str.contains("without 64: noisy, 128: noisy").all()
    assert waits[waits.variant == "moe"].outcome.notna().all()
    stored(tmp_path / "fails", made(), fails=FAST)
    failed = lines(tmp_path / "fails")
    assert set(failed[failed.variant == FAST].status) == {"skipped"}
    assert table_of(load(tmp_path / "fails" / "run"))["MoD 0.125"] == ["?", "?"]
    assert failed[failed.variant == FAST].reason.str.contains("64: failed, 128: failed").all()
    # One job less: the others carry the line.
    plan = made()
    gone = next(job.name for job in plan.jobs if job.made_in == "time" and "T128" in job.name)
    stored(tmp_path / "gone", plan, leave_out=gone, grid=takes(FAST, AT))
    kept = lines(tmp_path / "gone")
    assert set(kept[kept.variant == FAST].measured) == {"64 256 512"}
    assert kept.reason.str.contains("without 128: incomplete").all()


def test_a_variant_in_doubt_has_no_claim(crossing: Path) -> None:
    loaded = load(crossing / "run")
    loaded.pairs.loc[(loaded.pairs.variant == FAST) & (loaded.pairs.seq_len == 512), "labels"] = Label.FASTER
    mine = break_even.TABLE.frame(loaded)
    mine = mine[mine.variant == FAST]
    assert mine.outcome.isna().all()
    assert set(mine.labels) == set(mine.reason.str.removeprefix("in doubt: ")) == {str(Label.FASTER)}
    assert table_of(loaded)["MoD 0.125"] == ["?", "?"]


def test_against_another_baseline_the_line_is_mirrored(crossing: Path) -> None:
    """Dense against MoD 0.125 stops to pay where MoD 0.125 begins: its effect falls, so that it has no line."""
    loaded = load(crossing / "run", FAST)
    found = break_even.TABLE.frame(loaded).set_index(["variant", "estimand"])
    assert set(found.baseline_kind) == {"baseline"}
    assert found.loc[("dense", "median"), "outcome"] == "not monotone"
    assert found.loc[("moe", "median"), "outcome"] == "never"
    # The same line, from the pair that is stored in the other direction.
    own = next(line for line in break_even.lines(load(crossing / "run")) if line.case.variant == FAST).found
    rows = break_even._rows(loaded, "latency/forward", FAST, "dense")
    assert {(row.variant, sign) for row, sign in rows.values()} == {("dense", -1)}
    here = {row.seq_len: (row, sign) for row, sign in rows.values()}
    again = next(break_even._by_estimand(loaded, "seq_len", "same shape", own, here, None)).found
    assert dataclasses.astuple(again.typical)[:3] == pytest.approx(dataclasses.astuple(own.typical)[:3])


def test_one_length_makes_no_file(tmp_path: Path) -> None:
    stored(tmp_path, made(grid={"seq_len": [64]}))
    assert not (tmp_path / "run" / "breakeven.csv").exists()
    assert break_even.claimed(load(tmp_path / "run")) == []
