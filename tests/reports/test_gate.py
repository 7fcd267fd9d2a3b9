"""`modbench gate BASE NEW`: a verdict for every number of two runs, limits exactly at and just over, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from planted_gate import finding, written
from present import present
from scipy import stats

from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Job
from modbench.harness.domain.notes import TrainNotes
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.registry import catalogue
from modbench.harness.results.run_file import plan_of, stored_plan
from modbench.harness.stats.verdicts import MIRRORED, Rule, counted, limited
from modbench.planted_runs import UNFIT, PlantedTrouble, planted_plan, planted_record
from modbench.reports.markup.markdown import annotation
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.gate import gate
from modbench.reports.questions.gate.fail_on import CHECKS, NEITHER, FailOn, Rules, check_of, parse
from modbench.reports.questions.gate.gate import Gate, GateFinding
from modbench.reports.tables import two_runs
from modbench.reports.tables.claims import SMOKE
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.two_runs import NOT_ALTERNATED, TwoRuns
from modbench.reports.terminal.gate import annotated

TIME, RATE, FLOPS, MEMORY = "latency/forward", "tokens_per_s/forward", "flops/forward", "memory/peak_allocated"
LOSS, CAUSAL, LABELS = "loss/val", "loss/val_causal", "labels"
DENSE, MOE = {"model": "dense"}, {"model": "moe"}
SUITE: dict[str, Any] = {
    "metrics": [TIME, RATE, FLOPS, MEMORY, LOSS, CAUSAL],
    "variants": [DENSE, MOE],
    "grid": {"seq_len": [64]},
    "seeds": [0, 1, 2],
    "processes": 3,
    "rounds": 2,
}
# What the notes of a count hold of a model that computes what it claims to skip, and of one whose FLOPs are a lower bound.
MASKS = {"claims": [{"module": "b", "capacity": 0.25, "tokens": 64, "stated": 16, "rows": 64.0, "masked": True}]}
BOUND = {"operators": {"unknown": {"fft": 1}}}


def run(
    folder: Path,
    changes: Mapping[str, tuple[float, ...]] | None = None,
    *,
    suite: Mapping[str, Any] | None = None,
    effort: str = "draft",
    machine: str | None = "m",
    certificate: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    leave_out: str = "",
    **trouble: Any,
) -> Loaded:
    """A stored run. Of MoE counts grow by a share, and losses by an amount for each seed; its counts get further notes."""

    def changed(outcome: Outcome) -> Outcome:
        if not outcome.case.startswith("moe") or outcome.status != "ok":
            return outcome
        told = outcome.notes
        if outcome.metric == FLOPS and notes:
            told = type(told).model_validate(told.model_dump() | dict(notes))
        (value,), by = outcome.samples.get("value", [0.0]), (changes or {}).get(outcome.metric)
        if by is None:
            return outcome.model_copy(update={"notes": told})
        value = value + by[told.seed] if isinstance(told, TrainNotes) else value * (1 + by[0])
        return outcome.model_copy(update={"notes": told, "samples": {"value": [value]}})

    def record(job: Job) -> Record:
        made = planted_record(job, PlantedTrouble(**trouble))
        return made.model_copy(update={"outcomes": tuple(map(changed, made.outcomes))})

    environment = {"machine": machine, "certificate": certificate}
    return written(folder, planted_plan(effort, **SUITE | dict(suite or {})), record, environment, leave_out)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The run in which nothing is wrong."""
    return run(tmp_path_factory.mktemp("gate") / "base")


def of(found: Gate, variant: str, metric: str) -> GateFinding:
    return next(each for each in found.findings if each.what.startswith(f"{variant}[") and each.metric == metric)


@dataclass(frozen=True)
class Row:
    """What a gate says of one number of MoE, if the new run differs so from the base, and if the base differs from the new.

    Attributes:
        differs: arguments of `run`.
        metric: which number.
        there: its verdict where the new run differs.
        back: its verdict where the base differs.
        why: what the reason begins with, where the new run differs.
        fail_on: the checks that are named.
        variant: another one than MoE.
    """

    differs: Mapping[str, Any]
    metric: str
    there: str
    back: str
    why: str = ""
    fail_on: str = ""
    variant: str = "moe"


