"""The first screen in sentences: what was asked, the answer, arm by arm, how sure it is, and what to doubt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from modbench.harness.core.contracts import GENERATION
from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import OF_WORK, Label, of_cell
from modbench.harness.core.units import counted
from modbench.harness.domain.case import Case, Rung
from modbench.harness.stats.contrast import BETTER, DIFFERENT, EQUIVALENT, INCONCLUSIVE, WORSE
from modbench.reports.model import Estimate, Finding, Listed, Sentence, Value
from modbench.reports.panel import panels
from modbench.reports.questions import audit, best_setting, break_even, checks, machine, rivals, win_rate
from modbench.reports.questions.machine import GLYPHS, machine_facts, twin_check
from modbench.reports.tables import losses
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.comparisons import trained_apart
from modbench.reports.tables.load import Loaded, contenders, rung_beside, same_shape, subsample_evenly
from modbench.reports.tables.losses import seeds_in_words
from modbench.reports.wording import MATCHED, WORKLOADS, name, short

# Arms that the answer is about; the rest are counted.
MOST_ANSWERS = 24
# Lengths at which a rung's distance from its target is said.
MOST_GAPS = 4
# What is said in one sentence of a model that was measured alone.
NUMBERS = WORKLOADS | {"flops/forward": "forward FLOPs", "memory/peak_allocated": "peak memory"}
NOTHING_COMPARED = "nothing is compared, so that there is no ratio, no verdict and no identical twin of a baseline"


# Where it may pay, if only these workloads were timed.
WHERE = {
    frozenset({"train_step"}): " in training",
    frozenset({"prefill"}): " in prefill",
    frozenset({"decode"}): " in decoding",
}
# Words of the answer, in their order, and the verdict that each counts.
COUNTED = {
    "faster": BETTER,
    "slower": WORSE,
    "failed": "failed",
    "equal": EQUIVALENT,
    DIFFERENT: DIFFERENT,
    "undecided": INCONCLUSIVE,
}
# More names than this are counted.
MOST_NAMED = 6


@dataclass(frozen=True)
class Head:
    """The first screen of a report.

    Attributes:
        asked: what was compared with what, one sentence.
        answer: the answer about the arm that is shown first, in two sentences; empty where nothing was timed.
        details: what no table says of the arms: their losses beside dense of equal cost, what these would cost in dense compute.
        sure: what the numbers stand on.
        doubts: what a reader should hold against them.
    """

    asked: Value
    answer: Sequence[Value]
    details: Sequence[Value]
    sure: Sequence[Value]
    doubts: Sequence[Value]

    @property
    def evidence(self) -> list[tuple[str, Sequence[Value]]]:
        """What the numbers stand on and what to hold against them, each with its title, where there is any."""
        return [(title, said) for title, said in (("How sure", self.sure), ("What to doubt", self.doubts)) if said]


def head(loaded: Loaded, *, machine_check: bool = True) -> Head:
    """Return the first screen of a report; the page says at its top, instead of here, what is known of the machine."""
    said = asked(loaded)
    if not loaded.measured:  # why stands above it, among the warnings
        return Head(said, [f"{machine.NOTHING}."], [], [], [])
    short = answer(loaded)
    where = break_even.claimed(loaded)  # a table says it: counting the places says less
    details: list[Value] = (
        [*_losses(loaded), *place_shown(loaded)] if where else [*_by_arm(loaded, answered=bool(short))]
    )
    details += [sentence for _, panel in panels() for sentence in panel.lead.details(loaded)]
    details += _requested(loaded)
    return Head(
        said, short, details, sure(loaded, machine_check=machine_check), doubts(loaded, machine_check=machine_check)
    )


def answer(loaded: Loaded) -> list[Value]:
    """Say how fast the arm that is shown first is against dense, and against dense of equal cost.

    In two sentences; of prefill and decoding in two for each workload and batch size, which one ratio could not stand for. Of a
    user's model with several settings it is the fastest, which is named before; where none is told apart, all of them.
    """
    if loaded.alone:
        return [_alone(loaded)]
    if answered := _answered(loaded):
        return answered
    case, first = best_setting.first_arm(loaded), list[Value]()
    if found := rivals.with_rivals(loaded):
        case, first = _own(loaded, found)
    if case is None or loaded.sizes_differ:
        return []
    anchor, subject, arms = loaded.baseline, case, [case]
    settings = [] if anchor.rung else best_setting.settings_of(loaded, case)  # a rung costs as much as one of them
    if settings and best_setting.fastest(loaded, case) is None:
        subject, arms = best_setting.model_of(case), [each for each in settings if each.arm != anchor.arm]
    others: list[tuple[Case, Value]] = [(anchor, described(anchor))] if anchor.arm != case.arm else []
    beside = rung_beside(loaded, case) if subject is case else None
    if beside is not None and beside.case.arm != anchor.arm:
        equal = beside.case if first else Sentence("the dense model of equal cost ({arm})", arm=short(beside.case))
        others.insert(0 if first else len(others), (beside.case, equal))
    if first and beside is not None and len(win_rate.places(loaded, case, beside.case)) == 1:  # it has been said
        others = [each for each in others if each[0].arm != beside.case.arm]
    places = [[found for each in arms for found in win_rate.places(loaded, each, other)] for other, _ in others]
    if not any(win_rate.span(found) for found in places):
        del places[1:]  # that nothing can be compared is said once
    groups = dict.fromkeys(_group(loaded, each) for found in places[:1] for each in found)
    said = [*first, *best_setting.answers(loaded)]
    named = len(first) == 1 and subject is case
    for at, group in enumerate(groups or [None]):
        here = [[each for each in found if _group(loaded, each) == group] for found in places]
        made = [
            _against(subject, found, called, again=named or i > 0, whole=at == 0)
            for i, (found, (_, called)) in enumerate(zip(here, others, strict=False))
        ]
        known = [each for each in made if each is not None]
        if known and group is not None and len(groups) > 1:
            said.append(Sentence("{workload}, B = {batch}: {said}", said=Listed(known, " "), **group._asdict()))
        else:
            said += known
        others = [(other, other) for other, _ in others]  # what they are to the arm is said once, as who it is
    return [*said, *rivals.missed(loaded)]


class _Group(NamedTuple):
    """Places that one answer is about: those of a workload of generation at a batch size."""

    workload: str
    batch: int


def _group(loaded: Loaded, found: Finding) -> _Group | None:
    """Return what an answer about a place is about; None for a forward pass or a training step."""
    if loaded.tables.metrics[found.metric].workload not in GENERATION:
        return None
    return _Group(WORKLOADS[found.metric].capitalize(), found.place.batch_size)


def _own(loaded: Loaded, found: Sequence[tuple[Case, Case, Rung]]) -> tuple[Case, list[Value]]:
    """Return the model of the user's that the answer is about, and how fast it is against dense of equal cost.

    Of several settings it is the fastest; where none is told apart, each is held against its rival.
    """
    fastest = best_setting.fastest(loaded, found[0][0])
    told = [each for each in found if fastest is not None and each[0].arm == fastest.arm] or found
    said = [rivals.headline(loaded, *each) for each in told[:MOST_NAMED]]
    return told[0][0], [each for each in said if each is not None]


def _answered(loaded: Loaded) -> list[Value]:
    """Return the sentences of panels that answer what the run asked."""
    return [sentence for _, panel in panels() for sentence in panel.lead.answer(loaded)]


def described(anchor: Case) -> Sentence:
    """Name the baseline; of a dense one that it has the arms' shape."""
    return Sentence("{arm}" + " of the same shape" * same_shape(anchor), arm=anchor)


