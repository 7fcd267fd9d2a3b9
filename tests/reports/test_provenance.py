"""Numbers of several machines, or of several versions of a user's file: a label, and no verdict where one number mixes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted_gate import gate_run
from resealed import reseal, reseal_with

from modbench import planted_runs
from modbench.harness.core.labels import Label
from modbench.harness.machine import certificate
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.html_report import render
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import machine_check
from modbench.reports.tables.load import Loaded, load
from modbench.reports.tables.two_runs import TwoRuns


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's model, which imports another file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    (tmp_path / "mine.py").write_text("def build(config):\n    import parts\n    return parts.made(config)\n")
    (tmp_path / "parts.py").write_text("WIDE = 4\n")
    return tmp_path


# --- machines


def node(host: str, hits: int | None = 4, hardware: str = "EPYC", gpu: str = "", number: int = 0) -> dict[str, Any]:
    """A node whose certificate has so many hits of 100; None: it has none."""
    told: dict[str, Any] = {"host": host, "machine": f"{host}-cpu1", "hardware": hardware, "certificate": None}
    if hits is not None:
        row = {
            "detectable": 0.01,
            "detectable_cpu": None,
            "width": 0.01,
            "noisy": 0.0,
            "processes": 10,
            "process_sd": 0.01,
        }
        certificate.keep(host, [row | {"hit": i < hits} for i in range(100)])
        told["certificate"] = dict(vars(certificate.pooled(host, 10)))
    return told | ({"device": gpu, "device_uuid": f"GPU-{number}"} if gpu else {})


def on_nodes(folder: Path, even: dict[str, Any], odd: dict[str, Any]) -> Loaded:
    """A planted run whose records name the node of their process."""
    gate_run(folder, suite={"processes": 4, "grid": {"seq_len": [64]}})
    for file in sorted((folder / "jobs").glob("time-*.json")):
        told = odd if int(file.stem.rpartition("process")[2]) % 2 else even
        environment = {"torch": "2.11", "threads": 1, "pid": 1, **told}
        reseal(file, json.loads(file.read_text()) | {"environment": environment})
    return load(folder)


@pytest.mark.parametrize(
    ("even", "odd", "label", "checked", "judged", "why"),
    [
        (("n1",), ("n1",), False, "fit", True, ""),
        (("n1",), ("n2", 30), True, "unfit", True, ""),  # of two machines of one kind the worst
        (("n1",), ("n2", None), True, None, False, ""),  # one that nobody checked
        (("n1",), ("n2", 4, "Xeon"), True, "fit", False, "EPYC and on Xeon"),
        (("n1", 4, "EPYC", "A100"), ("n1", 4, "EPYC", "A100", 1), True, "fit", True, ""),
        (("n1", 4, "EPYC", "A100"), ("n1", 4, "EPYC", "H100", 1), True, "fit", False, "EPYC, A100 and on EPYC, H100"),
    ],
    ids=["one node", "two of one kind", "one unchecked", "other hardware", "two GPUs", "other GPUs"],
)
def test_processes_are_pooled_with_a_label_but_not_across_hardware(
    even: Any, odd: Any, label: bool, checked: str | None, judged: bool, why: str, tmp_path: Path
) -> None:
    loaded = on_nodes(tmp_path / "run", node(*even), node(*odd))
    labels = ";".join(each for frame in (loaded.cases, loaded.pairs) for each in frame.labels.dropna())
    assert (Label.SEVERAL_MACHINES in labels) is label
    assert (loaded.certificate and loaded.certificate.verdict) == checked
    assert [*loaded.pairs.verdict.notna().unique()] == [judged]
    said = f"its processes ran on different hardware ({why}), which no verdict may pool"
    assert [*loaded.pairs.reason.fillna("").str.contains(said, regex=False).unique()] == [bool(why)]
    timed_on = [words for what, words in machine_check.jobs(loaded) if what == "Timed on"]
    assert label or timed_on == ["n1 (EPYC; A/A: fit)"]
    assert TwoRuns(loaded.tables, loaded.tables, 0.02).same_machine is (even[0] == odd[0])


# --- versions


MINE = {("mine.py:build", metric, t) for metric in ("flops/forward", "latency/forward") for t in (64, 128)}


@pytest.fixture
def user_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Loaded]:
    """Plants a run of dense and a user's model; the version of parts.py is by a part of the job's name."""

    def made(**version_of: str) -> Loaded:
        variants = [{"model": "dense"}, {"model": "mine.py:build"}]
        metrics = ["flops/forward", "latency/forward"]
        plan = planted_plan("draft", processes=3, variants=variants, metrics=metrics, train=None)
        (mine,) = {case.variant for case in plan.cases} - {"dense"}
        monkeypatch.setitem(planted_runs.PLANTED, mine, 0.5)
        cost = lambda case: case_cost(case.model_copy(update={"model": "dense"}))  # noqa: E731
        monkeypatch.setattr(planted_runs, "case_cost", cost)
        (here / "planted").mkdir()
        run = planted_run(here / "planted", plan)
        for file in (run / "jobs").glob("*.json"):
            version = next((each for part, each in version_of.items() if part in file.stem), "a")
            code = {"mine.py": "c" * 64, "parts.py": version * 64}
            reseal(file, json.loads(file.read_text()) | {"code": code})
        return load(run)

    return made


def labelled(loaded: Loaded) -> set[tuple[str, str, int]]:
    """Model, metric and length of the numbers that wear the label."""
    worn = loaded.cases[loaded.cases.labels.fillna("").str.contains(Label.CODE_CHANGED)]
    return set(zip(worn.model, worn.metric, worn.seq_len, strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("versions", "worn", "judged"),
    [
        ({}, set(), {64, 128}),
        ({"T64-B1-fp32-cpu1-process0": "b"}, MINE, {128}),
        # Every number is of one version: the label says that they may not be read side by side.
        ({"T128": "b"}, MINE, {64, 128}),
    ],
    ids=["one version", "two in one number", "two in one table"],
)
def test_numbers_of_two_versions_are_labelled_and_one_that_mixes_them_has_no_verdict(
    versions: dict[str, str], worn: set[Any], judged: set[int], user_run: Callable[..., Loaded]
) -> None:
    loaded = user_run(**versions)
    times = loaded.pairs[loaded.pairs.metric == "latency/forward"].set_index("seq_len")
    assert (labelled(loaded), {*times[times.verdict.notna()].index}) == (worn, judged)
    assert times[times.verdict.isna()].reason.str.contains("several versions of parts.py").all()
    warned = [line for line in map(plain, machine_check.warnings(loaded)) if "parts.py changed after" in line]
    assert len(warned) == bool(worn)
    render.write(loaded.path)
    for name in ("report.html", "cases.csv", "comparisons.csv"):
        assert (Label.CODE_CHANGED in (loaded.path / name).read_text()) is bool(worn)


def test_what_failed_mixes_nothing(user_run: Callable[..., Loaded]) -> None:
    """A bug in a file was mended, and its failed jobs ran again."""
    loaded = user_run(**{"count-T64": "b"})
    assert labelled(loaded)

    def fail(body: dict[str, Any]) -> None:
        for outcome in body["outcomes"]:
            if outcome["case"].startswith("mine"):
                outcome |= {"status": "failed", "kind": "error", "reason": "a bug", "samples": {}, "notes": {}}

    reseal_with(next((loaded.path / "jobs").glob("count-T64*")), fail)
    assert labelled(load(loaded.path)) == set()
