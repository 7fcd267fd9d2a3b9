"""How decode steps, energy, the largest input that fits and a searched grid are measured: tables of a suite."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modbench.harness.core.immutable import Frozen

# Relative resolution of the search for the largest input that fits.
FIT_RESOLUTION = 0.01


class DecodePlan(Frozen):
    """How decoding is timed after a context of the grid's `seq_len` tokens.

    Attributes:
        tokens: decode steps of one timed call, whose value is their mean. A median would reflect only the tokens that skip.
    """

    tokens: Annotated[int, Field(ge=1, le=2**24)] = 64


class EnergyPlan(Frozen):
    """How energy is measured: in windows of many calls, long enough for a counter that advances ten times a second.

    Attributes:
        window_s: length of a window.
        idle_s: seconds of idle power measurement before the first window.
        windows: windows per variant in a process; an even number, so that each order is also run in reverse.
    """

    window_s: Annotated[float, Field(ge=0.5, le=600)] = 3.0
    idle_s: Annotated[float, Field(ge=0.5, le=600)] = 3.0
    windows: Annotated[int, Field(ge=2, le=100)] = 2


class FitPlan(Frozen):
    """How the largest input that fits is searched for.

    Attributes:
        memory_limit: bytes that a training step may allocate beyond what the process already holds; None: 90 % of what is free.
        most: the largest length or batch that is tried.
        trial_s: time limit of one trial, in s; exceeding it ends the search without a result.
    """

    memory_limit: Annotated[int, Field(ge=2**20, le=2**60)] | None = None
    most: Annotated[int, Field(ge=1, le=2**30)] = 2**20
    trial_s: Annotated[float, Field(gt=0, le=1e9)] = 120.0


class SearchPlan(Frozen):
    """How a suite finds where a variant breaks even: by halving an axis of its grid instead of measuring it all.

    Attributes:
        axis: the axis that is searched, for every variant and workload, and at each point of the other axes.
        against: what a variant must beat to pay: the baseline, the matched baselines that were solved for it, or each in turn.
        metrics: the timed metrics that are searched; None: all of the suite. Others are measured on the whole grid.
    """

    axis: Literal["seq_len", "batch_size"] = "seq_len"
    against: Annotated[tuple[Literal["same shape", "matched"], ...], Field(min_length=1)] = (
        "same shape",
        "matched",
    )
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
