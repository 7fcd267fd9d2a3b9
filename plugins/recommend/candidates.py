"""The settings among which a run lets a reader choose: every variant at one place, with its time, memory, FLOPs and loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modbench.extend import (
    BITS,
    HELD_OUT,
    LOOKED_AHEAD,
    NATS,
    OF_WORK,
    SMOKE_RUN,
    UNCHECKED,
    Case,
    Comparison,
    Effect,
    Estimate,
    Label,
    Loaded,
    Sentence,
    UsageError,
    beside,
    by_seed,
    known,
    known_text,
    labels_of,
    mixed,
    of_cell,
    suite_of,
    unit_of,
    unknown,
    wording,
)


def effect_between(loaded: Loaded, case: Case | None, other: Case | None, metric: str) -> Effect | None:
    """Return the effect of a pair of times or losses over processes or seeds, above 0 better; None where it has none."""
    if case is None or other is None:
        return None
    tables, known = loaded.tables, loaded.tables.metrics[metric]
    samples = tables.made_in(known).samples
    if samples == "processes":
        return tables.contrast(known, case, other).effect if tables.shared(known, case, other) else None
    mine, theirs = (tables.values_of(side, metric) for side in (case, other))
    return by_seed(theirs, mine) if samples == "seeds" and mine.keys() & theirs.keys() else None


# What `--workload` names, with the key of its time, in the order of preference.
WORKLOADS = {name: f"latency/{name}" for name in ("forward", "decode", "prefill", "request", "train_step")}
IN_WORDS = {key.partition("/")[2]: workload for key, workload in wording.WORKLOADS.items()}
# The objective, limit and axis of this name; the word alone would read as the pass.
SIZE = "memory"
MEMORY, KV_CACHE = "memory/peak_allocated", "memory/kv_cache"
NOT_MEASURED, NOISY = "not measured", "noisy"


@dataclass(frozen=True, kw_only=True)
class Value(Estimate):
    """A number of a setting, with its 95 % interval, or why there is none; `n` is of processes or seeds, 1 of a count.

    Attributes:
        metric: the metric's key.
        reason: why there is no value, or no interval.
        sampled: whether it comes from processes or seeds: then a limit needs the end of an interval.
        unsure: why its interval supports no claim; None: it does.
    """

    metric: str
    n: int = 0
    reason: str | None = None
    sampled: bool = False
    unsure: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A setting.

    Attributes:
        case: the variant at the place.
        time: median seconds of a call.
        memory: peak of a training step in B, or the keys and values where that is all that was measured.
        flops: FLOPs of a call.
        loss: held-out loss.
        trained: the case that was trained; None where none was.
        flattered: whether routing saw later tokens when that loss was measured.
        out: why it is not considered; None: it is.
    """

    case: Case
    time: Value
    memory: Value
    flops: Value
    loss: Value
    trained: Case | None = None
    flattered: bool = False
    out: str | None = None

    def of(self, objective: str) -> Value:
        """Return the value that an objective is about: `latency`, `memory`, `flops` or `loss`."""
        return {"latency": self.time, "memory": self.memory, "flops": self.flops, "loss": self.loss}[objective]

    def ran(self, objective: str) -> Case | None:
        """Return the case that was measured for it; None where none was."""
        return self.trained if objective == "loss" else self.case


@dataclass(frozen=True)
class Choice:
    """What there is to choose from.

    Attributes:
        workload: `forward`, `train_step`, `prefill`, `decode` or `request`.
        comparison: the variants that were measured side by side.
        candidates: one for each of them.
        baseline: the dense model of the same shape, or the suite's baseline where there is none.
        loss_unit: the unit in which losses are shown, and the factor to it from that in which they are kept.
    """

    workload: str
    comparison: Comparison
    candidates: tuple[Candidate, ...]
    baseline: Candidate
    loss_unit: tuple[str, float] = (NATS, 1.0)

    @property
    def grid_point(self) -> Sentence:
        """The place: `forward pass at T = 512, B = 1, fp32`."""
        return Sentence("{what} at {grid_point}", what=IN_WORDS[self.workload], grid_point=self.comparison.grid_point)

    @property
    def considered(self) -> list[Candidate]:
        """The settings that are considered."""
        return [each for each in self.candidates if each.out is None]


