"""What blocks of two sides say of each case of a suite: effects by both clocks, and what checks found of either side.

In a block two processes of the base and two of the new side take turns, so that in each round all four meet the same machine, and
a machine that becomes steadily slower moves no effect. A round's effect is the mean log time of the base's two minus that of the
new side's; a block's is the median of its rounds'. Blocks are the units of evidence: processes of the same code differ, and
rounds do not show by how much. The base's two processes are an A/A test of exactly this mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from modbench.extend import (
    ESCAPED,
    NOT_TICKED,
    OF_WORK,
    SEVERAL_THREADS,
    UNKNOWN_FAILURES,
    AnyMetric,
    Case,
    Columns,
    Label,
    Reason,
    Seen,
    Tables,
    Trouble,
    Value,
    differences,
    noise,
    other_quantity,
    paired,
    provenance,
    ticked,
)
from modbench.plugins.ab.question import Row, effects

# Failures of a process, not of what it measured.
DIED = frozenset({"crash", "timeout", "oom"})
# With one of these a time is not that of the work, so that it is compared with no other.
NOT_OF_WORK = frozenset({Label.REUSES_OUTPUT, Label.OTHER_PRECISION, Label.IDLE_IN_TRAINING, Label.PROCESS_CHANGED})


def measured(
    blocks: Sequence[Sequence[Tables]], prepared: tuple[Tables, Tables], *, builds: bool = False
) -> Iterator[Row]:
    """Yield the numbers of every case and metric of either side, or why there are none.

    Args:
        blocks: the processes of every block, in the order of `NAMES`.
        prepared: the runs that prepared the base and the new side.
        builds: whether the sides are two models: their cases differ in name, and are the same where they have the same place.
    """
    here, there = (
        {case.grid_point.label if builds else case.id: case for case in each.plan.cases} for each in prepared
    )
    for metric in prepared[0].suite.metrics:
        for key, case in here.items():
            other = there.get(key)
            if other is None:
                yield Row(case, metric, why="the new side has no such case")
            # In more than its model's file.
            elif not builds and case.model_copy(update={"model": other.model}) != other:
                yield Row(other, metric, why=f"the same id, but another case: {differences(other, case)}")
            else:
                yield _row(blocks, prepared, (case, other), metric)
        for key in there.keys() - here.keys():
            yield Row(there[key], metric, why="new: the base has no such case", judged=False)


def _row(
    blocks: Sequence[Sequence[Tables]], prepared: tuple[Tables, Tables], cases: tuple[Case, Case], metric: str
) -> Row:
    base, new = cases
    known = prepared[0].metrics[metric]
    made = list[list[_Rounds]]()
    for block in blocks:
        found = [_rounds(*each, known) for each in zip(block, (base, base, new, new), strict=True)]
        wrong = [each if isinstance(each, Trouble) else None for each in found]
        if any(wrong):
            return lost(new, metric, wrong[0] or wrong[1], wrong[2] or wrong[3])
        made.append([each for each in found if isinstance(each, _Rounds)])
    base_labels, labels = (
        checks([run for block in blocks for run in block[i : i + 2]], own, case.id, known)
        for i, own, case in zip((0, 2), prepared, cases, strict=True)
    )
    ticked = base.grid_point.one_thread and all(each.cpu for four in made for each in four)
    by_cpu = [[each.cpu for each in four] for four in made] if ticked else None
    own, control = effects([[each.wall for each in four] for four in made], by_cpu)
    sides = [[each.samples for four in made for each in four[i : i + 2]] for i in (0, 2)]
    unfit = paired.unfit(sides) if base.grid_point.one_thread else SEVERAL_THREADS
    unfit = escaped(base_labels, labels) or unfit or (None if ticked else NOT_TICKED)
    withheld = machine_unfit(prepared) or not_its_work(base_labels, labels, known)
    marks = (any(marks) for four in made for marks in zip(*(each.noisy for each in four), strict=True))
    # The new side's time is the base's by their ratio, which is taken round by round: so the three agree.
    base_time = median(median(each.wall) for four in made for each in four[:2])
    times = math.exp(base_time), math.exp(base_time - fmean(own.wall.values()))
    seen = Seen(fmean(marks), unfit, withheld=withheld)
    return Row(new, metric, own, control, seen, *times, new_labels=labels, base_labels=base_labels)


def checks(processes: Iterable[Tables], prepared: Tables, case: str, metric: AnyMetric) -> tuple[Label, ...]:
    """What checks found about a case of one side: in the run that prepared it, and in its processes of every block.

    Guards run where a side is prepared. The processes leave them out and say so: what could not be checked, that run says.
    """
    found = dict[Label, None]()
    for tables in (prepared, *processes):
        own = next((each for each in tables.plan.cases if each.id == case), None)
        labels = () if own is None else tables.value(own, metric).labels
        found |= dict.fromkeys(each for each in labels if tables is prepared or each != Label.UNCHECKED)
    return tuple(each for each in found if each in OF_WORK)


def not_its_work(base: Sequence[Label], new: Sequence[Label], metric: AnyMetric) -> Reason | None:
    """Say that a side's time is not that of its work, or may not be, so that nothing can be claimed; None: nothing says so."""
    # What training leaves out changes no other time; with it on both sides the same may have been timed.
    only_training = {Label.IDLE_IN_TRAINING} if metric.workload != "train_step" else set[Label]()
    for side, labels in (("new", new), ("base", base)):
        wrong = [each for each in labels if each in NOT_OF_WORK - only_training]
        if wrong:
            return Reason("said", said=f"the {side} side {', '.join(wrong)}: its time is not that of its work")
    apart = [{*labels} & ({Label.UNCHECKED} | only_training) for labels in (base, new)]
    return None if apart[0] == apart[1] else Reason("said", said=other_quantity(apart[1], apart[0]))


