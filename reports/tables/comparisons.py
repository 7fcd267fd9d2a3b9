"""Makes `comparisons.csv`: one row per pair and metric.

How a stored time becomes a row: `samples.py` reads the processes of a run; in each, `stats/against_baseline.py` says how long
every variant takes beside the suite's baseline; `stats/paired.py` subtracts two variants, process by process; `stats/verdicts.py`
makes of these numbers a ratio, its t-interval over processes and, among the pairs of its family, a verdict (`claims.py`);
`pair_row` here adds who was compared, what was promised, and why something is missing.

A ratio of times is baseline / case: above 1 the case is better. It is of wall time by the metric's estimand, also where CPU
time decided the verdict (`deciding` takes the ratio that did). Counts are compared exactly, losses seed by seed.
The *suite's baseline* (`anchor` in the code) is the variant that every block of a comparison holds. The report's *baseline* is
the same, unless `--baseline` names another; a row's baseline is the second of its two variants. An *A/A control* is the suite's
baseline, measured a second time as a variant of its own: a check of the machine.

All pairs are made where they are few or asked for; among many variants their number grows with the square. Otherwise each
variant is compared with the report's baseline, with the suite's baseline, and with the matched baseline that was solved for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import pandas as pd

from modbench.harness.core import labels
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.contracts import Estimand
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case, Comparison, MatchedBaseline
from modbench.harness.domain.notes import FitNotes, MemoryNotes, TrainNotes
from modbench.harness.machine.roofline.table import ROUTED_BIAS, SHORT
from modbench.harness.stats import effects
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import BETTER, EQUIVALENT, WORSE, Contrast, Rule, Seen, counted
from modbench.reports.blocks import Estimate, Sentence
from modbench.reports.data_table import frame
from modbench.reports.markup.number_format import percent, plain
from modbench.reports.tables import claims, columns
from modbench.reports.tables.cases import no_interval
from modbench.reports.tables.cell import columns_of, joined_reasons
from modbench.reports.tables.claims import AAControls, judge, machine_labels
from modbench.reports.tables.columns import names
from modbench.reports.tables.values import Tables

# Columns of ratios: by the metric's estimand, by the other one (the mean of a latency, the median of training), by CPU time.
RATIO = ("ratio", "ci_low", "ci_high")
MEAN = ("mean_ratio", "mean_ratio_ci_low", "mean_ratio_ci_high")
MEDIAN = ("median_ratio", "median_ratio_ci_low", "median_ratio_ci_high")
BY_CPU = ("cpu_ratio", "cpu_ratio_ci_low", "cpu_ratio_ci_high")
# A theoretical speed-up closer to 1 than this is too small a gain to say what share of it was achieved.
SMALLEST_PROMISE = 0.10
# Why a run makes no claims.
SMOKE = "smoke effort: no claims, so no verdict"
# Why a ratio of times has no verdict.
NOT_INTERLEAVED = "not interleaved: measured in different processes"
# Whole calls whose operators the counting pass records, and the field of its notes that holds them.
RECORDED = {"latency/forward": "forward_operators", "latency/train_step": "train_operators"}


def predicted(tables: Tables, case: Case, baseline: Case, metric: Metric) -> tuple[float | None, str | None]:
    """Return the time ratio that the peaks of this machine allow, and its known bias; or None and the reason.

    Neither if no time is compared. The ratio is right to within `RATIO_ERROR`.

    Both sides' operators are added up at the peaks by shape that this run measured (`harness/machine/roofline/table.py`).
    """
    source = tables.source(metric)
    if metric.no_theoretical or not source.theoretical:
        return None, None
    field = RECORDED.get(source.key)
    if field is None:
        return None, "the predicted speed-up is not known: only whole forward passes and training steps are taken apart"
    for who, side in (("", case), ("baseline: ", baseline)):
        if getattr(tables.counted(side), field) is None:
            why = tables.counted(side).operators_reason or "its operators were not recorded"
            return None, f"the predicted speed-up is not known: {who}{why}"
    table = tables.rooflines.get(case.grid_point.dtype)
    if table is None:
        return None, f"the predicted speed-up is not known: no peaks by shape were measured for {case.grid_point.dtype}"
    mine, theirs = (getattr(tables.counted(side), field) for side in (case, baseline))
    if lacks := table.lacks(mine, theirs):
        return None, f"the predicted speed-up is not known: {lacks}"
    return table.seconds(theirs) / table.seconds(mine), predicted_bias(case, baseline)


def predicted_bias(case: Case, baseline: Case) -> str | None:
    """Say by how much what is predicted is known to be off: where one side alone routes, at short lengths; None elsewhere."""
    routed = case.facts.routes
    if routed == baseline.facts.routes or case.grid_point.seq_len > SHORT:
        return None
    low, high = (Estimate(share, kind="share") for share in ROUTED_BIAS)
    words = "the predicted speed-up is {low} to {high} too {side}: routing at T ≤ {length}"
    return plain(Sentence(words, low=low, high=high, side="high" if routed else "low", length=SHORT))


def against_theoretical(
    ratio: float, theoretical: float | None, otherwise: str, low: float | None = None, high: float | None = None
) -> tuple[dict[str, Any], list[str | None]]:
    """Return the columns that hold a ratio against its theoretical one, and reasons for those that are null.

    `otherwise` is why there is no theoretical one, where `theoretical` is None.
    """
    if theoretical is None:
        return {}, [f"no theoretical speed-up: {otherwise}"]
    found: dict[str, Any] = {"theoretical": theoretical}
    if abs(theoretical - 1) < SMALLEST_PROMISE:
        reason = f"theoretical within {percent(SMALLEST_PROMISE)} of 1: too little was promised to say what share was achieved"
        return found, [reason]
    found["achieved_share"] = achieved_share(ratio, theoretical)
    if low is not None and high is not None:
        # A promised loss turns the interval around.
        ends = sorted(achieved_share(end, theoretical) for end in (low, high))
        found |= {"achieved_share_ci_low": ends[0], "achieved_share_ci_high": ends[1]}
    return found, []


def achieved_share(ratio: float, theoretical: float) -> float:
    """Return the share of a promised change that was measured."""
    return (ratio - 1) / (theoretical - 1)


# Compares two cases, after the columns that identify them.
Result: TypeAlias = Callable[[Tables, Case, Case, Metric], dict[str, Any]]


def pair_row(
    tables: Tables, case: Case, baseline: Case, metric: Metric, result: Result | None = None
) -> dict[str, Any]:
    """Return the row of two cases, not yet judged; `result` compares them where they are no variants of one comparison."""
    row = {**tables.case_columns(case, metric)}
    row |= {f"baseline_{key}": value for key, value in tables.case_columns(baseline, metric).items()}
    row |= {"metric": metric.key, "unit": metric.unit, "paired": tables.made_in(metric).samples != "one"}
    troubles = {"": tables.value(case, metric).trouble, "baseline: ": tables.value(baseline, metric).trouble}
    if tables.made_in(metric).samples == "processes":
        anchors = (tables.anchor_trouble(side, metric) for side in (case, baseline))
        troubles["the suite's baseline: "] = next(filter(None, anchors), None)
    for who, trouble in troubles.items():
        if trouble:
            said = {"baseline_labels" if who == "baseline: " else "labels": Label.DAMAGED}
            said = said if trouble.kind == "damaged" else {}
            return row | {"status": trouble.status, "reason": who + trouble.reason} | said
    row["status"] = "ok"
    sides = {"labels": case, "baseline_labels": baseline}
    row |= {
        column: labels.joined([*tables.value(side, metric).labels, *machine_labels(tables, side, metric)])
        for column, side in sides.items()
    }
    return row | (result or _result)(tables, case, baseline, metric)


def _result(tables: Tables, case: Case, baseline: Case, metric: Metric) -> dict[str, Any]:
    samples = tables.made_in(metric).samples
    if samples == "processes":
        return _sampled(tables, case, baseline, metric)
    if metric.scored_as == "ratio":
        return _exact(tables, case, baseline, metric)
    if samples == "seeds":
        return _difference(tables, case, baseline, metric)
    mine, theirs = (tables.value(side, metric).estimate.value for side in (case, baseline))
    return {"difference": mine - theirs, "reason": no_interval(tables, case, metric)}


def _sampled(tables: Tables, case: Case, baseline: Case, metric: Metric) -> dict[str, Any]:
    """Compare times, with an interval over processes; a rate by its time and its tokens.

    Two cases at one grid point are compared process by process through the suite's baseline. Those at two took no turns: what
    drifts is not in their interval, nothing is promised, and they have no verdict.
    """
    mine, theirs = (tables.value(side, metric) for side in (case, baseline))
    found = tables.contrast(metric, case, baseline)
    wall, effect = found.wall, found.wall.effect
    row = {
        **ratio_columns(found, metric.estimand),
        "difference": math.exp(mine.estimate.value) - math.exp(theirs.estimate.value),
        "noisy": found.seen.noisy if tables.made_in(metric).times else None,
    }
    if case.grid_point != baseline.grid_point:
        reason = joined_reasons([NOT_INTERLEAVED, effect.reason])
        return row | {"paired": False, "reason": reason, "contrast": found}
    ratio, low, high = effect.ratio
    promise, reasons = against_theoretical(ratio, *_time_theoretical(tables, case, baseline, metric), low, high)
    within_reach, unknown = predicted(tables, case, baseline, metric)
    partly = mine.cell.partly or theirs.cell.partly
    reasons += [unknown, None if tables.suite.claims else SMOKE, partly and f"no verdict from {partly}"]
    return {
        **row,
        **promise,
        "predicted": within_reach,
        "reason": joined_reasons([effect.reason, *reasons]),
        "process_sd": effect.sd,
        "other_process_sd": wall.other and wall.other.sd,
        "processes": effect.n,
        "contrast": None if partly else found,
    }


def ratio_columns(found: Contrast, estimand: Estimand) -> dict[str, Any]:
    """Return the columns of a ratio and its interval, by wall and by CPU time, and of the ratio by the other estimand."""
    other, wall, cpu = MEAN if estimand == "median" else MEDIAN, found.wall, found.cpu
    known = {RATIO: wall.effect, other: wall.other, BY_CPU: cpu and cpu.effect}
    made: dict[str, Any] = {"ci_level": None if wall.effect.low is None else effects.LEVEL}
    for named, each in known.items():
        if each is not None:
            made |= zip(named, each.ratio, strict=True)
    detectable = wall.effect.detectable
    return made | {"detectable": None if detectable is None else math.expm1(detectable)}


def _time_theoretical(tables: Tables, case: Case, baseline: Case, metric: Metric) -> tuple[float | None, str]:
    """Return the theoretical time ratio, by the count of both sides that the metric names, and the reason if it is None.

    None if a side was not counted completely: a lower bound promises nothing.
    """
    promised = metric if metric.no_theoretical else tables.source(metric)
    if not promised.theoretical:
        return None, promised.no_theoretical or "nothing is promised for it"
    sides, reason = [tables.counted(case), tables.counted(baseline)], "FLOPs of both sides were not counted completely"
    if promised.theoretical == "decode_elements":
        reason = "the bytes that a step of this model reads are not known"
    elif any(each.uncounted for each in sides):
        return None, reason
    return _quotient(*(getattr(each, promised.theoretical) for each in sides)), reason


def _quotient(mine: float | None, theirs: float | None) -> float | None:
    return theirs / mine if mine and theirs else None


def _exact(tables: Tables, case: Case, baseline: Case, metric: Metric) -> dict[str, Any]:
    mine, theirs = (tables.value(side, metric).estimate.value for side in (case, baseline))
    if 0 in {mine, theirs}:
        return {"difference": mine - theirs, "reason": "one of the two is 0: a difference, but no ratio"}
    ratio = theirs / mine if metric.better == "lower" else mine / theirs
    forecasts = [_forecast(tables, side, metric) for side in (case, baseline)]
    theoretical = _quotient(forecasts[0].forecast, forecasts[1].forecast)
    if theoretical is not None:
        promise, reasons = against_theoretical(ratio, theoretical if metric.better == "lower" else 1 / theoretical, "")
    else:
        lacking = [each.forecast_reason for each in forecasts if each.forecast_reason]
        promise, reasons = {}, [f"no theoretical speed-up: {why}" for why in lacking]
    suite, rule = tables.suite, Rule("count", tables.suite.margin, metric.better)
    judged = suite.claims and tables.made_in(metric).judged
    return {
        "ratio": ratio,
        "difference": mine - theirs,
        **promise,
        "contrast": counted(theirs, mine, rule, _uncertain(tables, case, baseline, metric)) if judged else None,
        "reason": joined_reasons([no_interval(tables, case, metric), *reasons, None if suite.claims else SMOKE]),
    }


def _uncertain(tables: Tables, case: Case, baseline: Case, metric: Metric) -> Seen:
    """Return which verdicts on FLOPs would not stand if all were counted: more of the case's, or of the baseline's."""
    sides = zip((case, baseline), (BETTER, WORSE), strict=True)
    unsure = {word for side, word in sides if metric.unit == "FLOP" and tables.counted(side).uncounted}
    return Seen(unsure=(frozenset({*unsure, EQUIVALENT}), Reason("lower_bound")) if unsure else None)


def _forecast(tables: Tables, case: Case, metric: Metric) -> MemoryNotes | FitNotes:
    """Return the notes that hold a forecast of the metric; empty if it has none."""
    cell = tables.cell(case.id, metric.key)
    found: list[MemoryNotes | FitNotes] = [*cell.notes(MemoryNotes), *cell.notes(FitNotes)]
    return found[0] if found else MemoryNotes()


def trained_apart(case: Case, other: Case) -> tuple[Case, Case] | None:
    """Return of two cases the one that comes with trained weights, then the one of modbench's that does not; None otherwise."""
    trained, untrained = sorted((case, other), key=lambda each: not each.facts.trained)
    apart = trained.facts.trained and untrained.facts.shipped and not untrained.facts.trained
    return (trained, untrained) if apart else None


