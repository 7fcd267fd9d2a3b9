"""Makes a plan from a suite: cases, comparisons, and the jobs that measure them."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError
from modbench.harness.core.immutable import Frozen
from modbench.harness.core.variant_titles import slug
from modbench.harness.domain.case import Case, Comparison, Device, Job, MatchedBaseline
from modbench.harness.domain.suite import TWO_STAGE, Suite
from modbench.harness.domain.variant_tables import VariantsFrom
from modbench.harness.planning import suite_tables
from modbench.harness.planning.comparisons import Expander, keys_of
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.jobs import planned_jobs, reads_text, tokenizer_of
from modbench.harness.planning.load_suite import check_memory
from modbench.harness.planning.matching import Costs
from modbench.harness.planning.select import compile_expression
from modbench.harness.planning.text.corpus import corpus_entry
from modbench.harness.planning.variants import product_of
from modbench.harness.registry import catalogue
from modbench.harness.registry.catalogue import BrokenError
from modbench.harness.registry.model_loaders import from_loader

# Default size of the vocabulary.
BYTES = 256
# Speeds assumed for predictions of time. CPU: one thread of a 2020s server core in fp32; CUDA: small shapes, launch-bound.
ASSUMED_FLOP_PER_S = {"cpu": 60e9, "cuda": 5e12}
# Training keeps a device busy: small models on one of two busy CPU threads were measured at 40 to 65e9; the GPU value, half of
# what an H100 sustains in bf16, is a guess.
TRAINING_FLOP_PER_S = {"cpu": 50e9, "cuda": 2e14}
# FLOPs of a forward pass above which a GPU is no longer launch-bound: 20 ms at the speed above.
BUSY_FLOPS = 1e11


Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class Group(Frozen):
    """Jobs that a rule looks at together.

    Attributes:
        name: names the file with what is decided.
        rule: the rule.
        usual: share of the jobs that it may ask for which it usually asks for.
        most: the largest share of them that it can ask for.
    """

    name: str
    rule: str
    usual: Share
    most: Share


class Plan(Frozen):
    """Everything that a run will do, with all defaults resolved: written to run.json and sent to the workers.

    Attributes:
        suite: what was asked for.
        device: where everything runs.
        comparisons: what is measured side by side.
        jobs: the work.
        matched_baselines: dense variants that cost what another variant does.
        corpus_sha256: hash of the corpus; empty if nothing is trained on one.
        groups: jobs that rules look at together.
        no_matches: by variant, why a user's model has no matched baseline although the suite asks for one.
        variants_from: what was taken from another run; None: the variants are the suite's.
    """

    suite: Suite
    device: Device
    comparisons: Annotated[tuple[Comparison, ...], Field(min_length=1)]
    jobs: tuple[Job, ...]
    matched_baselines: tuple[MatchedBaseline, ...]
    corpus_sha256: str
    groups: tuple[Group, ...] = ()
    no_matches: dict[str, str] = Field(default_factory=dict)
    variants_from: VariantsFrom | None = None

    @property
    def cold(self) -> bool:
        """Whether every job gets a fresh interpreter instead of a child of the fork server.

        Forked children share one address layout, which hides part of the process effect, so efforts above draft start cold.
        """
        return self.device == "cuda" or self.suite.effort in TWO_STAGE

    @functools.cached_property
    def sizes_differ(self) -> bool:
        """Whether variants are measured in several sizes: a speed-up of one size over another compares nothing."""
        return any(case.sized for case in self.cases)

    @property
    def cases(self) -> list[Case]:
        """All cases without repetition, in order."""
        return list(dict.fromkeys(case for comparison in self.comparisons for case in comparison.variants))

    def members(self, rule: str) -> dict[str, list[Job]]:
        """Jobs by group, of the groups that a rule looks at."""
        found: dict[str, list[Job]] = {group.name: [] for group in self.groups if group.rule == rule}
        for job in self.jobs:
            if job.group in found:
                found[job.group].append(job)
        return found

    def shares(self, share: Literal["usual", "most"]) -> dict[str, float]:
        """By job, the share of its kind that runs, usually or at most: 1 unless it runs only if a rule asks for it."""
        groups = {group.name: getattr(group, share) for group in self.groups}
        return {job.name: groups[job.group] if job.rule else 1.0 for job in self.jobs}


def make_plan(
    suite: Suite,
    *,
    device: Device,
    select: str | None = None,
    text: Text | None = None,
    costs: Costs | None = None,
    also: Collection[str] = (),
) -> Plan:
    """Make the plan of a suite.

    Args:
        suite: the suite, with command-line flags applied.
        device: where the cases run.
        select: `-k` expression over case ids.
        text: the corpus as read, if the suite trains.
        costs: what users' models cost; None: only closed forms are known.
        also: passes that run though no metric needs them.

    Raises:
        UsageError: if the suite asks for something impossible, or there is no such pass.
    """
    for name in also:
        catalogue.find("passes", name)
    comparisons, matched_baselines, no_matches = Expander(suite, device, costs).comparisons()
    check_memory(comparisons)
    if select:
        comparisons = _selected(comparisons, select, matched_baselines)
    for table in suite_tables.in_use(suite):
        comparisons = [*table.selected(suite, comparisons, select)]
    if suite.train is not None and suite.train.log_to is not None:
        catalogue.load("loggers", suite.train.log_to).check(suite.train.log_to)
    jobs, groups = assigned(suite, tuple(planned_jobs(suite, comparisons, text, also)), select)
    for table in suite_tables.in_use(suite):
        table.check_jobs(suite, jobs, text)
    assert len({job.name for job in jobs}) == len(jobs), "two jobs would share a file"
    return Plan(
        suite=suite,
        device=device,
        comparisons=tuple(comparisons),
        jobs=jobs,
        matched_baselines=tuple(matched_baselines),
        corpus_sha256=text.sha256 if text else "",
        groups=groups,
        no_matches=no_matches,
    )


def assigned(suite: Suite, jobs: Sequence[Job], select: str | None = None) -> tuple[tuple[Job, ...], tuple[Group, ...]]:
    """Return the jobs of a plan, each with its group and with the rule that may ask for it, and the groups.

    Args:
        suite: the suite.
        jobs: the jobs, in order.
        select: the `-k` expression that chose them.

    Raises:
        UsageError: if a rule cannot decide, cannot be loaded, or two rules would decide about a job.
    """
    for entry in catalogue.broken("adaptive_rules"):
        raise BrokenError(entry)
    groups, made = dict[str, Group](), {job.name: job for job in jobs}
    for name, rule in catalogue.usable("adaptive_rules").items():
        for called, members in rule.groups(suite, jobs).items():
            group = slug(called)
            for job in members:
                if other := made[job.name].group or (group if group in groups else ""):
                    rules = f"{groups[other].rule!r} and {name!r}"
                    raise UsageError(f"{suite.name}: the rules {rules} would both decide about {job.name}.")
                asks = name if rule.is_conditional(suite, job) else ""
                made[job.name] = job.model_copy(update={"group": group, "rule": asks})
            members = [made[job.name] for job in members]  # noqa: PLW2901  # with their rule
            rule.check(suite, members, select)
            usual, most = rule.shares(suite, members)
            groups[group] = Group(name=group, rule=name, usual=usual, most=most)
    return tuple(made[job.name] for job in jobs), tuple(groups.values())


def _selected(
    comparisons: list[Comparison], select: str, matched_baselines: Sequence[MatchedBaseline]
) -> list[Comparison]:
    """Keep the cases that match, each with its baseline, and as `--only` does with the matched baselines of users' models."""
    matches = compile_expression(select)
    chosen = []
    for comparison in comparisons:
        anchor, *others = comparison.variants
        named = {case.variant: case for case in comparison.variants if matches(case.id)}
        if named:
            beside = {
                matched.variant
                for matched in matched_baselines
                if matched.target in named and named[matched.target].is_user_model
            }
            kept = [case for case in others if case.variant in {*named, *beside}]
            chosen.append(comparison.model_copy(update={"variants": (anchor, *kept)}))
    if not chosen:
        example = comparisons[0].variants[-1].id
        raise no_case(select, example)
    return chosen


