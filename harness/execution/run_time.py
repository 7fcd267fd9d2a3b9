"""How long the jobs of a run take, from the peaks that this machine was measured to have; without them, as assumed.

Training times are multiplied by the ratio of measured to predicted time in this machine's last runs (`roofline/stored.py`).
A call's operators are recorded on the meta device, which computes nothing. What a job does besides its calls (starting a
process, building and checking its variants, warming up) is added.
"""

from __future__ import annotations

import functools
import math

from modbench.harness.call.timing.interleave import SHORTEST_SAMPLE_S
from modbench.harness.domain.case import ELEMENT_BYTES, VARIANTS_PER_BLOCK, Case, Job
from modbench.harness.machine import certificate, environment
from modbench.harness.machine.roofline import stored
from modbench.harness.machine.roofline.stored import Pace
from modbench.harness.machine.roofline.table import Table
from modbench.harness.machine.roofline.work import Listed
from modbench.harness.planning.flops.closed_form import case_cost, case_decode_cost
from modbench.harness.planning.jobs import in_forwards
from modbench.harness.planning.plan import Plan, assumed_speed, predicted_seconds
from modbench.harness.registry import catalogue

# Drawing one weight, and what else a variant costs before its first call: measured in this project's own processes.
DRAW_S, VARIANT_S = 1e-8, 0.02
# Calls of a variant before its warm-up: the contract check, and one to prepare what is timed.
FIRST_CALLS = 2
# Cases whose operators are recorded; a plan of more takes the times of the others from the nearest.
MOST_RECORDED = 60


