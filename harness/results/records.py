"""What a unit of work leaves behind: one record with an outcome per case and metric. Immutable, self-contained, versioned.

Schema versions:
    1: first.
    2: witnesses of every sample and block, busy intervals, the machine's peak.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.frozen import Frozen

SCHEMA = 2

Status = Literal["ok", "skipped", "failed"]
Failure = Literal["error", "oom", "timeout", "crash", "numerics", "flops_mismatch", "not_steady"]


class Gap(Frozen):
    """Why a value is missing.

    Attributes:
        status: `skipped` by design, or `failed`.
        kind: what sort of failure.
        reason: in words.
    """

    status: Literal["skipped", "failed"]
    kind: Failure | None = None
    reason: str


class Outcome(Frozen):
    """What became of one metric of one case: samples, or a reason.

    Attributes:
        case: case id.
        metric: metric key.
        unit: base unit of the samples.
        status: `ok`, `skipped` (could not be measured here, by design) or `failed`.
        kind: what sort of failure.
        reason: why there is no value, in words.
        samples: raw samples by column; `value`, or for timings `round, block, position, calls, wall_s, cpu_s` and what
            witnesses saw (`involuntary, wait_s, collect_s, recompiles`).
        notes: what else a reader of the number should know.
    """

    case: str
    metric: str
    unit: str
    status: Status
    kind: Failure | None = None
    reason: str | None = None
    samples: dict[str, list[float]] = Field(default_factory=dict)
    notes: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _result_or_reason(self) -> Outcome:
        assert (self.status == "ok") == bool(self.samples), "an ok outcome has samples, another has none"
        assert self.status == "ok" or self.reason, "what is not measured has a reason"
        assert (self.status == "failed") == (self.kind is not None), "a failure has a kind"
        return self


class Blocks(Frozen):
    """What witnesses saw of every block of a timing, whichever arms stood in it.

    Attributes:
        group: what was timed, such as `forward`.
        columns: `block`, `wall_s`, and as exposed `steal_s, pressure_s, load, mhz`, or of a GPU `sm_mhz, throttle, …`.
    """

    group: str
    columns: dict[str, list[float]]


class Record(Frozen):
    """One unit's file.

    Attributes:
        schema_version: of this format.
        unit: what was asked for, in full.
        started: UTC, ISO 8601.
        wall_s: duration of the unit inside its process, in s.
        environment: where it ran.
        outcomes: one per case and metric.
        blocks: witnesses of blocks, from units that time.
        busy: (start, end) on the machine's monotonic clock, in s, of what was measured or trained work.
    """

    schema_version: Literal[2] = 2
    unit: UnitOfWork
    started: str
    wall_s: float
    environment: dict[str, Any]
    outcomes: tuple[Outcome, ...]
    blocks: tuple[Blocks, ...] = ()
    busy: tuple[tuple[float, float], ...] = ()
