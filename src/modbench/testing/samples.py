"""The file of `--modbench-store`: raw samples of one session, by comparison, with the fingerprint of the machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from modbench.harness.core.errors import UnreadableError, brief, in_words
from modbench.harness.timing.callables import Launch

Columns = dict[str, list[float]]


class Stored(BaseModel):
    """The samples of one comparison.

    Attributes:
        machine: fingerprint of the machine, with device and threads.
        baseline: name of the callable that was in every block.
        samples: name to columns, as in `harness/timing/callables.py`; times in s.
        blocks: what witnesses saw of each block.
        twin: name under which the baseline was timed a second time.
        one_thread: whether one thread did all the work.
        unsteady: name to a sentence, for callables that drifted.
        first_call_s: name to the seconds of its first call.
        environment: versions and processor, where they are not the file's: an earlier session made these samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str
    baseline: str
    samples: dict[str, Columns]
    blocks: Columns
    twin: str | None
    one_thread: bool
    unsteady: dict[str, str]
    first_call_s: dict[str, float]
    environment: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        for columns in (*self.samples.values(), self.blocks):
            if len({len(column) for column in columns.values()}) > 1:
                raise ValueError("columns of different lengths")
        names = {self.baseline, *({self.twin} - {None})}
        if not names < {*self.samples}:
            raise ValueError("samples of the baseline, or of what it is compared with, are missing")
        for columns in self.samples.values():
            times = columns.get("wall_s", [])
            if not {"round", "block"} <= columns.keys() or not times:
                raise ValueError("a callable has no samples")
            if not all(0 < value < math.inf for value in times):
                raise ValueError("a time is no number above 0")
        return self

    @classmethod
    def of(cls, launch: Launch, machine: str) -> Stored:
        """The samples of a launch."""
        return cls(
            machine=machine,
            baseline=launch.baseline,
            samples={name: dict(columns) for name, columns in launch.samples.items()},
            blocks=dict(launch.blocks),
            twin=launch.twin,
            one_thread=launch.one_thread,
            unsteady=dict(launch.unsteady),
            first_call_s=dict(launch.first_call_s),
        )

    def launch(self) -> Launch:
        """The same as a launch."""
        fields = self.model_dump(exclude={"machine", "environment"})
        return Launch(**fields)


class Samples(BaseModel):
    """The samples of one session, or of several that kept different comparisons in one file.

    Attributes:
        kind: what the file is.
        schema_number: of this format.
        made: when the last session ended, UTC.
        environment: versions and processor.
        comparisons: name to samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["modbench samples of pytest"] = "modbench samples of pytest"
    schema_number: Literal[1] = 1
    made: str
    environment: dict[str, Any]
    comparisons: dict[str, Stored]

    def merged_with(self, earlier: Samples) -> Samples:
        """These, and the comparisons of earlier sessions that these do not have, each with the environment it was made in."""
        others = dict[str, Stored]()
        for name, each in earlier.comparisons.items():
            made_in = each.environment or earlier.environment
            others[name] = each.model_copy(update={"environment": None if made_in == self.environment else made_in})
        return self.model_copy(update={"comparisons": others | self.comparisons})


def read(file: Path, advice: str = "Make it anew.") -> Samples:
    """Read a file.

    Raises:
        UsageError: if it cannot be read, or is none of `--modbench-store`.
    """
    try:
        return Samples.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UnreadableError(
            f"{file} cannot be read ({error.strerror}). Make one by --modbench-store {file}."
        ) from error
    except ValidationError as error:
        raise UnreadableError(
            f"{file} is no file of --modbench-store, or damaged ({brief(in_words(error), 200)}). {advice}"
        ) from error


def recorded_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an environment that is stored: versions and processor, no names."""
    return {key: environment[key] for key in ("python", "packages", "system", "cpu", "cores", "usable_cores")}
