"""Asks for the stub jobs that run alone one after the other, so that faults also meet runs that are not decided yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Record
from modbench.harness.domain.suite import Suite
from modbench.harness.planning.adaptive import AdaptiveRule, Decision


class Chain(AdaptiveRule[Any]):
    def groups(self, suite: Suite, jobs: Sequence[Job]) -> dict[str, list[Job]]:
        alone = [job for job in jobs if job.made_in == "stub_alone"]
        return {"chain": alone} if suite.name == "stubs" else {}

    def is_conditional(self, suite: Suite, job: Job) -> bool:
        return job.comparison.grid_point.seq_len > min(suite.grid.seq_len)

    def decide(self, suite: Suite, jobs: Sequence[Job], records: Mapping[str, Record]) -> Decision:
        del suite
        return Decision(
            [job.name for job in jobs if job.name not in records][:1], why=f"after {len(records)} of {len(jobs)}"
        )


RULE = Chain()
