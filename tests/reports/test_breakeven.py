"""Break-even in `breakeven.csv`, in words and on the map: planted lines end to end, and what carries no claim."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import planted
import pytest
from panels_of import shown
from planted import planted_suite, stored

from modbench.harness.core.labels import Label
from modbench.harness.planning.plan import Plan
from modbench.reports.model import Estimate, Figure, Finding, Listed, Table
from modbench.reports.panels import speedup_map
from modbench.reports.questions import break_even
from modbench.reports.tables import pair_verdicts
from modbench.reports.tables.findings import against
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import summary
from modbench.reports.writers.number_format import plain

pytestmark = pytest.mark.slow

LENGTHS = (64, 128, 256, 512)
FAST, SLOW = "mod[c0.125]", "mod[c0.5]"
# Planted for MoD 0.125: where it begins to pay, and the log effect for each doubling.
AT, SLOPE = 181.0, 0.1


RUNG = "dense-f0.55"


@pytest.fixture(autouse=True, scope="module")
def _known_rung() -> Iterator[None]:
    """The dense model of equal cost, solved at the longest length, takes 0.7 of dense."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "PLANTED", planted.PLANTED | {RUNG: 0.7})
        yield


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory, _known_rung: None) -> Path:
    """A run in which both capacities begin to pay at the same length."""
    folder = tmp_path_factory.mktemp("crossing")
    stored(folder, made(), grid=takes(FAST, AT) | takes(SLOW, AT))
    return folder


def takes(arm: str, at: float, workload: str = "forward", base: float = 1.0) -> dict[tuple[str, str, int], float]:
    """What an arm takes at each length if it begins to pay against something that takes `base`."""
    return {(arm, workload, length): base * math.exp(-SLOPE * math.log2(length / at)) for length in LENGTHS}


def made(effort: str = "draft", **changes: Any) -> Plan:
    return planted_suite(
        effort,
        **{"metrics": ["flops/forward", "latency/forward"], "grid": {"seq_len": LENGTHS}, "train": None}
        | ({"launches": 5, "rounds": 2} if effort == "draft" else {})
        | changes,
    )


def lines(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "run" / "breakeven.csv")


def test_a_planted_line_is_found_against_equal_shape_and_equal_cost(crossing: Path) -> None:
    """The rung takes 0.7 of dense at every length, so that MoD 0.125 passes it later: where its own effect is that of 0.7."""
    found = lines(crossing)
    assert list(found) == list(break_even.COLUMNS)
    mine = found[found.arm == FAST]
    assert list(zip(mine.against, mine.estimand, strict=True)) == [
        ("same shape", "typical"),
        ("same shape", "mean"),
        ("equal cost", "typical"),
        ("equal cost", "mean"),
    ]
    shape, cost = mine[mine.against == "same shape"], mine[mine.against == "equal cost"]
    assert (shape.outcome == "crossing").all()
    assert shape.value.tolist() == pytest.approx([AT, AT], rel=0.03)
    assert (shape.ci_low < AT).all()
    assert (shape.ci_high > AT).all()
    assert (shape.ci_high / shape.ci_low < 1.2).all()
    # It would pass at 2,143.
    assert (cost.outcome == "never").all()
    assert set(cost.baseline_arm) == {RUNG}
    # An arm without a rung has no row of equal cost; rungs and the baseline have none at all.
    assert set(found[found.arm == "moe"].against) == {"same shape"}
    assert set(found.arm) == {FAST, SLOW, "moe"}
    assert set(found[found.arm == "moe"].outcome) == {"never"}


def table_of(loaded: Loaded, which: int = 0) -> dict[str, list[str]]:
    """From where each arm pays, by arm, as it is written."""
    made = [each for each in break_even.blocks(loaded) if isinstance(each, Table)]
    return {plain(arm): list(map(plain, cells)) for arm, *cells in made[which].rows}


@pytest.mark.slow
def test_the_table(crossing: Path) -> None:
    loaded = load(crossing / "run")
    mine, half, moe = table_of(loaded).values()
    assert re.fullmatch(r"≈1[78]\d \[1[78]\d–1[89]\d\]", mine[0])
    assert re.fullmatch(r"≈1[78]\d \[1[78]\d–1[89]\d\]", half[0])
    assert (mine[1], half[1], moe) == ("never", "–", ["never", "–"])
    # Beside the line octaves were measured, so that it may bend between them.
    assert set(lines(crossing).measure_next.dropna()) == {181}
    shown = (*break_even.blocks(loaded), *speedup_map.render(loaded))
    (notes,) = (plain(Listed(each.notes)) for each in shown if isinstance(each, Table))
    cost, shape = (each for each in shown if isinstance(each, Figure))
    assert (cost.name, cost.against, shape.name, shape.against) == ("map-cost", "equal cost", "map", "same shape")
    assert "Thick line" in plain(cost.caption)  # it pays at no length
    caption = plain(shape.caption)
    for said in (notes, caption, summary.closing(loaded, crossing / "page", None)):
        assert "measure T = 181 to narrow the line" in " ".join(said.split())
    closing = summary.closing(loaded, crossing / "page", None)
    assert mine[0] in closing
    assert "(FLOPs ±35 %)" in closing


