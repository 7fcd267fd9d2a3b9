"""What a unit of work leaves behind: one record with an outcome per case and metric. Immutable, self-contained, versioned.

Schema versions (`upgrade.py` reads the one before the current one):
    1: first.
    2: witnesses of every sample and block, busy intervals, the machine's peak.
    3: notes are a model per pass; findings and the death of a process have fields of their own.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializeAsAny, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from modbench.harness.core import catalogue
from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.frozen import Frozen
from modbench.harness.results.notes import Notes, SomeNotes

SCHEMA = 3

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
        notes: what else a reader of the number should know: the model that the metric's pass names.
    """

    case: str
    metric: str
    unit: str
    status: Status
    kind: Failure | None = None
    reason: str | None = None
    samples: dict[str, list[float]] = Field(default_factory=dict)
    notes: SerializeAsAny[Notes] = Notes()

    @model_validator(mode="before")
    @classmethod
    def _notes_of_its_pass(cls, data: Any) -> Any:  # noqa: ANN401  # JSON of any kind, checked after this
        if not isinstance(data, dict) or not isinstance(data.get("notes"), dict):
            return data
        if not data["notes"]:  # of an outcome without a value
            return data | {"notes": Notes()}
        metric = catalogue.metrics().get(str(data.get("metric")))
        if metric is None:
            raise PydanticCustomError("metric", "unknown metric {metric}", {"metric": repr(data.get("metric"))})
        return data | {"notes": _validated(catalogue.pass_of(metric).notes, data["notes"], "notes")}

    def noted(self, kind: type[SomeNotes]) -> SomeNotes:
        """The notes as the model of the metric's pass."""
        assert isinstance(self.notes, kind), f"{self.metric} has no {kind.__name__}"
        return self.notes

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


class Environment(Frozen):
    """The process that a unit ran in.

    Attributes:
        torch: version.
        threads: intra-op CPU threads.
        pid: process id.
        device: the GPU's name; None on a CPU.
        device_uuid: its identifier.
    """

    torch: str
    threads: int
    pid: int
    device: str | None = None
    device_uuid: str | None = None


class Death(Frozen):
    """The process of a unit died before it wrote a record; its parent wrote this one.

    Attributes:
        kind: what sort of failure.
        reason: in words.
        again: whether the unit ran a second time, without the user's models, and the record holds what that measured.
    """

    kind: Failure
    reason: str
    again: bool = False


class Record(Frozen):
    """One unit's file.

    Attributes:
        schema_version: of this format.
        unit: what was asked for, in full.
        started: UTC, ISO 8601.
        wall_s: duration of the unit inside its process, in s.
        environment: the process that measured; None if none lived to the end.
        died: how the process died; None if it did not.
        outcomes: one per case and metric.
        findings: what the pass found out that belongs to no metric: the model that the pass names.
        blocks: witnesses of blocks, from units that time.
        busy: (start, end) on the machine's monotonic clock, in s, of what was measured or trained work.
    """

    schema_version: Literal[3] = 3
    unit: UnitOfWork
    started: str
    wall_s: float
    environment: Environment | None = None
    died: Death | None = None
    outcomes: tuple[Outcome, ...]
    findings: SerializeAsAny[Notes] | None = None
    blocks: tuple[Blocks, ...] = ()
    busy: tuple[tuple[float, float], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _findings_of_its_pass(cls, data: Any) -> Any:  # noqa: ANN401  # JSON of any kind, checked after this
        if not isinstance(data, dict) or not isinstance(data.get("findings"), dict):
            return data
        unit = data.get("unit")
        name = unit.made_in if isinstance(unit, UnitOfWork) else unit.get("made_in") if isinstance(unit, dict) else None
        known = catalogue.passes().get(str(name))
        if known is None or known.findings is None:
            raise PydanticCustomError("findings", "pass {name} finds out nothing", {"name": repr(name)})
        return data | {"findings": _validated(known.findings, data["findings"], "findings")}


def _validated(kind: type[Notes], data: dict[str, Any], field: str) -> Notes:
    """The model, or an error that names the place inside it."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in (field, *first["loc"]))
        raise PydanticCustomError("notes", "{place}: {problem}", {"place": place, "problem": first["msg"]}) from None
