"""The process without the user's code: where it is planned, when it labels a comparison, and a file that slows all others."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd
import pytest
from planted import stored
from small_runs import folder_of, run_jobs
from test_warnings import ANCHOR, beside, evidence, outcome

from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Job
from modbench.harness.domain.evidence import Evidence
from modbench.harness.domain.notes import WithoutUserCodeFinding
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.plan import make_plan
from modbench.harness.stats.against_baseline import Process
from modbench.planted_runs import ENVIRONMENT, planted_plan, planted_run
from modbench.plugins.audit.without_user_code.warning import changed, log_times, process_changed
from modbench.reports.html_report import render
from modbench.reports.questions.gate import gate
from modbench.reports.tables.load import load
from modbench.reports.terminal import printed_run

MINE = """
import torch
def build(config):
    return torch.nn.Sequential(torch.nn.Embedding(config.vocab_size, 16), torch.nn.Linear(16, config.vocab_size))
"""
# Nothing that torch holds as a setting: a function of it is replaced, and does its work so often that no load hides it.
SLOWS_ALL = """
real = torch.nn.functional.linear
def slow(*given, **named):
    for _ in range(100):
        made = real(*given, **named)
    return made
torch.nn.functional.linear = slow
"""
VARIANTS = [{"model": "dense"}, {"model": "mod", "capacity": [0.5]}, {"model": "mine.py:build"}]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def planned(effort: str = "draft", **changes: Any) -> list[Job]:
    suite = {"train": None, "metrics": ["latency/forward", "latency/train_step"], "variants": VARIANTS, **changes}
    return [job for job in planted_plan(effort, **suite).jobs if job.made_in == "without_user_code"]


@pytest.mark.usefixtures("here")
def test_each_comparison_with_a_users_code_has_one_process_without_it() -> None:
    made = planned()
    assert len({job.name for job in made}) == len(made) == 2 * 2  # lengths x workloads
    for job in made:
        assert [case.variant for case in job.comparison.variants] == ["dense", "mod[c0.5]", "dense-aa"]
        assert job.flops > 0
        assert (job.series, job.group, job.process) == ("", "", 0)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("effort", "changes"),
    [
        ("smoke", {}),  # one process does not tell how much processes differ
        ("draft", {"variants": VARIANTS[:2]}),
        ("draft", {"variants": [VARIANTS[2], VARIANTS[0]]}),  # the anchor is the user's
        ("draft", {"metrics": ["flops/forward"]}),
    ],
)
def test_where_it_would_say_nothing_there_is_none(effort: str, changes: dict[str, Any]) -> None:
    assert planned(effort, **changes) == []


@pytest.mark.usefixtures("here")
@pytest.mark.plugin("search")
def test_a_search_makes_it_where_a_row_begins() -> None:
    search = {"axis": "seq_len", "metrics": ["latency/forward"]}
    made = planned(search=search, metrics=["latency/forward"], grid={"seq_len": [16, 32, 64, 128]})
    assert {job.comparison.grid_point.seq_len for job in made} == {32}


@pytest.mark.usefixtures("here")
def test_it_runs_among_the_processes() -> None:
    """Before all or after all of them, a machine that drifts would look like a process that was changed."""
    names = [job.name for job in planted_plan("draft", train=None, metrics=["latency/forward"], variants=VARIANTS).jobs]
    at = [i for i, name in enumerate(names) if name.startswith("without")]
    processes = [i for i, name in enumerate(names) if "-process" in name]
    assert all(processes[len(processes) // 4] < i < processes[3 * len(processes) // 4] for i in at)


@pytest.mark.parametrize(
    ("beside", "without", "found"),
    [
        ((1.00, 1.01, 0.99, 1.0), 0.5, True),
        ((1.00, 1.01, 0.99, 1.0), 2.0, True),  # faster beside it is a change too
        ((1.00, 1.001, 0.999, 1.0), 0.96, False),  # beyond the processes, but under 5 %
        ((1.0, 1.5, 0.7, 1.2), 0.7, False),  # over 5 %, but processes differ by as much
        ((1.0, 1.0), 0.1, False),  # too few to know how much they differ
    ],
)
def test_the_anchor_differs_by_more_than_5_percent_and_more_than_processes_do(
    beside: tuple[float, ...], without: float, found: bool
) -> None:
    assert (changed([math.log(each) for each in beside], math.log(without)) is not None) is found


def test_waiting_counts_unless_another_program_had_the_processor() -> None:
    call: dict[str, list[float]] = {"calls": [2.0] * 2, "wall_s": [0.010] * 2, "cpu_s": [0.004] * 2}
    waits = {"blocked_s": [0.006] * 2, "wait_s": [0.006] * 2, "others_s": [0.002] * 2}

    def typical(*processes: dict[str, list[float]], one_thread: bool = True) -> list[float]:
        return [round(math.exp(each), 9) for each in log_times(processes, one_thread=one_thread)]

    assert typical(call | waits) == [0.008]  # 4 ms, and each 3 ms asleep and 1 ms behind a thread of its own
    assert typical(call | waits | {"sample_s": [0.1] * 2}) == [0.0048]  # a part of what was watched
    assert typical(call | waits, one_thread=False) == [0.010]
    assert typical(call | waits, call) == [0.010] * 2  # not recorded in one of them
    assert typical(call | waits | {"cpu_s": [0.0, 0.004]}) == [0.010]  # a clock too coarse for it


def found_alone(made: list[Process], alone: dict[str, list[float]] | None = None) -> Evidence:
    """Evidence of processes beside the user's code, and of one of the anchor without it."""
    samples = {"latency/forward": {ANCHOR.id: outcome(alone).samples}}
    finding = WithoutUserCodeFinding(samples=samples, blocks={})
    return replace(evidence([outcome()] * 3), processes=made, findings=[finding])


