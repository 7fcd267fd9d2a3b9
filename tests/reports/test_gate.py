"""The gate: what it compares with what, and what counts although it cannot be compared."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from planted_gate import written

from modbench.harness.core.errors import UsageError
from modbench.harness.results.run_file import plan_of, stored_plan
from modbench.planted_runs import PlantedTrouble, planted_plan, planted_record
from modbench.reports.blocks import Value
from modbench.reports.markup.markdown import annotation
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.gate import gate
from modbench.reports.questions.gate.fail_on import CHECKS, parse
from modbench.reports.questions.gate.gate import GateFinding
from modbench.reports.tables import two_runs
from modbench.reports.tables.claims import SMOKE
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.two_runs import NOT_ALTERNATED

pytestmark = pytest.mark.slow

TIME = "latency/forward"
TIMED = {"metrics": [TIME], "processes": 3}


def run(folder: Path, suite: dict[str, Any] | None = None, effort: str = "draft", **trouble: Any) -> Loaded:
    """A stored run of one length with changes to its suite or its planted truth."""
    made = planted_plan(effort, **{"grid": {"seq_len": [64]}, "processes": 5, "rounds": 4, **(suite or {})})
    return written(folder, made, partial(planted_record, trouble=PlantedTrouble(**trouble)), {})


def findings(base: Loaded, new: Loaded) -> list[GateFinding]:
    return gate.gate(base, new, 0.02).findings


def reasons(found: list[GateFinding], start: str, verdict: str = "inconclusive") -> set[Value]:
    assert {finding.verdict for finding in found if finding.metric.startswith(start)} == {verdict}
    return {finding.reason for finding in found if finding.metric.startswith(start)}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The earlier run, in which nothing went wrong."""
    return run(tmp_path_factory.mktemp("gate") / "before")


def test_what_has_no_comparison_by_nature_counts_neither_for_nor_against(tmp_path: Path) -> None:
    """A rate follows from its time, a loss with a future from none; the rest decides."""
    keys = ["flops/forward", TIME, "tokens_per_s/forward", "loss/val", "loss/val_causal"]
    before, now = (run(tmp_path / name, {"metrics": keys}) for name in ("before", "now"))
    found = gate.gate(before, now)
    out = {finding.metric for finding in found.findings if finding.verdict == "not compared"}
    assert out == {
        "tokens_per_s/forward",
        "loss/val_causal",
        TIME,
    }  # of times the anchor's own, on a machine without a name
    assert found.verdict == "pass"


def test_runs_without_a_case_in_common_cannot_be_gated(before: Loaded, tmp_path: Path) -> None:
    there = run(tmp_path / "there", {"shape": {"d_model": 32, "n_layers": 4}, "metrics": [TIME]})
    with pytest.raises(UsageError, match="no case in common"):
        gate.gate(before, there)


def test_a_case_whose_shape_has_changed_cannot_be_told(before: Loaded, tmp_path: Path) -> None:
    """The id stays the same: ids name variants of a suite, not shapes."""
    match = {"variant": "mod", "capacity": 0.125}
    mod = {"model": "mod", "capacity": [0.125, 0.5]}
    variants = [{"model": "dense"}, {"model": "dense", "match": match}, mod, {"model": "moe", "d_ff": 512}]
    found = findings(run(tmp_path / "there", {"variants": variants}), before)
    of_moe = [finding for finding in found if finding.what.startswith("moe")]
    assert all("d_ff 192, was 512" in str(finding.reason) for finding in of_moe)
    assert {finding.verdict for finding in of_moe if finding.metric == "flops/forward"} == {"inconclusive"}
    assert any(finding.what.startswith("mod[c0.5-") and finding.typical.value is not None for finding in found)


