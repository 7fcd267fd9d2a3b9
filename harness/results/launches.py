"""How many launches a comparison gets, as its pilot decided: one small file per series of launches, written once.

A series is what the launches of one comparison and workload share. `launches/<series>.json` is written when the last launch
of its pilot has ended. Launches beyond the number are neither run nor missing; nothing computes the number again.
"""

from __future__ import annotations

from modbench.harness.core.case import MOST_ASKED
from modbench.harness.core.frozen import Frozen


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
