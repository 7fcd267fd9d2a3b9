"""The result of `modbench ab`: is the new side slower than the base? By blocks in which both took turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case

from modbench.reports.model import Value

if TYPE_CHECKING:
    from modbench.harness.stats.contrast import Seen


class Effects(NamedTuple):
    """The effect of each block on the log scale, by the block's number from 0.

    Attributes:
        wall: by wall time; above 0 where the new side (of a control: the base's second process) is faster.
        cpu: by CPU time; None where that was not measured, or did not tick.
    """

    wall: Mapping[int, float]
    cpu: Mapping[int, float] | None = None


@dataclass(frozen=True)
class Measured:
    """The numbers of one case in one metric, before they are judged.

    Attributes:
        what: the case, or what a row of the table is called.
        metric: key of the metric.
        blocks: mean log time of the base's two processes minus that of the new side's two.
        control: the A/A control: log time of one process of the base minus that of the other. Which one comes first is drawn with
            the block's order, so that a drift does not look like a difference.
        seen: what checks found of either side, without the control; None: nothing.
        base_value: the base's typical value in `unit`; None where there is none.
        new_value: the new side's.
        unit: of both values.
        labels: warnings about the new side.
        base_labels: those about the base.
        why: why there are no numbers; None: there are.
        lacking: the side that fails, so that there are none; None: neither, or that is not known.
        judged: whether the row is of times, which get a verdict; False: its values are only reported.
    """

    what: Case | str
    metric: str
    blocks: Effects = Effects({})
    control: Effects = Effects({})
    seen: Seen | None = None
    base_value: float | None = None
    new_value: float | None = None
    unit: str = "s"
    labels: tuple[Label, ...] = ()
    base_labels: tuple[Label, ...] = ()
    why: Value = None
    lacking: Literal["base", "new"] | None = None
    judged: bool = True
