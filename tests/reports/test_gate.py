"""The gate: what got worse between two runs, and what it does not compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import planted_suite, stored

from modbench.harness.core.errors import UnfitError, UsageError
from modbench.harness.machine import certificate
from modbench.reports import gate
from modbench.reports.load import load


def run(folder: Path, suite: dict[str, Any] | None = None, effort: str = "standard", **changes: Any) -> Any:
    """A stored run with changes to its suite or its planted truth."""
    stored(folder, planted_suite(effort, **(suite or {})), **changes)
    return load(str(folder / "run"))


def unfit() -> dict[str, Any]:
    """The certificate of a machine that called 20 of 100 twins different."""
    rows = [{"hit": i < 20, "mde": 0.03, "mde_cpu": 0.01, "width": 0.05, "disturbed": 0.1} for i in range(100)]
    certificate.keep("m", rows)
    found = certificate.pooled("m")
    assert found is not None
    return found.as_dict()


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep certificates of machines apart for each test."""
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))


@pytest.mark.slow
def test_a_gate_lets_the_same_pass_and_stops_a_planted_regression(tmp_path: Path) -> None:
    """An arm that takes 10 % more than before is worse; nothing else is."""
    before, same = run(tmp_path / "before"), run(tmp_path / "same")
    slow = run(tmp_path / "slow", slower={"mod[c0.125]": 1.10})
    calm = gate.gate(same, before, 0.02)
    assert {finding.verdict for finding in calm} <= {"equivalent", "inconclusive", "not compared"}
    found = [finding for finding in gate.gate(slow, before, 0.02) if finding.verdict == "worse"]
    assert {finding.case.partition("-T")[0] for finding in found} == {"mod[c0.125"}
    assert {finding.metric for finding in found} == {"latency/forward"}
    for finding in found:
        assert finding.change == pytest.approx(1 / 1.10, rel=0.01)
        assert finding.low is not None
        assert finding.high is not None
        assert finding.low < 1 / 1.10 < finding.high
    faster = gate.gate(before, slow, 0.02)
    assert sum(finding.verdict == "better" for finding in faster) == len(found)
    assert not any(finding.verdict == "worse" for finding in faster)


@pytest.mark.slow
def test_a_slower_machine_is_no_regression(tmp_path: Path) -> None:
    """Every arm takes twice as long, including the anchor: times are ratios to it."""
    before = run(tmp_path / "before")
    slow = run(
        tmp_path / "slow", slower=dict.fromkeys(("dense", "dense-f0.58", "mod[c0.125]", "mod[c0.5]", "moe"), 2.0)
    )
    assert not any(finding.verdict == "worse" for finding in gate.gate(slow, before, 0.02))


@pytest.mark.slow
def test_a_gate_refuses_times_of_an_unfit_machine_and_no_others(tmp_path: Path, modbench: Any) -> None:
    bad = unfit()
    run(tmp_path / "fit")
    run(tmp_path / "bad", certificate=bad)
    refused = modbench("gate", tmp_path / "bad" / "run", "--against", tmp_path / "fit" / "run")
    assert refused.returncode == 5
    assert "20 of 100" in refused.stderr
    with pytest.raises(UnfitError):
        gate.gate(load(str(tmp_path / "fit" / "run")), load(str(tmp_path / "bad" / "run")), 0.02)
    page = (tmp_path / "bad" / "run" / "report.html").read_text()
    assert "unfit: 20 of 100" in page
    # Counts need no clock.
    counts = planted_suite("draft", metrics=["flops/forward"])
    for name in ("a", "b"):
        stored(tmp_path / name, counts, certificate=bad)
    passed = modbench("gate", tmp_path / "a" / "run", "--against", tmp_path / "b" / "run")
    assert passed.returncode == 0, passed.stderr


