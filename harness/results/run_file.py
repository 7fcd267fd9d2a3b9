"""Types of the fields of run.json, besides its plan, and of finished.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

from modbench.harness.core.units import SECONDS
from modbench.harness.machine.certificate import Certificate
from modbench.harness.results import layout
from modbench.harness.results.extension_sources import Origin
from modbench.harness.results.own_files import OwnFile
from modbench.harness.results.reading import DamagedError, Problem, load, parse

Text = Annotated[str, Strict()]
Whole = Annotated[int, Strict(), Field(ge=0)]
Duration = Annotated[float, Strict(), Field(ge=0, le=SECONDS.most)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Device(_Part):
    name: Text
    driver: Text | None


class _Gpus(_Part):
    devices: list[_Device]
    reason: Text | None = None


class _Git(_Part):
    commit: Text | None


class _Machine(_Part):
    """The fields of the environment that reports read, where they are there."""

    packages: dict[str, Text | None] = Field(default_factory=dict)
    cpu: Text = ""
    cores: Whole | None = None
    memory_bytes: Whole | None = None
    git: _Git = _Git(commit=None)
    gpu: _Gpus = _Gpus(devices=[])
    machine: Text | None = None
    certificate: Certificate | None = None


class RunFile(_Part):
    """run.json; `docs/run_folder.md` says what each key is. Older runs lack those with a default."""

    environment: _Machine
    plan: dict[str, Any]
    command: list[Text]
    started: Text
    launcher: Text
    launcher_options: tuple[Text, ...] = ()
    started_in: Text | None = None
    layout: Text = layout.TOGETHER
    token: Any = None
    own_files: tuple[OwnFile, ...] = ()
    included: tuple[Origin, ...] = ()


class _Finished(_Part):
    wall_s: Annotated[Duration, Field(gt=0)]
    timed_wall_s: Duration
    parent_cpu_s: Duration


def complete(environment: dict[str, Any], file: Path) -> None:
    """Require what a report cannot do without.

    Raises:
        DamagedError: if a part of the environment is missing.
    """
    for name in ("packages", "cpu", "git", "gpu"):
        if name not in environment:
            raise DamagedError(file, Problem(("environment", name), "missing"))
    if not environment["packages"].get("modbench"):
        raise DamagedError(file, Problem(("environment", "packages", "modbench"), "missing"))


def read_finished(file: Path) -> dict[str, Any] | None:
    """Read finished.json; None if there is none.

    Raises:
        DamagedError: if it is damaged.
    """
    if not file.is_file():
        return None
    body = load(file)
    try:
        parse(_Finished, body, file)
    except DamagedError as error:
        raise DamagedError(file, f"{error.problem}. Remove the file to read the run as interrupted") from error
    return body
