"""Makes units of work: each pass that is needed gives its own, with the suite's protocol and an estimate of the work.

Training units have the steps and learning rate of their model, and the unit that must run before.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import get_args

from modbench.harness.core.contracts import AnyMetric, Text, Workload
from modbench.harness.core.errors import UsageError
from modbench.harness.core.model_specs import Pairs
from modbench.harness.core.titles import slug
from modbench.harness.core.train_plan import FLOPS_TOLERANCE, TrainPlan, TrainRun
from modbench.harness.core.units import percent
from modbench.harness.domain.case import ARMS_PER_BLOCK, Case, Comparison, Place, Protocol, UnitOfWork
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.suite import TWO_STAGE, Suite
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.planning.comparisons import in_search, open_task
from modbench.harness.registry import catalogue
from modbench.harness.registry.model_sources import sourced
from modbench.harness.text.corpus import corpus_entry

# Assumed FLOPs per step of a user's model; used only to estimate the time left.
GUESSED_STEP = 3e9


def tries_rates(suite: Suite) -> bool:
    """Whether learning rates are tried before the runs of a sweep."""
    return suite.isoflop is not None and any(
        catalogue.pass_of(catalogue.metrics()[key]).once_per_sweep for key in suite.metrics
    )


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
                f"{case.id}: {run.steps} whole steps of {step_flops:.3g} FLOPs are {percent(off, sign='+')} off the budget "
                f"{case.budget:.3g}; "
                f"at most {percent(FLOPS_TOLERANCE)} is allowed. Raise the budget, or lower train.batch_size."
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


class UnitMaker:
    """Makes units that share a suite's protocol.

    Args:
        suite: the suite.
        text: the corpus, if the suite trains.
    """

    def __init__(self, suite: Suite, text: Text | None) -> None:
        self.suite, self.text = suite, text
        # By the identity of the comparison, which all launches share: its hash is that of all its arms.
        self._timed: dict[tuple[int, str], tuple[Comparison, float]] = {}

    def unit(
        self,
        name: str,
        comparison: Comparison,
        made_in: str,
        flops: float,
        *,
        workload: str = "",
        launch: int = 0,
        seed: int | None = None,
        run: TrainRun | None = None,
        rates: tuple[float, ...] = (),
    ) -> UnitOfWork:
        """Make one unit, with its protocol resolved."""
        suite, (_, rounds) = self.suite, self.suite.protocol_size
        on_gpu, task = comparison.place.device == "cuda", comparison.arms[0].task
        path, sha256 = task_path(suite, task) if task else (None, self.text.sha256 if self.text else "")
        corpus, corpus_path = ("", None) if task else corpus_entry(suite.corpus)
        protocol = Protocol(
            rounds=rounds,
            warm_up_calls=max(suite.warm_up_calls, 10 if on_gpu and suite.claims else 1),
            warm_up_s=1.0 if on_gpu and suite.claims else suite.warm_up_s,
            seed=suite.seeds[0] if seed is None else seed,
            train=run,
            rates=rates,
            task_path=path,
            decode=suite.decode,
            energy=suite.energy,
            fit=suite.fit,
            corpus=corpus,
            corpus_path=corpus_path,
            corpus_sha256=sha256,
        )
        series = name.removesuffix(f"-launch{launch}")
        return UnitOfWork(
            name=slug(name),
            made_in=made_in,
            workload=workload,
            launch=launch,
            comparison=comparison,
            protocol=protocol,
            flops=flops,
            facts=catalogue.facts_of_unit(made_in, workload, comparison.metrics),
            series="" if series == name else slug(series),
        )

    def forward(self, comparison: Comparison, case: Case) -> float:
        """FLOPs of a forward pass; a user's model is assumed to cost what the anchor does."""
        cost = case_cost(case) or case_cost(comparison.arms[0])
        return cost.forward if cost else 1e9

    def timed_flops(self, comparison: Comparison, group: str) -> float:
        """FLOPs of one launch of a group of metrics that are timed together."""
        key = (id(comparison), group)
        if key not in self._timed:
            self._timed[key] = comparison, self._launch_flops(comparison, group)
        return self._timed[key][1]

    def _launch_flops(self, comparison: Comparison, group: str) -> float:
        _, rounds = self.suite.protocol_size
        anchor, *others = (self.forward(comparison, case) for case in comparison.arms)
        per_round = 2 * (anchor * -(-len(others) // ARMS_PER_BLOCK) + sum(others))
        warm_up = self.suite.warm_up_calls * (anchor + sum(others))
        workload = group.partition("-")[0]
        share = in_forwards(workload, comparison.place, comparison.place.new_tokens or self.suite.decode.tokens)
        prefills = (anchor + sum(others)) if workload == "decode" else 0.0
        return share * (rounds * per_round + warm_up) + prefills


def in_forwards(workload: str, place: Place, steps: int = 1) -> float:
    """How long a call takes, in forward passes over its input; a request, or a call that decodes, with so many steps."""
    # A decode step reads all weights for few tokens: on a CPU it takes about 20 times as long per FLOP.
    decoded = 20 * steps / place.seq_len
    return {"train_step": 3.0, "decode": decoded, "request": 1 + decoded}.get(workload, 1.0)


def task_path(suite: Suite, task: str) -> tuple[str | None, str]:
    """Path and hash of the files that a task reads."""
    return suite.tasks.paths.get(task), open_task(suite, task).sha256


def units_of_work(
    suite: Suite, comparisons: Sequence[Comparison], text: Text | None, also: Collection[str] = ()
) -> Iterator[UnitOfWork]:
    """All units of a run, in order; where a pilot decides the number of launches, as many as it may ask for.

    Args:
        suite: the suite.
        comparisons: what is measured side by side.
        text: the corpus, if the suite trains.
        also: passes that run though no metric needs them.

    Raises:
        UsageError: if the suite asks for something impossible, such as a budget that pays for no training step.
    """
    maker, known = UnitMaker(suite, text), catalogue.metrics()
    asked = [
        (
            c,
            [known[known[key].source or key] for key in c.metrics],
            {known[n].needs for n in catalogue.with_sources(c.metrics)} | {*also},
        )
        for c in comparisons
    ]
    found_out = set()
    whole = {c.place for c in comparisons if not in_search(suite, c)}  # where all arms are counted, searched or not
    for repeated, group in itertools.groupby(catalogue.passes().values(), key=lambda each: (each.phase, each.repeated)):
        passes, made = list(group), list[tuple[int, UnitOfWork]]()  # in which launch, and the unit
        # Launches of one comparison lie far apart in time, so that one slow minute does not affect all of them.
        for launch in range(suite.launches_limit if repeated[1] else 1):
            for (comparison, metrics, needed), each in itertools.product(asked, passes):
                counted = comparison.place in whole and in_search(suite, comparison)
                wanted = (
                    metrics
                    if each.runs_for_every_case and not counted
                    else [metric for metric in metrics if metric.measured_by == each.name]
                )
                if not wanted and each.name not in needed:
                    continue
                for unit in _units(each, maker, comparison, wanted, launch):
                    if each.findings is not None:  # of no metric: found out once for all comparisons
                        if unit.name in found_out:
                            continue
                        found_out.add(unit.name)
                    made.append((launch, _limited(each, unit)))
        quick_look = suite.effort not in TWO_STAGE and suite.search is None
        yield from (unit for _, unit in (_first_answer_first(made) if repeated[1] and quick_look else made))


def _first_answer_first(units: Sequence[tuple[int, UnitOfWork]]) -> list[tuple[int, UnitOfWork]]:
    """Order launches so that a quick look has its first verdict early: one workload after the other, long inputs first.

    Prefill comes before decode, which takes longer. The launches of a comparison lie between those of other lengths still, but
    within a minute or two of each other.
    """
    workloads = list(dict.fromkeys(unit.workload for _, unit in units))
    known = get_args(Workload)

    def turn(made: tuple[int, UnitOfWork]) -> tuple[int, int, int, int]:
        launch, unit = made
        workload, seq_len = unit.workload.partition("-")[0], unit.comparison.place.seq_len
        at = known.index(workload) if workload in known else len(known)
        return at, workloads.index(unit.workload), launch, -seq_len

    return sorted(units, key=turn)


def _limited(each: Pass, unit: UnitOfWork) -> UnitOfWork:
    """The unit with what its pass says of how long it may take, which depends on its protocol."""
    most, besides_s = each.timeout_factor(unit), each.fixed_overhead_s(unit)
    if (most, besides_s) == (unit.facts.most, unit.facts.besides_s):
        return unit
    facts = unit.facts.model_copy(update={"most": most, "besides_s": besides_s})
    return unit.model_copy(update={"facts": facts})


def _units(
    each: Pass, maker: UnitMaker, comparison: Comparison, metrics: Sequence[AnyMetric], launch: int
) -> Iterator[UnitOfWork]:
    """A pass's units of a comparison: its own, or by default one for all cases or one for each."""
    if each.units is not None:
        yield from each.units(maker, comparison, metrics, launch)
        return
    work = {case: each.forward_equivalents * maker.forward(comparison, case) for case in comparison.arms}
    if each.each == "comparison":
        suffix = f"-launch{launch}" if each.repeated else ""
        name = f"{each.name}-{comparison.label}{suffix}"
        yield maker.unit(name, comparison, each.name, sum(work.values()), launch=launch)
        return
    groups = sorted({metric.group for metric in metrics}) if each.each == "case and group" else [""]
    for (case, flops), group in itertools.product(work.items(), groups):
        one = comparison.model_copy(update={"arms": (case,)})
        name = f"{each.name}-{group}{'-' * bool(group)}{case.id}"
        yield maker.unit(name, one, each.name, flops, workload=group, launch=launch)
