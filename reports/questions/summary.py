"""The summary in sentences, the same in all outputs: what was asked, the answer, how sure it is, and what to doubt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from modbench.harness.core.group_by import grouped
from modbench.harness.core.labels import OF_WORK, Label, of_cell
from modbench.harness.core.units import counted
from modbench.harness.domain.case import Case, MatchedBaseline
from modbench.harness.registry.discovery import one_of
from modbench.reports.blocks import Estimate, Listed, Sentence, Value
from modbench.reports.questions import found_warnings, machine_check, user_models, win_rate
from modbench.reports.section import sections
from modbench.reports.tables import losses
from modbench.reports.tables.comparisons import deciding
from modbench.reports.tables.load import Loaded, contenders, matched_beside, same_shape
from modbench.reports.wording import MATCHED, WORKLOADS, name

NOTHING_COMPARED = "nothing is compared, so that there is no ratio, no verdict and no A/A control"
# More names than this are counted.
MOST_NAMED, MOST_DOUBTED = 6, 4
# A matched baseline is called equal at every length up to this gap.
MOST_APART = 0.05


@dataclass(frozen=True)
class Head:
    """The summary of a report: the same sentences in all outputs.

    Attributes:
        asked: what was compared with what, one sentence.
        answer: at most two sentences, the winner first; empty where nothing can be said in so few.
        sure: what the ratios of times stand on, in one line; None where no times are compared.
        doubts: what a reader should hold against the numbers, a line each, what weighs most first.
    """

    asked: Value
    answer: Sequence[Value]
    sure: Value = None
    doubts: Sequence[Value] = ()


def head(loaded: Loaded) -> Head:
    """Return the summary of a report."""
    if not loaded.measured:  # why stands above it, among the warnings
        return Head(asked(loaded), [f"{machine_check.NOTHING}."])
    return Head(asked(loaded), answer(loaded), sure(loaded), doubts(loaded))


def answer(loaded: Loaded) -> list[Value]:
    """Say which is faster, the variant that is shown first or the matched baseline, in how many comparisons.

    And how fast the variant is.

    What sections answer stands in place of that.
    """
    if loaded.alone:
        return [Sentence("{variant} was measured alone: {why}.", variant=loaded.baseline, why=NOTHING_COMPARED)]
    if answered := [said for _, section in sections() for said in section.lead.answer(loaded)]:
        return answered
    case, anchor = user_models.first_variant(loaded), loaded.baseline
    if case is None or loaded.sizes_differ:
        return []
    subject, variants = user_models.subject(loaded, case)
    beside = matched_beside(loaded, case) if len(variants) == 1 else None
    said = list[Sentence | None]()
    if beside is not None:
        said.append(win_rate.sentence(subject, win_rate.grid_points(loaded, case, beside.case), equal(beside.matched)))
    if anchor.variant not in {case.variant, beside.case.variant if beside else ""}:
        found = [each for variant in variants for each in win_rate.grid_points(loaded, variant, anchor)]
        first = None if any(said) else win_rate.sentence(subject, found, described(anchor))
        judged = any(each.verdict for each in found) and win_rate.span(found)
        said += [first, win_rate.ratios(subject, found, None if first else described(anchor)) if judged else None]
    return [capital(each) for each in said if each is not None]


def capital(said: Sentence) -> Sentence:
    """Begin a sentence about a dense model with a capital letter."""
    who = said.given["variant"]
    dense = isinstance(who, str) and who.startswith("dense")
    return Sentence(said.words, **said.given | {"variant": f"D{str(who)[1:]}"}) if dense else said


def equal(matched: MatchedBaseline) -> str:
    """Name a matched baseline by what is equal, and the length at which it is, where it is not so at others."""
    apart = any(abs(gap) > MOST_APART for gap in matched.gaps.values())
    return f"dense of equal {MATCHED[matched.quantity]}" + f" at T = {matched.solved_at}" * apart


def described(anchor: Case) -> str:
    """Name the baseline; of a dense one that it has the variants' shape."""
    return name(anchor) + " of the same shape" * same_shape(anchor)


# --- what was asked


def title(loaded: Loaded) -> Sentence:
    """Return the suite and where it was measured: `quick on AMD EPYC, fp32, 1 thread`."""
    return Sentence("{suite} on {machine}", suite=loaded.suite.name, machine=measured_on(loaded))


def measured_on(loaded: Loaded) -> str:
    """Name what was measured on: `AMD EPYC, fp32, 1 thread`."""
    suite = loaded.suite
    said = f"{loaded.tables.device_name}, {'/'.join(suite.grid.dtype)}"
    if loaded.plan.device == "cpu":
        said += f", {counted(suite.threads, 'thread')}"
    return said + ", compiled" * suite.compile