def _alone(loaded: Loaded) -> Sentence:
    """Say what one model took at the longest length, and why there is no more."""
    (case,) = loaded.arms
    length = loaded.lengths[-1] if loaded.lengths else None
    rows = [(title, loaded.case(case.arm, metric, length)) for metric, title in NUMBERS.items()]
    said: list[Value] = [
        Sentence(f"{title} {{value}}", value=Estimate(float(row.value), unit=str(row.unit)))
        for title, row in rows
        if row is not None and row.status == "ok"
    ]
    for loss in losses.shown(loaded)[:1]:
        value = loaded.value(case.arm, loss.metric, None if length is None else losses.beside(loaded, length))
        if value is not None:
            said.append(Sentence("held-out loss {value}", value=Estimate(value * loss.factor, unit=loss.base)))
    words = "{arm} was measured alone: {why}." + " At T = {length}: {numbers}." * bool(said and length is not None)
    return Sentence(words, arm=case, why=NOTHING_COMPARED, length=length, numbers=Listed(said))


def _against(
    case: Case, places: Sequence[Finding], called: Value, *, again: bool = False, whole: bool = True
) -> Sentence | None:
    """One sentence: `MoD 0.125 is faster than dense of the same shape in 5 of 6 places, failed in 1: 1.29× to 1.70×.`.

    Args:
        case: the arm.
        places: what is found of it at each place.
        called: what it is compared with.
        again: whether the arm was named, and was compared with something else.
        whole: whether both are named; else a sentence of other places has named them.
    """
    # A search leaves out places that it does not need; a failure is no such place.
    found = [each for each in places if each.typical.value is not None or each.status == "failed"]
    if not found:
        return None
    ratios = win_rate.span(found)
    if ratios is None:
        return Sentence("{arm} has no time to compare with {base}: one of the two failed.", arm=case, base=called)
    verdicts = [each.verdict if each.typical.value is not None else "failed" for each in found]
    ratio = "Against {base} it is" if again else "{arm} is" if whole else "it is"
    than, as_base = (" than {base}", " as {base}") if whole and not again else ("", "")
    counts = {word: verdicts.count(verdict) for word, verdict in COUNTED.items()}
    if all(verdict in {None, "failed"} for verdict in verdicts):
        said = f"{ratio} {{ratios}} as fast{as_base}, without a verdict"
    elif len(found) == 1:
        word = "faster" if counts["faster"] else "slower" if counts["slower"] else "not shown to be faster"
        said = f"{ratio} {word}{than}: {{ratios}}"
    else:
        words = [word for word in ("faster", "slower") if counts[word]] or ["not shown to be faster"]
        first = f"{words[0]}{than} in {{first}} of {{all}} places"
        if not whole and counts.get(words[0]) == len(places):
            first = f"{words[0]} everywhere"
        rest = "".join(f", {word} in {{{word}}}" for word, n in counts.items() if n and word != words[0])
        counts["first"] = counts.get(words[0], len(found))
        counts["chance"] = win_rate.by_chance(found)
        by_chance = " (chance gives up to {chance})" * (0 < counts["first"] < len(found))
        said = f"{ratio} {first}{rest}{by_chance}: {{ratios}}"
    doubts = win_rate.doubts(found)
    said += " (but: {doubts})" * bool(doubts) + "."
    return Sentence(said, arm=case, base=called, ratios=ratios, doubts=doubts, all=len(found), **counts)


