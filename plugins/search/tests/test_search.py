"""A search along length: the cells that it visits, what becomes of it when it is cut short, and what a reader believes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_launcher import Planting, new_folder, resume_timed, run_timed
from planted import stored
from present import present
from resealed import reseal_with

from modbench.extend import PlantedTrouble, planted_plan, planted_record
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.records import Death
from modbench.harness.execution.progress_and_time_left import Tracker
from modbench.harness.execution.run_phase import Asker, Run, Slots
from modbench.harness.execution.runner import phases
from modbench.harness.planning.adaptive import LEFT_OUT
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.results import progress_file, run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.plugins.search import section as search
from modbench.plugins.search.rule import Reading, bracket, next_cells, rows_of
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.summary import sure
from modbench.reports.tables.load import load

LENGTHS = (32, 48, 64, 96, 128, 192, 256)
ROW = "forward-mod-c0.125-B1-fp32-cpu1"
DENSE, MOD = {"model": "dense"}, {"model": "mod", "capacity": [0.125]}
LOST, WON = 1.2, 0.8
RATIOS = {96: 1 / WON, 48: 1 / LOST, 64: 1 / LOST}


def searching(**changes: Any) -> Plan:
    """One row of seven lengths, against the same shape."""
    asked = {
        "metrics": ["latency/forward"],
        "processes": 3,
        "rounds": 2,
        "grid": {"seq_len": list(LENGTHS)},
        "variants": [DENSE, MOD],
        "search": {},
        "train": None,
        **changes,
    }
    return planted_plan("draft", **asked)


def two_variants(**changes: Any) -> Plan:
    return searching(variants=[DENSE, {"model": "mod", "capacity": [0.125, 0.5]}], **changes)


def paying_from(length: int, variant: str = "mod[c0.125]") -> dict[tuple[str, str, int], float]:
    """What a variant takes: less than the anchor from a length on."""
    return {(variant, "forward", t): WON if t >= length else LOST for t in LENGTHS}


def lengths_of(names: Sequence[str]) -> list[int]:
    """Lengths in the order in which jobs of them began."""
    return list(dict.fromkeys(int(name.partition("-T")[2].partition("-")[0]) for name in names))


def asked_for(folder: RunFolder, row: str = ROW) -> list[int]:
    """Lengths in the order in which their cells were asked for."""
    body = json.loads(decisions(folder, row).read_text())
    return lengths_of(sorted(body["asked"], key=body["asked"].__getitem__))


def decisions(folder: RunFolder, row: str = ROW) -> Path:
    return folder.path / "decisions" / f"{row}.json"


def missing(folder: RunFolder) -> list[str]:
    """Timed jobs that were asked for and have no record."""
    return [name for name in run_folder.read(str(folder.path)).missing if name.startswith("time-")]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The folder of a run of one row that has not begun."""
    return new_folder(searching(), tmp_path / "run")


# --- the rule


def searched(truth: Sequence[Reading]) -> dict[int, Reading]:
    """The cells that a search of a row measures."""
    known: dict[int, Reading] = {}
    while more := next_cells(len(truth), known):
        known |= {at: truth[at] for at in more}
    return known


