"""From a suite to a plan: cases, comparisons, and the units of work that measure them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from modbench.harness import catalogue
from modbench.harness.arms import ResolvedArm, resolve_arms
from modbench.harness.case import Case, Comparison, Device, Frozen, Place, Protocol, Rung, TrainPlan, UnitOfWork, slug
from modbench.harness.config import ModelConfig
from modbench.harness.contracts import Cost, Text
from modbench.harness.errors import UsageError
from modbench.harness.match import QUANTITIES, solve
from modbench.harness.select import compile_expression
from modbench.harness.suite import Suite

# What a prediction of time assumes. CPU: one thread of a 2020s server core in fp32; CUDA: small shapes, launch-bound.
ASSUMED_FLOP_PER_S = {"cpu": 60e9, "cuda": 5e12}

# Forked children share one address layout, which hides part of the launch effect: reports and papers start cold.
COLD_EFFORTS = ("standard", "rigorous")


class Plan(Frozen):
    """Everything that a run will do, resolved: it goes into run.json and to the workers."""

    suite: Suite
    device: Device
    comparisons: tuple[Comparison, ...]
    units: tuple[UnitOfWork, ...]
    ladder: tuple[Rung, ...]
    corpus_sha256: str

    @property
    def cold(self) -> bool:
        """Whether every unit gets a fresh interpreter instead of a child of the fork server."""
        return self.device == "cuda" or self.suite.effort in COLD_EFFORTS

    @property
    def cases(self) -> list[Case]:
        """Every case once, in order."""
        return list(dict.fromkeys(case for comparison in self.comparisons for case in comparison.arms))


def make_plan(suite: Suite, *, device: Device, select: str | None = None, text: Text | None = None) -> Plan:
    """Resolve a suite.

    Args:
        suite: with the command line's word already over it.
        device: where the cases run.
        select: `-k` expression over case ids.
        text: the corpus as read, if the suite trains.

    Raises:
        UsageError: if anything asked for cannot be.
    """
    arms = resolve_arms(suite, lambda *args: _solve_rung(suite, *args))
    comparisons = _comparisons(suite, arms, device)
    ladder = tuple(_ladder(suite, comparisons[0].arms, arms))
    if select:
        comparisons = _selected(comparisons, select)
    units = tuple(_units(suite, comparisons, text))
    assert len({unit.name for unit in units}) == len(units), "two units would share a file"
    return Plan(
        suite=suite,
        device=device,
        comparisons=tuple(comparisons),
        units=units,
        ladder=ladder,
        corpus_sha256=text.sha256 if text else "",
    )


def case_cost(case: Case) -> Cost | None:
    """Closed-form cost, or None for a user's model."""
    return None if case.own else _cost(case.model, case.config, case.place.seq_len, case.place.batch_size)