def test_losses_of_other_training_cannot_be_told(before: Loaded, tmp_path: Path) -> None:
    """A case's id does not say how long it was trained, nor from which seed."""
    losses = {"metrics": ["loss/val", "loss/val_causal"]}
    longer = run(tmp_path / "longer", losses | {"train": {"seq_len": 128, "tokens": 2000}})
    said = {each.reason for each in findings(before, longer) if each.metric.startswith("loss/val")}
    assert any("train.tokens 2000, was 1000" in str(each) for each in said)
    other = run(tmp_path / "other", losses | {"seeds": [1]})
    said = {each.reason for each in findings(before, other) if each.metric == "loss/val"}
    assert all("no seed in common" in str(each) for each in said)


def test_a_noisy_time_is_printed_with_what_noisy_it(before: Loaded, tmp_path: Path) -> None:
    noisy = run(tmp_path / "noisy", waits="moe", slower={"moe": 2.0})
    for found in (gate.gate(noisy, before), gate.gate(before, noisy)):
        (moe,) = (each for each in found.findings if each.what.startswith("moe") and each.metric == TIME)
        assert moe.verdict == NOT_ALTERNATED
        assert plain(moe.reason).endswith("blocks were noisy")


def test_two_processes_have_no_interval(tmp_path: Path) -> None:
    one, two = (run(tmp_path / name, {"processes": 2, "metrics": [TIME]}) for name in ("a", "b"))
    found = gate.gate(one, two)
    own = {each.reason for each in found.findings if each.metric == TIME and not each.what.startswith("dense[")}
    assert own == {two_runs.THREE}
    assert found.exit_code() == 5


def test_a_failed_anchor_leaves_no_other_variant_to_compare(before: Loaded, tmp_path: Path) -> None:
    broken = run(tmp_path / "broken", fails="dense")
    for now, base in ((broken, before), (before, broken)):
        timed = [each for each in findings(now, base) if each.metric == TIME and not each.what.startswith("dense[")]
        assert {each.verdict for each in timed} == {"not compared"}
        assert all("planted failure" in str(each.reason) for each in timed)


def test_what_is_gone_counts_and_what_is_new_does_not(tmp_path: Path) -> None:
    keys = {"metrics": ["flops/forward", TIME]}
    fewer = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.5]}]
    before, gone = run(tmp_path / "before", keys), run(tmp_path / "gone", {"variants": fewer, **keys})
    lost = gate.gate(before, gone)
    gone_cases = [each for each in lost.findings if each.what == "moe[T64-B1-fp32-cpu1]"]
    assert {each.reason for each in gone_cases} == {two_runs.NO_CASE}
    words = {"flops/forward": "inconclusive", "labels": "inconclusive", TIME: "not compared"}
    assert {each.metric: each.verdict for each in gone_cases} == words
    assert lost.exit_code() == 5
    added = gate.gate(gone, before)
    said = {(each.reason, each.verdict) for each in added.findings if each.what == "moe[T64-B1-fp32-cpu1]"}
    assert said == {(two_runs.NEW_CASE, "not compared")}
    assert added.exit_code() == 0
    fewer_metrics = gate.gate(before, run(tmp_path / "untimed", {"metrics": ["flops/forward"]}))
    assert two_runs.NOT_ASKED in reasons(fewer_metrics.findings, TIME, "not compared")


@pytest.mark.parametrize(
    ("keys", "verdict", "code"), [({"metrics": ["flops/forward"]}, "pass", 0), (TIMED, "inconclusive", 5)]
)
def test_a_rival_that_was_solved_anew_is_named_and_what_else_there_is_compared(
    keys: dict[str, Any], verdict: str, code: int, tmp_path: Path
) -> None:
    """Another cost of what it matches gives it another width, and so another id. Of times nothing else is left here."""
    match = {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}}
    before = run(tmp_path / "before", keys | {"variants": [{"model": "dense"}, match]})
    (old,) = (case for case in before.run.plan.cases if case.matched)
    text = json.dumps(stored_plan(before.run.plan)).replace(old.variant_parts[0], "f0.99")
    plan = plan_of(json.loads(text), tmp_path)
    found = gate.gate(before, written(tmp_path / "now", plan, partial(planted_record, trouble=PlantedTrouble()), {}))
    gone = [each for each in found.findings if each.what == old.id]
    assert {each.verdict for each in gone} == {"not compared"}
    assert all("dense-f0.99" in str(each.reason) for each in gone)
    assert {each.reason for each in found.findings if each.what.startswith("dense-f0.99")} == {two_runs.NEW_CASE}
    assert (found.verdict, found.exit_code(allow_inconclusive=True)) == (verdict, code)