def asked(loaded: Loaded) -> Sentence:
    """Return one sentence: which models were compared with which, in what, and where."""
    plan, others, baseline = loaded.plan, contenders(loaded), loaded.baseline
    variants = {case.variant for case in loaded.variants} - {baseline.variant}
    matched_baselines = variants & {matched.variant for matched in plan.matched_baselines}
    words = "{variants} against {baseline}" if others else "{baseline}"
    words += " and {n:matched baseline}" * bool(others and matched_baselines)
    what = [workload for metric, workload in WORKLOADS.items() if metric in plan.suite.metrics]
    what += [name for name in ("memory", "energy") if any(key.startswith(f"{name}/") for key in plan.suite.metrics)]
    made = {key for comparison in plan.comparisons for key in comparison.metrics}  # a filter may leave tasks out
    entries = grouped({each.entry for key in made if (each := loaded.tables.metrics[key]).entry is not None})
    what += [f"accuracy on {counted(len(names), one_of(kind))}" for kind, names in entries.items()]
    what += ["held-out loss"] * (loaded.trained_metric is not None)
    return Sentence(
        f"{words}: {{what}}" + " at {lengths} tokens" * bool(loaded.lengths) + ".",
        variants=_listed(others),
        baseline=baseline,
        n=len(matched_baselines),
        what=Listed(what, last=" and ") if what else _metrics(loaded),
        lengths=_listed(loaded.lengths),
    )


def _metrics(loaded: Loaded) -> Value:
    """Name what was asked for where no workload, task or loss is among it."""
    keys = loaded.suite.metrics
    return "FLOPs" if all(key.startswith("flops/") for key in keys) else _listed(keys)


def _listed(values: Sequence[Value]) -> Listed:
    return Listed(values, last=" and ", most=MOST_NAMED)


def left_out(loaded: Loaded) -> Sentence | None:
    """Say which of several batch sizes and number formats figures and tiles show, and how many of many variants and lengths."""
    grid, shown = loaded.suite.grid, list[Value]()
    if len(grid.batch_size) > 1 or len(grid.dtype) > 1:
        shown.append(f"batch size {grid.batch_size[0]} in {grid.dtype[0]}")
    for few, every, what in (
        (loaded.variants_shown, loaded.variants[1:], "variants"),
        (loaded.lengths_shown, loaded.lengths, "lengths"),
    ):
        if len(few) < len(every):
            shown.append(Sentence("{shown} of {all} {what}", shown=len(few), all=len(every), what=what))
    words = "Figures and tiles show {shown}; cases.csv and comparisons.csv have all."
    return Sentence(words, shown=Listed(shown, last=" and ")) if shown else None


# --- how sure it is, and what to doubt


def sure(loaded: Loaded) -> Sentence | None:
    """Say what the ratios of times stand on: processes, the median 95 % CI, and the machine's check.

    Returns:
        None where there is no such ratio. The processes are left out where the line that names the run has their number.
    """
    suite = loaded.suite
    rows = loaded.comparisons[(loaded.comparisons.unit == "s") & (loaded.comparisons.status == "ok")]
    if rows.empty:
        return None
    # Not the baseline's: in a search those of several comparisons count for it, but for no ratio.
    timed = loaded.cases[(loaded.cases.unit == "s") & loaded.cases.case_id.isin(rows.case_id)]
    fewest, most = int(timed.n.min()), int(timed.n.max())
    planned = not suite.two_stage and fewest == most == suite.protocol_size[0]
    half, check = half_of(rows), machine_check.machine_check(loaded)[1]
    words = "" if planned else "{fewest} to " * (fewest != most) + "{most:process|processes}, "
    words += "CI ±{half} (median); " * (half.value is not None) + "{check}"
    return Sentence(words, fewest=fewest, most=most, half=half, check=check)


def half_of(rows: pd.DataFrame) -> Estimate:
    """Return half of the median 95 % interval of ratios, by the clock that decided, as a share; no value where none has one."""
    decided = deciding(rows)
    median = float((decided.ci_high / decided.ci_low).median())
    return Estimate(None if math.isnan(median) else math.sqrt(median) - 1, kind="share")


def doubts(loaded: Loaded) -> list[Value]:
    """Say what a reader should hold against the numbers; of several variants one is named.

    First what weighs most: that numbers may be noisy, or not those of the work that a model claims. What failed, and that the
    machine was busy, has a place of its own in every output.
    """
    heavy, light = list[Value](), list[Value]()
    if not loaded.suite.claims:
        heavy.append("smoke effort: no claims")
    for label, cases in loaded.labelled.items():
        who: Value = Listed(cases) if len(cases) <= MOST_DOUBTED else Sentence("{n} variants", n=len(cases))
        (heavy if label in OF_WORK else light).append(Sentence("{label}: {who}", label=label, who=who))
    busy = any(Label.NOISY in of_cell(cell) for cell in (*loaded.comparisons.labels, *loaded.cases.labels))
    for found in found_warnings.doubts(loaded):
        if not found.label:  # where no label says that the machine was busy, what was found in times weighs as much
            said = Sentence("{n:value} {what}", n=found.cells, what=found.called)
            (heavy if found.timed and not busy else light).append(said)
    alone = loaded.evaluates_only or loaded.sizes_differ  # weights as they were stored; new seeds follow
    if losses.shown(loaded) and losses.few_seeds(loaded) and not alone:
        light.append(Sentence("loss: {n:seed}, no claim", n=len(loaded.suite.seeds)))
    of_sections = (said for _, section in sections() for said in section.lead.warnings(loaded))
    return [*heavy, *light, *user_models.doubts(loaded), *of_sections]
