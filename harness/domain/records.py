"""The record of a job: one outcome per case and metric. Immutable and versioned.

Its file names the job, which stands in run.json. It is read beside the job (`Beside`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from modbench.harness.core.immutable import Frozen
from modbench.harness.core.masking import masked
from modbench.harness.domain.case import Job
from modbench.harness.domain.notes import Notes, SomeNotes
from modbench.harness.machine.certificate import Certificate

SCHEMA: Final = 15

Status = Literal["ok", "skipped", "failed"]
# `damaged` is never written: the reader gives it to what a damaged file should have held.
Failure = Literal["error", "oom", "timeout", "crash", "numerics", "flops_mismatch", "not_steady", "damaged"]
# Text that may quote anything, such as the message of an exception.
Said = Annotated[str, AfterValidator(masked)]


class Missing(Frozen):
    """Why a value is missing.

    Attributes:
        status: `skipped` by design, or `failed`.
        kind: kind of failure.
        reason: the reason, in words.
    """

    status: Literal["skipped", "failed"]
    kind: Failure | None = None
    reason: Said


class Beside(NamedTuple):
    """What the file of a record does not hold: the context in which pydantic reads one.

    Attributes:
        job: the job as planned.
        notes: the type of the notes that its pass leaves.
        findings: that of its findings; None: it has none.
    """

    job: Job
    notes: type[Notes]
    findings: type[Notes] | None


class Outcome(Frozen):
    """Outcome of one metric of one case: samples, or a reason.

    Attributes:
        case: case id.
        metric: metric key.
        unit: base unit of the samples.
        status: `ok`, `skipped` (could not be measured here, by design) or `failed`.
        kind: kind of failure.
        reason: why there is no value, in words.
        samples: raw samples by column; `value`, or for timings `round, block, position, calls, wall_s, cpu_s` and the
            witnesses' columns (`involuntary, voluntary, wait_s, blocked_s, others_s, collect_s, recompiles, instructions`).
        notes: further facts about the number, of the type that the metric's pass names.
    """

    case: str
    metric: str
    unit: str
    status: Status
    kind: Failure | None = None
    reason: Said | None = None
    samples: dict[str, list[float]] = Field(default_factory=dict)
    notes: SerializeAsAny[Notes] = Notes()

    @field_validator("notes", mode="before")
    @classmethod
    def _as_its_pass_names_them(cls, notes: Any, info: ValidationInfo) -> Any:  # noqa: ANN401  # from a file
        if isinstance(notes, dict) and notes and isinstance(info.context, Beside):
            return info.context.notes.model_validate(notes)
        return notes

    def noted(self, kind: type[SomeNotes]) -> SomeNotes:
        """The notes, which must be of the given type."""
        assert isinstance(self.notes, kind), f"{self.metric} has no {kind.__name__}"
        return self.notes

    @model_validator(mode="after")
    def _result_or_reason(self) -> Outcome:
        assert (self.status == "ok") == bool(self.samples), "an outcome has samples if and only if its status is ok"
        assert self.status == "ok" or self.reason, "an outcome without a value has a reason"
        assert (self.status == "failed") == (self.kind is not None), "an outcome has a kind if and only if it failed"
        # Nobody asks which fields were given. A set of their names takes 728 bytes, and a run has 100,000 outcomes.
        object.__setattr__(self, "__pydantic_fields_set__", EVERY_FIELD)
        return self


EVERY_FIELD = set(Outcome.model_fields)


class Blocks(Frozen):
    """Observations of witnesses in every block of a timing, whichever variants it held.

    Attributes:
        group: what was timed, such as `forward`.
        columns: `block`, `wall_s`, and where exposed `steal_s, pressure_s, load, mhz`, or for a GPU `sm_mhz, throttle, …`.
    """

    group: str
    columns: dict[str, list[float]]


class Environment(Frozen):
    """The process that a job ran in.

    Attributes:
        torch: torch's version.
        threads: intra-op CPU threads.
        pid: process id.
        device: the GPU's name; None on a CPU.
        device_uuid: the GPU's identifier.
        cudnn: cuDNN's version, on a GPU.
        attention: kernels that attention may use, by torch's names, on a GPU.
        fp32_precision: how cuBLAS multiplies fp32 there: `ieee`, or `tf32` with fewer digits.
        variables: environment variables that change what CUDA's libraries do and were set.
        ranks: processes that trained together; this is the first.
        host: name of the host; None where nobody asked.
        machine: the host's fingerprint, as in run.json; None where it is that of run.json.
        hardware: the host's hardware in words, the same for hosts of one type; None where nobody asked.
        certificate: the host's certificate when the job began; None if it was never checked.
    """

    torch: str
    threads: int
    pid: int
    device: str | None = None
    device_uuid: str | None = None
    cudnn: int | None = None
    attention: tuple[str, ...] | None = None
    fp32_precision: str | None = None
    variables: dict[str, str] | None = None
    ranks: int = 1
    host: Said | None = None
    machine: Said | None = None
    hardware: Said | None = None
    certificate: Certificate | None = None


class Death(Frozen):
    """How the process of a job died before it wrote its record; its parent wrote the record instead.

    Attributes:
        kind: kind of failure.
        reason: the reason, in words.
        again: whether the job ran again without the user's models, and the record holds those measurements.
    """

    kind: Failure
    reason: Said
    again: bool = False


class Record(Frozen):
    """The record of one job.

    Attributes:
        schema_version: version of this format.
        job: the job. Its file holds the job's name and the ids of its cases.
        started: start time, UTC, ISO 8601.
        wall_s: duration of the job inside its process, in s.
        environment: the process that measured; None if no process completed.
        died: how the process died; None if it completed.
        outcomes: one per case and metric.
        findings: findings of the pass that belong to no metric, of the type that the pass names.
        blocks: witnesses of blocks, from jobs that time.
        busy: (start, end) of intervals of measurement or training, on the machine's monotonic clock, in s.
        code: SHA-256 of the user's Python files that its process ran, by path from the folder in which the run was started,
            absolute outside of it; None where the process left none.
    """

    schema_version: Literal[15] = SCHEMA
    job: Job
    started: str
    wall_s: float
    environment: Environment | None = None
    died: Death | None = None
    outcomes: tuple[Outcome, ...]
    findings: SerializeAsAny[Notes] | None = None
    blocks: tuple[Blocks, ...] = ()
    busy: tuple[tuple[float, float], ...] = ()
    code: dict[str, str] | None = None

    @field_serializer("job")
    def _by_name(self, job: Job) -> dict[str, Any]:
        return _named(job)

    @field_validator("job", mode="before")
    @classmethod
    def _of_the_plan(cls, job: Any, info: ValidationInfo) -> Any:  # noqa: ANN401  # from a file
        if not isinstance(info.context, Beside):
            return job
        # A job that is tried again without a user's models has fewer cases: its record may be left by a run that was killed.
        if job != _named(info.context.job):
            raise ValueError(f"the record of another job, or not of all cases of {info.context.job.name}")
        return info.context.job

    @field_validator("findings", mode="before")
    @classmethod
    def _as_its_pass_names_them(cls, findings: Any, info: ValidationInfo) -> Any:  # noqa: ANN401  # from a file
        if not isinstance(findings, dict) or not isinstance(info.context, Beside):
            return findings
        if info.context.findings is None:
            raise ValueError(f"pass {info.context.job.made_in!r} has no findings")
        return info.context.findings.model_validate(findings)

    @model_validator(mode="after")
    def _each_once(self) -> Record:
        outcomes, groups = (
            [f"{each.metric} of {each.case}" for each in self.outcomes],
            [each.group for each in self.blocks],
        )
        for keys in (outcomes, groups):
            if len({*keys}) < len(keys):
                raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)} is there twice")
        if any(start > end for start, end in self.busy):
            raise ValueError("a busy interval ends before it begins")
        return self


def _named(job: Job) -> dict[str, Any]:
    """A job as its record names it."""
    return {"name": job.name, "cases": [case.id for case in job.comparison.variants]}
