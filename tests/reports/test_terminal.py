"""The text that a run ends with: every length, values beside ratios, one job of loss, 80 columns, colours on terminals alone."""

from __future__ import annotations

import dataclasses
import io
import math
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from present import present
from resealed import reseal_with

from modbench.commands import _output
from modbench.harness.core.labels import LOOKED_AHEAD, OF_WORK, Label
from modbench.harness.results import run_folder
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports import demo
from modbench.reports.blocks import Estimate, Finding
from modbench.reports.markup.number_format import half, plain
from modbench.reports.markup.short import Short
from modbench.reports.questions import break_even, summary, win_rate
from modbench.reports.questions.break_even import Line
from modbench.reports.questions.compare_axis import compare_by
from modbench.reports.questions.compare_runs import compare_runs
from modbench.reports.questions.gate import gate
from modbench.reports.sections import break_even as break_even_section
from modbench.reports.sections.failures_and_warnings import failure_sentences
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import answer_so_far, compare, printed_run
from modbench.reports.terminal import gate as gate_text
from modbench.reports.wording import name

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[2]
METRICS = ["latency/forward", "flops/forward", "memory/peak_allocated", "bpb/val", "loss/val", "loss/val_causal"]
LENGTHS = [64, 128, 256, 512, 1024, 2048]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("terminal")
    planted_run(folder, planted_plan("draft", metrics=METRICS, grid={"seq_len": LENGTHS}, processes=3))
    return load(folder / "run")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The run that is shipped, which says nothing of that."""
    folder = tmp_path_factory.mktemp("quick")
    demo.unpack(folder, demo.SHIPPED["quick"])
    reseal_with(folder / "run.json", lambda body: body["environment"].pop("shipped"))
    return load(folder)


def closing(loaded: Loaded, *, verbose: bool = False) -> str:
    return printed_run.closing(loaded, Path("report.html"), 61.0, verbose=verbose)


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "MoD  14.1 1.79×±.08▲  9.1 0.79×±.02▼"
    for stream, no_colour, coloured in ((Terminal(), "", True), (Terminal(), "1", False), (io.StringIO(), "", False)):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setenv("NO_COLOR", no_colour)
        monkeypatch.setenv("TERM", "xterm")
        _output.say(text)
        assert ("\033[35m1.79×±.08▲\033[0m" in stream.getvalue()) is coloured
        assert ("\033[33m0.79×±.02▼\033[0m" in stream.getvalue()) is coloured
        assert re.sub(r"\033\[\d+m", "", stream.getvalue()) == text + "\n"


def test_data_cannot_colour_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    _output.say("a\033[31mb")
    assert "\033[31m" not in stream.getvalue()


def test_the_half_of_an_interval_is_short() -> None:
    assert half(Estimate.of(1.1, 1.0, 1.16, kind="ratio")) == "±.08"
    assert half(Estimate.of(2.0, 1.0, 4.0, kind="ratio")) == "±1.50"
    assert half(Estimate.of(1.1, float("nan"), 1.0, kind="ratio")) == ""


def test_a_verdict_while_the_run_goes_on_is_that_of_the_report(tmp_path: Path) -> None:
    """Whatever is measured later."""
    suite = planted_plan("draft", metrics=METRICS, grid={"seq_len": [64, 128]}, processes=3, aa_control=True)
    planted_run(tmp_path, suite)
    loaded = load(tmp_path / "run")
    columns = ["case_id", "ratio", "ci_low", "ci_high", "theoretical", "verdict", "p_adjusted", "labels", "reason"]
    jobs = loaded.run.plan.jobs
    for series in dict.fromkeys(job.series for job in jobs if job.facts.timed and job.series):
        processes = [job for job in jobs if job.series == series]
        run, length = tmp_path / series, processes[0].comparison.grid_point.seq_len
        shutil.copytree(loaded.path, run)
        for job in jobs:
            if job.series != series and job.made_in != "count":
                (run / "jobs" / f"{job.name}.json").unlink()
        part = present(answer_so_far.part_of(run_folder.read(str(run)), processes))
        final = loaded.comparisons[loaded.comparisons.metric == "latency/forward"]
        final = final[final.seq_len == length]
        made, final = (rows[columns].fillna("").reset_index(drop=True) for rows in (part.comparisons, final))
        pd.testing.assert_frame_equal(made, final, check_dtype=False)
        (line, *_) = answer_so_far.answer(run, processes)
        assert line.startswith(f"forward pass at T = {length:,}: MoD 0.125 is faster than ")


def test_of_a_model_that_is_measured_alone_nothing_is_decided(tmp_path: Path) -> None:
    planted_run(tmp_path, planted_plan("draft", metrics=["latency/forward"], variants=[{"model": "dense"}], train=None))
    run = run_folder.read(str(tmp_path / "run"))
    assert answer_so_far.answer(run.path, [job for job in run.plan.jobs if job.made_in == "time"]) == []


def changed(loaded: Loaded, cases: pd.DataFrame, pairs: pd.DataFrame | None = None) -> Loaded:
    """The run with other tables."""
    return dataclasses.replace(loaded, cases=cases, pairs=loaded.pairs if pairs is None else pairs)


def skip(cases: pd.DataFrame, rows: pd.Series, why: str) -> None:
    cases.loc[rows, "status"] = "skipped"
    cases.loc[rows, "reason"] = why
    cases.loc[rows, "value"] = float("nan")


def test_a_ratio_that_its_two_times_contradict_is_marked(loaded: Loaded) -> None:
    """Planted: MoD 0.125 is 1.6× as fast. As if its time were of other processes, in which dense was not timed."""
    explained = "~ not the quotient of the two times"
    assert "~" not in closing(loaded)
    here = (loaded.cases.metric == "latency/forward") & (loaded.cases.seq_len == 256)
    cases = loaded.cases.copy()
    dense = float(cases[here & (cases.variant == "dense")].value.iloc[0])
    cases.loc[here & (cases.variant == "mod[c0.125]"), "value"] = 1.1 * dense
    text = closing(changed(loaded, cases))
    assert explained in " ".join(text.split())
    assert len(re.findall(r" ~1\.6\d×", text)) == 1
    assert text.count("~") == 2  # the number, and what the mark means
    pairs = loaded.pairs.copy()
    at = (pairs.metric == "latency/forward") & (pairs.seq_len == 256) & (pairs.variant == "mod[c0.125]")
    pairs.loc[at, "ci_low"] = 0.9  # 1 / 1.1 lies within the interval: nothing is contradicted
    assert explained not in " ".join(closing(changed(loaded, cases, pairs)).split())
    pairs.loc[at, "ci_low"] = float("nan")
    assert explained in " ".join(closing(changed(loaded, cases, pairs)).split())
    pairs.loc[at, "ratio"] = 0.92
    pairs.loc[at, "ci_high"] = float("nan")
    assert explained not in " ".join(closing(changed(loaded, cases, pairs)).split())


def test_a_model_that_was_skipped_as_a_whole_has_its_reason(loaded: Loaded) -> None:
    cases = loaded.cases.copy()
    why = "the package 'mine' is not installed (pip install mine)"
    skip(cases, cases.variant == "moe", why)
    # A single metric that does not exist is no model that was skipped.
    single = (cases.variant == "mod[c0.5]") & (cases.metric == "flops/forward")
    skip(cases, single, "no counter")
    said = [line for line in closing(changed(loaded, cases)).splitlines() if line.startswith("skipped:")]
    assert said == [f"skipped: MoE ({why})"]
    assert "skipped:" not in closing(loaded)


def test_reasons_beyond_the_first_are_counted(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed for one reason is one of them, however many cases it was."""
    cases = loaded.cases.copy()
    lost = (cases.variant == "mod[c0.5]") & (cases.metric == "latency/forward")
    cases.loc[lost, ["status", "reason"]] = ["failed", "planted"]
    skip(cases, cases.variant == "moe", "one")
    skip(cases, cases.variant == "mod[c0.125]", "another")
    for most, others in ((3, None), (2, "1"), (1, "2")):
        monkeypatch.setattr(printed_run, "MOST_TROUBLES", most)
        said = " ".join(printed_run.troubles(changed(loaded, cases)))
        found = re.search(r"and (\d) more: cases.csv", said)
        assert (found[1] if found else None) == others
    assert len(failure_sentences(changed(loaded, cases))) == 1
    assert f"and {len(LENGTHS) - 1} more" in plain(failure_sentences(changed(loaded, cases))[0])


