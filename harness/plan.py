"""From a suite to a plan: cases, comparisons, and the units of work that measure them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from modbench.harness import catalogue
from modbench.harness.arms import ResolvedArm, resolve_arms
from modbench.harness.case import Case, Comparison, Device, Frozen, Place, Rung, UnitOfWork
from modbench.harness.config import ModelConfig
from modbench.harness.contracts import Text
from modbench.harness.corpus import corpus_entry
from modbench.harness.costs import closed_form
from modbench.harness.errors import UsageError
from modbench.harness.match import QUANTITIES, solve
from modbench.harness.schedule import units_of_work
from modbench.harness.select import compile_expression
from modbench.harness.suite import TWO_STAGE, Suite

# What a prediction of time assumes. CPU: one thread of a 2020s server core in fp32; CUDA: small shapes, launch-bound.
ASSUMED_FLOP_PER_S = {"cpu": 60e9, "cuda": 5e12}


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
        """Whether every unit gets a fresh interpreter instead of a child of the fork server.

        Forked children share one address layout, which hides part of the launch effect: reports and papers start cold.
        """
        return self.device == "cuda" or self.suite.effort in TWO_STAGE

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
    units = tuple(units_of_work(suite, comparisons, text))
    assert len({unit.name for unit in units}) == len(units), "two units would share a file"
    return Plan(
        suite=suite,
        device=device,
        comparisons=tuple(comparisons),
        units=units,
        ladder=ladder,
        corpus_sha256=text.sha256 if text else "",
    )


def _solved_at(suite: Suite) -> int:
    """The length that the ladder is solved at: where losses are measured, else the grid's longest."""
    return suite.train.seq_len if suite.train else max(suite.grid.seq_len)


def _solve_rung(
    suite: Suite, model: str, base: ModelConfig, target_model: str, target: ModelConfig, quantity: str
) -> tuple[ModelConfig, float]:
    seq_len, (amount, _) = _solved_at(suite), QUANTITIES[quantity]
    wanted = amount(closed_form(target_model, target, seq_len, 1))
    config = solve(base, lambda c: closed_form(model, c, seq_len, 1), wanted, quantity)
    return config, amount(closed_form(model, config, seq_len, 1)) / amount(closed_form(model, base, seq_len, 1))


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
            t: amount(closed_form(arm.model, arm.config, t, 1)) / amount(closed_form(target.model, target.config, t, 1))
            - 1
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
