"""Damage to a run folder is found, and never becomes a number; what cannot be a measurement is not written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cases import case_of
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from planted import ended

from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.domain.records import Record
from modbench.harness.execution import resuming
from modbench.harness.registry import catalogue
from modbench.harness.results import progress_file, run_folder
from modbench.harness.results.json_files import ALTERED, DamagedError
from modbench.harness.results.measured_or_missing import single
from modbench.harness.results.record_checks import usable
from modbench.harness.results.record_files import read_record
from modbench.harness.results.run_folder import RunFolder, read
from modbench.harness.results.workspace import Workspace
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.html_report import render
from modbench.reports.output_format import PAGE
from modbench.reports.questions.gate import gate
from modbench.reports.tables.load import Loaded, load

PROCESS = "time-forward-T64-B1-fp32-cpu1-process3"
COUNT = "count-T64-B1-fp32-cpu1"
VARIANTS = [{"model": "dense"}, {"model": "mod", "capacity": 0.5}]
KEYS = {"cases.csv": ["case_id", "metric"], "comparisons.csv": ["case_id", "baseline_case_id", "metric"]}
# Columns of what follows from measurements; others are words, or say how many there were.
NUMBERS = {
    "cases.csv": ["value", "ci_low", "ci_high"],
    "comparisons.csv": ["ratio", "mean_ratio", "difference", "ci_low", "ci_high"],
}
Body = dict[str, Any]
WEIGHT = catalogue.metrics()["memory/peak_allocated"]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which nothing is damaged, with every kind of file."""
    here = tmp_path_factory.mktemp("whole")
    metrics = ["flops/forward", "latency/forward", "memory/peak_allocated", "loss/val"]
    made = planted_plan("standard", grid={"seq_len": [64]}, variants=VARIANTS, metrics=metrics, rounds=2)
    run = planted_run(here, made)
    ended(run)
    progress_file.write(run, progress_file.RunProgress(title="planted"))
    Workspace(run, made.jobs[0].name).keep({"kept": {"a": 1}})
    assert {*map(str, run.iterdir())} >= {str(run / name) for name in ("decisions", "artifacts")}
    return run


@pytest.fixture(scope="module")
def whole(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """What a report says of it."""
    return tables(Path(shutil.copytree(whole_run, tmp_path_factory.mktemp("answer") / "run")))[1]


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_run, tmp_path / "run"))


def tables(run: Path) -> tuple[Loaded, dict[str, pd.DataFrame]]:
    """What a report says, in numbers."""
    loaded = load(run)
    render.views(loaded, ["csv"])
    return loaded, {name: pd.read_csv(run / name).set_index(keys) for name, keys in KEYS.items()}


def flip(file: Path, at: int = 2000) -> None:
    """Flip a bit."""
    content = bytearray(file.read_bytes())
    content[at % len(content)] ^= 1 << at % 8
    file.write_bytes(content)


def flip_digit(file: Path, at: int) -> None:
    """Make a digit another one: the file is JSON still, and holds another number."""
    content = bytearray(file.read_bytes())
    digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    content[digits[at % len(digits)]] ^= 1
    file.write_bytes(content)


def cut(file: Path, at: int) -> None:
    file.write_bytes(file.read_bytes()[: at % file.stat().st_size])


def remove(file: Path, _at: int) -> None:
    file.unlink()