@pytest.mark.slow
def test_decode_has_lines_along_the_context_and_along_the_batch(tmp_path: Path) -> None:
    """Planted: at B = 1 from T = 91 on; at B = 4 at every length; so along the batch from B = 1 on, or later, by the length."""
    grid: dict[Any, float] = {
        (FAST, "decode", length, batch): math.exp(-0.2 * (math.log2(length / 91) + (2 if batch == 4 else 0)))
        for length in (64, 128)
        for batch in (1, 4)
    }
    metrics = ["flops/forward", "latency/decode"]
    stored(tmp_path, made(metrics=metrics, grid={"seq_len": [64, 128], "batch_size": [1, 4]}), grid=grid)
    found = lines(tmp_path)
    mine = found[(found.arm == FAST) & (found.against == "same shape") & (found.estimand == "typical")]
    assert mine[["axis", "seq_len", "batch_size", "outcome", "measured"]].fillna(0).to_numpy().tolist() == [
        ["seq_len", 0, 1, "crossing", "64 128"],
        ["seq_len", 0, 4, "always", "64 128"],
        ["batch_size", 64, 0, "crossing", "1 4"],
        ["batch_size", 128, 0, "always", "1 4"],
    ]
    assert mine.value.iloc[0] == pytest.approx(91, rel=0.03)
    assert mine.value.iloc[2] == pytest.approx(2 ** math.log2(91 / 64), rel=0.03)
    loaded = load(tmp_path / "run")
    along, across = (each for each in break_even.blocks(loaded) if isinstance(each, Table))
    assert [*dict.fromkeys(along.groups)] == ["", "decode step at B = 1", "decode step at B = 4"]
    assert [*dict.fromkeys(across.groups)] == ["", "decode step at T = 64", "decode step at T = 128"]
    shape = [i - 1 for i, title in enumerate(along.head) if title == "shape"]
    assert [table_of(loaded)["MoD 0.125"][i] for i in shape][1] == "64"
    assert table_of(loaded, 1)["MoD 0.125"][shape[0]].startswith("≈1.4")


@pytest.mark.slow
def test_what_carries_no_claim_says_so(tmp_path: Path) -> None:
    stored(tmp_path / "smoke", made("smoke"))
    smoke = lines(tmp_path / "smoke")
    assert smoke.outcome.isna().all()
    assert set(smoke.status) == {"skipped"}
    assert smoke.reason.str.startswith(break_even.SMOKE).all()
    assert not [*break_even.blocks(load(tmp_path / "smoke" / "run"))]
    stored(tmp_path / "unchecked", made(), certificate=None, grid=takes(FAST, AT))
    unchecked = lines(tmp_path / "unchecked")
    assert unchecked.outcome.isna().all()
    assert unchecked.value.notna().any()
    assert unchecked.reason.str.startswith(pair_verdicts.UNCHECKED).all()
    assert not [*break_even.blocks(load(tmp_path / "unchecked" / "run"))]
    unchecked_run = load(tmp_path / "unchecked" / "run")
    for choice in against(unchecked_run, ["latency/forward"]):
        assert not speedup_map.break_even_lines(unchecked_run, "latency/forward", choice.pairs)


@pytest.mark.slow
def test_a_disturbed_or_failed_point_is_left_out(tmp_path: Path) -> None:
    """Waits in every sample: nothing is left to judge by. A failed arm has no line, and others keep theirs."""
    stored(tmp_path / "waits", made(), waits=FAST)
    waits = lines(tmp_path / "waits")
    mine = waits[waits.arm == FAST]
    assert mine.outcome.isna().all()
    assert mine.measured.isna().all()
    assert mine.reason.str.contains("without 64: contaminated, 128: contaminated").all()
    assert waits[waits.arm == "moe"].outcome.notna().all()
    stored(tmp_path / "fails", made(), fails=FAST)
    failed = lines(tmp_path / "fails")
    assert set(failed[failed.arm == FAST].status) == {"skipped"}
    assert table_of(load(tmp_path / "fails" / "run"))["MoD 0.125"] == ["?", "?"]
    assert failed[failed.arm == FAST].reason.str.contains("64: failed, 128: failed").all()
    # One unit less: the others carry the line.
    plan = made()
    gone = next(unit.name for unit in plan.units if unit.made_in == "time" and "T128" in unit.name)
    stored(tmp_path / "gone", plan, leave_out=gone, grid=takes(FAST, AT))
    kept = lines(tmp_path / "gone")
    assert set(kept[kept.arm == FAST].measured) == {"64 256 512"}
    assert kept.reason.str.contains("without 128: skipped").all()


