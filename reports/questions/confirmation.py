"""What a sweep confirmed: the best against the anchor, the noise control and the runner-up, on fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modbench.harness.core.case import Case
from modbench.harness.core.confirm_plan import Role
from modbench.harness.planning.confirming import Confirmation, explores
from modbench.harness.results.choosing import place_of
from modbench.harness.results.confirmed import Compared, Confirmed, found_in
from modbench.harness.stats import price
from modbench.harness.stats.joint_fit import JointFit, Run
from modbench.harness.stats.price import Worth
from modbench.reports.tables.load import Loaded

COLUMNS = (
    *(
        "budget",
        "count",
        "variant",
        "case_id",
        "role",
        "baseline_variant",
        "baseline_case_id",
        "seeds",
        "baseline_seeds",
    ),
    *(
        "loss",
        "baseline_loss",
        "difference",
        "ci_low",
        "ci_high",
        "share",
        "share_low",
        "share_high",
        "verdict",
        "margin",
    ),
    *("effective_speedup", "effective_ci_low", "effective_ci_high", "looks", "planned_seeds", "wanted_seeds"),
    *("more_seeds", "more_hours", "reason"),
)


@dataclass(frozen=True)
class Side:
    """One arm of a confirmation.

    Attributes:
        case: its best size.
        losses: of its fresh runs, in nats per token.
        seconds: that such a run took, on average; None where none ended.
    """

    case: Case
    losses: tuple[float, ...]
    seconds: float | None

    @property
    def mean(self) -> float | None:
        """Mean loss; None where no run left one."""
        return self.after(len(self.losses))

    def after(self, seeds: int) -> float | None:
        """Mean loss of its first runs; None where none left one."""
        return float(np.mean(self.losses[:seeds])) if self.losses[:seeds] else None


@dataclass(frozen=True)
class Answer:
    """What a confirmation found.

    Attributes:
        budget: training FLOPs of every run.
        count: which attention FLOPs these are charged with, `full` or `causal`.
        confirmed: what the run folder holds.
        sides: by role.
        first_seed: of the fresh ones.
        at_once: runs that the machine trained side by side.
        worth: of the difference from the anchor, in dense compute; None where the anchor was not compared.
        dtype: number format of the runs, where the sweep has several; else empty.
    """

    budget: float
    count: str
    confirmed: Confirmed
    sides: Mapping[Role, Side]
    first_seed: int
    at_once: int
    worth: Worth | None
    dtype: str = ""

    @property
    def control(self) -> Case | None:
        """The control, if one was confirmed."""
        return self.sides["control"].case if "control" in self.sides else None

    def compared(self, role: Role) -> Compared | None:
        """How the best compares with a role; None where that was not asked."""
        return next((each for each in self.confirmed.compared if each.role == role), None)

    def verdict(self, role: Role) -> str | None:
        """The verdict on the best against a role; None where there is none, or fresh runs failed: what is left may flatter."""
        found = self.compared(role)
        return found.looks[-1].verdict if found and found.looks and found.reason is None else None

    def hours(self, compared: Compared) -> float | None:
        """Hours of this machine for the seeds that would decide; None where none are needed, or nobody can tell."""
        seconds = [self.sides[role].seconds for role in ("best", compared.role)]
        if compared.more is None or None in seconds:
            return None
        return compared.more * sum(each for each in seconds if each is not None) / self.at_once / 3600


def answers(loaded: Loaded) -> list[Answer]:
    """Return what the confirmations of a run found, by budget; none that has not ended."""
    found = []
    plan = loaded.run.plan.model_copy(update={"units": loaded.run.planned})
    for made in plan.confirmations().values():
        told = loaded.run.confirmations.get(made.name)
        if told is not None:
            found.append(_answer(loaded, made, told))
    return sorted(found, key=lambda each: each.budget)


def _answer(loaded: Loaded, made: Confirmation, told: Confirmed) -> Answer:
    records = {record.unit.name: record for record in loaded.run.records}
    sides = {}
    for chosen in told.chosen:
        runs = [records[unit.name] for seed in chosen.seeds if (unit := made.fresh[chosen.case][seed]).name in records]
        losses = tuple(found.loss for run in runs if (found := found_in(run)).loss is not None)
        seconds = float(np.mean([run.wall_s for run in runs])) if runs else None
        sides[chosen.role] = Side(made.cases[chosen.case], losses, seconds)
    sweep, budget = loaded.run.plan.suite.isoflop, next(iter(made.cases.values())).budget
    assert sweep is not None
    assert budget is not None
    worth = _worth(loaded, made, told, budget) if any(each.role == "anchor" for each in told.compared) else None
    cores, suite = loaded.run.environment.get("usable_cores"), loaded.run.plan.suite
    at_once = max(1, int(cores or 1) // suite.threads) if loaded.run.plan.device == "cpu" else 1
    dtype = next(iter(made.cases.values())).place.dtype if len(suite.grid.dtype) > 1 else ""
    return Answer(budget, sweep.count, told, sides, made.plan.first_seed, at_once, worth, dtype)


def _worth(loaded: Loaded, made: Confirmation, told: Confirmed, budget: float) -> Worth:
    """What the difference from the anchor is worth, by the anchor's loss at the next smaller budget."""
    (compared,) = (each for each in told.compared if each.role == "anchor")
    if not compared.looks:
        return Worth(reason=compared.reason)
    runs, cheaper, place = list[Run](), set[float](), next(iter(made.cases.values())).place
    for record in loaded.run.records:
        (case, *_), loss = record.unit.comparison.arms, found_in(record).loss
        if (
            not explores(record.unit)
            or case.budget is None
            or case.budget > budget
            or case.place != place
            or loss is None
        ):
            continue
        if case.budget < budget and case.variant == made.anchor:
            cheaper.add(case.budget)
        # Each budget has curves of its own; one fit of all of them knows the spread best.
        runs.append(Run(f"{case.variant} {case.budget:g}", place_of(case), record.unit.protocol.seed, loss))
    if not cheaper:
        return Worth(reason="the anchor was trained with no smaller budget: [isoflop] anchor_budgets names some")
    fitted, below = JointFit(runs), max(cheaper)
    there, here = ((side, fitted.best(side)) for side in (f"{made.anchor} {each:g}" for each in (below, budget)))
    fall, last = fitted.apart(*there, *here), compared.looks[-1]
    if fall.low is None or fall.high is None:
        return Worth(reason="the sweep left too few runs of the anchor to tell how its loss falls with compute")
    folds = math.log(budget / below)
    return price.worth(
        last.value, last.low, last.high, price.Fall(*(each / folds for each in (fall.value, fall.low, fall.high)))
    )


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `confirm.csv`: one row per confirmation and arm that the best was compared with."""
    rows = [row for answer in answers(loaded) for row in _rows(answer)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(answer: Answer) -> list[dict[str, object]]:
    told = answer.confirmed
    base = {
        "budget": answer.budget,
        "count": answer.count,
        "margin": told.margin,
        "planned_seeds": told.planned or None,
        "wanted_seeds": told.wanted,
        "reason": told.reason,
    }
    if not told.compared:
        return [base]
    best, rows = answer.sides["best"], []
    for compared in told.compared:
        other, last = answer.sides[compared.role], compared.looks[-1] if compared.looks else None
        row = base | {
            "variant": best.case.variant,
            "case_id": best.case.id,
            "role": compared.role,
            "baseline_variant": other.case.variant,
            "baseline_case_id": other.case.id,
            "seeds": len(best.losses),
            "baseline_seeds": len(other.losses),
            "loss": best.mean,
            "baseline_loss": other.mean,
            "looks": len(compared.looks),
            "more_seeds": compared.more,
            "more_hours": answer.hours(compared),
            "reason": compared.reason,
        }
        if last is not None:
            # The best may have got further seeds for another comparison: the row has those of its own difference.
            mine, theirs = (side.after(number) for side, number in zip((best, other), last.seeds, strict=True))
            row |= {"seeds": last.seeds[0], "baseline_seeds": last.seeds[1], "loss": mine, "baseline_loss": theirs}
            row |= {"difference": last.value, "ci_low": last.low, "ci_high": last.high, "verdict": last.verdict}
            whole = theirs
            for key, value in (("share", last.value), ("share_low", last.low), ("share_high", last.high)):
                row[key] = None if value is None or whole is None else value / whole
        if compared.role == "anchor" and answer.worth is not None:
            row |= {
                "effective_speedup": answer.worth.value,
                "effective_ci_low": answer.worth.low,
                "effective_ci_high": answer.worth.high,
            }
            row["reason"] = compared.reason or answer.worth.reason
        rows.append(row)
    return rows