# --- what was asked


def title(loaded: Loaded) -> Sentence:
    """Return the question that the suite asks, such as `Does skipping tokens pay on AMD EPYC, fp32, 1 thread?`."""
    return Sentence("{question} on {machine}?", question=_question(loaded), machine=measured_on(loaded))


def measured_on(loaded: Loaded) -> str:
    """Name what was measured on: `AMD EPYC, fp32, 1 thread`."""
    suite = loaded.suite
    said = f"{loaded.device_name}, {'/'.join(suite.grid.dtype)}"
    if loaded.plan.device == "cpu":
        said += f", {counted(suite.threads, 'thread')}"
    return said + ", compiled" * suite.compile


def _question(loaded: Loaded) -> Value:
    if loaded.sizes_differ:
        return "Does skipping tokens lower the loss at equal training FLOPs"
    if not any(case.config.capacity is not None for case in loaded.arms):
        others = [case for case in loaded.arms if not case.rung]
        if len(others) == 1:
            return Sentence("How fast is {arm}", arm=others[0])
        return Sentence("How do {arms} compare", arms=_listed(others))
    metrics, timed = loaded.metrics, loaded.timed
    if timed:
        return f"Does skipping tokens pay{WHERE.get(frozenset(timed), ' in generation' if timed <= GENERATION else '')}"
    if metrics and all(metric.task for metric in metrics):
        return "Do models that skip tokens still solve these tasks"
    memory = any(metric.key.startswith("memory/") for metric in metrics)
    what: Value = "the loss" if loaded.trained_metric is not None else _metrics(loaded)
    return (
        "Does skipping tokens save memory" if memory else Sentence("What does skipping tokens do to {what}", what=what)
    )


