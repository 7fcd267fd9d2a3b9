"""Makes jobs: each pass that is needed gives its own, with the suite's protocol and an estimate of the work.

Training jobs have the steps and learning rate of their model, and the job that must run before.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, get_args

from modbench.harness.core.contracts import AnyMetric, Text, Workload
from modbench.harness.core.errors import UsageError
from modbench.harness.core.model_specs import Pairs
from modbench.harness.core.train_plan import FLOPS_TOLERANCE, TrainPlan, TrainRun
from modbench.harness.core.units import percent
from modbench.harness.core.variant_titles import slug
from modbench.harness.domain.case import VARIANTS_PER_BLOCK, Case, Comparison, GridPoint, Job, Protocol
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.suite import TWO_STAGE, Suite
from modbench.harness.planning import suite_tables
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.text.corpus import corpus_entry
from modbench.harness.registry import catalogue
from modbench.harness.registry.model_loaders import from_loader

# Assumed FLOPs per step of a user's model; used only to estimate the time left.
GUESSED_STEP = 3e9


def train_run(suite: Suite, case: Case) -> TrainRun:
    """Resolve the training run of one case.

    Raises:
        UsageError: if its budget is too small for a step, or cannot be met within 1 %.
    """
    assert suite.train is not None
    budgets = (table.budget(suite, case) for table in suite_tables.in_use(suite))
    cost, budget = case_cost(case), next(filter(None, budgets), None)
    step_flops = cost.train_step if cost else None
    if cost is not None and budget is not None and budget.causal:
        step_flops = cost.train_step_causal
    in_flops = budget is not None or suite.train.flops is not None
    if in_flops and case.config.capacity_warmup:
        raise UsageError(
            f"{case.id}: with capacity_warmup {case.config.capacity_warmup:g} steps cost more at first than later, so a budget "
            "of FLOPs does not determine their number. Set capacity_warmup=0, or give train.steps."
        )
    # A smoke run only shows that training works: it makes its few steps whatever the budget.
    tokenizer = case.tokenizer or tokenizer_of(case.model, case.options, suite.train)
    grid_point = {"seq_len": case.grid_point.seq_len, "batch_size": case.grid_point.batch_size}
    plan = suite.train.model_copy(update={"tokenizer": tokenizer, **grid_point})
    run = plan.resolved(case.config.d_model, step_flops, budget.flops if budget and suite.claims else None)
    if budget is not None and step_flops is not None and suite.claims:
        off = run.steps * step_flops / budget.flops - 1
        if abs(off) > FLOPS_TOLERANCE:
            raise UsageError(
                f"{case.id}: {run.steps} whole steps of {step_flops:.3g} FLOPs are {percent(off, sign='+')} off the budget "
                f"{budget.flops:.3g}; "
                f"at most {percent(FLOPS_TOLERANCE)} is allowed. Raise the budget, or lower train.batch_size."
            )
    changes: dict[str, object] = {"rate_from": budget.rate_from} if budget else {}
    if suite_tables.confirms(suite):
        changes["held_out"] = "explore"
    return run.model_copy(update=changes)


def reads_text(steps: int | None, model: str, options: Pairs) -> bool:
    """Whether a model gets a corpus: where it is not trained, weights must come with it; a user's file may load some."""
    if steps != 0:
        return True
    if catalogue.is_shipped("models", model):
        return False
    found = from_loader(model, options)
    return found is None or found.tokenizer() is not None


def tokenizer_of(model: str, options: Pairs, plan: TrainPlan) -> str:
    """The tokenizer that a model's text is cut by: the suite's, or where that names none, a pretrained model's own."""
    found = from_loader(model, options)
    own = found.tokenizer() if found else None
    return own if own and plan.tokenizer == TrainPlan.model_fields["tokenizer"].default else plan.tokenizer


def run_flops(run: TrainRun, case: Case) -> float:
    """FLOPs of a run and its evaluation, from which the time left is estimated; routed models are judged twice."""
    if not reads_text(run.steps, case.model, case.options):
        return 0.0
    cost = case_cost(case)
    step = cost.train_step if cost else GUESSED_STEP
    evaluations = 2 if case.facts.routes else 1
    return step * (run.steps + evaluations * run.val_tokens / run.tokens_per_step / 3)