def test_an_anchor_that_takes_longer_beside_the_users_code_is_found() -> None:
    walls = ({"wall_s": [seconds] * 40} for seconds in (0.041, 0.042, 0.043))
    made = [beside(outcome(), outcome(wall, variant=ANCHOR.id)) for wall in walls]
    assert "4.2 times as long" in str(process_changed.check(found_alone(made)))
    assert process_changed.check(replace(found_alone(made), findings=())) is None


@pytest.mark.parametrize("why", ["a thread of its own", "it sleeps", "another program"])
def test_an_anchor_that_waits_beside_the_users_code_is_found(why: str) -> None:
    """For a thread of the file that wakes outside its own calls, or in a function of torch that the file replaced."""

    def columns(wait: float) -> dict[str, list[float]]:
        own, asleep = wait * (why == "a thread of its own"), wait * (why == "it sleeps")
        each = {"wall_s": 0.01 + wait, "wait_s": wait - asleep, "others_s": own, "blocked_s": asleep}
        return {name: [value] * 40 for name, value in each.items()}

    made = [beside(outcome(), outcome(columns(wait), variant=ANCHOR.id)) for wait in (0.0023, 0.0024, 0.0025)]
    said = process_changed.check(found_alone(made, columns(0.0)))
    if why == "another program":
        assert said is None
    else:
        assert said is not None
        assert "1.24 times as long" in said
        assert "(12.4 ms, alone 10.0 ms)" in said


@pytest.mark.parametrize(("others_s", "found"), [(0.004, True), (0.0003, False)])
def test_threads_that_run_while_the_anchor_computes_are_found_on_a_busy_machine(others_s: float, found: bool) -> None:
    """Where processes differ too much for a ratio; a few per cent are Python's own."""
    nothing = {"others_s": [0.0] * 40, "blocked_s": [0.0] * 40}
    busy = {"others_s": [others_s] * 40, "blocked_s": [0.0] * 40}
    made = [
        beside(outcome(), outcome(busy | {"wall_s": [wall] * 40, "cpu_s": [wall] * 40}, variant=ANCHOR.id))
        for wall in (0.01, 0.02, 0.03)
    ]
    said = process_changed.check(found_alone(made, nothing))
    assert ("run for 20 %" in str(said)) is found
    assert (said is not None) is found


@pytest.mark.slow
def test_processes_that_differ_by_chance_are_accused_in_one_of_a_hundred_at_most() -> None:
    n, rng, draws = 4, random.Random(4), 4000
    accused = sum(changed([rng.gauss(0, 0.1) for _ in range(n)], rng.gauss(0, 0.1)) is not None for _ in range(draws))
    assert accused <= draws * 0.01 + NormalDist().inv_cdf(0.999) * math.sqrt(draws * 0.01 * 0.99)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("beside", [1.0, 20.0])
@pytest.mark.usefixtures("undrawn")
def test_a_changed_process_is_labelled_in_every_output(tmp_path: Path, beside: float) -> None:
    """Processes of the planted machine differ by a third; the user's code makes all variants alike slower, so no ratio shows
    it.
    """
    made = planted_plan("draft", metrics=["latency/forward"], variants=VARIANTS, train=None)
    frame = stored(tmp_path, made, beside=beside)
    loaded = load(tmp_path / "run")
    cases = pd.read_csv(tmp_path / "run" / "cases.csv")
    label, changed_it = str(Label.PROCESS_CHANGED), beside > 1
    for rows in (cases, frame):
        timed = rows.metric == "latency/forward"
        assert timed.sum() >= 6
        assert (rows[timed].labels.astype(str).str.contains(label) == changed_it).all()
        assert not rows[~timed].labels.astype(str).str.contains(label).any()
    said = " ".join(printed_run.closing(loaded, Path("page"), None).split())
    assert (f"{label}: dense" in said) is changed_it
    assert ("with the user" in render.html(loaded)) is changed_it
    assert loaded.run.missing == []
    if changed_it:
        (tmp_path / "before").mkdir()
        planted_run(tmp_path / "before", made)
        found = gate.gate(load(tmp_path / "before" / "run"), loaded, 0.02).findings
        assert any(label in str(each.reason) for each in found)


@pytest.mark.slow
def test_a_file_that_slows_all_models_of_its_process_is_found(here: Path) -> None:
    """Real processes: the file replaces a function of torch, which no list of settings knows."""
    data = {
        "name": "slow",
        "effort": "draft",
        "processes": 5,
        "rounds": 2,
        "metrics": ["latency/forward"],
        "shape": {"d_model": 16, "n_layers": 1, "n_heads": 2},
        "grid": {"seq_len": [16]},
        "variants": [VARIANTS[0], VARIANTS[2]],
        "aa_control": False,
    }
    (here / "mine.py").write_text(MINE + SLOWS_ALL)
    made = make_plan(parse_suite(data, "slow"), device="cpu", text=None)
    run_jobs(made, folder_of(made, here, ENVIRONMENT))
    loaded = load(here / "run")
    rows = loaded.comparisons
    assert (rows.status == "ok").all()
    assert all(Label.PROCESS_CHANGED in str(labels).split(";") for labels in rows.labels)
