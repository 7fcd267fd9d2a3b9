"""Training runs of a plan: the steps and learning rate of each model, and the unit that must run before."""

from __future__ import annotations

from modbench.harness.core.errors import UsageError
from modbench.harness.core.model_specs import Pairs
from modbench.harness.core.train_plan import FLOPS_TOLERANCE, TrainPlan, TrainRun
from modbench.harness.domain.case import Case, Comparison
from modbench.harness.domain.suite import Suite
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.registry import catalogue
from modbench.harness.registry.model_sources import sourced

# Assumed FLOPs per step of a user's model; used only to estimate the time left.
GUESSED_STEP = 3e9


def tries_rates(suite: Suite) -> bool:
    """Whether learning rates are tried before the runs of a sweep."""
    return suite.isoflop is not None and any(catalogue.pass_of(catalogue.metrics()[key]).once for key in suite.metrics)


def train_run(suite: Suite, comparison: Comparison, case: Case) -> TrainRun:
    """Resolve the training run of one case.

    Raises:
        UsageError: if its budget is too small for a step, or cannot be met within 1 %.
    """
    cost = case_cost(case)
    step_flops = cost.train_step if cost else None
    if cost is not None and suite.isoflop is not None and suite.isoflop.count == "causal":
        step_flops = cost.train_step_causal
    if case.task:
        return _task_run(suite, comparison, case, step_flops)
    assert suite.train is not None
    in_flops = case.budget is not None or suite.train.flops is not None
    if in_flops and case.config.capacity_warmup:
        raise UsageError(
            f"{case.id}: with capacity_warmup {case.config.capacity_warmup:g} steps cost more at first than later, so a budget "
            "of FLOPs does not determine their number. Set capacity_warmup=0, or give train.steps."
        )
    # A smoke run only shows that training works: it makes its few steps whatever the budget.
    tokenizer = case.tokenizer or tokenizer_of(case.model, case.options, suite.train)
    place = {"seq_len": case.place.seq_len, "batch_size": case.place.batch_size}
    plan = suite.train.model_copy(update={"tokenizer": tokenizer, **place})
    run = plan.resolved(case.config.d_model, step_flops, case.budget if suite.claims else None)
    if case.budget is not None and step_flops is not None and suite.claims:
        off = run.steps * step_flops / case.budget - 1
        if abs(off) > FLOPS_TOLERANCE:
            raise UsageError(
                f"{case.id}: {run.steps} whole steps of {step_flops:.3g} FLOPs are {off:+.1%} off the budget {case.budget:.3g}; "
                f"at most {FLOPS_TOLERANCE:.0%} is allowed. Raise the budget, or lower train.batch_size."
            )
    return run.model_copy(update={"held_out": "explore"}) if suite.confirms else run


def reads_text(steps: int | None, model: str, options: Pairs) -> bool:
    """Whether a model gets a corpus: where it is not trained, weights must come with it; a user's file may load some."""
    if steps != 0:
        return True
    if catalogue.is_shipped("models", model):
        return False
    found = sourced(model, options)
    return found is None or found.tokenizer() is not None


def tokenizer_of(model: str, options: Pairs, plan: TrainPlan) -> str:
    """The tokenizer that a model's text is cut by: the suite's, or where that names none, a pretrained model's own."""
    found = sourced(model, options)
    own = found.tokenizer() if found else None
    return own if own and plan.tokenizer == TrainPlan.model_fields["tokenizer"].default else plan.tokenizer


def _task_run(suite: Suite, comparison: Comparison, case: Case, step_flops: float | None) -> TrainRun:
    """Resolve a run on a task: the FLOPs that the anchor spends on the task's steps; for a user's model, the same steps."""
    plan, anchor = suite.tasks, case_cost(comparison.arms[0])
    steps = plan.steps or catalogue.load("tasks", case.task).steps
    train = TrainPlan(
        seq_len=case.place.seq_len, batch_size=case.place.batch_size, steps=steps, lr=plan.lr, checkpoint_s=600.0
    )
    if anchor is None or step_flops is None or not suite.claims:
        return train.resolved(case.config.d_model, step_flops)
    return train.resolved(case.config.d_model, step_flops, steps * anchor.train_step)


def run_flops(run: TrainRun, case: Case) -> float:
    """FLOPs of a run and its evaluation, from which the time left is estimated; routed models are judged twice."""
    if not reads_text(run.steps, case.model, case.options):
        return 0.0
    cost = case_cost(case)
    step = cost.train_step if cost else GUESSED_STEP
    evaluations = 2 if case.facts.routes else 1
    return step * (run.steps + evaluations * run.val_tokens / run.tokens_per_step / 3)
