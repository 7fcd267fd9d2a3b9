"""The process without the user's code: where it is planned, when it labels a comparison, and a file that slows all others."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd
import pytest
from planted import stored
from small_runs import folder_of, run_jobs
from test_warnings import ANCHOR, evidence, outcome
from test_warnings import beside as together

from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Job
from modbench.harness.domain.notes import WithoutUserCodeFinding
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.plan import make_plan
from modbench.planted_runs import ENVIRONMENT, planted_plan
from modbench.plugins.audit.without_user_code.warning import changed, log_times, process_changed
from modbench.reports.html_report import render
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


def told(beside: Sequence[dict[str, float]], alone: dict[str, float], findings: int = 1) -> str:
    """What is said of an anchor with these columns in processes beside the user's code, and in so many without it."""

    def samples(columns: dict[str, float]) -> Any:
        return outcome({name: [value] * 40 for name, value in columns.items()}, variant=ANCHOR.id)

    made = [together(outcome(), samples(columns)) for columns in beside]
    without = {"latency/forward": {ANCHOR.id: samples(alone).samples}}
    found = [WithoutUserCodeFinding(samples=without, blocks={})] * findings
    return str(process_changed.check(replace(evidence([outcome()] * 3), processes=made, findings=found)))


def test_an_anchor_that_takes_longer_beside_the_users_code_is_found() -> None:
    beside = [{"wall_s": wall} for wall in (0.041, 0.042, 0.043)]
    assert "4.2 times as long" in told(beside, {})
    assert told(beside, {}, findings=0) == "None"


@pytest.mark.parametrize("why", ["a thread of its own", "it sleeps", "another program"])
def test_an_anchor_that_waits_beside_the_users_code_is_found(why: str) -> None:
    """For a thread of the file that wakes outside its own calls, or in a function of torch that the file replaced."""
    wait, quiet = 0.0024, {"wait_s": 0.0, "others_s": 0.0, "blocked_s": 0.0}
    waits = {
        "a thread of its own": {"wait_s": wait, "others_s": wait},
        "it sleeps": {"blocked_s": wait},
        "another program": {"wait_s": wait},
    }
    beside = [quiet | waits[why] | {"wall_s": wall} for wall in (0.0123, 0.0124, 0.0125)]
    said = told(beside, quiet | {"wall_s": 0.01})
    if why == "another program":
        assert said == "None"
    else:
        assert "1.24 times as long" in said
        assert "(12.4 ms, alone 10.0 ms)" in said


@pytest.mark.parametrize(("others_s", "found"), [(0.004, True), (0.0003, False)])
def test_threads_that_run_while_the_anchor_computes_are_found_on_a_busy_machine(others_s: float, found: bool) -> None:
    """Where processes differ too much for a ratio; a few per cent are Python's own."""
    quiet = {"others_s": 0.0, "blocked_s": 0.0}
    beside = [quiet | {"others_s": others_s, "wall_s": wall, "cpu_s": wall} for wall in (0.01, 0.02, 0.03)]
    said = told(beside, quiet)
    assert ("other threads of its process run for 20 %" in said) is found
    assert (said != "None") is found


@pytest.mark.slow
def test_processes_that_differ_by_chance_are_accused_in_one_of_a_hundred_at_most() -> None:
    n, rng, draws = 4, random.Random(4), 4000
    accused = sum(changed([rng.gauss(0, 0.1) for _ in range(n)], rng.gauss(0, 0.1)) is not None for _ in range(draws))
    assert accused <= draws * 0.01 + NormalDist().inv_cdf(0.999) * math.sqrt(draws * 0.01 * 0.99)


@pytest.mark.slow
@pytest.mark.usefixtures("here", "undrawn")
@pytest.mark.parametrize("beside", [1.0, 20.0])
def test_a_changed_process_is_labelled_in_every_output(tmp_path: Path, beside: float) -> None:
    """Processes of the planted machine differ by a third; the user's code makes all variants alike slower: no ratio shows it."""
    made = planted_plan("draft", metrics=["latency/forward"], variants=VARIANTS, train=None)
    frame = stored(tmp_path, made, beside=beside)
    loaded, changed_it, label = load(tmp_path / "run"), beside > 1, str(Label.PROCESS_CHANGED)
    for rows in (pd.read_csv(tmp_path / "run" / "cases.csv"), frame):
        timed = rows.metric == "latency/forward"
        assert timed.sum() >= 6
        assert (rows.labels.astype(str).str.contains(label) == (timed & changed_it)).all()
    said = " ".join(printed_run.closing(loaded, Path("page"), None).split())
    assert (f"{label}: dense" in said) is changed_it
    assert ("with the user" in render.html(loaded)) is changed_it


@pytest.mark.slow
def test_a_file_that_slows_all_models_of_its_process_is_found(here: Path) -> None:
    """Real processes: the file replaces a function of torch, which no list of settings knows."""
    data = {"name": "slow", "effort": "draft", "processes": 5, "rounds": 2, "metrics": ["latency/forward"]}
    data |= {"shape": {"d_model": 16, "n_layers": 1, "n_heads": 2}, "grid": {"seq_len": [16]}, "aa_control": False}
    data |= {"variants": [VARIANTS[0], VARIANTS[2]]}
    (here / "mine.py").write_text(MINE + SLOWS_ALL)
    made = make_plan(parse_suite(data, "slow"), device="cpu", text=None)
    run_jobs(made, folder_of(made, here, ENVIRONMENT))
    loaded = load(here / "run")
    rows = loaded.comparisons
    assert (rows.status == "ok").all()
    assert all(Label.PROCESS_CHANGED in str(labels).split(";") for labels in rows.labels)