def choice(
    loaded: Loaded,
    workload: str | None = None,
    seq_len: int | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
) -> Choice:
    """Return the settings of a run at one place.

    Args:
        loaded: the run.
        workload: what is timed; None: the first of `WORKLOADS` that the run measured.
        seq_len: sequence length; None: the longest.
        batch_size: batch size; None: the first of the suite.
        dtype: number format; None: the first of the suite.

    Raises:
        UsageError: if the run is a sweep over sizes, or did not measure such a place.
    """
    if loaded.sizes_differ:
        raise UsageError(
            "the run is a sweep over sizes, in which no two settings share a shape: `modbench report` says what it found. "
            "Recommend from a run of one shape, such as `modbench run quick`."
        )
    if workload is not None and workload not in WORKLOADS:
        raise unknown("--workload", workload, WORKLOADS)
    grid, timed = loaded.suite.grid, [name for name, key in WORKLOADS.items() if key in loaded.suite.metrics]
    if workload is not None and workload not in timed:
        raise UsageError(
            f"the run did not measure --workload {workload}; it timed: {', '.join(timed) or 'none'}. Run the suite with "
            f"{WORKLOADS[workload]} in its metrics."
        )
    chosen = workload or next(iter(timed), None)
    keys = {WORKLOADS[chosen]} if chosen else {MEMORY, KV_CACHE, "flops/forward", "flops/train_step", *HELD_OUT}
    found = [each for each in loaded.plan.comparisons if not keys.isdisjoint(each.metrics)]
    longest = max((each.grid_point.seq_len for each in found), default=0)
    usual = {"seq_len": longest, "batch_size": grid.batch_size[0], "dtype": grid.dtype[0]}
    for name, asked in (("seq_len", seq_len), ("batch_size", batch_size), ("dtype", dtype)):
        found = _at(found, suite_of(loaded.run), name, asked, usual[name])
    if not found:
        raise UsageError("the run measured no time, memory, FLOPs or loss that settings could be compared by.")
    comparison, workload = found[0], chosen or "forward"
    length = beside(loaded, comparison.grid_point.seq_len)
    trained = {
        (case.variant, key): case
        for each in loaded.plan.comparisons
        if each.grid_point.seq_len == length
        for key in each.metrics
        if key in HELD_OUT
        for case in each.variants
    }
    made = tuple(_candidate(loaded, workload, comparison, case, trained) for case in comparison.variants)
    baseline = next((each for each in made if each.case.model == "dense" and not each.case.matched), made[0])
    shown = (BITS, 1.0) if baseline.loss.unit == "bit/B" else unit_of(loaded)
    return Choice(workload, comparison, made, baseline, shown)


def _at(found: list[Comparison], suite: str, name: str, asked: object, default: object) -> list[Comparison]:
    """Keep the comparisons of one length, batch size or number format."""
    known = list(dict.fromkeys(getattr(each.grid_point, name) for each in found))
    if asked is not None and asked not in known:
        flag = f"--{name.replace('_', '-')}"
        there = ", ".join(map(str, known)) or "nothing"
        raise UsageError(
            f"{flag} {asked} was not measured, and nothing is extrapolated. The run has {there}: name one of these, or see what "
            f"it takes to measure it: modbench plan {suite} {flag} {asked}."
        )
    wanted = asked if asked is not None else default if default in known else next(iter(known), None)
    return [each for each in found if getattr(each.grid_point, name) == wanted]


def _candidate(
    loaded: Loaded, workload: str, comparison: Comparison, case: Case, trained: Mapping[tuple[str, str], Case]
) -> Candidate:
    """Return a setting; `trained` has the cases that were trained, by variant and loss."""
    key, anchor = WORKLOADS[workload], comparison.variants[0]
    time = _value(loaded, case, key, _unsure(loaded))
    for row in loaded.between(key, case.variant, anchor.variant) if case != anchor else ():
        # Where wall time is no evidence of a pair, neither is the time of a variant.
        if case.id in {row.case_id, row.baseline_case_id} and {Label.NOISY, Label.BY_CPU} & {*labels_of(row)}:
            time = replace(time, unsure=f"{NOISY}: {row.reason}")
            break
    counted = "flops/train_step" if workload == "train_step" else "flops/forward"
    claims = None if loaded.suite.claims else SMOKE_RUN
    loss, learned = Value(None, metric="loss/val", reason=NOT_MEASURED), None
    losses = ("bpb/val",) if mixed(loaded) else HELD_OUT
    asked = [metric for metric in losses if (case.variant, metric) in trained]
    if asked:
        loss = _first([_value(loaded, trained[case.variant, metric], metric, claims) for metric in asked])
        learned = None if loss.value is None else trained[case.variant, loss.metric]
    failed = f"{key}: {time.reason}" if time.value is None and key in comparison.metrics else None
    return Candidate(
        case,
        time,
        _first([_value(loaded, case, metric) for metric in (MEMORY, *[KV_CACHE] * (workload == "decode"))]),
        _value(loaded, case, counted),
        loss,
        learned,
        learned is not None and not LOOKED_AHEAD.isdisjoint(_labels(loaded, learned, [loss.metric])),
        failed or ", ".join(label for label in _labels(loaded, case, comparison.metrics) if label in OF_WORK) or None,
    )


def _first(values: Sequence[Value]) -> Value:
    """Return the first that is known, else the first that the run was asked for."""
    return min(values, key=lambda each: (each.value is None, each.reason == NOT_MEASURED))


def _value(loaded: Loaded, case: Case, metric: str, unsure: str | None = None) -> Value:
    """Return a value of a case, or why it has none."""
    row = loaded.case(case.variant, metric, case.grid_point)
    if row is None or row.status != "ok":
        return Value(None, unit=row.unit if row else "", metric=metric, reason=str(row.reason) if row else NOT_MEASURED)
    return Value(
        float(row.value),
        known(row.ci_low),
        known(row.ci_high),
        unit=row.unit,
        metric=metric,
        n=int(row.n),
        reason=known_text(row.reason),
        sampled=loaded.tables.made_in(loaded.tables.metrics[metric]).samples != "one",
        unsure=unsure,
    )


def _unsure(loaded: Loaded) -> str | None:
    """Return why no time of this run supports a claim, or None."""
    if not loaded.suite.claims:
        return SMOKE_RUN
    if not loaded.checked:
        return UNCHECKED
    if loaded.certificate is not None and loaded.certificate.verdict == "unfit":
        return "the machine is unfit to compare times: see `modbench doctor`"
    return None


def _labels(loaded: Loaded, case: Case, metrics: Sequence[str]) -> list[str]:
    """Return the labels of a case in some metrics, each once."""
    rows = (loaded.case(case.variant, metric, case.grid_point) for metric in metrics)
    return list(dict.fromkeys(label for row in rows if row is not None for label in of_cell(row.labels)))