@pytest.mark.parametrize("cells", [1, 2, 3, 7, 11, 21])
def test_the_rule_finds_where_the_sign_changes(cells: int) -> None:
    """In every row, with as many cells as halving takes, and with both sides of the change."""
    for first in range(cells + 1):
        known = searched([Reading(at >= first, decided=True) for at in range(cells)])
        found = bracket(cells, known)
        assert (found.below, found.above) == (first - 1, first)
        assert {at for at in (first - 1, first) if 0 <= at < cells} <= known.keys()
        assert len(known) <= cells.bit_length()
    assert next_cells(cells, {}) == [(cells - 1) // 2]


def test_the_rule_goes_outwards_over_cells_that_are_not_decided() -> None:
    """Until a decided cell stands on both sides, or the row ends."""
    known = searched([Reading(at >= 5, decided=not 3 <= at <= 6) for at in range(11)])
    assert {2, 3, 4, 5, 6, 7} <= known.keys()
    assert known.keys().isdisjoint({0, 1, 9, 10})


def test_a_cell_without_a_number_ends_the_row() -> None:
    """What does not run at a length is not asked for at longer ones; below, the search goes on."""
    known = searched([Reading(None if at >= 7 else False, decided=True) for at in range(11)])
    assert bracket(11, known)[:2] == (6, 7)
    assert max(known) == 8  # half-way between 5, which does not pay, and the end


# --- which cells run


def test_a_search_visits_few_cells(folder: RunFolder) -> None:
    """It starts in the middle and goes to an end only if it leads there; what it leaves out is neither run nor missing."""
    made = searching()
    launcher, left = run_timed(made, folder, grid=paying_from(32))
    assert lengths_of(launcher.ran) == [96, 48, 32] == asked_for(folder)
    assert len(launcher.ran) == 3 * 3
    others = sum(job.made_in != "time" for job in made.jobs)  # of other phases
    assert left.now.count == f"{len(launcher.ran)}/{len(launcher.ran) + others}"
    run = run_folder.read(str(folder.path))
    assert (len(run.records), len(run.planned), run.undecided, run.decided) == (9, len(made.jobs), (), True)
    assert not missing(folder)


def test_each_other_variant_is_searched_for(tmp_path: Path) -> None:
    """The cells of the two searches are shared: a cell times the variant, the anchor and the matched baseline side by side."""
    made = searching(variants=[DENSE, {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}}, MOD])
    (row,) = rows_of(made).values()
    dense, matched = row.others
    assert (dense, matched.startswith("dense-f")) == ("dense", True)
    # Against the anchor it pays from 64 on, against the matched baseline up to 128 as well, and no longer at 192.
    grid = paying_from(64) | {(matched, "forward", t): 0.95 if t < 192 else 0.6 for t in LENGTHS}
    folder = new_folder(made, tmp_path / "run")
    run_timed(made, folder, grid=grid)
    assert asked_for(folder)[0] == 96
    assert {48, 64} <= {*asked_for(folder)}


def test_processes_of_a_cell_lie_between_those_of_other_rows(tmp_path: Path) -> None:
    """A row that is ahead waits for the others: one slow minute does not meet all processes of a cell."""
    made = two_variants()
    folder = new_folder(made, tmp_path / "run")
    launcher, _ = run_timed(made, folder, grid=paying_from(96) | paying_from(1000, "mod[c0.5]"))
    assert ["c0.5" in name for name in launcher.ran] == [False, True] * 9
    assert asked_for(folder) == [96, 48, 64]
    assert asked_for(folder, ROW.replace("0.125", "0.5")) == [96, 192, 256]


class Apart(Planting):
    """Machines of their own: everything that waits is submitted, and jobs end one after the other."""

    is_remote = True

    def at_once(self, usual: int) -> int:
        del usual
        return 10**6

    def wait(self, handles: list[Any], timeout_s: float) -> list[Any]:
        return super().wait(handles[:1], timeout_s)


def test_on_a_cluster_cells_are_submitted_when_they_are_asked_for(tmp_path: Path) -> None:
    """All processes of a cell at once, the next cell when the last of them has ended, beside whatever else runs there."""
    made = two_variants(metrics=["flops/forward", "latency/forward"])
    folder = new_folder(made, tmp_path / "run")
    asker = Asker(made, folder, made.jobs)
    launcher = Apart(grid=paying_from(96) | paying_from(1000, "mod[c0.5]"))
    lines = Tracker(made, phases(made, 1), folder, decided=asker.decided)
    jobs = tuple(job for job in made.jobs if job.made_in in {"count", "time"})
    Run(launcher, folder, lines, asker).phase(Slots(jobs, len(jobs)), {job.name: 9.0 for job in made.jobs})
    timed = [lengths_of([name])[0] for name in launcher.ran if name.startswith("time-")]
    assert timed == [96] * 6 + [192] * 3 + [48] * 3 + [256] * 3 + [64] * 3  # the larger first
    assert asked_for(folder) == [96, 48, 64]
    assert run_folder.read(str(folder.path)).missing == [job.name for job in made.jobs if job not in jobs]


# --- what becomes of it when it is cut short