def asked(loaded: Loaded) -> Sentence:
    """Return one sentence: which models were compared with which, in what, and where."""
    plan = loaded.plan
    others, baseline = contenders(loaded), loaded.baseline
    words = "{arms} against {baseline}" if others else "{baseline} alone"
    rungs = {rung.arm for rung in plan.ladder} & {case.arm for case in loaded.arms}
    if others and rungs == {baseline.arm}:
        words += ", a dense model of equal cost"
    elif others and rungs:
        alike = same_shape(baseline)
        words += " of the same shape" * alike + f", and against {'smaller ' * alike}dense models of equal cost"
    what = [workload for metric, workload in WORKLOADS.items() if metric in plan.suite.metrics]
    what += [name for name in ("memory", "energy") if any(key.startswith(f"{name}/") for key in plan.suite.metrics)]
    made = {key for comparison in plan.comparisons for key in comparison.metrics}  # a filter may leave tasks out
    asked_for = {task for key in made if (task := loaded.tables.metrics[key].task)}
    what += [f"accuracy on {counted(len(asked_for), 'task')}"] * bool(asked_for)
    what += ["held-out loss"] * (loaded.trained_metric is not None)
    where = "" if asked_for and not loaded.lengths else " at {lengths}"
    said = Listed(what, last=" and ") if what else _metrics(loaded)
    return Sentence(
        f"{words}: {{what}}{where}.",
        arms=_listed(others),
        baseline=baseline,
        what=said,
        lengths=_lengths(loaded.lengths),
    )


def _metrics(loaded: Loaded) -> Value:
    """Name what was asked for where no workload, task or loss is among it."""
    keys = loaded.suite.metrics
    return "FLOPs" if all(key.startswith("flops/") for key in keys) else Listed(keys, last=" and ", most=MOST_NAMED)


def _lengths(lengths: Sequence[int]) -> Sentence:
    if len(lengths) > MOST_NAMED:
        words = "{n} lengths from {first} to {last} tokens"
        return Sentence(words, n=len(lengths), first=lengths[0], last=lengths[-1])
    return Sentence("{lengths:token}", lengths=lengths[0] if len(lengths) == 1 else Listed(lengths, last=" and "))


def _listed(cases: Sequence[Case]) -> Listed:
    """Name the arms; of many say how many there are of each model."""
    if len(cases) <= MOST_NAMED:
        return Listed(cases, last=" and ")
    by_model = grouped((case.model, case) for case in cases)
    named: list[Value] = [
        each[0]
        if len(each) == 1
        else Sentence("{n} settings of {model}", n=len(each), model=best_setting.model_of(each[0]))
        for each in by_model.values()
    ]
    return Listed(named, last=" and ")


def place_shown(loaded: Loaded) -> list[Value]:
    """Say which batch size and number format figures show, if the grid has several, and how many arms and lengths of many."""
    grid, said = loaded.suite.grid, list[Value]()
    if len(grid.batch_size) > 1 or len(grid.dtype) > 1:
        said.append(f"Figures and tiles show batch size {grid.batch_size[0]} in {grid.dtype[0]}; the table has all.")
    counts = [
        Sentence("{shown} of {all} {what}", shown=len(shown), all=len(every), what=what)
        for shown, every, what in (
            (loaded.arms_shown, loaded.arms[1:], "arms"),
            (loaded.lengths_shown, loaded.lengths, "lengths"),
        )
        if len(shown) < len(every)
    ]
    if counts:
        words = "Figures and tiles show {counts}; cases.csv and comparisons.csv have all."
        said.append(Sentence(words, counts=Listed(counts, last=" and ")))
    return said