def changes(**given: Any) -> dict[str, Any]:
    return {"changes": given.pop("of"), **given}


def losses(*by_seed: float) -> dict[str, Any]:
    return {"changes": {LOSS: by_seed}}


def suite(**given: Any) -> dict[str, Any]:
    return {"suite": given}


MIRROR = MIRRORED | {"new": "missing", "missing": "new"}
OPEN, UNTOLD = "inconclusive", "not compared"
MASKED = {"changes": {FLOPS: (0.56,)}, "notes": MASKS}
LARGER = changes(of={MEMORY: (0.02,)}, machine="other", certificate=UNFIT)
WIDER, LONGER = suite(variants=[DENSE, MOE | {"d_ff": 512}]), suite(train={"seq_len": 128, "tokens": 2000})
LEAKS = losses(-0.5, -0.5, -0.5) | {"leaks": "moe"}
ROWS = {
    # what is not compared by its nature
    "a rate follows from its time": Row({}, RATE, UNTOLD, UNTOLD, "derived from a time"),
    "a loss that no generation has": Row({}, CAUSAL, UNTOLD, UNTOLD, "now: non-causal"),
    "a time has no verdict, on another machine either": Row({"machine": "other"}, TIME, NOT_ALTERNATED, NOT_ALTERNATED),
    "the baseline's own time elsewhere": Row(
        {"machine": "other"}, TIME, UNTOLD, UNTOLD, two_runs.ELSEWHERE, variant="dense"
    ),
    "a noisy time": Row({"waits": "moe"}, TIME, NOT_ALTERNATED, NOT_ALTERNATED, "100 % of the blocks were noisy"),
    # what was not measured alike
    "another model of one id": Row(WIDER, FLOPS, OPEN, OPEN, "the same id, but another case: d_ff 512, was 192"),
    "longer training": Row(LONGER, LOSS, OPEN, OPEN, "measured with other settings: train.tokens 2000, was 1000"),
    "other seeds": Row(suite(seeds=[3, 4, 5]), LOSS, OPEN, OPEN, "the two runs have no seed in common"),
    "other text": Row({"other_text": "train"}, LOSS, OPEN, OPEN, "trained on different text"),
    "two processes": Row(suite(processes=2), TIME, UNTOLD, UNTOLD, two_runs.THREE),
    "smoke, its times": Row({"effort": "smoke"}, TIME, UNTOLD, UNTOLD, SMOKE),
    "smoke, its losses": Row({"effort": "smoke"}, LOSS, OPEN, OPEN, SMOKE),
    "smoke, its counts": Row({"effort": "smoke"}, FLOPS, "pass", "pass"),
    "another baseline": Row(
        suite(variants=[MOE, DENSE]), TIME, UNTOLD, UNTOLD, "the two runs have different baselines"
    ),
    # what one of the two runs lacks
    "a case": Row(suite(variants=[DENSE]), FLOPS, OPEN, UNTOLD, two_runs.NO_CASE),
    "a case, its labels": Row(suite(variants=[DENSE]), LABELS, OPEN, "none", two_runs.NO_CASE),
    "a case, its time": Row(suite(variants=[DENSE]), TIME, UNTOLD, UNTOLD, two_runs.NO_CASE),
    "a metric": Row(suite(metrics=[TIME]), FLOPS, OPEN, UNTOLD, two_runs.NOT_ASKED),
    "a time": Row(suite(metrics=[FLOPS]), TIME, UNTOLD, UNTOLD, two_runs.NOT_ASKED),
    "a record": Row({"leave_out": "count"}, FLOPS, OPEN, OPEN, "now: "),
    "what failed": Row({"fails": "moe"}, TIME, "fail", UNTOLD, "fails now: error: planted failure"),
    "its baseline failed": Row({"fails": "dense"}, TIME, UNTOLD, UNTOLD, "now: "),
    # counts: by the margin of 2 %, or by a limit of their own, on any machine
    "FLOPs above the margin": Row(changes(of={FLOPS: (0.03,)}), FLOPS, "fail", "pass"),
    "FLOPs within it": Row(changes(of={FLOPS: (0.01,)}), FLOPS, "pass", "pass"),
    "memory above its limit, elsewhere": Row(LARGER, MEMORY, "fail", "pass", fail_on="larger:1%"),
    "memory within its limit": Row(LARGER, MEMORY, "pass", "pass", fail_on="larger:2%"),
    # labels are a finding of their own, and numbers keep their verdicts
    "a new label": Row(MASKED, LABELS, "fail", "pass", f"now {Label.MASKS_COMPUTE}"),
    "the number beside a new label": Row(MASKED, FLOPS, "fail", "pass"),
    # but for a number that its label flatters
    "a loss that is lower for reading ahead": Row(LEAKS, LOSS, OPEN, OPEN, f"now {Label.NOT_AUTOREGRESSIVE}: not the"),
    # a lower bound that rose has risen, and what fell below one has fallen
    "a lower bound that rose": Row(changes(of={FLOPS: (0.5,)}, notes=BOUND), FLOPS, "fail", "pass"),
    "a lower bound": Row({"notes": BOUND}, FLOPS, OPEN, "pass", f"now {Label.LOWER_BOUND}"),
    "a lower bound that fell": Row(changes(of={FLOPS: (-0.5,)}, notes=BOUND), FLOPS, OPEN, OPEN),
    # losses without a limit: a rise that all seeds show is worse
    "a loss that rose": Row(losses(0.010, 0.011, 0.012), LOSS, "fail", "pass"),
    "a loss that rose or fell by little": Row(losses(0.002, -0.001, 0.001), LOSS, "pass", "pass"),
    "a loss that rose or fell by much": Row(losses(0.2, -0.2, 0.1), LOSS, OPEN, OPEN),
    "two seeds": Row(losses(-0.1, -0.1) | suite(seeds=[0, 1]), LOSS, OPEN, OPEN, "2 "),
    # and with a limit: that they did not rise beyond it must be shown
    "a loss 1 % up, of 0.5": Row(losses(0.020, 0.021, 0.022), LOSS, "fail", "pass", fail_on="loss:0.5%"),
    "a loss 1 % up, of 2": Row(losses(0.020, 0.021, 0.022), LOSS, "pass", "pass", fail_on="loss:2%"),
    "a loss unchanged, of 0.5": Row(losses(0.001, -0.001, 0.0005), LOSS, "pass", "pass", fail_on="loss:0.5%"),
    "a loss that moved, of 0.5": Row(losses(0.2, -0.2, 0.1), LOSS, OPEN, OPEN, fail_on="loss:0.5%"),
    "a limit of 0.0103 inside the interval": Row(losses(0.008, 0.010, 0.012), LOSS, OPEN, "pass", fail_on="loss:0.5%"),
}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_a_gate_says_of_a_number(row: Row, base: Loaded, tmp_path: Path) -> None:
    other, fail_on = run(tmp_path / "other", **row.differs), parse([row.fail_on]) if row.fail_on else None
    there, back = (gate.gate(*runs, fail_on=fail_on) for runs in ((base, other), (other, base)))
    found = of(there, row.variant, row.metric)
    assert (found.verdict, plain(found.reason)[: len(row.why)]) == (row.there, row.why)
    turned = [each.verdict for each in back.findings if (each.what, each.metric) == (found.what, found.metric)]
    assert turned == [row.back] * (row.back != "none")
    # A comparison of the two says the mirrored of itself.
    words = [
        {pair.metric.key: pair.verdict for pair in TwoRuns(*runs, 0.02).pairs() if pair.case.variant == row.variant}
        for runs in ((base.tables, other.tables), (other.tables, base.tables))
    ]
    assert words[1] == {key: MIRROR.get(word, word) for key, word in words[0].items()}


