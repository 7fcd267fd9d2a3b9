"""Compares a run with an earlier one, as a gate in CI: did anything that both measured get worse?

Times are compared as ratios to the anchor of their own run, so that a slower machine is not a regression; launches of the two
runs are independent samples (Welch). Counts are compared directly, losses seed by seed where the text is the same.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UnfitError, UsageError
from modbench.harness.core.frozen import Frozen
from modbench.harness.machine import certificate
from modbench.harness.results.notes.memory import FitNotes
from modbench.harness.results.notes.training import TrainNotes
from modbench.harness.stats import effects, paired
from modbench.harness.stats.effects import LEVEL, Effect
from modbench.harness.stats.verdicts import difference_verdict, exact_verdict, verdict
from modbench.reports.cell import Trouble
from modbench.reports.load import Loaded

MOST_REASONS = 8


@dataclass(frozen=True)
class Finding:
    """How one metric of one case changed.

    Attributes:
        case: case id.
        metric: metric key.
        verdict: `better`, `worse`, `equivalent`, `different`, `inconclusive` or `not compared`.
        change: ratio of new to old, above 1 better (for a loss the difference); None if not compared.
        low: lower end of the 95 % interval; None for counts.
        high: upper end; None for counts.
        reason: why it was not compared, or how it was.
        p: p-value under no change; None for counts.
    """

    case: str
    metric: str
    verdict: str
    change: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    p: float | None = None


def gate(run: Loaded, base: Loaded, margin: float) -> list[Finding]:
    """Compare every case and metric of two runs.

    Args:
        run: the new one.
        base: the old one.
        margin: the largest change that does not matter, as a share.

    Raises:
        UsageError: if the two have no case in common.
        UnfitError: if times were compared and either run's machine is known to be unfit for that.
    """
    here, there = ({case.id: case for case in loaded.run.plan.cases} for loaded in (run, base))
    if not set(here.values()) & set(there.values()):
        raise UsageError("the two runs have no case in common: a gate compares the same suite at two commits.")
    findings = [
        _compare(run, base, case, there[case.id], run.tables.metrics[key], margin)
        if case.id in there
        else Finding(case.id, key, "not compared", reason="the earlier run has no such case")
        for comparison in run.run.plan.comparisons
        for key in comparison.metrics
        for case in comparison.arms
    ]
    findings += [
        Finding(case.id, key, "not compared", reason="the new run has no such case")
        for comparison in base.run.plan.comparisons
        for key in comparison.metrics
        for case in comparison.arms
        if case.id not in here
    ]
    if any(_is_time(run, finding) for finding in findings):
        _refuse_unfit(run, base)
    return among_all(findings)


def among_all(findings: list[Finding]) -> list[Finding]:
    """Return the findings after Benjamini-Hochberg: of many comparisons some show a change by chance."""
    adjusted = effects.adjusted({i: finding.p for i, finding in enumerate(findings) if finding.p is not None})
    return [
        replace(
            finding,
            verdict="inconclusive",
            reason=f"not significant among {len(adjusted)} comparisons (adjusted p {p:.2g})",
        )
        if (p := adjusted.get(i, 0.0)) > 1 - LEVEL and finding.verdict in {"better", "worse", "different"}
        else finding
        for i, finding in enumerate(findings)
    ]


def _is_time(run: Loaded, finding: Finding) -> bool:
    metric = run.tables.metrics[finding.metric]
    sampled = run.tables.made_in(metric).samples == "launches" and not metric.source
    return sampled and finding.change is not None


def _refuse_unfit(*runs: Loaded) -> None:
    """Refuse times from a machine that calls identical models different too often.

    Raises:
        UnfitError: names the run.
    """
    for loaded in runs:
        known = loaded.run.environment.get("certificate")
        if known and certificate.from_dict(known).verdict == "unfit":
            said = certificate.from_dict(known).in_words()
            raise UnfitError(f"{loaded.path}: its times cannot be compared. {said}. Run `modbench doctor` for details.")


def _compare(run: Loaded, base: Loaded, case: Case, old: Case, metric: Metric, margin: float) -> Finding:
    reason = _why_other(run, base, case, old, metric)
    if reason is None:
        trouble = run.tables.trouble(case, metric)
        if trouble and trouble.status == "failed" and trouble.kind != "not_steady" and not _trouble(base, old, metric):
            return Finding(case.id, metric.key, "worse", reason=f"fails now: {trouble.reason}")
        reason = _why_not(run, base, case, old, metric)
        fresh = set(run.tables.labels(case, metric)) - set(base.tables.labels(old, metric))
        if fresh and not _trouble(run, case, metric) and not _trouble(base, old, metric):
            return Finding(case.id, metric.key, "worse", reason=f"now {', '.join(sorted(fresh))}")
    if reason:
        return Finding(case.id, metric.key, "not compared", reason=reason)
    samples = run.tables.made_in(metric).samples
    if samples == "launches":
        return _times(run, base, case, old, metric, margin)
    if samples == "seeds" and metric.scored_as == "difference":
        return _losses(run, base, case, old, metric)
    return _counts(run, base, case, old, metric, margin)


def _why_other(run: Loaded, base: Loaded, case: Case, old: Case, metric: Metric) -> str | None:
    """Return why the two runs did not measure the same thing, or None."""
    if case != old:
        return f"the same id, but another case: {differences(case, old)}"
    if metric.key not in base.run.plan.suite.metrics:
        return "the earlier run did not request it"
    now, before = (_settings(loaded, case, metric) for loaded in (run, base))
    if now != before:
        changed = [f"{key} {value}, was {before.get(key)}" for key, value in now.items() if value != before.get(key)]
        return f"measured with other settings: {'; '.join(changed) or 'see the suites'}"
    return None


def _trouble(loaded: Loaded, case: Case, metric: Metric) -> Trouble | None:
    found = loaded.tables.trouble(case, metric)
    timed = loaded.tables.made_in(metric).samples == "launches" and not metric.source
    return found or (loaded.tables.anchor_trouble(case, metric) if timed else None)


def _why_not(run: Loaded, base: Loaded, case: Case, old: Case, metric: Metric) -> str | None:
    """Return why two measurements of the same thing cannot be compared, or None."""
    for loaded, side, which in ((run, case, "now"), (base, old, "before")):
        trouble = _trouble(loaded, side, metric)
        if trouble:
            return f"{which}: {trouble.reason}"
    made_in = run.tables.made_in(metric)
    if not made_in.judged:
        return made_in.no_interval
    if (
        made_in.samples != "one"
        and not metric.source
        and not (run.run.plan.suite.claims and base.run.plan.suite.claims)
    ):
        return "a smoke run makes no claims"
    if metric.better == "neither":
        return "neither direction is better"
    return "derived from a time, which is compared" if metric.source else None


# Settings of training that change no result: when it is observed, and what is kept.
NO_EFFECT = {"looks", "watch", "flips", "checkpoint_s"}


def _settings(loaded: Loaded, case: Case, metric: Metric) -> dict[str, Any]:
    """Return what a value depends on besides the case: `train.tokens` and the like."""
    suite, made_in = loaded.run.plan.suite, loaded.tables.made_in(metric)
    decodes = metric.workload == "decode"
    plan: Frozen | None = suite.decode if decodes else made_in.settings(suite, case)
    name = "decode" if decodes else made_in.name
    dumped = {} if plan is None else plan.model_dump(exclude=NO_EFFECT)
    settings = {f"{name}.{key}": value for key, value in dumped.items()}
    budgets = [notes.budget_bytes for notes in loaded.tables.cell(case.id, metric.key).notes(FitNotes)]
    return settings | {"budget": next(iter(budgets), None)}


def differences(case: Case, old: Case) -> str:
    """Return how two cases of one id differ: `d_model 64, was 32`."""
    now, before = ({**side.config.model_dump(), "model": side.model} for side in (case, old))
    return ", ".join(f"{name} {now[name]}, was {before[name]}" for name in now if now[name] != before[name])


def _times(run: Loaded, base: Loaded, case: Case, old: Case, metric: Metric, margin: float) -> Finding:
    sides, anchors = [], []
    for loaded, side in ((run, case), (base, old)):
        anchor = loaded.tables.anchor(side, metric)
        anchors.append(anchor)
        if anchor == side:
            return Finding(case.id, metric.key, "not compared", reason="the anchor: times are ratios to it")
        launches, column = loaded.tables.launches(metric, side, anchor, anchor), loaded.tables.made_in(metric).column
        contaminated = paired.compare(launches, column=column, one_thread=side.place.one_thread).contaminated()
        if contaminated:
            return Finding(case.id, metric.key, "not compared", reason=f"contaminated: {contaminated}")
        sides.append(paired.launch_effects(launches, column))
    if anchors[0] != anchors[1]:
        return Finding(case.id, metric.key, "not compared", reason="the two runs have different anchors")
    effect = welch(*sides)
    if effect.low is None or effect.high is None:
        return Finding(case.id, metric.key, "not compared", reason=effect.reason)
    ends = (math.exp(effect.value), math.exp(effect.low), math.exp(effect.high))
    reason = "ratio to the anchor, now divided by before"
    return Finding(case.id, metric.key, verdict(effect, margin), *ends, reason, effect.p)


def welch(now: list[float], before: list[float]) -> Effect:
    """Estimate the difference of two means of launch effects with unequal variances (Welch-Satterthwaite degrees of freedom)."""
    if min(len(now), len(before)) < 3:
        return Effect(0.0, reason="an interval needs three launches in each run")
    mean = float(np.mean(now) - np.mean(before))
    found = scipy_stats.ttest_ind(now, before, equal_var=False)
    if not math.isfinite(float(found.pvalue)):  # no variance on either side
        return Effect(mean, mean, mean, mean, mean, n=len(now))
    wide, narrow = (found.confidence_interval(level) for level in (LEVEL, 0.9))
    ends = (float(wide.low), float(wide.high), float(narrow.low), float(narrow.high))
    return Effect(mean, *ends, p=float(found.pvalue), n=len(now))


def _losses(run: Loaded, base: Loaded, case: Case, old: Case, metric: Metric) -> Finding:
    cells = (run.tables.cell(case.id, metric.key), base.tables.cell(old.id, metric.key))
    if len({notes.corpus_sha256 for cell in cells for notes in cell.notes(TrainNotes)[:1]}) > 1:
        return Finding(case.id, metric.key, "not compared", reason="trained on different text")
    now, before = (cell.values() for cell in cells)
    seeds = sorted(now.keys() & before.keys())
    if not seeds:
        return Finding(case.id, metric.key, "not compared", reason="the two runs have no seed in common")
    effect = effects.over_launches([now[seed] - before[seed] for seed in seeds])
    if now == before:
        return Finding(case.id, metric.key, "equivalent", 0.0, reason="identical losses, seed by seed")
    word = difference_verdict(effect, metric.better) or "inconclusive"
    reason = effect.reason or "difference, seed by seed"
    return Finding(case.id, metric.key, word, effect.value, effect.low, effect.high, reason, effect.p)


def _counts(run: Loaded, base: Loaded, case: Case, old: Case, metric: Metric, margin: float) -> Finding:
    now, before = run.tables.estimate(case, metric).value, base.tables.estimate(old, metric).value
    if now == before:
        return Finding(case.id, metric.key, "equivalent", 1.0, reason="counted: identical")
    if 0 in {now, before}:
        worse = (now > before) == (metric.better == "lower")
        return Finding(
            case.id, metric.key, "worse" if worse else "better", reason=f"counted: {before:g} before, {now:g} now"
        )
    ratio = before / now if metric.better == "lower" else now / before
    return Finding(case.id, metric.key, exact_verdict(ratio, margin), ratio, reason="counted, not sampled")


def as_text(findings: list[Finding], margin: float, timed: Container[str] = ()) -> Iterator[str]:
    """Yield what changed, then counts by verdict, then why metrics were not compared.

    Args:
        findings: all of them.
        margin: the largest change that does not matter.
        timed: keys of metrics that are times.
    """
    for finding in findings:
        if finding.verdict in {"worse", "better", "different"}:
            ends = (
                f" [{finding.low:.3f}–{finding.high:.3f}]"
                if finding.low is not None and finding.high is not None
                else ""
            )
            change = f"{finding.change:.3f}" if finding.change is not None else str(finding.reason)
            yield f"{finding.verdict:<10} {finding.case}  {finding.metric}  {change}{ends}"
    counts = {word: sum(f.verdict == word for f in findings) for word in dict.fromkeys(f.verdict for f in findings)}
    yield f"gate: {', '.join(f'{n} {word}' for word, n in counts.items())} (margin {margin:.1%}; above 1 is better)"
    times = [finding for finding in findings if finding.metric in timed]
    if times and not any(finding.low is not None for finding in times):
        yield "no time was compared"
    reasons: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.verdict == "not compared":
            reasons.setdefault(str(finding.reason), []).append(finding)
    for reason, those in list(reasons.items())[:MOST_REASONS]:
        more = f" and {len(those) - 1} more" if len(those) > 1 else ""
        yield f"not compared: {those[0].case} {those[0].metric}{more}: {reason}"
    if len(reasons) > MOST_REASONS:
        yield f"and {len(reasons) - MOST_REASONS} more reasons: see --json"
