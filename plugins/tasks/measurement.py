"""Train and evaluate one case on a task with one seed: a metric's `measure` is given `TaskNotes`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.extend import (
    AnyMetric,
    Case,
    Comparison,
    Data,
    Job,
    JobMaker,
    Metric,
    Outcome,
    Pass,
    Phase,
    Protocol,
    Suite,
    TrainPlan,
    TrainRun,
    Unmeasured,
    case_cost,
    catalogue,
    clocks,
    run_flops,
    train_once,
)
from modbench.plugins.tasks.notes import TaskNotes
from modbench.plugins.tasks.table import TaskPlan, open_task, task_of


def run(job: Job, metrics: list[Metric[TaskNotes, float]]) -> Iterator[Outcome]:
    """Train once, then let every metric read the result."""
    return train_once(job, metrics, train_on_task, _as_made)


def _as_made(_metric: AnyMetric, _protocol: Protocol, made: TaskNotes) -> TaskNotes:
    return made


def jobs(maker: JobMaker, comparison: Comparison, _metrics: Sequence[AnyMetric], _process: int) -> Iterator[Job]:
    """One job for each case and seed.

    Raises:
        UsageError: if a budget cannot be met.
    """
    plan = TaskPlan.settled(maker.suite)
    for case in comparison.variants:
        task, one = task_of(case), comparison.model_copy(update={"variants": (case,)})
        train, data = _run(maker.suite, comparison, case), Data(plan.paths.get(task), open_task(plan, task).sha256)
        for seed in maker.suite.seeds:
            name = f"{PASS.name}-{case.id}-seed{seed}"
            yield maker.job(
                name, one, PASS.name, run_flops(train, case), run=train, seed=seed, workload="train", data=data
            )


def _run(suite: Suite, comparison: Comparison, case: Case) -> TrainRun:
    """Resolve a run: the FLOPs that the baseline spends on the task's steps; for a user's model, the same steps."""
    plan, cost, baseline = TaskPlan.settled(suite), case_cost(case), case_cost(comparison.variants[0])
    steps = plan.steps or catalogue.load("tasks", task_of(case)).steps
    train = TrainPlan(
        seq_len=case.grid_point.seq_len,
        batch_size=case.grid_point.batch_size,
        steps=steps,
        lr=plan.lr,
        checkpoint_s=600.0,
    )
    step_flops = cost.train_step if cost else None
    if baseline is None or step_flops is None or not suite.claims:
        return train.resolved(case.config.d_model, step_flops)
    return train.resolved(case.config.d_model, step_flops, steps * baseline.train_step)


def train_on_task(case: Case, protocol: Protocol) -> TaskNotes:
    """Train on a task and answer its held-out questions.

    Raises:
        Unmeasured: if the case cannot be trained by design.
        NumericsError: as soon as a loss is not finite.
        ValueError: if the task's files are not those that the plan names.
    """
    if case.config.bidirectional:
        raise Unmeasured("tasks ask for the next token: a bidirectional model has no next token")
    from modbench.extend import trainer_of
    from modbench.plugins.tasks.evaluation import Drills, answer

    source, run = catalogue.load("tasks", task_of(case)).open(protocol.corpus_path), protocol.train
    if source.sha256 != protocol.corpus_sha256:
        raise ValueError(f"the files of task {task_of(case)!r} changed since the plan")
    if len(source.words) > case.config.vocab_size:
        raise Unmeasured(f"vocab_size {case.config.vocab_size} cannot hold the {len(source.words)} words of this task")
    assert run is not None
    trainer = trainer_of(case, protocol, Drills(source, run, protocol.seed))
    start = clocks.process_time()
    trainer.train()
    cpu_s = clocks.process_time() - start
    return answer(trainer.subject, source, run.batch_size).model_copy(update={"cpu_s": cpu_s})


PASS = Pass(
    name="train_on_task",
    run=run,
    jobs=jobs,
    notes=TaskNotes,
    phase=Phase.TRAIN,
    order=3,
    trains=True,
    samples="seeds",
    statistic="mean",
    settings=lambda suite, _case: TaskPlan.settled(suite).measured,
)