def test_an_arm_in_doubt_has_no_claim(crossing: Path) -> None:
    loaded = load(crossing / "run")
    loaded.pairs.loc[(loaded.pairs.arm == FAST) & (loaded.pairs.seq_len == 512), "labels"] = Label.FASTER
    mine = break_even.table(loaded)
    mine = mine[mine.arm == FAST]
    assert mine.outcome.isna().all()
    assert set(mine.labels) == set(mine.reason.str.removeprefix("in doubt: ")) == {str(Label.FASTER)}
    assert table_of(loaded)["MoD 0.125"] == ["?", "?"]


def test_against_another_baseline_the_line_is_mirrored(crossing: Path) -> None:
    """Dense against MoD 0.125 stops to pay where MoD 0.125 begins: its effect falls, so that it has no line."""
    loaded = load(crossing / "run", FAST)
    found = break_even.table(loaded).set_index(["arm", "estimand"])
    assert set(found.against) == {"baseline"}
    assert found.loc[("dense", "typical"), "outcome"] == "not monotone"
    assert found.loc[("moe", "typical"), "outcome"] == "never"
    # The same line, from the pair that is stored in the other direction.
    own = break_even.lines(load(crossing / "run"), arms=[FAST])[0].typical
    rows = {row.case_id: row for row in loaded.between("latency/forward", FAST, "dense")}
    assert {row.arm for row in rows.values()} == {"dense"}
    group = break_even._groups(loaded, "latency/forward", "seq_len")[0]
    dense = next(case for case in loaded.arms if case.arm == "dense")
    again = break_even._line("latency/forward", "seq_len", group, FAST, dense, "same shape", rows, None)
    assert again is not None
    assert dataclasses.astuple(again.typical.typical)[:3] == pytest.approx(dataclasses.astuple(own.typical)[:3])


def test_a_search_has_lines_from_the_lengths_that_it_measured(tmp_path: Path) -> None:
    """Each arm has a comparison of its own; lengths that the search did not need are no gaps."""
    arms = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.5]}]
    lengths = [32, 48, *LENGTHS, 1024]
    plan = made(arms=arms, grid={"seq_len": lengths}, search={"axis": "seq_len", "against": ["same shape"]}, launches=3)
    grid = {
        (arm, "forward", length): math.exp(-0.2 * math.log2(length / at))
        for arm, at in ((FAST, AT), (SLOW, 45.0))
        for length in lengths
    }
    stored(tmp_path, plan, grid=grid)
    found = lines(tmp_path)
    assert found.outcome.tolist() == ["crossing"] * 4
    assert found.value.tolist() == pytest.approx([AT, AT, 45, 45], rel=0.02)
    assert found.reason.isna().all()
    assert all(2 <= len(measured.split()) < len(lengths) for measured in found.measured)
    assert all(cells[0].startswith("≈") for cells in table_of(load(tmp_path / "run")).values())


def test_one_length_makes_no_file(tmp_path: Path) -> None:
    stored(tmp_path, made(grid={"seq_len": [64]}))
    assert not (tmp_path / "run" / "breakeven.csv").exists()
    assert not [*break_even.blocks(load(tmp_path / "run"))]


@pytest.mark.slow
def test_the_map_has_the_line(crossing: Path) -> None:
    """Marks between the cells of 128 and 256 for both capacities, joined at their common edge; MoE at the right edge."""
    page = shown(speedup_map, load(crossing / "run"))
    drawn = [
        path for path in re.findall(r'<path d="[^"]*"[^>]*style="[^"]*"', page) if path.endswith('stroke-width: 2"')
    ]
    assert all("var(--ink)" in path for path in drawn)
    # Each capacity: a mark that passes between the numbers, or two beside them; one that joins them; MoE's.
    assert 4 <= len(drawn) <= 6


def test_estimates_that_disagree_give_the_later_line() -> None:
    """An arm pays where both do."""
    nothing: Any = None

    def found(verdict: str | None, *point: float | None) -> Finding:
        return Finding("", typical=Estimate.of(*(point or (None,)), kind="point"), verdict=verdict)

    def line(typical: Finding, mean: Finding) -> break_even.Line:
        return break_even.Line("seq_len", "same shape", typical, mean, (64, 512), {}, 5, nothing)

    early, late, never = found("crossing", 100, 90, 110), found("crossing", 200, 190, 210), found("never")
    order = [found("always"), early, late, found("undecided", None, 300), found("not monotone"), never]
    for i, one in enumerate(order):
        for other in order[i + 1 :]:
            assert line(one, other).later is other
            assert line(other, one).later is other