@pytest.mark.slow
def test_a_row_goes_on_where_it_was_cut(folder: RunFolder, tmp_path: Path) -> None:
    """After a kill in the first cell, before the last job or at the end a resumed run asks for the same, to the byte."""
    made, grid = searching(), paying_from(128)
    launcher, _ = run_timed(made, folder, grid=grid)
    for most in (1, len(launcher.ran) - 1, len(launcher.ran)):
        cut = new_folder(made, tmp_path / f"run{most}")
        if most < len(launcher.ran):
            with pytest.raises(KeyboardInterrupt):
                run_timed(made, cut, most=most, grid=grid)
        else:
            run_timed(made, cut, grid=grid)
            decisions(cut).unlink()  # killed after the last record, before the file
        again, left = resume_timed(cut, grid=grid)
        assert (again.ran, left.now.ended) == (launcher.ran[most:], len(launcher.ran))
        assert decisions(cut).read_bytes() == decisions(folder).read_bytes()


def test_a_search_that_was_cut_knows_what_it_lacks_and_goes_on(folder: RunFolder) -> None:
    """A resumed run counts what an earlier runner finished."""

    def seen() -> tuple[bool, list[tuple[int, int]], list[str]]:
        found = present(progress_file.read(folder.path))
        return found.more, [(each.done, each.jobs) for each in found.groups if each.name == "time"], found.decisions

    with pytest.raises(KeyboardInterrupt):
        run_timed(searching(), folder, most=4, grid=paying_from(96))
    run = run_folder.read(str(folder.path))
    assert missing(folder) == [f"time-forward-mod-c0.125-T48-B1-fp32-cpu1-process{n}" for n in (1, 2)]
    assert lengths_of([job.name for job in run.undecided]) == [32, 64, 128, 192, 256]
    assert not run.decided
    (said,) = search.render(load(folder.path))
    assert (said.given["cells"], said.given["of"], plain(said.given["spent"])) == (1, 7, "3.00 s")
    assert seen() == (True, [(4, 6)], [f"{ROW}: 2 cells"])
    resume_timed(folder, grid=paying_from(96))
    assert seen() == (False, [(9, 9)], [f"{ROW}: 3 cells"])


def test_which_cells_were_asked_for_is_believed(folder: RunFolder) -> None:
    run_timed(searching(), folder, grid=paying_from(96))
    reseal_with(
        decisions(folder), lambda body: [body["asked"].pop(name) for name in [*body["asked"]] if "-T64-" in name]
    )
    assert lengths_of([record.job.name for record in run_folder.read(str(folder.path)).records]) == [48, 96]
    assert not missing(folder)


def test_records_that_are_measured_again_are_searched_again(folder: RunFolder) -> None:
    """A damaged record is set aside; when its cell has new times the search goes where these lead."""
    name = "time-forward-mod-c0.125-T96-B1-fp32-cpu1-process0"
    run_timed(searching(), folder, grid=paying_from(96))
    # With the other times one process of three loses: the cell is undecided.
    for grid, ran, asked in (
        (paying_from(96), [96], [96, 48, 64]),
        (paying_from(128), [96, 128], [96, 48, 64, 128]),
    ):
        (folder.path / "jobs" / f"{name}.json").write_text("{")
        assert run_folder.read(str(folder.path)).damaged
        again, _ = resume_timed(folder, grid=grid)
        assert (again.ran[0], lengths_of(again.ran), asked_for(folder)) == (name, ran, asked)
    assert not missing(folder)


def test_a_cell_that_runs_again_is_no_evidence_until_it_has_ended(folder: RunFolder) -> None:
    """A process that died ended its row; a resumed run repeats it before it looks where to go."""
    made = searching()
    dead = next(job for job in made.jobs if "-T96-" in job.name and job.made_in == "time")
    with pytest.raises(KeyboardInterrupt):
        run_timed(made, folder, most=3, grid=paying_from(192))
    died = {"died": Death(kind="crash", reason="killed")}
    folder.write_record(planted_record(dead, PlantedTrouble(fails="mod[c0.125]")).model_copy(update=died))
    decisions(folder).unlink()  # as if it had died at once
    assert lengths_of([*Asker(made, folder).decide(ROW).asked])[-1] == 48  # below it
    again, _ = resume_timed(folder, grid=paying_from(192))
    assert again.ran[0] == dead.name
    assert lengths_of(again.ran) == [96, 192, 128] == asked_for(folder)