class RunTime:
    """Predicts the seconds of a plan's jobs.

    Args:
        plan: the plan.
        tables: peaks by number format; default those that this machine keeps.
        paces: of training, by number format; default those that this machine keeps, or none with given tables.

    Attributes:
        load: how many times as long as predicted the last runs on this machine took, or its check saw work wait: at least 1.
    """

    def __init__(
        self, plan: Plan, tables: dict[str, Table] | None = None, paces: dict[str, Pace] | None = None
    ) -> None:
        self.plan = plan
        self.machine = _machine(plan) if tables is None else ""
        self.tables = _kept(plan, self.machine) if tables is None else tables
        known = {dtype: stored.latest_pace(self.machine, dtype) for dtype in self.tables} if self.machine else {}
        self.paces = known if paces is None else paces
        self.load = stored.latest_load(self.machine).most if self.machine else 1.0
        self._near = _nearest(plan) if self.tables else {}
        self._process_s: dict[str, float] = {}
        self._call_s: dict[tuple[Case, str], float | None] = {}

    @property
    def measured(self) -> bool:
        """Whether the peaks of every number format of the plan are known."""
        return bool(self.tables) and all(case.grid_point.dtype in self.tables for case in self.plan.cases)

    @property
    def paced(self) -> bool:
        """Whether an earlier run on this machine stored a ratio."""
        return any(each.ratios for each in self.paces.values())

    def seconds(self, job: Job, at_once: int) -> float:
        """Wall time that a job adds to the run, in s."""
        facts, anchor = job.facts, job.comparison.variants[0]
        start = predicted_seconds(self.plan, job.model_copy(update={"flops": 0.0}), 1)
        if facts.predicts:
            estimate = catalogue.load("passes", job.made_in).estimate_seconds
            return float(start + estimate(job, lambda case: self._known(case, anchor, "forward"))) / at_once
        if anchor.grid_point.dtype not in self.tables or facts.about_machine:
            return predicted_seconds(self.plan, job, at_once)
        if facts.repeated and facts.times:
            return (start + self._timed(job)) / at_once
        known = self._work(job)
        if known is None:
            return predicted_seconds(self.plan, job, at_once)
        seconds, flops = known
        if facts.trains:
            seconds *= self.paces.get(anchor.grid_point.dtype, Pace()).of(flops)
        return (start + seconds) / at_once

    def _work(self, job: Job) -> tuple[float, float] | None:
        """Seconds of a job's calls at the peaks, and FLOPs of one; None if shapes alone do not tell."""
        (anchor, *_), trains = job.comparison.variants, job.facts.trains
        step, cost = self.call(anchor, "train_step" if trains else "forward"), case_cost(anchor)
        if step is None or cost is None:
            return None
        flops = cost.train_step if trains else cost.forward
        return job.flops / flops * step / job.ranks, flops

    def pace_of(self, job: Job, took_s: float) -> tuple[float, float] | None:
        """FLOPs of a training job's step, and its ratio of measured to predicted time; None if it tells nothing.

        Args:
            job: the job.
            took_s: seconds that its work took.
        """
        if not job.facts.trains or job.facts.most != 1 or job.comparison.grid_point.dtype not in self.tables:
            return None
        known, start = self._work(job), predicted_seconds(self.plan, job.model_copy(update={"flops": 0.0}), 1)
        if known is None or known[0] < stored.LEAST_S:
            return None
        return known[1], max(1.0, (took_s - start) / known[0])

    def _timed(self, job: Job) -> float:
        """Seconds of a process after its process has started: of all processes of a series the same."""
        if not job.series:
            return self._process(job)
        if job.series not in self._process_s:
            self._process_s[job.series] = self._process(job)
        return self._process_s[job.series]

    def _process(self, job: Job) -> float:
        workload, protocol, variants = job.workload.partition("-")[0], job.protocol, job.comparison.variants
        calls = [self._known(case, variants[0], workload) * self._calls(job) for case in variants]
        forwards = [self._known(case, variants[0], "forward") for case in variants]
        params = (cost.params if (cost := case_cost(case)) else 0 for case in variants)
        before = sum(
            VARIANT_S + DRAW_S * weights + forward + FIRST_CALLS * call
            for weights, forward, call in zip(params, forwards, calls, strict=True)
        )
        warm_up = max(protocol.warm_up_s, protocol.warm_up_calls * sum(calls))
        samples = [call * math.ceil(SHORTEST_SAMPLE_S / call) for call in calls]
        anchors = max(1, -(-(len(variants) - 1) // VARIANTS_PER_BLOCK))
        return before + warm_up + protocol.rounds * 2 * (anchors * samples[0] + sum(samples[1:]))

    def _calls(self, job: Job) -> int:
        """Steps of a call that decodes, else 1."""
        return job.protocol.decode.tokens if job.workload.startswith("decode") else 1

    def _known(self, case: Case, anchor: Case, workload: str) -> float:
        """Seconds of a call; of one that shapes alone do not tell, the anchor's by FLOPs, or by bytes read."""
        if workload == "request":
            steps = case.grid_point.new_tokens * self._known(case, anchor, "decode")
            return self._known(case, anchor, "prefill") + steps
        own = self.call(case, workload)
        if own is not None:
            return own
        theirs = self.call(anchor, workload) or predicted_s(anchor) * in_forwards(workload, anchor.grid_point)
        return theirs * _share(case, anchor, workload)

    def call(self, case: Case, workload: str) -> float | None:
        """Seconds of one call or decode step; None if shapes alone do not tell, or there are no peaks."""
        case = case.original  # of an A/A control's call there is nothing new to record
        near = self._near.get(case.id, case)
        if (near, workload) not in self._call_s:
            self._call_s[near, workload] = self._recorded(near, workload)
        seconds = self._call_s[near, workload]
        return None if seconds is None else seconds * (1.0 if near == case else _share(case, near, workload))

    def _recorded(self, case: Case, workload: str) -> float | None:
        table = self.tables.get(case.grid_point.dtype)
        found = None if table is None else operators(case, workload)
        return None if table is None or found is None else table.seconds(found)


def _nearest(plan: Plan) -> dict[str, Case]:
    """For every case of a large plan, by id, the one whose operators stand for its own; empty for a plan of few cases.

    To record a call takes some 50 ms. Of each model and number format some cases are recorded that lie evenly among all by
    their FLOPs; the time of another one is that of the nearest, by its FLOPs.
    """
    if len(plan.cases) <= MOST_RECORDED:
        return {}
    groups: dict[tuple[str, str], list[tuple[float, Case]]] = {}
    for case in plan.cases:
        cost = case_cost(case)
        if cost is not None:
            groups.setdefault((case.model, case.grid_point.dtype), []).append((cost.forward, case))
    found, each = {}, max(2, MOST_RECORDED // max(1, len(groups)))
    for members in groups.values():
        members.sort(key=lambda member: member[0])
        most = min(each, len(members))
        chosen = [round(i * (len(members) - 1) / max(1, most - 1)) for i in range(most)]
        for at, (_, case) in enumerate(members):
            found[case.id] = members[min(chosen, key=lambda grid_point: abs(grid_point - at))][1]
    return found


def predicted_s(case: Case) -> float:
    """Seconds of a forward pass at an assumed speed."""
    cost = case_cost(case)
    forward = cost.forward if cost else 1e9
    return forward / assumed_speed(case.grid_point.device, forward)


@functools.cache
def operators(case: Case, workload: str) -> Listed | None:
    """The operators of a call on the meta device; None if shapes alone do not tell."""
    from modbench.harness.call.operators import of_decoding, of_shapes, why_not

    if why_not(case) is not None or case.facts.runs_user_code:  # a user's code runs in no process but its job's
        return None
    try:
        if workload == "decode":
            return of_decoding(case)
        return of_shapes(case, training=workload == "train_step")
    except Exception:  # noqa: BLE001  # a forecast must not end a run: its job will say what is wrong
        return None


def _share(case: Case, anchor: Case, workload: str) -> float:
    """What a case costs, as a share of its anchor; 1 for a user's model."""
    if case.is_user_model or anchor.is_user_model:
        return 1.0
    if workload == "decode":
        costs = [case_decode_cost(side, case.grid_point.seq_len) for side in (case, anchor)]
        return costs[0].read / costs[1].read if costs[0] and costs[1] else 1.0
    mine, theirs = case_cost(case), case_cost(anchor)
    return mine.forward / theirs.forward if mine and theirs else 1.0


def _machine(plan: Plan) -> str:
    """Fingerprint of the CPU; empty for a GPU, whose peaks are not stored."""
    if plan.device != "cpu":
        return ""
    return certificate.fingerprint(environment.collect(), plan.device, plan.suite.threads)


def _kept(plan: Plan, machine: str) -> dict[str, Table]:
    """The latest tables of this machine, by number format; none for a card."""
    if plan.device != "cpu":
        return {}
    found = {dtype: stored.latest(machine, dtype) for dtype in ELEMENT_BYTES}
    return {dtype: table for dtype, table in found.items() if table is not None}