@pytest.mark.slow
@pytest.mark.parametrize("slower", [1.0, 2.0])
def test_a_time_of_two_runs_is_printed_and_has_no_verdict(slower: float, base: Loaded, tmp_path: Path) -> None:
    """Of twice the time as of the same: two visits to a machine differ by an amount that no process of either shows."""
    found = gate.gate(base, run(tmp_path / "now", seed=2, slower={"moe": slower}))
    moe = of(found, "moe", TIME)
    assert {moe.verdict, of(found, "dense", TIME).verdict} == {NOT_ALTERNATED}
    told = found.as_dict()
    assert (found.verdict, told["exit_code"], "tiers" in told) == ("pass", 0, False)
    assert moe.typical.value == pytest.approx(1 / slower, rel=0.02)
    assert present(moe.typical.low) < 1 / slower < present(moe.typical.high)


@pytest.mark.slow
@pytest.mark.parametrize("fail_on", [None, "flops:0%"], ids=["by the margin", "reported alone"])
def test_losses_that_are_identical_take_no_evidence_from_one_that_rose(
    fail_on: str | None, base: Loaded, tmp_path: Path
) -> None:
    rises = (0.010, 0.011, 0.012)
    found = gate.gate(base, run(tmp_path / "now", {LOSS: rises}), fail_on=parse([fail_on]) if fail_on else None)
    alone = stats.ttest_1samp(rises, 0, alternative="greater").pvalue
    assert of(found, "dense", LOSS).p is None
    assert of(found, "moe", LOSS).p == pytest.approx(alone)


