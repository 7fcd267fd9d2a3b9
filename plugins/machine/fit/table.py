"""`[fit]` of a suite: how the largest input that fits is searched for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modbench.extend import SuiteTable, TablePlan

# Relative resolution of the search for the largest input that fits.
FIT_RESOLUTION = 0.01


class FitPlan(TablePlan):
    """How the largest input that fits is searched for.

    Attributes:
        memory_limit: bytes that a training step may allocate beyond what the process already holds; None: 90 % of what is free.
        most: the largest length or batch that is tried.
        trial_s: time limit of one trial, in s; exceeding it ends the search without a result.
    """

    table = "fit"

    memory_limit: Annotated[int, Field(ge=2**20, le=2**60)] | None = None
    most: Annotated[int, Field(ge=1, le=2**30)] = 2**20
    trial_s: Annotated[float, Field(gt=0, le=1e9)] = 120.0


TABLE = SuiteTable(FitPlan)
