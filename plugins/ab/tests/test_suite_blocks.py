"""What blocks of planted runs say of two sides of a suite: effects, verdicts, and what checks found of either side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from present import present

from modbench.extend import EVERY_VARIANT, UNFIT, planted_plan, planted_run
from modbench.harness.core.labels import Label
from modbench.harness.results import run_folder
from modbench.plugins.ab import blocks as suite_blocks
from modbench.plugins.ab import question as ab
from modbench.plugins.ab.question import NAMES, Effects, Result, Row
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.gate.fail_on import FailOn, parse
from modbench.reports.tables.cell import Trouble
from modbench.reports.tables.values import Tables

TIME = "latency/forward"
PLAN: dict[str, Any] = {"metrics": [TIME], "train": None, "processes": 1, "rounds": 4, "grid": {"seq_len": [64]}}
VARIANTS: list[dict[str, Any]] = [{"model": "dense"}, {"model": "mod", "capacity": 0.125}]
PLACE = "T64-B1-fp32-cpu1"
DENSE, MOD = f"dense[{PLACE}]", f"mod[c0.125-{PLACE}]"
GRID_POINTS = {"ABBA": (0, 3, 1, 2), "BAAB": (1, 2, 0, 3)}

logs = st.floats(-10, 2)


@given(
    st.lists(st.tuples(logs, logs, logs, logs), min_size=1, max_size=12),
    st.floats(-1, 1),
    st.sampled_from([*GRID_POINTS]),
)
def test_a_steady_drift_moves_no_effect(times: list[tuple[float, ...]], slope: float, order: str) -> None:
    """A machine that slows down by the same factor from turn to turn, whichever side is in the middle."""

    def four(drift: float) -> list[list[float]]:
        return [
            [each[i] + drift * (4 * n + grid_point) for n, each in enumerate(times)]
            for i, grid_point in enumerate(GRID_POINTS[order])
        ]

    (still, _), (drifting, _) = (ab.effects([four(drift)], None) for drift in (0.0, slope))
    assert drifting.wall == pytest.approx(still.wall, abs=1e-9)


def test_the_effect_is_that_of_the_new_side_and_the_control_that_of_the_base() -> None:
    three, two, noisy = [math.log(3.0)] * 5, [math.log(2.0)] * 5, [math.log(2.0)] * 4 + [9.0]
    found, control = ab.effects([[three, three, two, noisy], [three, two, two, two]], None)
    assert found.wall == pytest.approx({0: math.log(1.5), 1: math.log(1.5) / 2})
    assert control.wall == pytest.approx({0: 0.0, 1: math.log(1.5)})


def made(
    folder: Path,
    number: int,
    *,
    base: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
    rounds: int = 4,
    **of_new: Any,
) -> list[list[Path]]:
    """Blocks of planted runs: what goes wrong on each side, and what the suite of the new one changes."""
    random, blocks = np.random.default_rng(0), list[list[Path]]()
    for block in range(number):
        blocks.append([])
        for name in NAMES:
            trouble, changes = (base, {}) if name.startswith("base") else (new, of_new)
            plan = planted_plan("draft", **(PLAN | {"rounds": rounds, "variants": VARIANTS} | changes))
            noise = {case.variant: math.exp(random.normal(0, 0.005)) for case in plan.cases}
            more = (trouble or {}).get("slower", {})
            slower = {variant: own * more.get(variant, 1.0) for variant, own in noise.items()}
            run = planted_run(folder / "made", plan, **((trouble or {}) | {"slower": slower, "seed": 1 + block}))
            blocks[-1].append(run.rename(folder / f"block{block}-{name}"))
    return blocks


def judged(
    blocks: list[list[Path]], prepared: list[Path] | None = None, fail_on: FailOn | None = None
) -> dict[str, Row]:
    """What blocks say of each case; the sides were prepared in runs of their own, or as in the first block."""
    tables = [[Tables(run_folder.read(str(path))) for path in block] for block in blocks]
    base, new = (Tables(run_folder.read(str(path))) for path in prepared or [blocks[0][0], blocks[0][2]])
    rows = ab.judge([*suite_blocks.measured(tables, (base, new))], 0.02, fail_on)
    return {row.what if isinstance(row.what, str) else row.what.id: row for row in rows}


EQUAL, WORSE, OPEN = "equivalent", "worse", "inconclusive"
SLOWER: dict[str, Any] = {"slower": {"mod[c0.125]": 1.1}}
WAITS: dict[str, Any] = {"waits": EVERY_VARIANT}  # so that each call takes twice as long
SEEN: dict[str, Any] = {"own_work_seen": True}
DRIFTS: dict[str, Any] = {"drifts": "mod[c0.125]"}


@pytest.mark.parametrize(
    ("base", "new", "rounds", "dense", "mod", "by_cpu"),
    [
        pytest.param({}, {}, 4, EQUAL, EQUAL, False, id="equal"),
        pytest.param({}, SLOWER, 4, EQUAL, WORSE, False, id="one case is slower"),
        pytest.param(DRIFTS, DRIFTS, 12, EQUAL, EQUAL, False, id="drifts, beside the base"),
        pytest.param(SEEN, SLOWER | SEEN, 4, EQUAL, WORSE, False, id="calm"),
        pytest.param(WAITS | SEEN, SLOWER | SEEN, 4, EQUAL, WORSE, True, id="CPU time stands for the work"),
        pytest.param(WAITS, SLOWER, 4, OPEN, OPEN, False, id="CPU time may not"),
        pytest.param({"certificate": UNFIT}, SLOWER, 4, OPEN, OPEN, False, id="the machine is unfit"),
    ],
)
def test_each_case_is_judged_by_its_rounds_in_turn(
    base: dict[str, Any], new: dict[str, Any], rounds: int, dense: str, mod: str, by_cpu: bool, tmp_path: Path
) -> None:
    found = judged(made(tmp_path, 6, base=base, new=new, rounds=rounds))
    assert (found[DENSE].verdict, found[MOD].verdict) == (dense, mod)
    assert (Label.BY_CPU in found[MOD].labels) is by_cpu
    if mod == WORSE and not by_cpu:
        assert found[MOD].ratio.value == pytest.approx(1 / 1.1, rel=0.01)


def test_the_quotient_of_the_two_times_is_the_ratio(tmp_path: Path) -> None:
    lurches: dict[str, Any] = {"lurches": 0.3}  # blocks that differ by 30 %
    for row in judged(made(tmp_path, 3, base=lurches, new=lurches, rounds=8)).values():
        assert present(row.base_value) / present(row.new_value) == pytest.approx(row.ratio.value, rel=1e-9)


def test_the_same_id_of_another_shape_is_not_compared(tmp_path: Path) -> None:
    for row in judged(made(tmp_path, 3, shape={"n_layers": 3})).values():
        assert (row.contrast, plain(row.why).partition(":")[0]) == (None, "the same id, but another case")


def test_two_builds_are_one_case_where_their_place_is_one(tmp_path: Path) -> None:
    runs = []
    for name in NAMES:
        plan = planted_plan("draft", **PLAN, variants=[{"model": "dense" if name.startswith("base") else "moe"}])
        runs.append(Tables(run_folder.read(str(planted_run(tmp_path / name, plan)))))
    (row,) = suite_blocks.measured([runs] * 3, (runs[0], runs[2]), builds=True)
    assert not isinstance(row.what, str)
    assert row.what.id == f"moe[{PLACE}]"
    assert isinstance(row.blocks, Effects)
    assert len(row.blocks.wall) == 3


@pytest.mark.parametrize(
    ("base", "new", "lacking"),
    [
        (None, Trouble("failed", "it raised", "error"), "new"),
        (Trouble("failed", "it raised", "error"), Trouble("failed", "it raised", "error"), "base"),
        (Trouble("skipped", "it needs more memory"), None, None),
        (Trouble("failed", "it died twice", "crash"), None, None),
        (None, Trouble("failed", "a damaged file", "damaged"), None),
    ],
)
def test_what_a_side_without_a_number_says(base: Trouble | None, new: Trouble | None, lacking: str | None) -> None:
    (case, *_) = planted_plan("draft", metrics=[TIME], train=None).cases
    assert suite_blocks.lost(case, TIME, base, new).lacking == lacking


CHECK = parse(["slower:5%"])


@pytest.mark.parametrize(
    ("sides", "case", "why", "ends"),
    [
        ({"new": {"fails": "mod[c0.125]"}}, MOD, "failed: ", "fail"),
        ({"base": {"fails": "mod[c0.125]"}}, MOD, "failed: ", "pass"),  # there is nothing that it could be slower than
        ({"variants": VARIANTS[:1]}, MOD, "the new side has no such case", "inconclusive"),
        ({"variants": [*VARIANTS, {"model": "moe"}]}, f"moe[{PLACE}]", "new: the base has no", "pass"),
    ],
)
def test_a_case_that_one_side_lacks_has_a_reason_and_the_other_cases_are_judged(
    sides: dict[str, Any], case: str, why: str, ends: str, tmp_path: Path
) -> None:
    rows = judged(made(tmp_path, 6, **sides), fail_on=CHECK)
    assert plain(rows[case].why).startswith(why)
    assert (rows[case].verdict, rows[DENSE].check) == (None, "pass")
    assert Result(("a", "b"), [*rows.values()], 0.05, CHECK).verdict == ends


REUSED = {"noted": {"mod[c0.125]": {"reused": "calls on tensors that were timed ran 3 FLOPs, on copies of them 9"}}}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["prepared base", "prepared new", *NAMES])
def test_what_checks_find_belongs_to_a_side_wherever_they_ran(where: str, tmp_path: Path) -> None:
    """In the run that prepared a side, or in any process of any block."""
    blocks, (found,) = made(tmp_path / "blocks", 6), made(tmp_path / "found", 1, base=REUSED, new=REUSED)
    prepared, side = [blocks[0][0], blocks[0][2]], "new" if "new" in where else "base"
    if where in NAMES:
        blocks[4][NAMES.index(where)] = found[NAMES.index(where)]
    else:
        prepared[side == "new"] = found[0 if side == "base" else 2]
    mod = judged(blocks, prepared)[MOD]
    assert mod.verdict == "inconclusive"
    assert Label.REUSES_OUTPUT in (mod.labels if side == "new" else mod.base_labels)
    assert f"the {side} side {Label.REUSES_OUTPUT}: its time is not that of its work" in plain(mod.reason)


def test_what_could_not_be_checked_withholds_where_sides_differ(tmp_path: Path) -> None:
    """Compiled code is seen by no counter on either side."""
    noted = {"noted": {"mod[c0.125]": {"unchecked": "a guard failed"}}}
    blocks = made(tmp_path / "blocks", 6)
    (both,) = made(tmp_path / "found", 1, base=noted, new=noted)
    for prepared, word in (([both[0], both[2]], "equivalent"), ([blocks[0][0], both[2]], "inconclusive")):
        mod = judged(blocks, prepared)[MOD]
        assert mod.verdict == word
        assert Label.UNCHECKED in mod.labels
