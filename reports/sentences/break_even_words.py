"""The break-even lines in sentences: from where on each arm pays, against same-shape dense and the dense model of equal cost."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from modbench.harness.core.units import three_digits
from modbench.harness.stats.effects import LEVEL
from modbench.reports.questions.break_even import ALL_TIMED, AXES, Axis, Line, lines, other, to_be_sure
from modbench.reports.questions.inference import SERVED
from modbench.reports.tables.contenders import contenders
from modbench.reports.tables.load import MOST_ARMS, Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import TIMED

# Sentences at most; breakeven.csv has every line.
MOST_SENTENCES = 24
# Typical calls, and mean times, of one line.
Pair: TypeAlias = tuple[Line, Line]
# From this share on it is said that a dense model of equal cost has other FLOPs than the arm.
FAR = 0.05
# An axis as a letter.
SHORT: dict[Axis, str] = dict(zip(AXES, ("T", "B"), strict=True))


def in_words(loaded: Loaded, metrics: Collection[str] = ALL_TIMED) -> list[str]:
    """Say for every workload and place where each arm pays; empty for a run without lines.

    An arm with a dense model of equal cost has a sentence of its own; the others share one. What is said is the less favourable
    of typical calls and mean times.

    Args:
        loaded: the run.
        metrics: times of workloads that are spoken of.
    """
    arms = [case.arm for case in contenders(loaded)]
    every = lines(loaded, arms[:MOST_ARMS], metrics)
    if not every:
        return []
    if not loaded.run.plan.suite.claims:
        return ["A smoke run says nothing about where skipping pays."]
    if not loaded.checked:
        return ["The machine was not checked, so that nothing is said about where skipping pays."]
    places: dict[_Where, list[Pair]] = {}
    for typical, mean in zip(every[::2], every[1::2], strict=True):  # both estimates of a line follow each other
        places.setdefault(_where(typical), []).append((typical, mean))
    gaps = {rung.arm: rung.gaps for rung in loaded.run.plan.ladder if rung.quantity == "flops/forward"}
    said = [sentence for where, pairs in places.items() for sentence in _sentences(pairs, _title(where, places), gaps)]
    if len(said) > MOST_SENTENCES or len(arms) > MOST_ARMS:
        said[MOST_SENTENCES:] = ["breakeven.csv has the other lines."]
    return said


def in_serving(loaded: Loaded) -> list[str]:
    """Say for prefill and decode from which length or batch on each arm is faster than dense models."""
    return in_words(loaded, [served.time for served in SERVED])


class _Where(NamedTuple):
    """What lines share: the workload, the axis, the value of the other axis, and how calls run."""

    metric: str
    axis: Axis
    fixed: int
    dtype: str
    execution: str


def _where(line: Line) -> _Where:
    place = line.place
    return _Where(line.metric, line.axis, getattr(place, other(line.axis)), place.dtype, place.execution)


def _title(where: _Where, places: Collection[_Where]) -> str:
    """Name a workload and what distinguishes its place from the others: `decode step at T = 256, bf16`."""
    alike = [each for each in places if each[:2] == where[:2]]
    several = {field for field in where._fields if len({getattr(each, field) for each in alike}) > 1}
    # Along the batch size the length is no matter of course.
    fixed = where.axis == "batch_size" or "fixed" in several
    parts = [f"{SHORT[other(where.axis)]} = {where.fixed:,}"] * fixed
    parts += [getattr(where, field) for field in ("dtype", "execution") if field in several]
    title = {metric: title for title, metric in TIMED}[where.metric]
    return " at ".join(filter(None, [title, ", ".join(parts)]))


def _sentences(pairs: Sequence[Pair], title: str, gaps: Mapping[str, Mapping[int, float]]) -> Iterator[str]:
    """Yield the sentences about one workload at one place.

    Args:
        pairs: both estimates of each line.
        title: the workload and what distinguishes its place.
        gaps: by dense model of equal cost and length, how far its FLOPs are from those of its target.
    """
    by_arm: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_arm.setdefault(pair[0].case.arm, []).append(pair)
    others: dict[str, dict[str, list[str]]] = {}
    for found in by_arm.values():
        called = name(found[0][0].case)
        if any(pair[0].against == "equal cost" for pair in found):
            clauses = [
                f"against {_baseline(pair[0])}{_comma(pair[0])} {from_where(*pair)}{_unequal(pair[0], gaps)}"
                for pair in found
            ]
            yield f"Where {called} pays ({title}): {'; '.join(clauses)}."
        else:
            others.setdefault(_baseline(found[0][0]), {}).setdefault(from_where(*found[0]), []).append(called)
    for baseline, said in others.items():
        clauses = [f"{', '.join(arms)} {words}" for words, arms in said.items()]
        start = "Where others pay" if any(pair[0].against == "equal cost" for pair in pairs) else "Where it pays"
        yield f"{start} ({title}) against {baseline}: {'; '.join(clauses)}."


def _unequal(line: Line, gaps: Mapping[str, Mapping[int, float]]) -> str:
    """Say how far the FLOPs of a dense model of equal cost are from equal: it was solved for one length."""
    here = {at: gap for at, gap in gaps.get(line.baseline.arm, {}).items() if at in line.measured}
    if line.against != "equal cost" or line.axis != "seq_len" or not here:
        return ""
    at, gap = max(here.items(), key=lambda each: abs(each[1]))
    if abs(gap) < FAR:
        return ""
    return f" (its FLOPs are {abs(gap):.0%} {'lower' if gap < 0 else 'higher'} at T = {at:,})".replace("%", " %")


def _baseline(line: Line) -> str:
    return name(line.baseline) + (" of the same shape" if line.against == "same shape" else "")


def _comma(line: Line) -> str:
    """A comma after a name that holds one: `dense, 56 % of the FLOPs,`."""
    return "," * ("," in _baseline(line))


def from_where(typical: Line, mean: Line) -> str:
    """Say where an arm pays: `from T ≈ 142 on (95 %: 120 to 170)`, `nowhere from T = 32 to 512 by mean times`."""
    line = to_be_sure(typical, mean)
    if typical.withheld:
        return f"no claim ({typical.withheld})"
    said = _phrase(line)
    if typical.found.outcome != mean.found.outcome:
        said += " by typical calls" if line is typical else " by mean times"
    return said + _without(line)


def _without(line: Line) -> str:
    """Say which points are left out, by reason: `, without T = 128, 256 (contaminated)`."""
    by_reason: dict[str, list[str]] = {}
    for point in line.left_out:
        at, _, reason = point.partition(": ")
        by_reason.setdefault(reason, []).append(at)
    said = [f"{', '.join(points)} ({reason})" for reason, points in by_reason.items()]
    return f", without {SHORT[line.axis]} = {' and '.join(said)}" if said else ""


def _phrase(line: Line) -> str:
    found, short = line.found, SHORT[line.axis]
    if found.outcome is None:
        return f"unknown ({found.reason})"
    first, last = (f"{line.measured[i]:,}" for i in (0, -1))
    level = f"{LEVEL:.0%}".replace("%", " %")
    if found.outcome == "crossing":
        assert found.high is not None, "a crossing has an upper end"
        if found.at is None or found.low is None:
            return f"from {short} ≈ {rounded(found.high)} on at the latest ({level})"
        return f"from {short} ≈ {rounded(found.at)} on ({level}: {rounded(found.low)} to {rounded(found.high)})"
    if found.outcome == "not monotone":
        return f"without a line along {short} ({found.reason})"
    if found.outcome == "undecided" and found.low is not None:
        return f"not up to {short} ≈ {rounded(found.low)} ({level}), undecided from there to {last}"
    word = {"always": "everywhere", "never": "nowhere", "undecided": "undecided"}[found.outcome]
    return f"{word} from {short} = {first} to {last}" if first != last else f"{word} at {short} = {first}"


def rounded(value: float) -> str:
    """Write a point of an axis with three digits: `1,230`."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 10 else three_digits(value)