# --- arm by arm


def _by_arm(loaded: Loaded, *, answered: bool) -> Iterator[Value]:
    """Say for every arm where it pays: against the dense model of equal cost, then against that of the same shape.

    Of a single arm what the answer in short has said is left out.
    """
    if loaded.sizes_differ:
        return
    beside = [(case, rung_beside(loaded, case)) for case in contenders(loaded)]
    said = [_of_arm(loaded, case, *rung) for case, rung in beside[:MOST_ANSWERS] if rung is not None]
    others = [case for case, rung in beside[:MOST_ANSWERS] if rung is None]
    if not (answered and len(beside) == len(others) == 1 and win_rate.all_in_short(_places(loaded, others[0]))):
        said.append(_others(loaded, others))
    told = [each for each in said if each is not None]
    yield from told
    if told and len(beside) > MOST_ANSWERS:
        yield Sentence("{more} further arms are in comparisons.csv.", more=len(beside) - MOST_ANSWERS)
    yield from place_shown(loaded)


def _of_arm(loaded: Loaded, case: Case, rung: Case, solved: Rung) -> Sentence | None:
    """Say where an arm pays against the dense model of equal cost, then against the baseline; None if it was not timed."""
    places, loss = _places(loaded, case), _loss(loaded, case, rung)
    if not places:
        return loss
    own = rung.arm != loaded.baseline.arm
    return Sentence(
        "{arm} against {rung}, the dense model of equal {quantity}"
        + " at T = {at}" * (not solved.everywhere)
        + ": {equal}."
        + " {shape}." * own
        + " {loss}" * (loss is not None),
        arm=case,
        rung=rung,
        quantity=MATCHED[solved.quantity],
        at=solved.solved_at,
        equal=win_rate.sentence(win_rate.places(loaded, case, rung)),
        shape=win_rate.sentence(places, Sentence("Against {base}", base=described(loaded.baseline)), pronoun="it "),
        loss=loss,
    )


def _others(loaded: Loaded, arms: Sequence[Case]) -> Sentence | None:
    """Say where the arms pay that have no dense model of equal cost beside them: one sentence for all."""
    parts = [win_rate.sentence(places, case) for case in arms if (places := _places(loaded, case))]
    base = described(loaded.baseline)
    return Sentence("Against {base}: {parts}.", base=base, parts=Listed(parts, ". ")) if parts else None


def _places(loaded: Loaded, case: Case) -> list[Finding]:
    return win_rate.places(loaded, case, loaded.baseline)


def _requested(loaded: Loaded) -> Iterator[Sentence]:
    """Say which units rules requested while the run went on, and why, where no panel shows it."""
    shown = {rule for _, panel in panels() for rule in panel.rules}
    for group, decided in loaded.run.decisions.items():
        if decided.rule not in shown:
            words = "{group}, decided by {rule}: {why}" + "; it has not ended" * (not decided.ended)
            yield Sentence(words, group=group, rule=decided.rule, why=decided.why)


def _losses(loaded: Loaded) -> Iterator[Sentence]:
    """Say for every arm with a dense model of equal cost how their losses differ."""
    for case in contenders(loaded)[:MOST_ANSWERS]:
        rung = rung_beside(loaded, case)
        said = None if rung is None else _loss(loaded, case, rung.case)
        if said is not None:
            yield said