@pytest.mark.slow
@pytest.mark.parametrize(("also", "code"), [([FLOPS], 0), ([], 5)], ids=["beside FLOPs", "of times alone"])
def test_a_baseline_that_was_solved_anew_leaves_nothing_open(also: list[str], code: int, tmp_path: Path) -> None:
    """Another cost of what it matches gives it another width, and so another id."""
    match = {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}}
    before = run(tmp_path / "before", suite={"metrics": [TIME, *also], "variants": [DENSE, match]})
    (old,) = (case for case in before.run.plan.cases if case.matched)
    text = json.dumps(stored_plan(before.run.plan)).replace(old.variant_parts[0], "f0.99")
    record = partial(planted_record, trouble=PlantedTrouble())
    found = gate.gate(before, written(tmp_path / "now", plan_of(json.loads(text), tmp_path), record, {}))
    gone = {(each.verdict, plain(each.reason)) for each in found.findings if each.what == old.id}
    assert gone == {(UNTOLD, "solved anew: now it is dense-f0.99")}
    new = {each.reason for each in found.findings if each.what.startswith("dense-f0.99")}
    assert new == {two_runs.NEW_CASE}
    assert found.exit_code(allow_inconclusive=True) == code


@pytest.mark.slow
def test_a_model_whose_cost_depends_on_the_input_is_compared_on_equal_inputs_only(tmp_path: Path) -> None:
    """Other rounds give other inputs: the interval over processes does not hold that difference."""
    costs = (1.0, 1.3, 0.8, 1.1, 0.9, 1.4)
    before, now = (
        run(tmp_path / str(n), suite={"metrics": [TIME], "rounds": n, "processes": 4}, costs={"moe": costs[:n]})
        for n in (6, 3)
    )
    moe = of(gate.gate(before, now), "moe", TIME)
    assert (moe.verdict, "on 6 and 3 of them" in plain(moe.reason)) == (UNTOLD, True)


# --- limits


