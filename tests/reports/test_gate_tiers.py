"""The gate's tiers: exact on any machine, timed on the same one, losses over paired seeds; what is not named fails nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from planted_gate import finding, gate_run
from present import present
from resealed import reseal
from scipy import stats

from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.registry import catalogue
from modbench.harness.stats.verdicts import MIRRORED, Rule, counted, limited
from modbench.planted_runs import UNFIT
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.gate import gate
from modbench.reports.questions.gate.fail_on import CHECKS, FailOn, Rules, check_of, parse
from modbench.reports.questions.gate.gate import Gate
from modbench.reports.tables.load import Loaded, load
from modbench.reports.tables.two_runs import TwoRuns

TIME = "latency/forward"
METRICS = [TIME, "flops/forward", "memory/peak_allocated", "loss/val"]
ALL = "larger:1%,flops:0%,loss:0.5%"


def run(folder: Path, changes: Mapping[str, Mapping[int, float]] | None = None, **more: Any) -> Loaded:
    """A run of three seeds; values of the variant `moe` are changed by a factor or, of losses, by an amount, by metric and
    seed.
    """
    suite = {"metrics": METRICS, "seeds": [0, 1, 2], "processes": 6, "grid": {"seq_len": [64]}} | dict(
        more.pop("suite", {})
    )
    made = gate_run(folder, suite=suite, **more)
    for path in (folder / "jobs").glob("*.json") if changes else ():
        body = json.loads(path.read_text())
        for outcome in body["outcomes"]:
            change = (changes or {}).get(outcome["metric"])
            if change and outcome["case"].startswith("moe") and outcome["status"] == "ok":
                (value,), by = outcome["samples"]["value"], change.get(outcome["notes"].get("seed", 0), 0.0)
                outcome["samples"]["value"] = [value + by if outcome["metric"] == "loss/val" else value * (1 + by)]
        reseal(path, body)
    return load(made.path)


def gated(base: Loaded, new: Loaded, fail_on: str = ALL) -> Gate:
    return gate.gate(base, new, fail_on=parse([fail_on]))


def verdicts(found: Gate) -> dict[str, str]:
    return {each.word: each.verdict for each in found.tiers if each.named}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return run(tmp_path_factory.mktemp("tiers") / "base", seed=1)


# --- grammar


def test_checks_are_read_with_exact_limits() -> None:
    assert parse([ALL]).limits == {
        "larger": Fraction(1, 100),
        "flops": 0,
        "loss": Fraction(5, 1000),
    }
    assert parse([" slower : 2 % , breaks", "syncs"]).limits == {
        "slower": Fraction(2, 100),
        "breaks": None,
        "syncs": None,
    }
    assert plain(parse([ALL, "breaks"]).written) == f"{ALL},breaks"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["slwer:2%"], "Did you mean 'slower'?"),
        (["slower"], "Write the share that may pass, such as slower:2%."),
        (["slower:"], "Write the share that may pass, such as slower:2%."),
        (["slower:2"], "'2' is no share below 1: 2 per cent is 2%."),
        (["larger:-1%"], "'-1%' is negative: give a share from 0 to below 1"),
        (["larger:-1"], "'-1' is negative"),
        (["larger:much"], "'much' is no share: write it as 0.02 or as 2%."),
        (["larger:1e1%"], "is no share"),
        (["larger:٢%"], "is no share"),
        (["larger:" + "9" * 5000 + "%"], "is no share"),
        (["larger:nan%"], "is no share"),
        (["slower:0%"], "samples never exclude a change of exactly 0. Write slower:2%."),
        (["breaks:1%"], "breaks takes no limit, any more fail. Write breaks."),
        (["flops:0%,flops:1%"], "names flops twice"),
        (["flops:0%", "flops:0%"], "names flops twice"),
        ([""], "has an empty check"),
        (["flops:0%,,breaks"], "has an empty check"),
    ],
)
def test_bad_grammar_says_what_would_work(given: list[str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(given)
    assert said in str(raised.value)


@pytest.mark.plugin("machine")
@pytest.mark.plugin("sweeps")
@pytest.mark.plugin("tasks")
def test_every_metric_with_a_direction_belongs_to_a_check() -> None:
    metrics = catalogue.metrics()
    checks = {key: check_of(metric) for key, metric in metrics.items()}
    assert {key for key, word in checks.items() if word is None} == {
        key for key, metric in metrics.items() if metric.better == "neither"
    }
    assert {word for word in checks.values() if word} == {*CHECKS} - {"labels", "cpu"}  # of a case, and of a clock
    assert (checks["mfu/train_step"], checks["bpb/val"], checks["task/copy"]) == ("slower", "loss", "accuracy")
    assert (checks["memory/largest_seq_len"], checks["energy/per_token"]) == ("larger", "energy")


# --- the exact tier


@pytest.mark.parametrize(
    ("key", "now", "before", "limit", "word"),
    [
        ("memory/peak_allocated", 101, 100, "larger:1%", "pass"),  # exactly the limit
        ("memory/peak_allocated", 102, 100, "larger:1%", "fail"),
        ("memory/peak_allocated", 98, 100, "larger:1%", "pass"),
        pytest.param("memory/largest_seq_len", 99, 100, "larger:2%", "pass", marks=pytest.mark.plugin("machine")),
        pytest.param("memory/largest_seq_len", 97, 100, "larger:2%", "fail", marks=pytest.mark.plugin("machine")),
        ("flops/forward", 10**15 + 1, 10**15, "flops:0%", "fail"),  # one FLOP in 10^15
        ("flops/forward", 10**15 - 1, 10**15, "flops:0%", "pass"),
        ("flops/forward", 1003, 1000, "flops:0.3%", "pass"),  # in floats 1000 * 1.003 is below 1003
        ("graph_breaks/forward", 3, 2, "breaks", "fail"),
        ("syncs/forward", 1, 2, "syncs", "pass"),
        ("flops/forward", 101, 100, "larger:1%", "pass"),  # not named: by the margin, 2 %
        ("flops/forward", 103, 100, None, "fail"),  # nothing is named: by the margin as well
        ("flops/forward", 97, 100, None, "pass"),
        ("flops/forward", 101, 100, None, "pass"),
    ],
)
def test_counts_are_compared_exactly(key: str, now: float, before: float, limit: str | None, word: str) -> None:
    metric = catalogue.metrics()[key]
    passes, _ = Rules(0.02, parse([limit]) if limit else None).limits(check_of(metric))
    (held,) = limited([counted(before, now, Rule("count", 0.02, metric.better))], [passes])
    assert held.word == word


@pytest.mark.slow
def test_counts_and_bytes_are_compared_on_any_machine_and_an_unfit_one(base: Loaded, tmp_path: Path) -> None:
    more = {"memory/peak_allocated": {0: 0.02}}
    now = run(tmp_path / "now", more, machine="other", certificate=UNFIT, seed=2)
    assert present(now.certificate).verdict == "unfit"
    found = gated(base, now, "flops:0%,larger:1%")
    assert verdicts(found) == {"flops": "pass", "larger": "fail"}
    assert found.exit_code() == 1
    assert gated(base, now, "flops:0%,larger:2%").exit_code() == 0
    told = {each.metric: each for each in found.findings if each.what.startswith("moe") and each.verdict == "fail"}
    assert {*told} == {"memory/peak_allocated"}
    assert told["memory/peak_allocated"].typical.value == pytest.approx(1 / 1.02)
    assert {each.verdict for each in found.findings if each.metric == TIME} == {"not alternated", "not compared"}
    here = run(tmp_path / "here", certificate=UNFIT, seed=2)
    found = gated(base, here, "flops:0%,larger:1%")
    assert found.exit_code() == 0


# --- labels


COUNTED = [TIME, "flops/forward", "graph_breaks/forward", "loss/val"]
MASKS = {"module": "b", "capacity": 0.25, "tokens": 64, "stated": 16, "rows": 64.0, "masked": True}


@pytest.fixture(scope="module")
def masking(tmp_path_factory: pytest.TempPathFactory) -> list[Loaded]:
    """A run, and one in which the variant `moe` computes what it claims to skip: 1.56 times the FLOPs, no graph break in
    either.
    """
    here, suite = tmp_path_factory.mktemp("labels"), {"metrics": COUNTED}
    before = run(here / "before", suite=suite, seed=1)
    run(here / "after", {"flops/forward": {0: 0.56}}, suite=suite, seed=2)
    for path in (here / "after" / "jobs").glob("count-*.json"):
        body = json.loads(path.read_text())
        for outcome in body["outcomes"]:
            if outcome["case"].startswith("moe"):
                outcome["notes"]["claims"] = [MASKS]
        reseal(path, body)
    return [before, load(str(here / "after"))]


@pytest.mark.slow
def test_a_new_label_is_one_finding_and_numbers_keep_their_verdicts(masking: list[Loaded], modbench: Any) -> None:
    before, after = masking
    assert verdicts(gated(before, after, "flops:0%,breaks")) == {"flops": "fail", "breaks": "pass"}
    found = gated(before, after, "flops:0%,breaks,labels")
    assert verdicts(found) == {"flops": "fail", "breaks": "pass", "labels": "fail"}
    worse = [each for each in found.findings if each.verdict == "fail"]
    assert [(each.what, each.metric, each.reason) for each in worse if each.metric == "labels"] == [
        (case, "labels", f"now {Label.MASKS_COMPUTE}")
        for case in ("moe[T64-B1-fp32-cpu1]", "moe[T128-B4-fp32-cpu1]")  # timed, and trained
    ]
    (flops,) = (each for each in worse if each.metric == "flops/forward")
    assert flops.typical.value == pytest.approx(1 / 1.56)
    assert len(worse) == 3
    assert gated(before, after, "breaks").exit_code() == 0
    assert gated(before, after, "labels").exit_code() == 1
    assert gated(after, before, "labels").exit_code() == 0  # a label that is gone
    assert gate.gate(before, after).exit_code() == 1
    asked = ("gate", before.path, after.path, "--fail-on", "labels,breaks")
    told = json.loads(modbench(*asked, "--json").stdout)
    label, _ = (each for each in told["findings"] if each["metric"] == "labels" and each["verdict"] == "fail")
    assert (label["check"], label["counts"]) == ("labels", True)
    assert "::error title=fail%3A moe[T64-B1-fp32-cpu1]::labels now " in modbench(*asked, "--format", "github").stdout


@pytest.mark.slow
def test_a_number_that_a_new_label_flatters_is_not_better(base: Loaded, tmp_path: Path) -> None:
    """A loss falls because the model now reads later tokens: that is no lower loss, in whichever direction runs are compared."""
    lower = {"loss/val": {0: -0.5, 1: -0.5, 2: -0.5}}
    leaks = run(tmp_path / "leaks", lower, leaks="moe", seed=2)
    for now, before, word in ((leaks, base, "now"), (base, leaks, "before")):
        found = gated(before, now, "loss:0.5%")
        (loss,) = (each for each in found.findings if each.what.startswith("moe") and each.metric == "loss/val")
        assert loss.verdict == "inconclusive"
        assert plain(loss.reason).startswith(f"{word} {Label.NOT_AUTOREGRESSIVE}: ")
        assert abs(loss.typical.value or 0) == pytest.approx(0.5)
        assert found.exit_code() == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "held", "compared"),
    [
        (0.5, ("fail", "pass"), "worse"),  # a lower bound that rose has risen, and what fell below one has fallen
        (0.0, ("inconclusive", "pass"), "inconclusive"),
        (-0.5, ("inconclusive", "inconclusive"), "inconclusive"),
    ],
)
def test_of_flops_that_are_a_lower_bound_only_a_certain_change_has_a_verdict(
    change: float, held: tuple[str, str], compared: str, tmp_path: Path
) -> None:
    """They have the label in one run alone: in the new one, and then in the base."""
    suite = {"metrics": ["flops/forward"]}
    known, bound = (
        run(tmp_path / name, {"flops/forward": {0: by}} if by else None, suite=suite)
        for name, by in (("known", 0.0), ("bound", change))
    )
    for path in (tmp_path / "bound" / "jobs").glob("count-*.json"):
        body = json.loads(path.read_text())
        for outcome in body["outcomes"]:
            if outcome["case"].startswith("moe"):
                outcome["notes"]["operators"] = {"unknown": {"fft": 1}}
        reseal(path, body)
    bound = load(str(tmp_path / "bound"))
    for (base, new), word in zip([(known, bound), (bound, known)], held, strict=True):
        found = gate.gate(base, new).findings
        assert {each.verdict for each in found if each.what.startswith("moe") and each.metric != "labels"} == {word}
        (pair,) = (each for each in TwoRuns(base.tables, new.tables, 0.02).pairs() if each.case.variant == "moe")
        assert pair.verdict == (compared if new is bound or compared == "inconclusive" else MIRRORED[compared])


# --- losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "pass"),
        ({0: 0.010, 1: 0.011, 2: 0.012}, "fail"),  # 0.5 %, shown by all seeds
        ({0: -0.010, 1: -0.011, 2: -0.012}, "pass"),
        ({0: 0.002, 1: -0.001, 2: 0.001}, "pass"),
        ({0: 0.2, 1: -0.2, 2: 0.1}, "inconclusive"),
    ],
)
def test_without_a_limit_a_rise_that_all_seeds_show_is_worse(
    change: dict[int, float], word: str, base: Loaded, tmp_path: Path
) -> None:
    now = run(tmp_path / "now", {"loss/val": change}, seed=2)
    found = {each.what.partition("[")[0]: each for each in gate.gate(base, now).findings if each.metric == "loss/val"}
    assert (found["moe"].verdict, found["moe"].reason) == (word, None)
    assert found["dense"].verdict == "pass"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "limit", "word"),
    [
        ({0: 0.020, 1: 0.021, 2: 0.022}, "0.5%", "fail"),  # 1 % of 2.07, shown by all seeds
        ({0: 0.020, 1: 0.021, 2: 0.022}, "2%", "pass"),  # a rise that is shown, but allowed
        ({0: 0.001, 1: -0.001, 2: 0.0005}, "0.5%", "pass"),
        ({0: 0.2, 1: -0.2, 2: 0.1}, "0.5%", "inconclusive"),
        ({0: 0.008, 1: 0.010, 2: 0.012}, "0.5%", "inconclusive"),  # the limit, 0.0103, lies inside the interval
        ({0: -0.020, 1: -0.021, 2: -0.022}, "0.5%", "pass"),
    ],
)
def test_losses_must_show_that_they_did_not_rise_beyond_the_limit(
    change: dict[int, float], limit: str, word: str, base: Loaded, tmp_path: Path
) -> None:
    found = gated(base, run(tmp_path / "now", {"loss/val": change}, seed=2), f"loss:{limit}")
    assert verdicts(found) == {"loss": word}
    assert found.exit_code() == {"pass": 0, "fail": 1, "inconclusive": 5}[word]
    assert found.exit_code(allow_inconclusive=True) == {"pass": 0, "fail": 1, "inconclusive": 0}[word]
    assert found.empty == ()


@pytest.mark.slow
def test_losses_that_are_identical_take_no_evidence_from_one_that_rose(base: Loaded, tmp_path: Path) -> None:
    rises = [0.010, 0.011, 0.012]
    now = run(tmp_path / "now", {"loss/val": dict(enumerate(rises))}, seed=2)
    alone = pytest.approx(stats.ttest_1samp(rises, 0, alternative="greater").pvalue)
    for found in (gate.gate(base, now), gated(base, now, "flops:0%")):  # named or not
        losses = [each for each in found.findings if each.metric == "loss/val"]
        told = {each.what.partition("[")[0]: (each.verdict, each.p) for each in losses}
        assert told == {"dense": ("pass", None), "mod": ("pass", None), "moe": ("fail", alone)}


@pytest.mark.slow
def test_two_seeds_tell_nothing_of_a_loss(base: Loaded, tmp_path: Path) -> None:
    two = run(tmp_path / "two", {"loss/val": {0: -0.1, 1: -0.1}}, suite={"seeds": [0, 1]}, seed=2)
    found = gated(base, two, "loss:0.5%")
    assert verdicts(found) == {"loss": "inconclusive"}
    (told,) = (
        each
        for each in found.findings
        if each.metric == "loss/val" and each.verdict == "inconclusive" and each.typical.value
    )
    assert (plain(told.reason).split()[0], told.typical.low) == ("2", None)


# --- the whole gate


@pytest.mark.slow
def test_mistakes_of_the_command_line_end_with_2(base: Loaded, tmp_path: Path, modbench: Any) -> None:
    for bad in (
        ("--fail-on", "slower:2"),
        ("--fail-on", ""),
        ("--fail-on", "flops:0%", "--margin", 0.1),
    ):
        refused = modbench("gate", base.path, base.path, *bad)
        assert (refused.returncode, refused.stdout) == (2, "")
    assert modbench("gate", tmp_path, base.path).returncode == 2


def test_what_is_reported_alone_shows_nothing() -> None:
    told = [finding("c", "loss/val", "pass", check="loss"), finding("c", TIME, "fail", check="slower")]
    found = Gate(told, 0.02, fail_on=FailOn({"flops": Fraction(0)}))
    assert found.counted == []
    assert (found.verdict, found.exit_code()) == ("inconclusive", 5)
    assert [plain(each.written) for each in found.empty] == ["flops:0%"]