def _loss(loaded: Loaded, case: Case, rung: Case) -> Sentence | None:
    """Compare the losses of an arm and its rung, if both were trained, and say from how many seeds."""
    lengths = losses.lengths(loaded)
    at = lengths[-1] if lengths else None
    mine, theirs = (loaded.value(each.arm, "bpb/val", at) for each in (case, rung))
    if mine is None or theirs is None or trained_apart(case, rung):
        return None
    pair = loaded.pair(case.arm, "bpb/val", at)
    future = "; top-k routing saw the future" * bool(pair is not None and looked_ahead(pair))
    return Sentence(
        f"{{arm}} ends {{difference}} {'above' if theirs < mine else 'below'} {{rung}}"
        + " at T = {at}" * (len(lengths) > 1)
        + f" ({{seeds}}{future}).",
        arm=case,
        difference=Estimate(abs(theirs - mine), unit="bit/B"),
        rung=rung,
        at=at,
        seeds=seeds_in_words(loaded),
    )


def residuals(loaded: Loaded) -> Sentence | None:
    """Say how far each rung is from its target's FLOPs at every length: it was solved for one of them."""
    arms, said = {case.arm: case for case in loaded.arms}, list[Value]()
    for rung in loaded.plan.ladder[:MOST_ANSWERS]:
        if rung.arm in arms:
            by = "" if rung.quantity == "flops/forward" else f"({MATCHED[rung.quantity]}) "
            gaps = [
                Sentence("{gap} at T = {length}", gap=Estimate(gap, kind="change"), length=length)
                for length, gap in subsample_evenly(list(rung.gaps.items()), MOST_GAPS)
            ]
            target = arms.get(rung.target, rung.target)
            words = f"{{rung}} against {{target}} {by}{{gaps}}"
            said.append(Sentence(words, rung=arms[rung.arm], target=target, gaps=Listed(gaps)))
    return Sentence("FLOPs of the dense ladder: {rungs}.", rungs=Listed(said, "; ")) if said else None


# --- how sure it is, and what to doubt

# More arms than this are counted.
MOST_DOUBTED = 12


@dataclass(frozen=True)
class Evidence:
    """What the ratios of times stand on.

    Attributes:
        fewest: fresh processes of a ratio, the fewest.
        most: the most.
        half: half of the median 95 % interval, by the clock that decided, as a share; without a value where no ratio has one.
        ratios: how many ratios of times there are.
        judged: how many of them have a verdict.
        undecided: how many are undecided.
    """

    fewest: int
    most: int
    half: Estimate
    ratios: int
    judged: int
    undecided: int

    @property
    def processes(self) -> Sentence:
        """The number of processes: `7 fresh processes`, `5 to 10 fresh processes`."""
        words = "{fewest} to " * (self.fewest != self.most) + "{most:fresh process|fresh processes}"
        return Sentence(words, fewest=self.fewest, most=self.most)


@dataclass(frozen=True)
class Doubt:
    """A sentence that a reader should hold against the numbers.

    Attributes:
        said: the sentence.
        short: the same where the numbers stand elsewhere.
        brief: the same in a few words.
        of_machine: whether it is what the check of the machine has found.
        of_seeds: whether it is that losses are from few seeds.
        heavy: whether numbers may be missing, disturbed, or not those of the work that a model claims: these come first where
            there is room for a few.
    """

    said: Value
    short: Value = ""
    brief: Value = ""
    heavy: bool = False
    of_machine: bool = False
    of_seeds: bool = False


def evidence(loaded: Loaded) -> Evidence | None:
    """Return what the ratios of times stand on; None where there is no such ratio."""
    rows = loaded.comparisons[(loaded.comparisons.unit == "s") & (loaded.comparisons.status == "ok")]
    if rows.empty:
        return None
    timed = loaded.cases[(loaded.cases.unit == "s") & (loaded.cases.status == "ok")]
    # Not the baseline's: in a search those of several comparisons count for it, but for no ratio.
    launches = timed[timed.case_id.isin(rows.case_id)].n.dropna()
    by_cpu = rows.labels.map(lambda said: Label.BY_CPU in of_cell(said))
    low, high = (rows[f"cpu_ci_{end}"].where(by_cpu, rows[f"ci_{end}"]).astype(float) for end in ("low", "high"))
    median = float((high / low).median())
    half = Estimate(None if math.isnan(median) else math.sqrt(median) - 1, kind="share")
    judged, undecided = int(rows.verdict.notna().sum()), int((rows.verdict == INCONCLUSIVE).sum())
    return Evidence(int(launches.min()), int(launches.max()), half, len(rows), judged, undecided)