def machine_unfit(prepared: Iterable[Tables]) -> Reason | None:
    """Say that the machine calls identical models different too often for its times to be used; None: it does not."""
    known = (each for tables in prepared for each in provenance.certificates(tables.run))
    unfit = next((each.in_words() for each in known if each.verdict == "unfit"), None)
    words = f"times cannot be compared here. {unfit}. `modbench doctor` tells more"
    return None if unfit is None else Reason("said", said=words)


def escaped(*sides: Sequence[Label]) -> Reason | None:
    """Return the label of one side that says that work may be done where its time does not see it; None without one."""
    found = (label for side in sides for label in side if label in ESCAPED)
    return next((Reason("said", said=str(label)) for label in found), None)


def lost(case: Case, metric: str, base: Trouble | None, new: Trouble | None) -> Row:
    """A case without a number, by what happened to each side; not both are None."""
    wrong = base or new
    assert wrong is not None
    why: Value = f"{wrong.status}: {wrong.reason}"
    # A process of the base that died says nothing of a case that its preparation, and maybe other blocks, have measured.
    unknown = wrong.status != "failed" or wrong.kind in UNKNOWN_FAILURES or (base is not None and wrong.kind in DIED)
    return Row(case, metric, why=why, lacking=None if unknown else "base" if base else "new")


class _Rounds(NamedTuple):
    """The rounds of a process.

    Attributes:
        wall: the mean log time of each.
        cpu: of CPU time; empty where its clock did not tick in each call.
        noisy: whether one of its samples was.
        samples: as they were recorded.
    """

    wall: list[float]
    cpu: list[float]
    noisy: list[bool]
    samples: Columns


def _rounds(tables: Tables, case: Case, metric: AnyMetric) -> _Rounds | Trouble:
    """The rounds of the process that a run folder holds; or why there are none."""
    mine = next((each for each in tables.plan.cases if each.id == case.id), None)
    if mine is None:
        return Trouble("skipped", "a process has no such case")
    wrong = tables.value(mine, metric).trouble
    # What drifts is compared with rounds right beside it.
    if wrong is not None and wrong.kind != "not_steady":
        return wrong
    (process,) = tables.value(mine, metric).processes.values()
    own = process.variants[mine.id]
    numbers = np.asarray(own["round"])
    rounds = [numbers == each for each in np.unique(numbers)]

    def means(column: str) -> list[float]:
        logs = np.log(own[column])
        return [float(logs[each].mean()) for each in rounds]

    marks = np.array([bool(each) for each in noise.causes(own, process.blocks)])
    cpu = means("cpu_s") if ticked(own) else []
    return _Rounds(means(tables.made_in(metric).column), cpu, [bool(marks[each].any()) for each in rounds], own)