def _difference(tables: Tables, case: Case, baseline: Case, metric: Metric) -> dict[str, Any]:
    """Compare case minus baseline, seed by seed; a loss has no ratio."""
    mine, theirs = (tables.cell(side.id, metric.key) for side in (case, baseline))
    if apart := trained_apart(case, baseline):
        words = "the weights of {trained} were trained before, those of {other} were not: their losses are not compared"
        return {"status": "skipped", "reason": plain(Sentence(words, trained=apart[0], other=apart[1]))}
    notes = [each for cell in (mine, theirs) for each in cell.notes(TrainNotes)[:1]]
    if len({each.corpus_sha256 for each in notes}) > 1:
        return {"status": "skipped", "reason": "the two were trained on different text: their losses are not compared"}
    if metric.unit == "nat" and len({each.tokenizer for each in notes} - {None}) > 1:
        why = "the two read other tokens, so a loss per token does not compare: bpb/val does"
        return {"status": "skipped", "reason": why}
    judge = tables.over_seeds(case, metric)
    if otherwise := judge.otherwise(case.id, baseline.id, metric.better):
        return otherwise._asdict() | {"paired": False}
    found = judge.contrast(theirs.values(), mine.values(), metric.better)
    effect, few = found.effect, Sentence("{n:seed}: illustration, no claim", n=found.effect.n)
    return {
        **columns_of(effect, "difference"),
        "ci_level": None if effect.low is None else effects.LEVEL,
        "detectable": effect.detectable,
        "reason": joined_reasons([few if effect.low is None else effect.reason]),
        "contrast": found,
    }