@pytest.mark.slow
def test_the_gates_exit_codes(tmp_path: Path, modbench: Any) -> None:
    run(tmp_path / "before")
    run(tmp_path / "slow", slower={"moe": 1.3})
    before, slow = tmp_path / "before" / "run", tmp_path / "slow" / "run"
    stopped = modbench("gate", slow, "--against", before)
    assert stopped.returncode == 1
    assert "worse      moe[T64" in stopped.stdout
    assert modbench("gate", before, "--against", slow).returncode == 0
    told = json.loads(modbench("gate", slow, "--against", before, "--json").stdout)
    assert any(finding["verdict"] == "worse" for finding in told)
    assert modbench("gate", slow, "--against", before, "--margin", 2).returncode == 2
    assert modbench("gate", slow, "--against", tmp_path).returncode == 2


@pytest.mark.slow
def test_runs_without_a_case_in_common_cannot_be_gated(tmp_path: Path) -> None:
    here = run(tmp_path / "here")
    stored(tmp_path / "there", planted_suite("standard", shape={"d_model": 32, "n_layers": 4}))
    with pytest.raises(UsageError, match="no case in common"):
        gate.gate(here, load(str(tmp_path / "there" / "run")), 0.02)


@pytest.mark.slow
def test_a_case_whose_shape_has_changed_is_not_compared(tmp_path: Path) -> None:
    """The id stays the same: ids name arms of a suite, not shapes."""
    here = run(tmp_path / "here")
    match = {"arm": "mod", "capacity": 0.125}
    mod = {"model": "mod", "capacity": [0.125, 0.5]}
    arms = [{"model": "dense"}, {"model": "dense", "match": match}, mod, {"model": "moe", "d_ff": 512}]
    stored(tmp_path / "there", planted_suite("standard", arms=arms))
    findings = gate.gate(here, load(str(tmp_path / "there" / "run")), 0.02)
    reasons = {finding.reason for finding in findings if finding.case.startswith("moe")}
    assert reasons == {"the same id, but another case: d_ff 192, was 512"}
    assert any(finding.case.startswith("mod[c0.5-") and finding.change is not None for finding in findings)


def reasons(found: list[gate.Finding], start: str) -> set[str | None]:
    assert {finding.verdict for finding in found if finding.metric.startswith(start)} == {"not compared"}
    return {finding.reason for finding in found if finding.metric.startswith(start)}


@pytest.mark.slow
def test_losses_of_other_training_are_not_compared(tmp_path: Path) -> None:
    """A case's id does not say how long it was trained, nor from which seed."""
    before = run(tmp_path / "before")
    longer = run(tmp_path / "longer", {"train": {"seq_len": 128, "tokens": 2000}})
    assert reasons(gate.gate(longer, before, 0.02), "loss/val") >= {
        "measured with other settings: train.tokens 2000, was 1000"
    }
    other = run(tmp_path / "other", {"seeds": [1]})
    assert "the two runs have no seed in common" in reasons(gate.gate(other, before, 0.02), "loss/val")


@pytest.mark.slow
def test_contaminated_times_are_not_compared(tmp_path: Path) -> None:
    before = run(tmp_path / "before")
    disturbed = run(tmp_path / "disturbed", waits="moe", slower={"moe": 2.0})
    for found in (gate.gate(disturbed, before, 0.02), gate.gate(before, disturbed, 0.02)):
        moe = [each for each in found if each.case.startswith("moe") and each.metric == "latency/forward"]
        assert {each.verdict for each in moe} == {"not compared"}
        assert all(each.reason and each.reason.startswith("contaminated: ") for each in moe)


@pytest.mark.slow
def test_two_launches_gate_nothing(tmp_path: Path) -> None:
    one, two = (run(tmp_path / name, {"launches": 2, "metrics": ["latency/forward"]}) for name in ("a", "b"))
    said = reasons(gate.gate(one, two, 0.02), "latency/")
    assert "an interval needs three launches in each run" in said


