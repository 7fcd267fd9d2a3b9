"""The arms of a suite as its file has them: a model, its settings, and the options of a user's model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from modbench.harness.core import model_specs, options
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.core.frozen import Frozen
from modbench.harness.domain.facts import Title


class Match(Frozen):
    """Request for the shape whose cost equals another arm's, or a multiple of it, at the training length.

    Attributes:
        arm: model of the arm to match; its other settings may stand beside it, such as `capacity = 0.125`.
        quantity: what is to be equal.
        factor: how many times that arm's cost it shall have; 1.4 of dense is a dense model above the anchor.
        settings: the settings that stand beside `arm`.
    """

    arm: str
    quantity: Literal["flops/forward", "flops/train_step", "params"] = "flops/forward"
    factor: float = Field(1.0, gt=0, le=100)
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: dict[str, Any]) -> dict[str, Any]:
        return _collect_settings(data, own=("arm", "quantity", "factor", "settings"))


class Arm(Frozen):
    """A model and its settings; a list of values makes one arm per value.

    Attributes:
        model: a catalogue name, or a model of your own as `FILE.py:build` or `FILE.py:build(OPTION=VALUE)`.
        anchor: whether the others are compared with this arm; without one, with the first.
        match: solve the shape of this arm so that it costs what another arm does.
        options: for each option of your own `build`, the value or the values that it is tried with.
        title: what tables and figures call the arm; where its table makes several, the values that differ follow it.
        settings: keys of the model beside these.
    """

    model: str
    anchor: bool = False
    match: Match | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    title: Title = ""
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: dict[str, Any]) -> dict[str, Any]:
        return _with_options(_collect_settings(data, own=("model", "anchor", "match", "options", "title", "settings")))


def _collect_settings(data: dict[str, Any], own: tuple[str, ...]) -> dict[str, Any]:
    """Gather the model keys of an arm's table, where they are flat, and refuse unknown keys."""
    if not isinstance(data, dict):
        raise ValueError(  # noqa: TRY004  # pydantic turns a ValueError into a message for the user
            f'must be a table such as {{ {own[0]} = "mod" }}, not {data!r}'
        )
    if "settings" in data:  # read back from run.json
        return data
    kept = {key: value for key, value in data.items() if key in own}
    settings = {key: value for key, value in data.items() if key not in own}
    for key in settings:
        if key not in ModelConfig.model_fields:
            raise unknown("key", key, (*own[:-1], *ModelConfig.model_fields))
    return {**kept, "settings": settings}


def _with_options(data: dict[str, Any]) -> dict[str, Any]:
    """Gather the options of an arm: those in its table, and those behind the model's name."""
    if not isinstance(data.get("model"), str):
        return data
    model, typed = model_specs.parse_spec(data["model"])
    table = data.get("options", {})
    if not isinstance(table, dict):
        raise ValueError(f"options must be a table such as {{ threshold = 0.7 }}, not {table!r}")  # noqa: TRY004  # as above
    given = model_specs.together(model, typed, table)
    if given and not model_specs.is_user_model(model):
        raise UsageError(f"model {model!r} is one of modbench's own: write {next(iter(given))!r} as a key of its arm.")
    return {**data, "model": model, "options": options.checked(given, f"model {model!r}")}


def look_beside(data: dict[str, Any], folder: Path) -> None:
    """Let the arms name files relative to the current folder, or else to the suite's."""
    arms = data.get("arms")
    for arm in arms if isinstance(arms, list) else []:
        if isinstance(arm, dict) and isinstance(arm.get("model"), str):
            spec, inside = options.in_parentheses(arm["model"])
            arm["model"] = model_specs.beside(spec, folder) + (f"({inside})" if inside is not None else "")
        if isinstance(arm, dict) and (routers := arm.get("router")) is not None:
            arm["router"] = (
                [_router(r, folder) for r in routers] if isinstance(routers, list) else _router(routers, folder)
            )


def _router(named: object, folder: Path) -> object:
    return model_specs.beside(named, folder) if isinstance(named, str) else named