def no_case(select: str, example: str) -> UsageError:
    """What is said of an expression that selects no case; an id shows how they look."""
    return UsageError(f"-k {select!r} matches none of the cases. Their ids look like {example!r}.")


def read_corpus(suite: Suite) -> Text | None:
    """Read the text that the suite trains or evaluates on; None if it does neither.

    Raises:
        UsageError: if it cannot be read or is too short.
    """
    if suite.train is None or not keys_of(suite).trained or not any(_tokenizers(suite)):
        return None
    name, path = corpus_entry(suite.corpus)
    text: Text = catalogue.load("corpora", name).read(path)
    from modbench.harness.planning.text.tokens import encode

    # Encoded here so that errors appear before anything runs, and a tokenizer is trained once instead of in every worker.
    for tokenizer, vocab_size in dict.fromkeys(_tokenizers(suite)):
        parts = 2 if suite_tables.confirms(suite) else 1  # that share no window
        encode(text, tokenizer, vocab_size).check_length(suite.corpus, max(suite.train.lengths), held_out=parts)
    return text


def _tokenizers(suite: Suite) -> Iterator[tuple[str, int]]:
    """The tokenizers of all variants that get tokens, each with the vocabulary of the model that gets them."""
    assert suite.train is not None
    for variant in suite.variants:
        for given in product_of(variant.options):
            if not reads_text(suite.train.steps, variant.model, tuple(given.items())):
                continue
            found = from_loader(variant.model, given)
            own = found.settings().get("vocab_size") if found else None
            yield tokenizer_of(variant.model, tuple(given.items()), suite.train), own or _vocab_size(suite)


def _vocab_size(suite: Suite) -> int:
    size = suite.shape.get("vocab_size", BYTES)
    if type(size) is not int:
        raise UsageError(f"vocab_size: {size!r} is not a whole number.")
    return size


def training_tokens(suite: Suite, text: Text) -> int:
    """Number of tokens in the training part of the corpus."""
    from modbench.harness.planning.text.tokens import encode

    assert suite.train is not None
    return len(encode(text, suite.train.tokenizer, _vocab_size(suite)).train)


def predicted_seconds(plan: Plan, job: Job, at_once: int) -> float:
    """Estimate the wall time that a job adds to the run, in s: FLOPs at an assumed speed plus the start of a process."""
    if job.facts.trains:
        speed = TRAINING_FLOP_PER_S[plan.device] * job.ranks
    else:
        cost = case_cost(job.comparison.variants[0])
        speed = assumed_speed(plan.device, cost.forward if cost else 0.0)
    return (job.flops / speed + (4.0 if plan.cold else 0.4)) / at_once


def assumed_speed(device: Device, forward: float) -> float:
    """Assumed FLOP/s of a call, given the FLOPs of its forward pass."""
    busy = device == "cuda" and forward >= BUSY_FLOPS
    return (TRAINING_FLOP_PER_S if busy else ASSUMED_FLOP_PER_S)[device]