@pytest.mark.slow
def test_a_failed_anchor_leaves_no_other_arm_to_compare(tmp_path: Path) -> None:
    before, broken = run(tmp_path / "before"), run(tmp_path / "broken", fails="dense")
    for found in (gate.gate(broken, before, 0.02), gate.gate(before, broken, 0.02)):
        timed = [each for each in found if each.metric == "latency/forward" and not each.case.startswith("dense[")]
        assert {each.verdict for each in timed} == {"not compared"}
        assert all("planted failure" in str(each.reason) for each in timed)


@pytest.mark.slow
def test_what_worked_and_fails_now_is_worse(tmp_path: Path, modbench: Any) -> None:
    before, broken = run(tmp_path / "before"), run(tmp_path / "broken", fails="moe")
    found = [each for each in gate.gate(broken, before, 0.02) if each.verdict == "worse"]
    assert {(each.case.partition("[")[0], each.metric) for each in found} == {("moe", "latency/forward")}
    assert all("fails now: error: planted failure" in str(each.reason) for each in found)
    assert not [each for each in gate.gate(before, broken, 0.02) if each.verdict == "worse"]
    assert modbench("gate", tmp_path / "broken" / "run", "--against", tmp_path / "before" / "run").returncode == 1


@pytest.mark.slow
def test_a_label_that_is_new_is_worse(tmp_path: Path) -> None:
    """A model that now reads later tokens has a better loss, which is not an improvement."""
    before, leaks = run(tmp_path / "before"), run(tmp_path / "leaks", leaks="moe")
    found = [each for each in gate.gate(leaks, before, 0.02) if each.verdict == "worse"]
    assert {each.case.partition("[")[0] for each in found} == {"moe"}
    assert "now not autoregressive as measured" in {each.reason for each in found}


@pytest.mark.slow
def test_what_is_gone_or_incomplete_or_smoke_is_said(tmp_path: Path, modbench: Any) -> None:
    run(tmp_path / "before")
    fewer = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.5]}]
    gone = run(tmp_path / "gone", {"arms": fewer})
    said = {each.case: each.reason for each in gate.gate(gone, load(str(tmp_path / "before" / "run")), 0.02)}
    assert said["moe[T64-B1-fp32-cpu1]"] == "the new run has no such case"
    made = planted_suite("standard")
    name = next(unit.name for unit in made.units if unit.made_in == "memory")
    stored(tmp_path / "half", made, leave_out=name)
    half = modbench("gate", tmp_path / "half" / "run", "--against", tmp_path / "before" / "run")
    assert half.returncode == 4
    assert "is incomplete: 1 units have no record" in half.stderr
    smoke = [run(tmp_path / name, {"launches": 3}, effort="smoke") for name in ("s1", "s2")]
    assert reasons(gate.gate(smoke[0], smoke[1], 0.02), "latency/") == {"a smoke run makes no claims"}
    told = list(gate.as_text(gate.gate(smoke[0], smoke[1], 0.02), 0.02, {"latency/forward"}))
    assert "no time was compared" in told
    assert any(line.startswith("not compared: dense[T64-B1-fp32-cpu1] latency/forward and ") for line in told)


def test_of_many_comparisons_some_are_found_by_chance() -> None:
    """One in twenty at p = 0.04 is expected by chance; one at p = 0.0001 is not. Counts are not adjusted."""
    calm = [gate.Finding(f"c{i}", "latency/forward", "inconclusive", 1.0, 0.9, 1.1, p=0.5) for i in range(19)]
    counted = gate.Finding("n", "flops/forward", "worse", 0.5)
    for p, verdict in ((0.04, "inconclusive"), (0.0001, "worse")):
        found = gate.Finding("x", "latency/forward", "worse", 0.9, 0.85, 0.97, p=p)
        *_, judged, count = gate.among_all([*calm, found, counted])
        assert (judged.verdict, count.verdict) == (verdict, "worse")


def test_one_cold_compilation_gates_nothing(tmp_path: Path) -> None:
    one, two = (run(tmp_path / name, {"compile": True, "metrics": ["latency/compile"]}) for name in ("a", "b"))
    assert reasons(gate.gate(one, two, 0.02), "latency/compile") == {
        "one cold compilation each: no interval, and no verdict"
    }