def sure(loaded: Loaded, *, machine_check: bool = True) -> list[Value]:
    """Say what the numbers stand on: processes, width of the intervals, margin, the check of the machine if it is wanted."""
    suite, found = loaded.suite, evidence(loaded)
    if found is None:
        return []
    width = ", with a 95 % interval of ±{half} (median)" * (found.half.value is not None)
    words = f"Each ratio of times is from {{processes}}{width}."
    said: list[Value] = [Sentence(words, processes=found.processes, half=found.half)]
    if suite.claims:
        words = "Differences below {margin} count as equal"
        words += "; {open} of {all} ratios of times undecided" * bool(found.undecided)
        margin = Estimate(suite.margin, kind="share")
        said.append(Sentence(words + ".", margin=margin, open=found.undecided, all=found.ratios))
    return [*said, *[Sentence("{check}.", check=machine.machine_check(loaded)[1])] * machine_check]


def sure_in_brief(loaded: Loaded) -> Sentence | None:
    """Say the same in a few words; None where no times are compared."""
    found = evidence(loaded)
    if found is None:
        return None
    words = "{processes}" + ", ±{half}" * (found.half.value is not None)
    return Sentence(words, processes=found.processes, half=found.half)


def sure_in_short(loaded: Loaded) -> Sentence | None:
    """Say the same in one line; None where no times are compared."""
    suite, found = loaded.suite, evidence(loaded)
    if found is None:
        return None
    launches = suite.protocol_size[0]
    planned = not suite.two_stage and found.fewest == found.most == launches  # as the line that names the run says
    words = ["{processes}"] * (not planned) + ["±{half} (median)"] * (found.half.value is not None)
    words += ["{open} of {judged} open at {margin}"] * bool(found.judged)
    status, known = machine_facts(loaded)
    twins = twin_check(loaded)
    # Of a certificate and the twin, the twin was timed in this run. Whether both can tell is among the doubts and warnings.
    brief = twins is not None and status != "unknown"
    known = twins.in_brief() if twins is not None and brief else known
    return Sentence(
        "; ".join([*[", ".join(words)] * bool(words), "{glyph} A/A " + ("twin {known}" if brief else "test: {known}")]),
        processes=found.processes,
        half=found.half,
        open=found.undecided,
        judged=found.judged,
        margin=Estimate(suite.margin, kind="share"),
        glyph=GLYPHS[status],
        known=known,
    )


def doubts(loaded: Loaded, *, machine_check: bool = True) -> list[Value]:
    """Say what a reader should hold against the numbers: labels, disturbed times, failures, what is missing."""
    return [each.said for each in _doubts(loaded, MOST_DOUBTED) if machine_check or not each.of_machine]


def doubts_in_short(loaded: Loaded, *, losses: bool = False) -> list[Value]:
    """Say the same where there is little room: of many arms one is named, and what weighs most comes first.

    Args:
        loaded: the run.
        losses: whether it stands elsewhere how many seeds losses are from, and what that means.
    """
    found = (each for each in _doubts(loaded, 1) if not (losses and each.of_seeds))
    return [each.short or each.said for each in sorted(found, key=lambda each: not each.heavy)]


def doubts_in_brief(loaded: Loaded) -> list[Value]:
    """Say the same in a few words each, what weighs most first."""
    return [each.brief for each in sorted(_doubts(loaded, 1), key=lambda each: not each.heavy) if each.brief]


