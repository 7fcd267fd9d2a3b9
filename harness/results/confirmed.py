"""The result of a confirmation: the chosen cases, their fresh seeds, and how they compare at each look."""

from __future__ import annotations

from typing import NamedTuple

from modbench.harness.core.confirm_plan import Role
from modbench.harness.core.frozen import Frozen
from modbench.harness.planning.check_confirm import CAUSAL, CONFIRMED
from modbench.harness.results.records import Record
from modbench.harness.stats import group_sequential


class Found(NamedTuple):
    """The loss that a run left, in nats per token; None with the reason why there is none."""

    loss: float | None
    reason: str = ""


class Chosen(Frozen):
    """The case that fills a role.

    Attributes:
        role: the role.
        case: the case: its best size.
        seeds: fresh seeds that were asked for.
    """

    role: Role
    case: str
    seeds: tuple[int, ...]


class Look(Frozen):
    """The best against another at one look. Below 0 the best has the lower loss.

    Attributes:
        seeds: seeds of each arm that left a loss, the best's first.
        value: difference of the mean losses, in nats per token.
        low: lower end of its interval; all looks' intervals together hold the true difference with 95 %.
        high: upper end.
        verdict: `better`, `worse`, `equivalent` or `undecided`.
    """

    seeds: tuple[int, int]
    value: float
    low: float | None
    high: float | None
    verdict: group_sequential.Verdict


class Compared(Frozen):
    """The best against one other, as far as it was looked at.

    Attributes:
        role: what the best was compared with.
        looks: in order; the last one counts.
        more: fresh seeds of each arm with which a new confirmation would decide it; None where it is decided or cannot be told.
        reason: why there is no look, or no interval.
    """

    role: Role
    looks: tuple[Look, ...] = ()
    more: int | None = None
    reason: str | None = None

    @property
    def decided(self) -> bool:
        """Whether the last look decided."""
        return bool(self.looks) and self.looks[-1].verdict != "undecided"


class Confirmed(Frozen):
    """A confirmation that has ended.

    Attributes:
        margin: difference that was to be told from none, in nats per token.
        wanted: seeds of each arm that the spread asks for; None: more than 2,000, or nothing was chosen.
        planned: seeds of each arm at the last look: those, or the most that the suite allows.
        lacking: variants that could not be chosen, since no run of theirs left a loss.
        chosen: what was trained again.
        compared: the comparisons.
        reason: why nothing was confirmed.
    """

    margin: float | None = None
    wanted: int | None = None
    planned: int = 0
    lacking: tuple[str, ...] = ()
    chosen: tuple[Chosen, ...] = ()
    compared: tuple[Compared, ...] = ()
    reason: str | None = None


def found_in(record: Record) -> Found:
    """The loss in the record of a run: of an exploring one that by which it is judged, of a fresh one the confirmed."""
    for key in (CONFIRMED, CAUSAL):
        for outcome in record.outcomes:
            if outcome.metric == key:
                loss = outcome.samples["value"][0] if outcome.status == "ok" else None
                return Found(loss, outcome.reason or "")
    return Found(None, "it left no loss")
