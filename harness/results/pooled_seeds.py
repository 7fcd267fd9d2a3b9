"""Runs of the same cases with other seeds, read as one: none of their sets of seeds replaces another."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Job
from modbench.harness.results.run_file import SeedSet, StoredRun


def pooled(run: StoredRun, others: Sequence[StoredRun]) -> StoredRun:
    """Return a run with the seeds that other runs trained the same cases on the same data with.

    Only runs on data of a plug-in's are pooled, such as tasks, and only of cases that `run` has: times of other sessions are no
    further processes. A seed that two runs share is refused: to train it again repeats a computation, and is no new evidence.

    Args:
        run: whose cases and suite count.
        others: the runs whose seeds are added.

    Raises:
        UsageError: if one of them is incomplete or smoke, trained none of the cases, or shares a seed.
    """
    mine = {_same(job) for job in _poolable(run)}
    if not mine:
        raise UsageError(
            f"--pool: {run.path} has no seeds to pool: those of runs on tasks are pooled, as of tasks-confirm."
        )
    taken = {id(each): [job for job in _poolable(each) if _same(job) in mine] for each in (run, *others)}
    for each in others:
        asked = f"--pool {each.path}"
        if each.incomplete is not None:
            raise UsageError(f"{asked}: {each.incomplete} `modbench resume {each.path}` completes it.")
        if each.plan.suite.claims != run.plan.suite.claims:
            raise UsageError(
                f"{asked}: one of the two is a smoke run, which claims nothing. Pool runs of draft effort or more."
            )
        if not taken[id(each)]:
            raise UsageError(
                f"{asked}: it trained none of the cases of {run.path}: the model, its shape, the data and its training must be "
                "the same, and only seeds may differ."
            )
    for one, other in combinations((run, *others), 2):
        if seeds := sorted({seed for _, seed in _seeded(taken[id(one)]) & _seeded(taken[id(other)])}):
            raise UsageError(
                f"--pool: {one.path} and {other.path} both trained seed {seeds[0]}: that repeats a computation, and is no new "
                "evidence. Pool runs with other seeds (--seeds)."
            )
    sets = [
        (each.started, SeedSet(each.path, tuple(dict.fromkeys(job.protocol.seed for job in taken[id(each)]))))
        for each in (run, *others)
    ]
    sets.sort(key=lambda each: (each[0], each[1].seeds))
    jobs = [job for each in others for job in taken[id(each)]]
    names = {job.name for job in jobs}
    return replace(
        run,
        plan=run.plan.model_copy(update={"jobs": (*run.plan.jobs, *jobs)}),
        planned=(*run.planned, *jobs),
        records=[*run.records, *(record for each in others for record in each.records if record.job.name in names)],
        sets=tuple(each for _, each in sets),
    )


def _poolable(run: StoredRun) -> list[Job]:
    return [job for job in run.plan.jobs if job.facts.samples == "seeds" and not job.of_corpus]


def _same(job: Job) -> Hashable:
    """What jobs share that differ in their seed alone: the case, its training, and the data by their hash."""
    return job.comparison.variants, job.protocol.train, job.protocol.corpus_sha256


def _seeded(jobs: Iterable[Job]) -> set[tuple[Hashable, int]]:
    return {(_same(job), job.protocol.seed) for job in jobs}
