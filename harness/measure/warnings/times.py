"""Warnings about times: what else moved them, and whether the clock can be trusted."""

from __future__ import annotations

import math
from itertools import chain
from statistics import fmean

from modbench.harness.core.labels import Label
from modbench.harness.core.units import about, percent
from modbench.harness.domain.evidence import Evidence, warning
from modbench.harness.domain.notes import CountNotes
from modbench.harness.registry import catalogue
from modbench.harness.stats import effects, noise, paired

# Below this share of noisy blocks the median is not affected.
MOST_NOISY = 0.2
# Of a spread between inputs. A report has some sixty cells, of which hardly one may be called so by chance.
SPREAD_LEVEL, LEAST_SPREAD = 0.001, 0.01
# How much more FLOP/s than its baseline a model may reach: a leaner block of equal FLOPs was 1.12 to 1.38 times as fast.
FACTOR = 1.5
# Time of an operator, whatever it computes: of small shapes most of the time is this, which FLOPs do not explain.
OPERATOR_S = 15e-6
# Labels that explain nothing about speed.
SILENT = frozenset({Label.FASTER, Label.UNCHECKED, Label.NOISY, Label.NOT_AUTOREGRESSIVE, Label.SAW_FUTURE, Label.SAME})


@warning("Look for caches that are still filling or compilation that is still running; raise `rounds`.")
def not_steady(evidence: Evidence) -> str | None:
    """The variant was still getting faster or slower relative to the baseline beside it when it was measured."""
    return f"not steady: {evidence.drift}" if evidence.drift else None


@warning("Keep the machine idle, or use the CPU-time ratio; `modbench doctor` measures how noisy this machine is.")
def noisy(evidence: Evidence) -> str | None:
    """Samples were noisy: by preemption, garbage collection, steal time, throttling or another process."""
    if not evidence.timed or not evidence.outcomes:
        return None
    share = fmean(each.noisy[evidence.case.id] for each in evidence.processes)
    if share <= MOST_NOISY:
        return None
    marks = (noise.causes(each.variants[evidence.case.id], each.blocks) for each in evidence.processes)
    found = noise.counted(chain.from_iterable(marks))
    return (
        f"{about(share)} of its blocks were noisy ({', '.join(f'{cause}: {n} samples' for cause, n in found.items())})"
    )


@warning("Shapes or flags change between calls: measure one length per process, or mark the shapes as dynamic.")
def recompiled(evidence: Evidence) -> str | None:
    """Code was compiled inside the timed region."""
    times = sum(value > 0 for outcome in evidence.outcomes for value in outcome.samples.get("recompiles", ()))
    return f"{times} samples include the compilation of a new graph" if times else None


@warning("Time it on inputs like yours: here an untrained model routed random tokens.", Label.INPUT_DEPENDENT)
def input_dependent(evidence: Evidence) -> str | None:
    """The time depends on the input: one number stands for a distribution over inputs."""
    case = evidence.case.id
    if not evidence.timed or any("input" not in each.variants[case] for each in evidence.processes):
        return None
    processes = [(each.of_blocks(case), each.inputs(case)) for each in evidence.beside]
    spread = effects.input_spread(processes) if processes else None
    if spread is None or spread.p >= SPREAD_LEVEL or spread.sd < LEAST_SPREAD:
        return None
    over = f"standard deviation over {spread.inputs}, p = {spread.p:.1g}"
    return f"its time differs by ±{percent(spread.sd)} between inputs ({over})"


@warning(
    "Raise `most_processes`, accept a wider confidence interval, or look for what makes processes differ (`modbench doctor`).",
    Label.PROCESSES_CAPPED,
)
def capped_processes(evidence: Evidence) -> str | None:
    """The pilot asked for more processes than were allowed."""
    decided = evidence.decision
    if decided is None or decided.sd is None or not decided.capped:
        return None
    return (
        f"the pilot asked for {decided.asked_in_words} processes to detect {percent(decided.detectable)}, but only "
        f"{decided.made} were allowed: processes differ by {percent(decided.sd)}"
    )


def _theoretical(evidence: Evidence) -> float | None:
    """FLOPs of the baseline over those of the case; None where one of them is unknown or a lower bound."""
    sides = (evidence.baseline_counted, evidence.counted)
    theirs, mine = (
        getattr(side, evidence.metric.theoretical, None) if evidence.metric.theoretical else None for side in sides
    )
    if not theirs or not mine or any(side.operators and side.operators.unknown for side in sides):
        return None
    return float(theirs / mine)


def _least_ratio(evidence: Evidence) -> float | None:
    """The lower end of the interval of baseline over case; None where there is no interval."""
    processes, baseline = dict(enumerate(evidence.beside)), evidence.beside[0].baseline
    numbers = paired.between(processes, evidence.case.id, baseline, one_thread=False, averaged=False)
    if not numbers.effects():
        return None
    low = effects.over_processes(numbers.effects(), numbers.within() if len(processes) == 1 else None).low
    return None if low is None else math.exp(low)


def _operators(counted: CountNotes) -> int:
    """Calls of operators in a forward pass, products aside."""
    return sum(counted.operators.cheap.values()) if counted.operators else 0


def _explained(evidence: Evidence) -> bool:
    """Whether another label says why."""
    usable = catalogue.usable("warnings").values()
    return any(each.label and each.label not in SILENT and each.check(evidence) for each in usable)


@warning(
    "Find out what it does not compute: a cache, a shortcut, work that the counter cannot see, or a leaner block.",
    Label.FASTER,
)
def faster_than_flops(evidence: Evidence) -> str | None:
    """It is faster than its FLOPs explain, and no other label says why."""
    theoretical = _theoretical(evidence)
    if not evidence.timed or theoretical is None or not evidence.beside or not evidence.baseline_s:
        return None
    ratio = _least_ratio(evidence)
    if ratio is None or ratio <= 1:
        return None
    calls = _operators(evidence.baseline_counted) * (3 if evidence.metric.workload == "train_step" else 1)
    launching = min(1.0, OPERATOR_S * calls / evidence.baseline_s)
    if ratio * (1 - launching) <= FACTOR * theoretical or _explained(evidence):
        return None
    return f"at least {ratio:.2f} times as fast as its baseline, where FLOPs promise {theoretical:.2f} times"