COMPARISONS, MORE = names(columns.PAIRS), names(columns.MORE)
# Rows of all pairs up to which they are made unasked.
MOST_PAIRS = 5000
# Which pairs of a metric at a grid point are judged together: variants against one baseline, matched baselines against it,
# and variants against the matched baselines that were solved for them.
Among: TypeAlias = Literal["variants", "matched", "equal cost"]


def _rows_of(tables: Tables, comparison: Comparison, *, all_pairs: bool) -> list[dict[str, Any]]:
    """Return the rows of one comparison, without verdicts."""
    report = tables.baseline_of(comparison)
    found = [*pairs(comparison, report, tables.plan.matched_baselines, all_pairs=all_pairs)]
    return [
        of_family(
            pair_row(tables, case, baseline, tables.metrics[key]),
            (comparison.label, key, among, among == "equal cost" or baseline.variant),
            primary=baseline.variant == report.variant,
        )
        for key in comparison.metrics
        for case, baseline, among in found
    ]


def comparison_table(tables: Tables, *, all_pairs: bool) -> pd.DataFrame:
    """Return `comparisons.csv` with the columns of `MORE`; of many variants with all pairs only where they are asked for.

    `primary` marks the rows against the report's baseline; they come first. `aa_control` marks those of a suite's baseline's A/A
    control, which come last. `claims.py` adds the verdicts.
    """
    compared = tables.plan.comparisons
    few = sum(len(each.metrics) * math.comb(len(each.variants), 2) for each in compared) <= MOST_PAIRS
    all_pairs = all_pairs or few or tables.plan.sizes_differ  # which compares the step times of any two sizes
    rows = [row for each in compared for row in _rows_of(tables, each, all_pairs=all_pairs)]
    made = (pair_row(tables, *pair) for pair in tables.aa_controls())
    aa_controls = [of_family(row, "aa_controls", primary=False, aa_control=True) for row in made]
    _judge(tables, aa_controls)
    settle(tables, rows, [(row.get("verdict"), row.get("labels")) for row in aa_controls])
    rows.sort(key=lambda row: not row["primary"])
    return frame([*rows, *aa_controls], (*columns.PAIRS, *columns.MORE))