# --- what a reader sees


@pytest.mark.slow
def test_variants_that_share_an_anchor_do_not_share_its_processes(tmp_path: Path) -> None:
    """Each variant is compared within its own processes: the anchor's times in another's say nothing of it."""
    frame = stored(tmp_path, two_variants(aa_control=True), grid=paying_from(96) | paying_from(96, "mod[c0.5]"))
    assert not frame.duplicated(["case_id", "baseline_case_id", "metric"]).any()
    timed = frame[(frame.metric == "latency/forward") & (frame.status == "ok")]
    for variant in ("mod[c0.125]", "mod[c0.5]"):
        ratios = timed[(timed.variant == variant) & (timed.baseline_variant == "dense")].set_index("seq_len").ratio
        assert ratios.to_dict() == pytest.approx(RATIOS, rel=0.02)
    assert not ((timed.variant == "mod[c0.5]") & (timed.baseline_variant == "mod[c0.125]")).any()
    cases = pd.read_csv(tmp_path / "run" / "cases.csv")
    assert not cases.duplicated(["case_id", "metric"]).any()
    dense = cases[(cases.variant == "dense") & (cases.metric == "latency/forward")].set_index("seq_len")
    assert dense.n[96] == 6  # three processes beside each variant
    assert present(sure(load(tmp_path / "run"))).given["most"] == 3
    assert load(tmp_path / "run", "dense").tables.baseline == "dense"
    with pytest.raises(UsageError, match=r"'dense' .*no ratio"):
        load(tmp_path / "run", "c0.5")


def test_what_is_not_searched_is_measured_everywhere(tmp_path: Path) -> None:
    """FLOPs of every case are counted, once; a variant's cell that was not needed says so."""
    made = two_variants(metrics=["flops/forward", "latency/forward"])
    assert sum(job.made_in == "count" for job in made.jobs) == len(LENGTHS)
    stored(tmp_path, made, grid=paying_from(96) | paying_from(96, "mod[c0.5]"))
    cases = pd.read_csv(tmp_path / "run" / "cases.csv")
    assert cases[cases.metric == "flops/forward"].status.eq("ok").all()
    left_out = cases[(cases.metric == "latency/forward") & (cases.seq_len == 256)]
    assert left_out.reason.eq(LEFT_OUT).all()


# --- what a suite may ask for


def flagged(*, select: str | None = None, **flags: Any) -> Plan:
    return make_plan(override(load_suite("breakeven"), Overrides(**flags)), device="cpu", select=select)


@pytest.mark.parametrize(
    ("flags", "first"),
    [({}, "mod[c0.125]"), ({"select": "c0.25 or c0.5"}, "mod[c0.25]"), ({"capacity": (0.5,)}, "mod[c0.5]")],
)
def test_one_aa_control_at_each_place_speaks_for_the_machine(flags: dict[str, Any], first: str) -> None:
    """That of the first variant that is searched, whichever that is."""
    made = flagged(**flags)
    beside = [each for each in made.comparisons if each.aa_control]
    assert {each.variants[-1].variant for each in beside} == {first}
    assert len(beside) == len({each.grid_point for each in made.comparisons}) == 11
    without = flagged(settings={"aa_control": False}, **flags)
    assert not any(each.aa_control for each in without.comparisons)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"select": "dense"}, "selects no variant"),
        ({"settings": {"processes": 2}}, "2 processes have no interval"),
        ({"settings": {"metrics": ["flops/forward"]}}, "metrics that are timed"),
        ({"settings": {"search.against": ["nothing"]}}, "'same shape' or"),
        ({"settings": {"search.against": ["matched"]}, "capacity": (0.1, 0.2, 0.3, 0.4)}, "nothing has its cost"),
        ({"settings": {"detectable": 0.01}, "effort": "standard"}, "fixed number of processes"),
    ],
)
def test_a_search_that_cannot_be_is_refused(flags: Mapping[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        flagged(**flags)