def _doubts(loaded: Loaded, most_named: int) -> Iterator[Doubt]:
    if not loaded.suite.claims:
        yield Doubt("A smoke run: it shows that everything runs, and supports no claim.", brief="smoke run", heavy=True)
    if missing := len(loaded.run.missing):
        yield Doubt(
            Sentence("The run is incomplete: {n:unit has|units have} no record.", n=missing),
            brief=Sentence("{n:missing unit}", n=missing),
            heavy=True,
        )
    yield from _of_checks(loaded, most_named)
    yield from _of_cells(loaded)
    twins = twin_check(loaded)
    if twins is not None and machine_facts(loaded)[0] == "undecided":
        words = "The machine check cannot tell: two identical models were shown to be equal in {equivalent} of "
        words += "{all:comparison}; their largest difference was {largest}."
        yield Doubt(Sentence(words, **twins.counts), "A/A test undecided.", of_machine=True)
    seeds = len(loaded.suite.seeds)
    if (
        loaded.trained_metric is not None
        and not loaded.evaluates_only
        and losses.few_seeds(loaded)
        and not _answered(loaded)
    ):
        few = Sentence("{n:seed}", n=seeds)
        yield Doubt(Sentence("Losses are from {few}: an illustration, no claim.", few=few), brief=few, of_seeds=True)
    for said in (*rivals.left_out(loaded), *rivals.trained_before(loaded), *audit.failures(loaded)):
        yield Doubt(said)
    for _, panel in panels():
        yield from map(Doubt, panel.lead.doubts(loaded))
    failed = len(loaded.failed.case_id.unique())
    if failed:
        yield Doubt(Sentence("{n:case} failed.", n=failed), brief=Sentence("{n:case} failed", n=failed), heavy=True)


def _of_checks(loaded: Loaded, most_named: int) -> Iterator[Doubt]:
    """Say what checks found of arms, label by label."""
    for label, cases in loaded.labelled.items():
        names = Listed(_named(loaded, cases), most=most_named)
        yield Doubt(
            Sentence("{label}: {names}.", label=f"{label[:1].upper()}{label[1:]}", names=names),
            brief=Sentence("{label}: {names}", label=label, names=replace(names, most=1)),
            heavy=label in OF_WORK,
        )


def _of_cells(loaded: Loaded) -> Iterator[Doubt]:
    """Say how many comparisons no clock can decide, and what checks found in single cells.

    Where no label says that the machine was disturbed, what was found in times weighs as much.
    """
    disturbed = sum(Label.CONTAMINATED in of_cell(cell) for cell in loaded.comparisons.labels)
    if disturbed:
        words = "{n:comparison is|comparisons are} contaminated: the machine was disturbed, and no "
        words += "clock can decide; the table says by what."
        yield Doubt(Sentence(words, n=disturbed), brief=Sentence("{n} contaminated", n=disturbed), heavy=True)
    busy = disturbed or any(Label.CONTAMINATED in of_cell(cell) for cell in loaded.cases.labels)
    for found in checks.doubts(loaded):
        if not found.labelled:
            yield _found_in_cells(found, heavy=found.timed and not busy)


def _found_in_cells(found: checks.Doubt, *, heavy: bool) -> Doubt:
    """Say what a check without a label found, with the first cell; the others are counted."""
    said, where = found.findings[0]
    words = "{title} {cell}: {said}" + "; so it is in {more:other cell}" * (found.cells > 1) + "."
    full = Sentence(words, title=found.title, cell=where.values[0], said=said, more=found.cells - 1)
    brief = Sentence("{n:cell} {what}", n=found.cells, what=found.name.replace("_", " "))
    return Doubt(full, Sentence("{brief}.", brief=brief), brief if heavy else "", heavy)


def _named(loaded: Loaded, cases: list[Case]) -> list[str]:
    """Names of arms. Of a sweep over sizes, a variant of which every size is among them is named once."""
    if not loaded.sizes_differ:
        return [name(case) for case in cases]
    sizes = grouped((case.variant, case.arm) for case in loaded.plan.cases)
    here, found = {case.arm for case in cases}, list[str]()
    for case in cases:
        every = len({*sizes[case.variant]}) > 1 and here.issuperset(sizes[case.variant])
        found.append(f"{name(case).removesuffix(case.size).rstrip()} of every size" if every else name(case))
    return list(dict.fromkeys(found))