@pytest.mark.parametrize(
    ("key", "now", "before", "limit", "word"),
    [
        (MEMORY, 101, 100, "larger:1%", "pass"),  # exactly the limit
        (MEMORY, 102, 100, "larger:1%", "fail"),
        (MEMORY, 98, 100, "larger:1%", "pass"),
        pytest.param("memory/largest_seq_len", 99, 100, "larger:2%", "pass", marks=pytest.mark.plugin("machine")),
        pytest.param("memory/largest_seq_len", 97, 100, "larger:2%", "fail", marks=pytest.mark.plugin("machine")),
        (FLOPS, 10**15 + 1, 10**15, "flops:0%", "fail"),  # one FLOP in 10^15
        (FLOPS, 10**15 - 1, 10**15, "flops:0%", "pass"),
        (FLOPS, 1003, 1000, "flops:0.3%", "pass"),  # in floats 1000 * 1.003 is below 1003
        ("graph_breaks/forward", 3, 2, "breaks", "fail"),
        ("syncs/forward", 1, 2, "syncs", "pass"),
        (FLOPS, 101, 100, "larger:1%", "pass"),  # not named: by the margin, 2 %
        (FLOPS, 102, 100, None, "pass"),  # nothing is named: by the margin as well, exactly
        (FLOPS, 103, 100, None, "fail"),
        (FLOPS, 97, 100, None, "pass"),
    ],
)
def test_counts_are_compared_exactly(key: str, now: float, before: float, limit: str | None, word: str) -> None:
    metric = catalogue.metrics()[key]
    passes, _ = Rules(0.02, parse([limit]) if limit else None).limits(check_of(metric))
    (held,) = limited([counted(before, now, Rule("count", 0.02, metric.better))], [passes])
    assert held.word == word


@pytest.mark.slow
def test_the_smaller_of_two_margins_is_used(base: Loaded, tmp_path: Path) -> None:
    """A commit that widens its suite's margin does not widen the gate."""
    wide = run(tmp_path / "wide", suite={"margin": 0.5})
    assert [gate.gate(*runs).margin for runs in ((base, wide), (wide, base), (wide, wide))] == [0.02, 0.02, 0.5]
    assert gate.gate(base, base, 0.4).margin == 0.4


def test_checks_are_read_with_exact_limits() -> None:
    read = parse([" slower : 2 % , breaks", "larger:0.07%"])
    assert read.limits == {"slower": Fraction(2, 100), "breaks": None, "larger": Fraction(7, 10_000)}
    assert plain(read.written) == "slower:2%,breaks,larger:0.07%"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["slwer:2%"], "Did you mean 'slower'?"),
        (["slower:"], "Write the share that may pass, such as slower:2%."),
        (["slower:2"], "'2' is no share below 1: 2 per cent is 2%."),
        (["larger:-1%"], "'-1%' is negative: give a share from 0 to below 1"),
        (["larger:" + "9" * 5000 + "%"], "is no share"),
        (["slower:0%"], "samples never exclude a change of exactly 0. Write slower:2%."),
        (["breaks:1%"], "breaks takes no limit, any more fail. Write breaks."),
        (["flops:0%,flops:1%"], "names flops twice"),
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


# --- the verdict of all, and the exit code


@pytest.mark.parametrize(
    ("words", "more", "code", "lenient"),
    [
        ({FLOPS: "pass", TIME: NOT_ALTERNATED}, {}, 0, 0),
        ({FLOPS: "pass", MEMORY: "fail"}, {"incomplete": "a job is missing"}, 1, 1),  # what fails goes before
        ({FLOPS: "pass"}, {"incomplete": "a job is missing"}, 4, 4),
        ({FLOPS: "pass", MEMORY: OPEN}, {}, 5, 0),
        ({TIME: NOT_ALTERNATED, LABELS: "pass"}, {}, 5, 5),  # labels are no comparison
        ({LABELS: "pass"}, {"fail_on": "labels"}, 0, 0),  # unless they were asked for
        ({MEMORY: "fail", FLOPS: "pass"}, {"fail_on": "flops:0%"}, 0, 0),  # reported alone
        ({MEMORY: "pass", LOSS: "fail"}, {"fail_on": "flops:0%"}, 5, 5),
        ({FLOPS: "pass"}, {"fail_on": "flops:0%,breaks"}, 5, 5),  # each named check must compare something
    ],
)
def test_an_exit_code_says_what_is_worst(words: dict[str, str], more: dict[str, Any], code: int, lenient: int) -> None:
    checks = {FLOPS: "flops", MEMORY: "larger", LOSS: "loss", TIME: "slower", LABELS: "labels"}
    change = {"pass": (1.0,), "fail": (0.9,), OPEN: (0.99, 0.9, 1.1)}
    findings = [finding("moe", key, word, *change.get(word, ()), check=checks[key]) for key, word in words.items()]
    found = Gate(findings, 0.02, more.get("incomplete"), parse([more["fail_on"]]) if "fail_on" in more else None)
    assert (found.exit_code(), found.exit_code(allow_inconclusive=True)) == (code, lenient)


