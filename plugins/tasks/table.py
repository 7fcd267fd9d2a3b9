"""`[tasks]` of a suite: how variants are trained on tasks, at equal training FLOPs, and how their runs are compared."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field

from modbench.extend import (
    MOST_STEPS,
    MOST_TOKENS,
    Condition,
    Source,
    SuiteTable,
    TablePlan,
    Task,
    UsageError,
    catalogue,
    unknown,
)

if TYPE_CHECKING:
    from modbench.extend import AnyMetric, Case, Comparison, MakesComparisons, Outcome, Suite
    from modbench.plugins.tasks.counts import Counts

# The baseline's steps at smoke effort.
SMOKE_STEPS = 4


class TaskPlan(TablePlan):
    """Settings for training on tasks: every variant gets the training FLOPs that the baseline spends on the task's steps.

    Attributes:
        batch_size: sequences per step; None: each task's own.
        steps: the baseline's steps; None: each task's own.
        lr: peak learning rate; None: the width rule.
        paths: task to the file or folder that it reads.
        counted: tasks on which variants are compared by how many of their runs solved it, such as `["retrieval"]`; on the
            others, by default on all, by mean accuracy. Results never choose.
        interim_analyses: how many sets of seeds shall be judged in all; each run trains one of them, and `modbench report
            --pool` pools them. The levels of all of them together make up 5 %.
    """

    table = "tasks"

    batch_size: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] | None = None
    lr: Annotated[float, Field(gt=0, le=10)] | None = None
    paths: dict[str, str] = Field(default_factory=dict)
    counted: tuple[str, ...] = ()
    interim_analyses: Annotated[int, Field(ge=1, le=10)] = 1

    @property
    def measured(self) -> TaskPlan:
        """What numbers depend on: the plan without how they are compared."""
        return self.model_copy(update={"counted": (), "interim_analyses": 1})


def condition_of(task: str) -> tuple[Condition, ...]:
    """The condition of being trained on a task."""
    return (Condition(key="task", value=task, label=task, title="Task"),)


def task_of(case: Case) -> str:
    """The task that a case is trained on; empty if it is trained on none."""
    return cast("str", case.condition("task") or "")


@functools.cache
def _opened(name: str, path: str | None) -> Source:
    """Open a task; cached, since a plan asks for it many times."""
    return cast("Source", catalogue.load("tasks", name).open(path))


def open_task(plan: TaskPlan, name: str) -> Source:
    """Open a task of a suite.

    Raises:
        UsageError: if a path is missing or superfluous, or its files cannot be read.
    """
    task: Task = catalogue.load("tasks", name)
    path = plan.paths.get(name)
    if task.needs_path and path is None:
        raise UsageError(
            f"task {name!r} reads a file or folder of yours: give it with --set tasks.paths.{name}=PATH, or leave the metric "
            f"'task/{name}' out."
        )
    if path is not None and not task.needs_path:
        raise UsageError(f"task {name!r} makes its own questions and reads no file: leave out tasks.paths.{name}.")
    return _opened(name, path)


class TaskTable(SuiteTable[TaskPlan]):
    """Each task has a comparison of its own, of all variants in the shape that it needs."""

    at_smoke = {"steps": SMOKE_STEPS}  # noqa: RUF012  # a ClassVar of `SuiteTable`

    def check(self, suite: Suite, source: str) -> None:
        """Check that there are the tasks whose runs are counted."""
        for task in TaskPlan.settled(suite).counted:
            if task not in catalogue.entries("tasks"):
                raise UsageError(f"{source}: tasks.counted: {unknown('task', task, catalogue.entries('tasks'))}")

    def complete(self, data: dict[str, Any], key: str) -> None:
        """Add tasks whose files are named to the metrics."""
        if key.startswith("tasks.paths"):
            keys = (f"task/{task}" for task in data["tasks"]["paths"])
            data["metrics"] = [*dict.fromkeys((*data["metrics"], *keys))]

    def planned(self, maker: MakesComparisons, keys: Sequence[str]) -> Iterator[Comparison]:
        """One comparison for each task."""
        plan = TaskPlan.settled(maker.suite)
        for key in keys:
            name = key.removeprefix("task/")
            source = open_task(plan, name)
            yield maker.apart(
                (key,),
                name,
                shape={"vocab_size": len(source.words), "max_seq_len": source.seq_len},
                seq_len=source.seq_len,
                batch_size=plan.batch_size or catalogue.load("tasks", name).batch_size,
                conditions=condition_of(name),
            )

    def forecast(self, suite: Suite, comparisons: Sequence[Comparison]) -> Mapping[str, Any]:
        """Return what the seeds can decide on tasks whose runs are counted.

        Seeds that solve a task or do not are compared by exact counts, so that this is known before anything runs.
        """
        plan = TaskPlan.settled(suite)
        counted = [each.variants for each in comparisons if task_of(each.variants[0]) in plan.counted]
        pairs = [len(variants) - 1 for variants in counted if len(variants) > 1]
        if not pairs or not suite.claims:
            return {}
        from modbench.plugins.tasks import solved  # which loads scipy
        from modbench.plugins.tasks.seed_sets import SeedSets

        analysis = SeedSets((suite.seeds,), plan.interim_analyses).analysis(suite.seeds)
        found = solved.decidable(len(suite.seeds), max(pairs), analysis)
        needed = [{"rates": rates, "seeds": seeds} for rates, seeds in found.needed.items()]
        return {"solved": asdict(found) | {"needed": needed, "in_words": solved.in_words(found)}}

    def forecast_in_words(self, forecast: Mapping[str, Any]) -> Iterator[str]:
        """Say which shares of runs that solve a task the seeds decide."""
        if "solved" in forecast:
            yield forecast["solved"]["in_words"]

    def over_seeds(
        self,
        metric: AnyMetric,
        suite: Suite,
        sets: Sequence[tuple[int, ...]],
        outcomes: Mapping[str, Mapping[int, Outcome]],
    ) -> Counts:
        """Judge accuracies by their mean, or by how many runs solved the task."""
        from modbench.plugins.tasks.counts import counts
        from modbench.plugins.tasks.seed_sets import SeedSets

        plan = TaskPlan.settled(suite)
        counted = metric.key.removeprefix("task/") in plan.counted
        return counts(outcomes, SeedSets(tuple(sets), plan.interim_analyses), counted=counted)


TABLE = TaskTable(TaskPlan)
