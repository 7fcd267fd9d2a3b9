"""`[energy]` of a suite: how energy is measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modbench.extend import SuiteTable, TablePlan


class EnergyPlan(TablePlan):
    """How energy is measured: in windows of many calls, long enough for a counter that advances ten times a second.

    Attributes:
        window_s: length of a window.
        idle_s: seconds of idle power measurement before the first window.
        windows: windows per variant in a process; an even number, so that each order is also run in reverse.
    """

    table = "energy"

    window_s: Annotated[float, Field(ge=0.5, le=600)] = 3.0
    idle_s: Annotated[float, Field(ge=0.5, le=600)] = 3.0
    windows: Annotated[int, Field(ge=2, le=100)] = 2


TABLE = SuiteTable(EnergyPlan)