def test_a_smoke_run_tells_nothing_of_times(tmp_path: Path) -> None:
    """Without named checks a gate is about numbers: that labels are the same is no comparison."""
    one, two = (run(tmp_path / name, TIMED, effort="smoke") for name in ("one", "two"))
    found = gate.gate(one, two)
    assert {each.verdict for each in found.findings if each.metric == "labels"} == {"pass"}
    assert (found.compared, found.exit_code(allow_inconclusive=True)) == (False, 5)
    assert gate.gate(one, two, fail_on=parse(["labels"])).exit_code() == 0
    assert reasons(found.findings, "latency/", "not compared") == {SMOKE}
    assert {plain(row[-1]) for row in gate.table(found).rows if row[0] == "not compared"} == {SMOKE}
    assert found.exit_code() == 5


MOD, MOE = ([{"model": "dense"}, variant] for variant in ({"model": "mod", "capacity": 0.125}, {"model": "moe"}))
# Pairs of runs that share a case but no number, each as changes to the suite and planted troubles of the new and the old run.
EMPTY: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "other variants beside one baseline": (TIMED | {"variants": MOD}, TIMED | {"variants": MOE}, {}),
    "other metrics": (TIMED, {"metrics": ["flops/forward"]}, {}),
    "every earlier time failed": (TIMED, TIMED, {"fails": "dense"}),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_comparison_never_passes(name: str, tmp_path: Path, modbench: Any) -> None:
    """Whatever may fail the gate, and in every output: what compared nothing excuses nothing."""
    now, before, trouble = EMPTY[name]
    runs = run(tmp_path / "before", before, **trouble), run(tmp_path / "now", now)
    of_numbers = {word: check for word, check in CHECKS.items() if word != "labels" and check.tier != "timed"}
    for checks in (None, *(f"{word}:5%" if check.limited else word for word, check in of_numbers.items())):
        found = gate.gate(*runs, fail_on=parse([checks]) if checks else None)
        assert (found.verdict, found.exit_code(), found.exit_code(allow_inconclusive=True)) == ("inconclusive", 5, 5), (
            checks
        )
        assert found.as_dict(allow_inconclusive=True)["compared"] is False
    asked = ("gate", runs[0].path, runs[1].path, "--allow-inconclusive")
    said = modbench(*asked)
    assert (said.returncode, gate.NOTHING in said.stdout) == (5, True)
    github = modbench(*asked, "--format", "github")
    assert github.returncode == 5
    assert annotation("warning", "modbench gate: inconclusive", gate.NOTHING) in github.stdout


def test_each_named_check_must_compare_something(tmp_path: Path, modbench: Any) -> None:
    """A check that compared nothing is not made good by one that did, even with `--allow-inconclusive`."""
    suite = TIMED | {"metrics": ["flops/forward", TIME]}
    before, now = (run(tmp_path / name, suite) for name in ("before", "now"))
    asked = ("gate", before.path, now.path, "--allow-inconclusive", "--fail-on")
    told = modbench(*asked, "flops:0%,breaks")
    assert told.returncode == 5
    assert re.search(r"^breaks +inconclusive: neither run measured it", told.stdout, flags=re.MULTILINE)
    tiers = json.loads(modbench(*asked, "flops:0%,breaks", "--json").stdout)["tiers"]
    assert {each["check"]: each["compared"] for each in tiers if each["named"]} == {"flops": True, "breaks": False}
    assert modbench(*asked, "flops:0%").returncode == 0