def fields(tree: Any) -> Iterator[tuple[Any, str | int]]:
    """Yield every field of a JSON file: what holds it, and its key or index."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from fields(value)


def replace_field(value: object) -> Callable[[Path, int], None]:
    """Let a field hold another value, or be missing."""

    def replaced(file: Path, at: int) -> None:
        body = json.loads(file.read_bytes())
        every = [*fields(body)]
        within, key = every[at % len(every)]
        within[key] = value
        if value is REMOVED:
            del within[key]
        file.write_text(json.dumps(body))

    return replaced


def check_line(said: str, run: Path) -> None:
    assert "\n" not in said
    assert str(run) in said
    assert len(said) < len(str(run)) + 400


REMOVED = object()
VALUES = st.sampled_from([REMOVED, None, True, 0, -1, 3, 0.25, 1e300, "", "x", [], {}, [1.0], {"a": 1}])
DAMAGE = st.one_of(st.sampled_from([flip, flip_digit, cut, remove]), VALUES.map(replace_field))


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], phases=[Phase.generate])
@given(data=st.data())
def test_damage_gives_the_same_answer_or_a_reason(
    data: st.DataObject, whole_run: Path, whole: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    """Any byte or field of any file is flipped, cut or removed: no traceback, and no other number."""
    files = sorted(file for file in whole_run.rglob("*") if file.is_file() and file.suffix == ".json")
    run = tmp_path / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(whole_run, run)
    file = run / data.draw(st.sampled_from(files)).relative_to(whole_run)
    data.draw(DAMAGE)(file, data.draw(st.integers(0, 10**6)))
    try:
        loaded, now = tables(run)
    except UsageError as error:  # exit code 2
        event("refused")
        check_line(str(error), run)
        return
    event("incomplete" if loaded.run.incomplete else "the same")
    assert (loaded.run.incomplete is not None) == (file.parent.name in {"jobs", "decisions"})
    for name, before in whole.items():
        for column in NUMBERS[name]:
            old, new = before[column], now[name][column].reindex(before.index)
            moved = ~np.isclose(old, new, rtol=1e-12, atol=0, equal_nan=True)
            lost = now[name].loc[before.index[moved]]
            if loaded.run.missing:  # a process is not there: the others count, and the run is incomplete
                assert set(lost.get("verdict", pd.Series(dtype=object)).dropna()) == set()
            else:
                assert set(lost.status) <= {"failed"}
                assert lost.reason.str.contains(file.stem, regex=False).all()


def test_a_record_of_which_a_digit_changed_is_damaged(run: Path) -> None:
    """Any other check would take it: most of these numbers could have been measured."""
    job = next(job for job in read(str(run)).plan.jobs if job.name == PROCESS)
    file = RunFolder(run).record(job)
    whole = file.read_bytes()
    for at in range(0, 2000, 50):
        flip_digit(file, at)
        with pytest.raises(DamagedError):
            read_record(file, job)
        file.write_bytes(whole)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("name", "status"), [(PROCESS, "failed"), (COUNT, "ok")])
def test_the_page_names_a_damaged_job_and_its_cells_wear_the_label(name: str, status: str, run: Path) -> None:
    """A time whose checks are lost with the notes of counting is one of unchecked work."""
    flip(run / "jobs" / f"{name}.json")
    render.write(run)
    cases = pd.read_csv(run / "cases.csv")
    timed = cases[cases.metric == "latency/forward"]
    assert (set(timed.status), set(timed.labels)) == ({status}, {Label.DAMAGED})
    if status == "failed":
        assert timed.reason.str.contains(ALTERED).all()
    page = (run / PAGE).read_text()
    assert "damaged: 1 job" in page
    assert name in page


@pytest.mark.parametrize(("side", "name"), [("now", PROCESS), ("before", COUNT)])
def test_a_gate_never_passes_on_a_damaged_job(side: str, name: str, run: Path, whole_run: Path) -> None:
    flip(run / "jobs" / f"{name}.json")
    now, before = (run, whole_run) if side == "now" else (whole_run, run)
    found = gate.gate(load(before), load(now))
    assert found.exit_code(allow_inconclusive=True) == 4
    assert name in str(found.incomplete)
    timed = [finding for finding in found.findings if finding.metric == "latency/forward"]
    assert {finding.verdict for finding in timed} == {"not compared"}
    assert all("damaged" in str(finding.reason) for finding in timed)
    assert not [finding for finding in found.findings if finding.verdict == "fail"]


def test_a_damaged_job_is_set_aside_to_be_run_again(run: Path) -> None:
    file = run / "jobs" / f"{PROCESS}.json"
    flip(file)
    found = read(str(run))
    assert [job.name for job in resuming.remaining(found, retry_failed=False)] == [PROCESS]
    RunFolder(run).set_aside(found.damaged[0])
    assert not file.exists()
    assert file.with_suffix(".json.damaged").is_file()
    assert read(str(run)).missing == [PROCESS]


def test_the_record_of_a_second_try_does_not_count_as_the_first(run: Path) -> None:
    """A job that died is tried again without the user's models. If its run is killed then, their cells were not measured."""
    job = next(job for job in read(str(run)).plan.jobs if job.name == PROCESS)
    record, fewer = read_record(RunFolder(run).record(job), job), job.comparison.variants[:1]
    tried = job.model_copy(update={"comparison": job.comparison.model_copy(update={"variants": fewer})})
    RunFolder(run).write_record(record.model_copy(update={"job": tried, "outcomes": record.outcomes[:1]}))
    (damaged,) = read(str(run)).damaged
    assert "not of all cases" in damaged.error.problem


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (9, "written by modbench 0.2.0 (schema 9); this one reads schema 15. Read it with modbench 0.2.0, or measure again."),
        (11, "of schema 11; this one reads schema 15. Read it with the modbench that wrote it, or measure again."),
    ],
)  # fmt: skip
def test_a_run_of_another_schema_is_refused_in_a_line(version: int, said: str, run: Path) -> None:
    file = run / "run.json"
    packages = {} if version == 11 else {"modbench": "0.2.0"}
    file.write_text(json.dumps({"schema_version": version, "environment": {"packages": packages}}))
    with pytest.raises(UsageError, match=re.escape(f"{run}: {said}")):
        run_folder.read(str(run))


# --- what a worker checks before it writes