@pytest.mark.plugin("machine")
def test_values_name_their_batch_where_there_are_several(tmp_path: Path) -> None:
    for sizes, said in (([1, 8], "values at T = 128, B = 1"), ([8], "values at T = 128 ")):
        metrics = ["latency/forward", "memory/largest_seq_len", "flops/train_step"]
        suite = planted_plan("smoke", metrics=metrics, train=None, grid={"seq_len": [128], "batch_size": sizes})
        folder = tmp_path / str(len(sizes))
        folder.mkdir()
        planted_run(folder, suite)
        loaded = load(folder / "run")
        others = "\n".join(printed_run._others(loaded, 200, printed_run._in_place(loaded, every=True), every=True))
        assert (said in others) is ("largest" in others)


def test_quick_ends_within_a_screen_of_80_columns(quick: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order: the answer, a table for each workload, break-even, what marks mean, how sure, what to doubt, the report."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = closing(quick).splitlines()
    assert len(lines) <= 38
    assert max(map(len, lines)) <= 80
    starts = (
        "quick on ",
        "Dense of equal FLOPs is faster than MoD 0.125 in ",
        "MoD 0.125 is ",
        "forward pass, ",
        "train step, ",
        "break-even T",
        "speed-up over the baseline ± ",
        "sure     CI ±",
        "doubt    ",
        "report   ",
    )
    grid_points = [next(i for i, line in enumerate(lines) if line.startswith(start)) for start in starts]
    assert grid_points == sorted(grid_points)
    every = closing(quick, verbose=True).splitlines()
    assert len(every) > 2 * len(lines)
    assert {*lines[grid_points[3] : grid_points[6]]} <= {*every}


@pytest.mark.parametrize("page", ["README.md", "docs/page.md"])
def test_the_documentation_shows_the_run_that_ships(page: str, quick: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs, of two machines or days, can give opposite answers: what `modbench demo quick` shows stands everywhere."""
    monkeypatch.setenv("COLUMNS", "80")
    blocks = re.findall(r"```text\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    (block,) = (each for each in blocks if "forward pass, ms" in each)
    shown = [line for line in block.splitlines() if line and not line.startswith(("[…", "quick on ", "report "))]
    assert [line for line in shown if line not in closing(quick).splitlines()] == []


def test_answers_about_the_run_that_ships_take_few_lines(quick: Loaded, tmp_path: Path) -> None:
    """A gate and a comparison of it with itself; commands are whole, and paths, all else fits 80 columns.

    The gate has a margin that it can judge.
    """
    assert len(gate_text.as_text(gate.gate(quick, quick), 80, 0)) <= 8
    elsewhere = dataclasses.replace(quick, run=dataclasses.replace(quick.run, path=tmp_path))
    lines = compare.side_by_side(compare_runs([quick, elsewhere]), 80).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines[4:])) <= 80
    along = compare.along_axis(quick, compare_by(quick, "capacity"), 80).splitlines()
    assert (len(along) <= 32, max(map(len, along)) <= 80) == (True, True)


@pytest.mark.parametrize("verbose", [False, True])
def test_empty_lines_stand_where_a_screen_has_room_for_them(quick: Loaded, *, verbose: bool) -> None:
    assert ("\n\n" in closing(quick, verbose=verbose)) is verbose
    few = quick.cases[quick.cases.metric == "flops/forward"]
    assert "\n\n" in closing(changed(quick, few, quick.pairs[quick.pairs.metric == "flops/forward"]), verbose=verbose)


def test_the_number_of_processes_is_said_where_the_first_line_has_another_one(quick: Loaded) -> None:
    """That one seed supports no claim stands once."""
    assert closing(quick).count("1 seed") == 1
    assert "processes" not in present(summary.sure(quick)).words
    missing = quick.cases.copy()
    missing.loc[missing.unit == "s", "n"] -= 1
    assert plain(summary.sure(changed(quick, missing))).startswith("6 processes, ")


def line(verdict: str | None, *point: float | None, left_out: dict[int, str] | None = None) -> Line:
    """A line of MoD against dense that says so."""
    case = planted_plan("draft").cases[0]
    found = Finding(
        case,
        case,
        case.grid_point,
        "latency/forward",
        typical=Estimate.of(*(point or (None,)), kind="count"),
        verdict=verdict,
    )
    return Line("seq_len", "same shape", "median", True, found, (128, 256, 512), left_out or {})


@pytest.mark.parametrize(
    ("found", "text", "short"),
    [
        (("always",), "always", "always"),
        (("never",), "never", "never"),
        (("from", 400.2, 382.0, 420.4), "≈400 [382–420]", "382–420"),
        (("from", None, None, 420.4), "≤420", "≤420"),
        (("inconclusive", None, 454.0), ">454 ?", ">454 ?"),
        (("inconclusive",), "?", "?"),
        (("not monotone",), "not monotone", "not monotone"),
        ((None,), "?", "?"),
    ],
)
def test_from_where_on_a_variant_is_faster_is_written_from_what_was_found(found: Any, text: str, short: str) -> None:
    for style, said in ((plain, text), (Short(called=True, brief=True), short)):
        assert style(break_even.from_where(line(*found))) == said
        without = style(break_even.from_where(line(*found, left_out={256: "noisy"})))
        assert without == said + "°" * (found[0] is not None)


def test_the_best_of_a_column_is_marked_where_it_is_told_apart_from_all(loaded: Loaded) -> None:
    here = loaded.cases[(loaded.cases.metric == "latency/forward") & (loaded.cases.seq_len == 256)]
    ids = dict(zip(here.variant, here.case_id, strict=True))
    assert win_rate.best(loaded, "latency/forward", ids) == "mod[c0.125]"
    pairs = loaded.pairs.copy()
    at = (pairs.metric == "latency/forward") & (pairs.seq_len == 256) & (pairs.variant == "mod[c0.125]")
    for row in pairs[at].index:
        undecided = pairs.copy()
        undecided.loc[row, "verdict"] = "inconclusive"
        assert win_rate.best(changed(loaded, loaded.cases, undecided), "latency/forward", ids) is None
    assert win_rate.best(changed(loaded, loaded.cases, pairs.assign(verdict=None)), "latency/forward", ids) is None
    doubted = pairs.copy()
    doubted.loc[at, "labels"] = str(Label.MASKS_COMPUTE)
    assert win_rate.best(changed(loaded, loaded.cases, doubted), "latency/forward", ids) is None
    assert win_rate.best(loaded, "latency/forward", {"dense": ids["dense"]}) is None


def test_a_loss_that_is_not_known_causally_is_that_of_training_and_marked(quick: Loaded) -> None:
    pairs = quick.pairs.copy()
    here = (pairs.metric == "loss/val_causal") & (pairs.variant == "moe")
    pairs.loc[here, "status"], pairs.loc[here, "difference"] = "skipped", float("nan")
    for tables, metric in ((quick.pairs, "loss/val_causal"), (pairs, "bpb/val")):
        table = present(break_even_section.table(changed(quick, quick.cases, tables)))
        cell = table.rows[-1][list(table.head).index("loss")]
        row = tables[(tables.metric == metric) & (tables.variant == "moe") & tables.primary].iloc[0]
        assert isinstance(cell, Finding)
        assert cell.typical.value == pytest.approx(row.difference * (1 if metric == "bpb/val" else 1 / math.log(2)))
        assert bool(LOOKED_AHEAD.intersection((*cell.labels, *cell.against_labels))) is looked_ahead(row)
        assert looked_ahead(row) is (metric == "bpb/val")


def test_a_variant_whose_work_is_in_doubt_is_named_first(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """More doubts than three are counted; what weighs most is said."""
    monkeypatch.setenv("COLUMNS", "80")
    variants = loaded.variants
    light = {label: variants[1:] for label in Label if label not in OF_WORK and label != Label.NOISY}
    doubted = light | {Label.MASKS_COMPUTE: variants[3:4]}
    monkeypatch.setattr(Loaded, "labelled", property(lambda _: doubted))
    said = closing(loaded)
    at = said.index("\ndoubt    ")
    assert said[at:].startswith(f"\ndoubt    computes what it claims to skip: {name(variants[3])}")
    left = int(present(re.search(r"(\d+) more: -v", said[at:]))[1])
    assert printed_run.MOST_DOUBTS + left == len(summary.doubts(loaded))
    every = " ".join(closing(loaded, verbose=True).split())
    assert all(f"{label}: " in every for label in light)