def settle(tables: Tables, rows: Sequence[dict[str, Any]], aa_controls: AAControls) -> None:
    """Judge rows with a family (`of_family`) made outside of `comparisons.csv`, and withhold what may not be claimed."""
    _judge(tables, rows)
    claims.suppress(tables, rows, aa_controls)


def _judge(tables: Tables, rows: Sequence[dict[str, Any]]) -> None:
    """Add verdicts; where CPU time decided, what was achieved of a promise is that of CPU time, too."""
    judge(rows, claims=tables.suite.claims)
    for row in rows:
        if row.get("theoretical") is not None and Label.BY_CPU in labels.of_cell(row.get("labels")):
            ratio, low, high = (row[column] for column in BY_CPU)
            row.update(against_theoretical(ratio, row["theoretical"], "", low, high)[0])


def deciding(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of `comparisons.csv` whose ratios are those that the verdicts are on."""
    by_cpu = rows.labels.map(lambda cell: Label.BY_CPU in labels.of_cell(cell)).astype(bool)
    made = rows.copy()
    for wall, cpu in zip(RATIO, BY_CPU, strict=True):
        made[wall] = made[wall].mask(by_cpu, made[cpu])
    return made


def of_family(row: dict[str, Any], family: Hashable, *, primary: bool, aa_control: bool = False) -> dict[str, Any]:
    """Add to a row what it is judged with."""
    return row | {"family": family, "primary": primary, "aa_control": aa_control}


def pairs(
    comparison: Comparison, baseline: Case, matched_baselines: Sequence[MatchedBaseline], *, all_pairs: bool = True
) -> Iterator[tuple[Case, Case, Among]]:
    """Yield (case, baseline, what it is judged among): every variant against the report's baseline, then every other pair once.

    Args:
        comparison: the variants.
        baseline: the report's.
        matched_baselines: the matched baselines, with the variants that they were solved for.
        all_pairs: whether any two variants are compared; else of the other pairs only those of `matched_baselines` and those
            with the suite's baseline.
    """
    yield from against(comparison, baseline)
    others, anchor = [case for case in comparison.variants if case.variant != baseline.variant], comparison.variants[0]
    solved = {frozenset((matched.variant, matched.target)) for matched in matched_baselines}
    for i, case in enumerate(others):
        for earlier in others[:i]:
            matched = frozenset((case.variant, earlier.variant)) in solved
            if all_pairs or matched or earlier is anchor:
                yield case, earlier, "equal cost" if matched else _kind(case)


def against(comparison: Comparison, baseline: Case) -> Iterator[tuple[Case, Case, Among]]:
    """Yield (case, baseline, what it is judged among) of every other variant.

    Matched baselines are smaller on purpose: among the variants, their differences would lower the bar for those of variants.
    """
    for case in comparison.variants:
        if case.variant != baseline.variant:
            yield case, baseline, _kind(case)


def _kind(case: Case) -> Among:
    return "matched" if case.matched else "variants"
