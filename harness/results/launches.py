"""How many launches a comparison gets, as its pilot decided: one small file per series of launches, written once.

A series is what the launches of one comparison and workload share. `launches/<series>.json` is written when the last launch
of its pilot has ended. Launches beyond the number are neither run nor missing; nothing computes the number again.
"""

from __future__ import annotations

from pathlib import Path

from modbench.harness.core.case import MOST_ASKED
from modbench.harness.core.frozen import Frozen
from modbench.harness.results.reading import DamagedError, Problem, shown


class Decision(Frozen):
    """What a pilot decided.

    Attributes:
        series: what the launches share.
        pilot: launches of the pilot.
        used: of these, launches that the number was computed from: a launch that failed has no times.
        arms: arms whose effects against the anchor were used.
        sd: standard deviation of a log-effect between launches; None if too few launches have times.
        mde: the minimum detectable effect that was wanted, as a share.
        asked: launches that reach it; None if too few launches have times.
        most: the most launches that were allowed.
        made: launches of the series.
        reason: why there is no number; None if there is.
    """

    series: str
    pilot: int
    used: int
    arms: int
    sd: float | None
    mde: float
    asked: int | None
    most: int
    made: int
    reason: str | None = None

    @property
    def asked_in_words(self) -> str:
        """The number that was asked for, `1000 or more` where it was not searched further."""
        return f"{self.asked}{' or more' * (self.asked is not None and self.asked >= MOST_ASKED)}"

    @property
    def capped(self) -> bool:
        """Whether more launches were asked for than were allowed."""
        return self.asked is not None and self.asked > self.made


def checked(decision: Decision, series: str, file: Path) -> Decision:
    """Return the decision if it can be that on this series.

    Raises:
        DamagedError: if it cannot: launches beyond its number are left out of every table.
    """
    asked = decision.pilot if decision.asked is None else min(max(decision.asked, decision.pilot), decision.most)
    for name, wrong in (
        ("series", decision.series != series),
        ("pilot", not 1 <= decision.pilot <= decision.most),
        ("mde", not decision.mde > 0),
        ("sd", decision.sd is not None and decision.sd < 0),
        ("used", not 0 <= decision.used <= decision.pilot),
        ("made", decision.made != asked),
    ):
        if wrong:
            problem = Problem((name,), f"{shown(getattr(decision, name))} is not what a pilot decides")
            raise DamagedError(file, f"{problem}. Remove it: `modbench resume` decides anew from the pilot's launches")
    return decision
