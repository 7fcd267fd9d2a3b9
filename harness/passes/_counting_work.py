"""What is counted of a case, and how much work that is, in FLOPs that take as long: from it follow a plan and the time left.

Counting was taken apart here at d_model 576, 30 layers and 49,152 words, and at the shape of `quick`. What is no product (drawing
weights, going through every operator of a block in Python) is put in FLOPs at the speed that plans assume of a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from modbench.harness.domain.case import COUNTS, Case, Counts, UnitOfWork
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.passes._guards import guarded
from modbench.harness.registry import catalogue

if TYPE_CHECKING:
    from modbench.harness.domain.suite import Suite

# Of a process, whose libraries start; of a case; of a block: in the passes that every case gets, in a count of training on the
# meta device, and in fvcore's trace.
FIRST, CASE, BLOCK, TRAINED_BLOCK, TRACED_BLOCK = 5e10, 3e9, 1.5e9, 2.4e9, 1.5e9
# Of a weight: to draw it, and for a step of the optimizer.
DRAWN, STEPPED = 600.0, 300.0
# Forward passes at the case's own place: the contract, executed FLOPs, claims. Calls of the guards.
FORWARDS, GUARDS = 3, 22
# What a user's model adds: first inputs and work out of sight; training mode against evaluation mode, with two models.
OWN_FORWARDS, OWN_TRAINED = 10, 14
# The metric that needs a backward pass on real tensors.
HARDWARE = "flops/train_step/hardware"


def asked(suite: Suite) -> tuple[Counts, ...]:
    """What the suite's metrics need of a count, besides what every number needs to be believed.

    By suite and not by comparison: a case may be in several, and the report reads one count of it.
    """
    known = catalogue.metrics()
    metrics = [known[key] for key in catalogue.needed(suite.metrics)]
    wanted: dict[Counts, bool] = {
        "training": any(metric.workload in {"train_step", "train"} for metric in metrics),
        "third_opinion": any(metric.made_in == "count" for metric in metrics),
        "forward_operators": any(metric.needs == "roofline" and metric.workload == "forward" for metric in metrics),
        "train_operators": any(metric.needs == "roofline" and metric.workload == "train_step" for metric in metrics),
    }
    return tuple(part for part in COUNTS if wanted[part])


def work(unit: UnitOfWork, forward: Callable[[Case], float]) -> float:
    """FLOPs that take as long as a unit that counts.

    Args:
        unit: the unit.
        forward: gives the FLOPs of a case's forward pass.
    """
    arms = unit.comparison.arms
    parts = COUNTS if unit.protocol.counts is None else unit.protocol.counts
    hardware = HARDWARE in unit.comparison.metrics
    return FIRST + sum(_of_case(case, arms[0], forward(case), parts, hardware=hardware) for case in arms)


def _of_case(case: Case, anchor: Case, forward: float, parts: Sequence[Counts], *, hardware: bool) -> float:
    """The same of one case; a user's model is assumed to have as many parameters as the anchor."""
    cost = case_cost(case) or case_cost(anchor)
    params = cost.params if cost else 0.0
    tokens = case.place.batch_size * case.place.seq_len
    most = guarded(case, int(params))
    share = 1.0 if most is None else min(1.0, most[0] * most[1] / tokens)
    models, forwards, steps = 1, FORWARDS + GUARDS * share, 0
    blocks = BLOCK + TRACED_BLOCK * ("third_opinion" in parts) + TRAINED_BLOCK * ("training" in parts)
    if "train_operators" in parts:
        models, forwards, steps = models + 1, forwards + 3, steps + 2
    if hardware:
        models, forwards = models + 1, forwards + 4
    if case.own:
        forwards += OWN_FORWARDS
        if "training" in parts:
            models, forwards = models + 2, forwards + OWN_TRAINED
    return CASE + blocks * case.config.n_layers + forwards * forward + params * (models * DRAWN + steps * STEPPED)
