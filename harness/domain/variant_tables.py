"""The variants of a suite as its file has them, and those that it takes from a run: a model, its settings, its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from modbench.harness.core import model_specs
from modbench.harness.core.config import ModelConfig, with_shares
from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.core.immutable import Frozen
from modbench.harness.domain.case import Title

# What a dense model can have in common with the variant that it is solved for.
Quantity = Literal["flops/forward", "flops/train_step", "params", "latency/forward"]


class Match(Frozen):
    """Request for the shape whose cost equals another variant's, or a multiple of it.

    A model of modbench's own is matched at the training length, a model of yours at the longest length of the grid; where the
    run trains at several lengths, FLOPs of both are matched at each.

    Attributes:
        variant: model of the variant to match, a catalogue name or a model of your own; its other settings may stand beside
            it, such as `capacity = 0.125`.
        quantity: what is to be equal; `latency/forward` is the time that this machine's peaks predict.
        factor: how many times that variant's cost it shall have; 1.4 of dense is a dense model above the baseline.
        options: for options of your own `build`, the value of the variant to match.
        settings: the settings that stand beside `variant`.
    """

    variant: str
    quantity: Quantity = "flops/forward"
    factor: float = Field(1.0, gt=0, le=100)
    options: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: dict[str, Any]) -> dict[str, Any]:
        made = _with_options(
            _collect_settings(data, own=("variant", "quantity", "factor", "options", "settings")), "variant"
        )
        several = next((name for name, values in made.get("options", {}).items() if len(values) > 1), None)
        if several is not None:
            raise UsageError(f"match: option {several!r} has several values: give the one of the variant to match.")
        return made


class Variant(Frozen):
    """A model and its settings; a list of values makes one variant per value.

    Attributes:
        model: a catalogue name, or a model of your own as `FILE.py:build` or `FILE.py:build(OPTION=VALUE)`.
        baseline: whether the others are compared with this variant; without one, with the first.
        match: solve the shape of this variant so that it costs what another variant does.
        options: for each option of your own `build`, the value or the values that it is tried with.
        title: what tables and figures call the variant; where its table makes several, the values that differ follow it.
        settings: keys of the model beside these.
    """

    model: str
    baseline: bool = False
    match: Match | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    title: Title = ""
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: dict[str, Any]) -> dict[str, Any]:
        own = ("model", "baseline", "match", "options", "title", "settings")
        return _with_options(_collect_settings(data, own=own), "model")


class TakenVariant(Frozen):
    """A variant that was taken.

    Attributes:
        model: its model, one of modbench's own.
        settings: its routing keys that are not the model's defaults, and its capacity.
        variant: its name in that run; empty where that run has no such model.
        loss: its mean held-out loss there in nats per token; None where that run has no such model.
        seeds: runs that the mean is over.
        among: variants of its kind there that have this loss.
    """

    model: str
    settings: dict[str, Any]
    variant: str = ""
    loss: float | None = None
    seeds: int = 0
    among: int = 0


class VariantsFrom(Frozen):
    """What was taken from a run.

    Attributes:
        run: the run folder, as typed.
        metric: the loss that chose.
        seq_len: the length at which it was measured, the longest that the run trained at.
        smoke: whether that run makes no claims: then its losses choose nothing but the names of variants.
        variants: the variants.
    """

    run: str
    metric: str
    seq_len: int
    smoke: bool
    variants: tuple[TakenVariant, ...]


def _collect_settings(data: dict[str, Any], own: tuple[str, ...]) -> dict[str, Any]:
    """Gather the model keys of a variant's table, where they are flat, and refuse unknown keys."""
    if not isinstance(data, dict):
        raise ValueError(  # noqa: TRY004  # pydantic turns a ValueError into a message for the user
            f'must be a table such as {{ {own[0]} = "mod" }}, not {data!r}'
        )
    if "settings" in data:  # read back from run.json
        return {**data, "settings": with_shares(data["settings"])}
    kept = {key: value for key, value in data.items() if key in own}
    settings = {key: value for key, value in data.items() if key not in own}
    for key in settings:
        if key not in ModelConfig.model_fields:
            raise unknown("key", key, (*own[:-1], *ModelConfig.model_fields))
    return {**kept, "settings": with_shares(settings)}


def _with_options(data: dict[str, Any], key: Literal["variant", "model"]) -> dict[str, Any]:
    """Gather the options of a variant: those in its table, and those behind the model's name, which stands under `key`."""
    if not isinstance(data.get(key), str):
        return data
    model, typed = model_specs.parse_spec(data[key])
    table = data.get("options", {})
    if not isinstance(table, dict):
        raise ValueError(f"options must be a table such as {{ threshold = 0.7 }}, not {table!r}")  # noqa: TRY004  # as above
    given = model_specs.together(model, typed, table)
    if given and not model_specs.is_user_model(model):
        raise UsageError(
            f"model {model!r} is one of modbench's own: write {next(iter(given))!r} as a key of its variant."
        )
    return {**data, key: model, "options": model_specs.checked(given, f"model {model!r}")}


def look_beside(data: dict[str, Any], folder: Path) -> None:
    """Let the variants name files relative to the current folder, or else to the suite's."""
    variants = data.get("variants")
    for variant in variants if isinstance(variants, list) else []:
        for table, key in (
            (variant, "model"),
            (variant.get("match") if isinstance(variant, dict) else None, "variant"),
        ):
            if isinstance(table, dict) and isinstance(table.get(key), str):
                spec, inside = model_specs.in_parentheses(table[key])
                table[key] = model_specs.beside(spec, folder) + (f"({inside})" if inside is not None else "")
        if isinstance(variant, dict) and (routers := variant.get("router")) is not None:
            variant["router"] = (
                [_router(r, folder) for r in routers] if isinstance(routers, list) else _router(routers, folder)
            )


def _router(named: object, folder: Path) -> object:
    return model_specs.beside(named, folder) if isinstance(named, str) else named