@pytest.fixture(scope="module")
def process(whole_run: Path) -> Record:
    job = next(job for job in read(str(whole_run)).plan.jobs if job.name == PROCESS)
    return read_record(RunFolder(whole_run).record(job), job)


def column(name: str, index: int, value: float) -> Callable[[Body], object]:
    return lambda body: body["samples"][name].__setitem__(index, value)


def halve(body: Body) -> None:
    body["samples"] = {name: values[: len(values) // 2] for name, values in body["samples"].items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (column("wall_s", 3, float("inf")), r"wall_s\[3\]: inf is not a finite number; .*its unit is s"),
        (column("wall_s", 0, 0.0), r"wall_s\[0\]: 0 is not above 0; the clock is too coarse"),
        (column("wall_s", 0, 1e300), r"wall_s\[0\]: 1e\+300 is over 1e\+09"),
        (column("wall_s", 0, 500.0), r"wall_s: 500 s is longer than the job's 1 s"),
        (column("calls", 0, 0), r"calls\[0\]: 0 .*least 1"),
        (column("round", 0, 0.5), r"round\[0\]: 0\.5 is not a whole number"),
        (column("cpu_s", 0, -1e-9), r"cpu_s\[0\]: -1e-09 .*least 0"),
        (column("round", 0, 1.0), "round: some rounds have more samples"),
        (halve, "round: 1 rounds, where 2 were planned"),
        (lambda body: body["samples"]["cpu_s"].pop(), "cpu_s: .*values, where others have"),
        (lambda body: body["samples"].pop("wall_s"), "wall_s: missing"),
        (lambda body: body["samples"].pop("cpu_s"), "cpu_s: missing"),
        (lambda body: body.update(unit="B"), "'B', but latency/forward is in s"),
    ],
)
def test_what_cannot_have_been_measured_fails_its_variant_alone(
    change: Callable[[Body], object], said: str, process: Record
) -> None:
    """Nobody would notice one infinite time among thousands, and fewer rounds than planned would move a median."""
    first, second = process.outcomes
    body = {**second.model_dump(), "notes": second.notes}
    change(body)
    made = usable(process.model_copy(update={"outcomes": (first, type(second).model_validate(body))}))
    assert made.outcomes[0] == first
    assert (made.outcomes[1].status, made.outcomes[1].kind) == ("failed", "numerics")
    assert re.search(said, str(made.outcomes[1].reason))
    assert usable(made) is made
    assert usable(process) is process


@pytest.mark.parametrize(
    ("update", "said"),
    [
        (lambda record: {"outcomes": record.outcomes[:1]}, r"latency/forward of mod\S* is missing"),
        (lambda record: {"outcomes": (record.outcomes[0].model_copy(update={"case": "x"}),)}, "no case of this job"),
        (lambda record: {"outcomes": (record.outcomes[0].model_copy(update={"metric": "x"}),)}, "does not measure"),
    ],
)
def test_a_pass_that_leaves_something_else_ends_with_the_reason(
    update: Callable[[Record], Body], said: str, process: Record
) -> None:
    with pytest.raises(ValueError, match=said):
        usable(process.model_copy(update=update(process)))


def test_what_could_not_be_read_again_is_not_written(process: Record) -> None:
    with pytest.raises(DamagedError, match=r"wall_s"):
        usable(process.model_copy(update={"wall_s": float("inf")}))


@pytest.mark.plugin("tasks")
def test_every_metric_says_what_it_can_be() -> None:
    for metric in catalogue.metrics().values():
        assert metric.allowed.lacks(float("nan"))
        assert metric.allowed.lacks(1e300)
        if metric.unit == "s":
            assert metric.allowed.lacks(0.0), metric.key
    assert catalogue.metrics()["memory/peak_allocated"].allowed.lacks(0.0)
    assert not catalogue.metrics()["loss/gap"].allowed.lacks(-0.1)
    assert catalogue.metrics()["loss/val"].allowed.lacks(-0.1)
    assert catalogue.metrics()["task/copy"].allowed.lacks(1.1)


# --- a metric's value, which may be a user's and anything


@pytest.mark.parametrize("value", [3, 3.0, torch.tensor(3), torch.tensor([3.0])])
def test_a_number_is_kept(value: Any) -> None:
    outcome = single(case_of("dense", {"d_model": 64}), WEIGHT, value)
    assert (outcome.status, outcome.samples) == ("ok", {"value": [3.0]})


@pytest.mark.parametrize("value", [None, "three", [3.0], {}, torch.ones(2), 10**400])
def test_what_is_no_number_fails_one_cell_and_names_the_metric_and_the_type(value: Any) -> None:
    outcome = single(case_of("dense", {"d_model": 64}), WEIGHT, value)
    assert (outcome.status, outcome.kind, outcome.samples) == ("failed", "error", {})
    assert WEIGHT.key in str(outcome.reason)
    assert type(value).__name__ in str(outcome.reason)