def test_what_compared_nothing_says_so() -> None:
    found = Gate([finding("moe", LABELS, "pass")], 0.02)
    assert plain(gate.headline(found)) == f"inconclusive: {gate.NOTHING}"
    assert [*annotated(found)] == [annotation("warning", "modbench gate: inconclusive", gate.NOTHING)]


def test_a_check_that_compared_nothing_is_named_with_what_would_help() -> None:
    found = Gate([finding("moe", FLOPS, "pass", 1.0, check="flops")], 0.02, fail_on=FailOn({"breaks": None}))
    assert [(plain(each.written), each.reason) for each in found.empty] == [("breaks", NEITHER)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "now"),
    [
        (suite(variants=[DENSE, {"model": "mod", "capacity": 0.125}]), {}),
        (suite(metrics=[FLOPS]), suite(metrics=[TIME])),
        ({"effort": "smoke"} | suite(metrics=[TIME]), suite(metrics=[TIME])),
        ({"fails": "dense"} | suite(metrics=[TIME]), suite(metrics=[TIME])),
    ],
    ids=["other variants beside one baseline", "other metrics", "smoke", "every earlier time failed"],
)
def test_an_empty_comparison_never_passes(before: dict[str, Any], now: dict[str, Any], tmp_path: Path) -> None:
    """Whatever may fail the gate: what compared nothing excuses nothing."""
    metrics = now.get("suite", {}).get("metrics", [TIME])
    earlier, later = (
        run(tmp_path / name, **given | suite(**{"metrics": metrics} | given.get("suite", {})))
        for name, given in (("before", before), ("now", now))
    )
    of_numbers = {word: check for word, check in CHECKS.items() if word != "labels" and check.tier != "timed"}
    for checks in (None, *(f"{word}:5%" if check.limited else word for word, check in of_numbers.items())):
        found = gate.gate(earlier, later, fail_on=parse([checks]) if checks else None)
        codes = found.exit_code(), found.exit_code(allow_inconclusive=True)
        assert (found.compared, found.verdict, codes) == (False, OPEN, (5, 5)), checks


# --- the command


@pytest.mark.slow
def test_an_incomplete_run_ends_with_four_and_what_fails_goes_before(
    base: Loaded, tmp_path: Path, modbench: Callable[..., Any]
) -> None:
    for leaks, code in ((None, 4), ("moe", 1)):
        now = run(tmp_path / str(code), leave_out="time-forward", leaks=leaks)
        assert modbench("gate", base.path, now.path, "--allow-inconclusive").returncode == code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("BASE", "takes an earlier run and a later one"),
        ("ELSEWHERE BASE", "is not a run folder"),
        ("BASE OTHER", "no case in common"),
        ("BASE BASE --fail-on flops:0% --margin 0.1", "--margin and --fail-on do not go together"),
        ("BASE BASE --fail-on slower:5%", "ab revisions BASE NEW SUITE --model FILE.py:build --fail-on slower:5%"),
        ("BASE BASE --fail-on flops:0%,cpu:3%", "--model FILE.py:build --fail-on cpu:3%"),
    ],
)
def test_what_no_gate_can_judge_is_refused_in_a_line(
    words: str, said: str, base: Loaded, tmp_path: Path, modbench: Callable[..., Any]
) -> None:
    paths = {"BASE": base.path, "ELSEWHERE": tmp_path}
    if "OTHER" in words:
        paths["OTHER"] = run(
            tmp_path / "other", suite={"shape": {"d_model": 32, "n_layers": 4}, "metrics": [TIME]}
        ).path
    refused = modbench("gate", *(paths.get(word, word) for word in words.split()))
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert said in line