def _cost(model: str, config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    try:
        cost: Cost = catalogue.load("models", model).cost(config, seq_len, batch_size)
    except ValueError as error:  # a shape that this model cannot have
        raise UsageError(f"model {model!r}: {error}.") from error
    return cost


def _solved_at(suite: Suite) -> int:
    """The length that the ladder is solved at: where losses are measured, else the grid's longest."""
    return suite.train.seq_len if suite.train else max(suite.grid.seq_len)


def _solve_rung(
    suite: Suite, model: str, base: ModelConfig, target_model: str, target: ModelConfig, quantity: str
) -> tuple[ModelConfig, float]:
    seq_len, (amount, _) = _solved_at(suite), QUANTITIES[quantity]
    wanted = amount(_cost(target_model, target, seq_len, 1))
    config = solve(base, lambda c: _cost(model, c, seq_len, 1), wanted, quantity)
    return config, amount(_cost(model, config, seq_len, 1)) / amount(_cost(model, base, seq_len, 1))


def _ladder(suite: Suite, cases: Sequence[Case], arms: Sequence[ResolvedArm]) -> Iterator[Rung]:
    """What each rung was solved against, and how far it is from it at every length."""
    lengths = sorted({*suite.grid.seq_len, _solved_at(suite)})
    for case, arm in zip(cases, arms, strict=True):
        if arm.target is None:
            continue
        target = case.model_copy(
            update={
                "model": arm.target.model,
                "config": arm.target.config,
                "arm_parts": arm.target.parts,
                "rung": False,
            }
        )
        amount, _ = QUANTITIES[arm.quantity]
        gaps = {
            t: amount(_cost(arm.model, arm.config, t, 1)) / amount(_cost(target.model, target.config, t, 1)) - 1
            for t in lengths
        }
        yield Rung(arm=case.arm, target=target.arm, solved_at=_solved_at(suite), gaps=gaps, quantity=arm.quantity)


def _comparisons(suite: Suite, arms: Sequence[ResolvedArm], device: Device) -> list[Comparison]:
    known = catalogue.metrics()
    trained = tuple(key for key in suite.metrics if known[key].made_in == "train")
    measured = tuple(key for key in suite.metrics if known[key].made_in != "train")

    def compare(seq_len: int, batch_size: int, dtype: str, execution: str, keys: tuple[str, ...]) -> Comparison:
        place = Place(
            seq_len=seq_len,
            batch_size=batch_size,
            dtype=dtype,  # type: ignore[arg-type]  # Grid has checked it
            device=device,
            threads=suite.threads,
            compile=execution == "compiled",
            graph=execution == "graph",
        )
        cases = (
            Case(model=arm.model, arm_parts=arm.parts, config=arm.config, place=place, rung=arm.target is not None)
            for arm in arms
        )
        return Comparison(arms=tuple(cases), metrics=keys)

    axes = (suite.executions, suite.grid.dtype, suite.grid.batch_size, suite.grid.seq_len)
    comparisons = [compare(t, b, d, e, measured) for e, d, b, t in itertools.product(*axes)] if measured else []
    if trained and suite.train is not None:
        t, b, e = suite.train.seq_len, suite.train.batch_size, suite.executions[0]
        comparisons += [compare(t, b, d, e, trained) for d in suite.grid.dtype]
    return comparisons


def _selected(comparisons: list[Comparison], select: str) -> list[Comparison]:
    matches = compile_expression(select)
    chosen = []
    for comparison in comparisons:
        anchor, *others = comparison.arms
        kept = [case for case in others if matches(case.id)]
        if kept or matches(anchor.id):  # an arm is nothing without its anchor
            chosen.append(comparison.model_copy(update={"arms": (anchor, *kept)}))
    if not chosen:
        example = comparisons[0].arms[-1].id
        raise UsageError(f"-k {select!r} matches none of the cases. Their ids read like {example!r}.")
    return chosen


def _units(suite: Suite, comparisons: list[Comparison], text: Text | None) -> list[UnitOfWork]:
    launches, rounds = suite.protocol_size
    train = suite.train or TrainPlan()

    def unit(name: str, comparison: Comparison, made_in: str, flops: float, **rest: object) -> UnitOfWork:
        protocol = Protocol(
            rounds=rounds,
            warm_up_calls=suite.warm_up_calls,
            seed=int(rest.pop("seed", suite.seeds[0])),  # type: ignore[call-overload]  # an int or absent
            train=train,
            decode=suite.decode,
            corpus=corpus_entry(suite.corpus)[0],
            corpus_path=corpus_entry(suite.corpus)[1],
            corpus_sha256=text.sha256 if text else "",
        )
        fields = {"workload": "", "launch": 0, **rest}
        return UnitOfWork.model_validate(
            {"name": slug(name), "comparison": comparison, "protocol": protocol, "made_in": made_in, "flops": flops}
            | fields
        )

    known = catalogue.metrics()
    units = []
    for comparison in comparisons:
        where = comparison.place.label
        of_training = any(known[key].made_in == "train" for key in comparison.metrics)
        # Always counted: the ideal of every other metric needs FLOPs.
        units.append(unit(f"count-{'train-' if of_training else ''}{where}", comparison, "count", 1e9))
    timed = [
        (comparison, known[key].workload)
        for comparison in comparisons
        for key in comparison.metrics
        if known[key].made_in == "time"
    ]
    # Launches of one comparison lie far apart in time, so that one slow minute cannot meet them all.
    for launch, (comparison, workload) in itertools.product(range(launches), timed):
        name = f"time-{workload}-{comparison.place.label}-launch{launch}"
        flops = _timed_flops(comparison, workload, rounds, suite)
        units.append(unit(name, comparison, "time", flops, workload=workload, launch=launch))
    for comparison in comparisons:
        if any(known[key].made_in == "inspect" for key in comparison.metrics):
            units.append(unit(f"inspect-{comparison.place.label}", comparison, "inspect", 60e9 * len(comparison.arms)))
        if any(known[key].made_in == "memory" for key in comparison.metrics):
            flops = sum(3 * 3 * _forward(comparison, case) for case in comparison.arms)
            units.append(unit(f"memory-{comparison.place.label}", comparison, "memory", flops))
        if any(known[key].made_in == "train" for key in comparison.metrics):
            for case, seed in itertools.product(comparison.arms, suite.seeds):
                one = comparison.model_copy(update={"arms": (case,)})
                work = 3 * train.steps + train.val_tokens / (train.seq_len * train.batch_size)
                name = f"train-{case.id}-seed{seed}"
                units.append(unit(name, one, "train", work * _forward(comparison, case), seed=seed, workload="train"))
    return units


def _forward(comparison: Comparison, case: Case) -> float:
    """Forward FLOPs; a user's model is guessed to cost what the anchor does."""
    cost = case_cost(case) or case_cost(comparison.arms[0])
    return cost.forward if cost else 1e9


def _timed_flops(comparison: Comparison, workload: str, rounds: int, suite: Suite) -> float:
    anchor, *others = (_forward(comparison, case) for case in comparison.arms)
    per_round = 2 * (anchor * -(-len(others) // 3) + sum(others))
    warm_up = suite.warm_up_calls * (anchor + sum(others))
    # A decode step reads all weights for few tokens: on a CPU about 20 times slower by the FLOP.
    step = 20 * suite.decode.tokens / comparison.place.seq_len
    share = {"train_step": 3.0, "decode": step}.get(workload, 1.0)
    prefills = (anchor + sum(others)) if workload == "decode" else 0.0
    return share * (rounds * per_round + warm_up) + prefills


def corpus_entry(corpus: str) -> tuple[str, str | None]:
    """`stdlib` is a catalogue name; anything else is a path."""
    return (corpus, None) if corpus in catalogue.entries("corpora") and corpus != "path" else ("path", corpus)


def read_corpus(suite: Suite) -> Text | None:
    """The text that the suite trains on, or None if it trains nothing.

    Raises:
        UsageError: if it cannot be read or is too short.
    """
    if suite.train is None or not any(catalogue.metrics()[key].made_in == "train" for key in suite.metrics):
        return None
    name, path = corpus_entry(suite.corpus)
    text: Text = catalogue.load("corpora", name).read(path)
    for side, data in (("training", text.train), ("held-out", text.val)):
        if len(data) <= suite.train.seq_len:
            raise UsageError(
                f"corpus {suite.corpus!r}: its {side} part has {len(data)} bytes, fewer than the {suite.train.seq_len + 1} "
                "of one training window. Name a larger file or folder."
            )
    return text


def predicted_seconds(plan: Plan, unit: UnitOfWork, at_once: int) -> float:
    """A guess of the wall time that a unit adds to the run: FLOPs at an assumed speed, and starting a process."""
    return (unit.flops / ASSUMED_FLOP_PER_S[plan.device] + (4.0 if plan.cold else 0.4)) / at_once