class Data(NamedTuple):
    """Data of a plug-in's that a job trains on in place of the corpus.

    Attributes:
        path: the file or folder that they are read from; None: there is none.
        sha256: their hash.
    """

    path: str | None
    sha256: str


class JobMaker:
    """Makes jobs that share a suite's protocol.

    Args:
        suite: the suite.
        text: the corpus, if the suite trains.
    """

    def __init__(self, suite: Suite, text: Text | None) -> None:
        self.suite, self.text = suite, text
        # By the identity of the comparison, which all processes share: its hash is that of all its variants.
        self._timed: dict[tuple[int, str], tuple[Comparison, float]] = {}

    def job(
        self,
        name: str,
        comparison: Comparison,
        made_in: str,
        flops: float,
        *,
        workload: str = "",
        process: int = 0,
        seed: int | None = None,
        run: TrainRun | None = None,
        rates: tuple[float, ...] = (),
        data: Data | None = None,
    ) -> Job:
        """Make one job, with its protocol resolved; one that trains on data of a plug-in's has no corpus."""
        suite, (_, rounds) = self.suite, self.suite.protocol_size
        on_gpu = comparison.grid_point.device == "cuda"
        corpus, corpus_path = ("", data.path) if data else corpus_entry(suite.corpus)
        table = catalogue.passes()[made_in].table
        settings = () if table is None else tuple(table.settled(suite).model_dump().items())
        protocol = Protocol(
            rounds=rounds,
            warm_up_calls=max(suite.warm_up_calls, 10 if on_gpu and suite.claims else 1),
            warm_up_s=1.0 if on_gpu and suite.claims else suite.warm_up_s,
            seed=suite.seeds[0] if seed is None else seed,
            train=run,
            rates=rates,
            decode=suite.decode,
            settings=settings,
            corpus=corpus,
            corpus_path=corpus_path,
            corpus_sha256=data.sha256 if data else self.text.sha256 if self.text else "",
        )
        series = name.removesuffix(f"-process{process}")
        return Job(
            name=slug(name),
            made_in=made_in,
            workload=workload,
            process=process,
            comparison=comparison,
            protocol=protocol,
            flops=flops,
            facts=catalogue.facts_of_job(made_in, workload, comparison.metrics),
            series="" if series == name else slug(series),
        )

    def forward(self, comparison: Comparison, case: Case) -> float:
        """FLOPs of a forward pass; a user's model is assumed to cost what the baseline does."""
        cost = case_cost(case) or case_cost(comparison.variants[0])
        return cost.forward if cost else 1e9

    def timed_flops(self, comparison: Comparison, group: str) -> float:
        """FLOPs of one process of a group of metrics that are timed together."""
        key = (id(comparison), group)
        if key not in self._timed:
            self._timed[key] = comparison, self._process_flops(comparison, group)
        return self._timed[key][1]

    def _process_flops(self, comparison: Comparison, group: str) -> float:
        _, rounds = self.suite.protocol_size
        anchor, *others = (self.forward(comparison, case) for case in comparison.variants)
        per_round = 2 * (anchor * -(-len(others) // VARIANTS_PER_BLOCK) + sum(others))
        warm_up = self.suite.warm_up_calls * (anchor + sum(others))
        workload = group.partition("-")[0]
        share = in_forwards(
            workload, comparison.grid_point, comparison.grid_point.new_tokens or self.suite.decode.tokens
        )
        prefills = (anchor + sum(others)) if workload == "decode" else 0.0
        return share * (rounds * per_round + warm_up) + prefills


def in_forwards(workload: str, grid_point: GridPoint, steps: int = 1) -> float:
    """How long a call takes, in forward passes over its input; a request, or a call that decodes, with so many steps."""
    # A decode step reads all weights for few tokens: on a CPU it takes about 20 times as long per FLOP.
    decoded = 20 * steps / grid_point.seq_len
    return {"train_step": 3.0, "decode": decoded, "request": 1 + decoded}.get(workload, 1.0)


def planned_jobs(
    suite: Suite, comparisons: Sequence[Comparison], text: Text | None, also: Collection[str] = ()
) -> Iterator[Job]:
    """All jobs of a run, in order; where a pilot decides the number of processes, as many as it may ask for.

    Args:
        suite: the suite.
        comparisons: what is measured side by side.
        text: the corpus, if the suite trains.
        also: passes that run though no metric needs them.

    Raises:
        UsageError: if the suite asks for something impossible, such as a budget that pays for no training step.
    """
    maker, known = JobMaker(suite, text), catalogue.metrics()
    asked = [
        (
            c,
            [known[known[key].source or key] for key in c.metrics],
            {known[n].needs for n in catalogue.with_sources(c.metrics)} | {*also},
        )
        for c in comparisons
    ]
    found_out = set()
    whole = {c.grid_point for c in comparisons if not c.partial}  # where all variants are counted, searched or not
    for repeated, group in itertools.groupby(catalogue.passes().values(), key=lambda each: (each.phase, each.repeated)):
        passes, made = list(group), list[tuple[int, Job]]()  # in which process, and the job
        # Processes of one comparison lie far apart in time, so that one slow minute does not affect all of them.
        for process in range(suite.processes_limit if repeated[1] else 1):
            for (comparison, metrics, needed), each in itertools.product(asked, passes):
                counted = comparison.grid_point in whole and comparison.partial
                wanted = (
                    metrics
                    if each.runs_for_every_case and not counted
                    else [metric for metric in metrics if metric.measured_by == each.name]
                )
                if not wanted and each.name not in needed:
                    continue
                for job in _jobs(each, maker, comparison, wanted, process):
                    if each.findings is not None:  # of no metric: found out once for all comparisons
                        if job.name in found_out:
                            continue
                        found_out.add(job.name)
                    made.append((process, _limited(each, job)))
        quick_look = suite.effort not in TWO_STAGE and not any(c.partial for c in comparisons)
        yield from (job for _, job in (_first_answer_first(made) if repeated[1] and quick_look else made))


def _first_answer_first(jobs: Sequence[tuple[int, Job]]) -> list[tuple[int, Job]]:
    """Order processes so that a quick look has its first verdict early: one workload after the other, long inputs first.

    Prefill comes before decode, which takes longer. The processes of a comparison lie between those of other lengths still, but
    within a minute or two of each other.
    """
    workloads = list(dict.fromkeys(job.workload for _, job in jobs))
    known = get_args(Workload)

    def turn(made: tuple[int, Job]) -> tuple[int, int, int, int]:
        process, job = made
        workload, seq_len = job.workload.partition("-")[0], job.comparison.grid_point.seq_len
        at = known.index(workload) if workload in known else len(known)
        return at, workloads.index(job.workload), process, -seq_len

    return sorted(jobs, key=turn)


def _limited(each: Pass, job: Job) -> Job:
    """The job with what its pass says of how long it may take, which depends on its protocol."""
    most, besides_s = each.timeout_factor(job), each.fixed_overhead_s(job)
    if (most, besides_s) == (job.facts.most, job.facts.besides_s):
        return job
    facts = job.facts.model_copy(update={"most": most, "besides_s": besides_s})
    return job.model_copy(update={"facts": facts})


def _jobs(
    each: Pass, maker: JobMaker, comparison: Comparison, metrics: Sequence[AnyMetric], process: int
) -> Iterator[Job]:
    """A pass's jobs of a comparison: its own, or by default one for all cases or one for each."""
    if each.jobs is not None:
        yield from each.jobs(maker, comparison, metrics, process)
        return
    work = {case: each.forward_equivalents * maker.forward(comparison, case) for case in comparison.variants}
    if each.each == "comparison":
        suffix = f"-process{process}" if each.repeated else ""
        name = f"{each.name}-{comparison.label}{suffix}"
        yield maker.job(name, comparison, each.name, sum(work.values()), process=process)
        return
    groups = sorted({metric.group for metric in metrics}) if each.each == "case and group" else [""]
    for (case, flops), group in itertools.product(work.items(), groups):
        one = comparison.model_copy(update={"variants": (case,)})
        name = f"{each.name}-{group}{'-' * bool(group)}{case.id}"
        yield maker.job(name, one, each.name, flops, workload=group, process=process)
