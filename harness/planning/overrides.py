"""Applies command-line flags to a suite, so that a sweep needs no file."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modbench.harness.core import model_specs
from modbench.harness.core.config import ROUTING_KEYS, SHAPE_KEYS
from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.core.model_specs import Value
from modbench.harness.core.train_plan import BUDGETS, TrainPlan
from modbench.harness.domain.case import GridPoint
from modbench.harness.domain.suite import EFFORTS, MATCHES, TABLES, Suite
from modbench.harness.domain.variant_tables import Variant, VariantsFrom
from modbench.harness.machine import accelerators
from modbench.harness.planning import suite_tables
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.matching import Costs, case_of
from modbench.harness.planning.variants import unsolved_variants
from modbench.harness.registry import catalogue, user_models
from modbench.harness.registry.model_loaders import from_loader

# What a suite without a table does.
WITHOUT = {"train": "does not train on a corpus", "decode_grid": "decodes on its grid"}
# Keys that only the pilot of a two-stage effort reads.
_OF_PILOT = ("pilot_processes", "most_processes", "detectable")
# Of one of our models that does not read a key.
UNREAD = "it does not read it"
# The baseline's steps of training at smoke effort.
SMOKE_STEPS = 4
# Seeds of a smoke run that names none: it claims nothing, and two show that values are joined by seed.
SMOKE_SEEDS = 2
# Keys of a suite outside its tables that `--set` changes.
TOP_KEYS = ("processes", "rounds", *_OF_PILOT, "margin", "threads", "metrics", "aa_control")


@dataclass(frozen=True)
class Overrides:
    """Values that a command line or a call from Python gives; None or empty keeps the suite's value.

    Attributes:
        model: catalogue names keep only those variants and the baseline, and add models that the suite lacks;
            `FILE.py:build` or `package.module:build` adds a variant, with options in parentheses.
        only: whether these models are all: the first is the baseline.
        match: what the dense model beside each of the user's has in common with it; `none`: there is none.
        option: for each option of the user's models that take it, the values that it is tried with.
        capacity: replaces the capacities of every variant that has one, and of user models that it reaches.
        router: replaces the routers of every variant that has one; catalogue names and `FILE.py:ROUTER`.
        seq_len: replaces the grid's lengths.
        batch_size: replaces the grid's batch sizes.
        dtype: replaces the grid's number formats.
        input_len: replaces the grid's prompt lengths of end-to-end requests, and adds `latency/request` to the metrics.
        output_len: replaces the tokens that a request generates; likewise.
        device: `cpu` or `cuda`.
        compile: wraps every model in torch.compile.
        seeds: seeds of weights and data.
        corpus: catalogue name or path of the text.
        effort: preset that replaces the suite's processes and rounds; `smoke` also shortens training and keeps
            two seeds of the suite's.
        title: what tables and figures call variants, by the variant as the user names it; it changes nothing of the suite.
        variants_from: run folder whose best MoD and MoDE variant take the place of the suite's variants beside its baseline.
        audit: whether the user's models are audited; it changes nothing of the suite.
        settings: values of everything else by key, such as `train.steps`.

    Raises:
        UsageError: if the device, the effort or the matched baseline is unknown.
    """

    model: tuple[str, ...] = ()
    only: bool = False
    match: str | None = None
    option: Mapping[str, list[Value]] = field(default_factory=dict)
    capacity: tuple[float, ...] = ()
    router: tuple[str, ...] = ()
    seq_len: tuple[int, ...] = ()
    batch_size: tuple[int, ...] = ()
    dtype: tuple[str, ...] = ()
    input_len: tuple[int, ...] = ()
    output_len: tuple[int, ...] = ()
    device: str | None = None
    compile: bool = False
    seeds: tuple[int, ...] = ()
    corpus: str | None = None
    effort: str | None = None
    title: Mapping[str, str] = field(default_factory=dict)
    variants_from: str | None = None
    audit: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.effort is not None and self.effort not in EFFORTS:
            raise unknown("effort", self.effort, EFFORTS)
        if self.match is not None and self.match not in MATCHES:
            raise unknown("match", self.match, MATCHES)
        accelerators.check(self.device)


def override(suite: Suite, flags: Overrides, costs: Costs | None = None) -> Suite:
    """Return the suite with the flags applied.

    Args:
        suite: the suite.
        flags: what they say.
        costs: builds users' models, to see which keys they read; None: each reads what a flag sets.

    Raises:
        UsageError: for a value that is not valid in a suite.
    """
    data = suite.model_dump()
    _set_axes(data, flags)
    for key in ("device", "seeds", "corpus", "match"):
        if getattr(flags, key):
            data[key] = getattr(flags, key)
    data["compile"] = data["compile"] or flags.compile
    if flags.effort:
        data |= {"effort": flags.effort} | dict.fromkeys(
            ("processes", "rounds", "pilot_processes", "most_processes", "detectable")
        )
    if data["effort"] == "smoke":
        _shorten(data)
        data["seeds"] = flags.seeds or data["seeds"][:SMOKE_SEEDS]
    data["variants"] = _choose_models(data["variants"], flags.model, only=flags.only)
    if flags.match not in {None, "none"} and not any(
        model_specs.is_user_model(variant["model"]) for variant in data["variants"]
    ):
        raise UsageError(
            f"--match {flags.match}: this suite has no model of yours. Add one, such as --model mine.py:build."
        )
    for name, values in flags.option.items():
        _set_option(data["variants"], name, values)
    if flags.capacity:
        _set_routing(data, "capacity", list(flags.capacity), "--capacity")
        _aim_matches(data, sorted(set(flags.capacity)))
    if flags.router:
        _set_routing(data, "router", list(flags.router), "--router")
    for key, value in flags.settings.items():
        _set(data, key, value)
    _shorten_tables(data, flags.settings)
    made = parse_suite(data, "command line")
    _check_pilot(made, flags.settings)
    offered = {"capacity": "--capacity"} if flags.capacity else {}
    offered |= {"router": "--router"} if flags.router else {}
    offered |= {key: f"--set {key}" for key in flags.settings if key in ROUTING_KEYS}
    if costs is not None:
        for key, flag in offered.items():
            made = _where_read(made, key, flag, costs)
    return made


def _where_read(suite: Suite, key: str, flag: str, costs: Costs) -> Suite:
    """The suite without a flag's key at users' models that are built and called without reading it.

    Raises:
        UsageError: if no model reads it.
    """
    variants, why_not = list(suite.variants), dict[str, None]()
    for i, variant in enumerate(suite.variants):
        if (
            key in variant.settings
            and model_specs.is_user_model(variant.model)
            and not _is_read(suite, variant, key, costs)
        ):
            variants[i] = variant.model_copy(
                update={"settings": {k: v for k, v in variant.settings.items() if k != key}}
            )
            why_not[f"Model {variant.model!r}: {user_models.unread(variant.model, key)}."] = None
    if not any(key in variant.settings for variant in variants):
        raise UsageError(f"{flag}: no model of this suite reads {key!r}. {' '.join(why_not)}")
    return suite.model_copy(update={"variants": tuple(variants)})


def _is_read(suite: Suite, variant: Variant, key: str, costs: Costs) -> bool:
    """Whether a user's model is given a key by name, or reads it, or nobody can tell."""
    first, *_ = (
        each for each in unsolved_variants(suite.model_copy(update={"variants": (variant,)})) if each.is_user_model
    )
    if key in first.by_name or from_loader(first.model, first.options):
        return True
    length = max(suite.grid.seq_len)
    grid_point = GridPoint(seq_len=length, batch_size=1, dtype="fp32", device="cpu", threads=1, compile=False)
    (found,) = costs.counted([case_of(first, grid_point)])
    return isinstance(found, str) or found.read is None or key in found.read


def with_variants(suite: Suite, taken: VariantsFrom, flags: Overrides) -> Suite:
    """Return the suite with its baseline and the variants that are taken from a run.

    Raises:
        UsageError: if a flag would change how these variants route.
    """
    also = [f"--{name}" for name in ("capacity", "router") if getattr(flags, name)]
    also += [f"--set {key}" for key in flags.settings if key in ROUTING_KEYS]
    if also:
        raise UsageError(f"--variants-from takes capacity and routing from {taken.run}: leave out {', '.join(also)}.")
    anchor = next((variant for variant in suite.variants if variant.baseline), suite.variants[0])
    variants = (Variant(model=each.model, settings=each.settings) for each in taken.variants)
    return suite.model_copy(update={"variants": (anchor, *variants)})


def _set_axes(data: dict[str, Any], flags: Overrides) -> None:
    """Replace the axes of the grids; requests are timed where they are given."""
    for axis in ("seq_len", "batch_size", "dtype", "input_len", "output_len"):
        if getattr(flags, axis):
            for grid in filter(None, (data["grid"], data["decode_grid"])):
                grid[axis] = getattr(flags, axis)
    if flags.input_len or flags.output_len:
        data["metrics"] = [*data["metrics"], "latency/request"]


def _choose_models(variants: list[dict[str, Any]], names: tuple[str, ...], *, only: bool) -> list[dict[str, Any]]:
    """Return the variants of a suite that run.

    Without `only`, catalogue names keep those variants and the baseline, and a user's models are added. With it, the named
    models are
    all: their variants as the suite has them, the first as the baseline; matched baselines stay if their own model and the one
    that they match are named, those of a user's model if that is.

    Args:
        variants: the suite's variants as tables.
        names: values of `--model`.
        only: whether `--only` was given.

    Raises:
        UsageError: for a model that does not exist, or `only` without a name.
    """
    if only and not names:
        raise UsageError(
            "--only compares the models of --model alone: name at least one, such as --model mine.py:build."
        )
    parsed = {name: model_specs.parse_spec(name) for name in names}
    for model, given in parsed.values():
        if not model_specs.is_user_model(model):
            catalogue.find("models", model)
            if given:
                raise UsageError(
                    f"model {model!r} is one of modbench's own: it takes --capacity and --set, not options."
                )
    if only:
        return _only(variants, parsed)
    own = [name for name, (model, _) in parsed.items() if model_specs.is_user_model(model)]
    named = [name for name in names if name not in own]
    if named:
        anchor = next((variant for variant in variants if variant["baseline"]), variants[0])
        variants = [variant for variant in variants if variant is anchor or variant["model"] in named]
        named = [name for name in named if name not in {variant["model"] for variant in variants}]
    return [*variants, *map(_plain, (*named, *own))]


def _only(variants: list[dict[str, Any]], parsed: dict[str, tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for name, (model, given) in parsed.items():
        suites = [
            variant for variant in variants if variant["model"] == model and variant["match"] is None and not given
        ]
        made += suites or [_plain(name)]
    models = {model for model, _ in parsed.values()}
    for variant in (variant for variant in variants if variant["match"]):
        target = variant["match"]["variant"]
        made += (
            [variant] if target in models and (variant["model"] in models or model_specs.is_user_model(target)) else []
        )
    return [variant | {"baseline": i == 0} for i, variant in enumerate(made)]


def _plain(name: str) -> dict[str, Any]:
    """A model that the suite does not have, with the options behind its name."""
    return {"model": name, "settings": {}, "baseline": False, "match": None}


def _shorten(data: dict[str, Any]) -> None:
    """Shorten training to a few steps, as smoke effort does."""
    if (train := data["train"]) is not None:
        if train["steps"] != 0:  # a run that only evaluates stays one
            _budget(train, "steps", SMOKE_STEPS)
        train["val_tokens"] = min(train["val_tokens"], 4 * max(TrainPlan.model_validate(train).lengths))


def _shorten_tables(data: dict[str, Any], settings: Collection[str]) -> None:
    """Give the tables of plug-ins their values of smoke effort, but for those that are set."""
    for name in () if data["effort"] != "smoke" else suite_tables.named_in(data, data["metrics"]):
        values = catalogue.load("suite_tables", name).at_smoke
        short = {key: value for key, value in values.items() if f"{name}.{key}" not in settings}
        if short:
            data[name] = {**(data.get(name) or {}), **short}


def _check_pilot(suite: Suite, settings: Iterable[str]) -> None:
    """Refuse a setting of the pilot where there is none."""
    idle = [key for key in settings if key in _OF_PILOT]
    if idle and not suite.two_stage:
        why = "processes are set" if suite.processes else f"{suite.effort} effort has a fixed number of processes"
        raise UsageError(f"--set {idle[0]}: {why}, so no pilot decides it. Use --effort standard or rigorous.")


def _set_option(variants: list[dict[str, Any]], name: str, values: list[Value]) -> None:
    """Set an option of every user's model that takes it, in the place of the suite's values."""
    own = [variant for variant in variants if model_specs.is_user_model(variant["model"])]
    if not own:
        raise UsageError(
            f"--option {name}: no model here is your own. Name one by --model FILE.py:build; modbench's own models take "
            "--capacity, --router and --set."
        )
    why_not = {}
    for variant in own:
        model = model_specs.parse_spec(variant["model"])[0]
        try:
            user_models.check_option(model, name, values[0])
        except UsageError as error:
            why_not[model] = str(error)
        else:
            variant["options"] = {**variant.get("options", {}), name: values}
    if not any(name in variant.get("options", {}) for variant in own):
        raise UsageError(f"--option {name}: {' '.join(why_not.values())}")


def _set_routing(data: dict[str, Any], key: str, value: object, flag: str) -> None:
    """Set a routing key for every variant whose model reads it; matched baselines follow the variant that they match."""
    why_not = {i: _why_not(variant, key) for i, variant in enumerate(data["variants"]) if variant["match"] is None}
    reads = [data["variants"][i] for i, why in why_not.items() if not why]
    if not reads:
        said = "".join(f" {why}." for why in dict.fromkeys(why_not.values()) if why != UNREAD)
        raise UsageError(f"{flag}: no model of this suite reads {key!r}.{said}")
    for variant in reads:
        variant["settings"][key] = value


def _aim_matches(data: dict[str, Any], capacities: list[float]) -> None:
    """Spread the matched baselines over the swept capacities, ends first, with at most one matched baseline per capacity."""
    matched_baselines = [
        variant for variant in data["variants"] if variant["match"] and "capacity" in variant["match"]["settings"]
    ]
    number = min(len(matched_baselines), len(capacities))
    for i, variant in enumerate(matched_baselines):
        if i >= number:
            data["variants"] = [other for other in data["variants"] if other is not variant]
        else:
            grid_point = i * (len(capacities) - 1) // max(1, number - 1)
            variant["match"]["settings"]["capacity"] = capacities[grid_point]


def setting_of(text: str) -> tuple[str, object]:
    """Key and value of a setting as typed: `KEY=VALUE`.

    Raises:
        UsageError: if there is no value.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text!r} lacks a value. Write --set KEY=VALUE, for example --set d_model=128.")
    return key, value if _texts_of(key) else toml_value(value)


def _set(data: dict[str, Any], key: str, value: object) -> None:
    in_tables = _keys_in_tables()
    plain = [variant for variant in data["variants"] if variant["match"] is None]
    if key in SHAPE_KEYS and all(key in variant["settings"] for variant in plain):
        for variant in plain:  # each has a value of its own, so that the shape's would change nothing
            variant["settings"][key] = value
    elif key in SHAPE_KEYS:
        data["shape"][key] = value
    elif key in ROUTING_KEYS:
        _set_routing(data, key, value, f"--set {key}")
    elif key in TOP_KEYS:
        data[key] = value.split(",") if key == "metrics" and isinstance(value, str) else value
    elif key in in_tables:
        _set_in_table(data, key, value)
    elif texts := _texts_of(key):
        _set_in_table(data, texts, {key.removeprefix(f"{texts}."): str(value)})
    else:
        raise UsageError(f"--set: {unknown('key', key, keys())}")
    for table in suite_tables.named_in(data, data["metrics"]):
        if data.get(table) is not None:
            catalogue.load("suite_tables", table).complete(data, key)


def keys() -> tuple[str, ...]:
    """All keys that `--set` changes, but those of texts by name, such as paths."""
    return (*SHAPE_KEYS, *ROUTING_KEYS, *TOP_KEYS, *_keys_in_tables())


def _keys_in_tables() -> list[str]:
    return [f"{table}.{name}" for table, kind in suite_tables.plans().items() for name in kind.model_fields]


def _texts_of(key: str) -> str:
    """The key of a table whose values are texts by name, of one of which this is the key; empty if it is none."""
    table, _, name = key.partition(".")
    name, dot, _ = name.partition(".")
    field = plan.model_fields.get(name) if dot and (plan := suite_tables.plans().get(table)) else None
    return f"{table}.{name}" if field is not None and field.annotation == dict[str, str] else ""


def _set_in_table(data: dict[str, Any], key: str, value: object) -> None:
    table, _, name = key.partition(".")
    if data.get(table) is None:
        own = suite_tables.table_named(table) if table not in TABLES else None
        if what := own.without if own is not None else WITHOUT.get(table):
            raise UsageError(f"--set {key}: this suite {what} (it has no [{table}]).")
        data[table] = {}
    if table == "train" and name in BUDGETS:
        _budget(data[table], name, value)
    elif isinstance(value, dict) and _texts_of(f"{key}."):
        data[table][name] = {**data[table].get(name, {}), **value}
    else:
        data[table][name] = value


def _budget(train: dict[str, Any], name: str, value: object) -> None:
    """Replace the budget of a run."""
    train |= dict.fromkeys(BUDGETS) | {name: value}


def _why_not(variant: dict[str, Any], key: str) -> str:
    """Why a routing key would not reach a variant's model; empty if it would, or nobody can tell."""
    model, given = model_specs.parse_spec(variant["model"])
    if not model_specs.is_user_model(model):
        return "" if key in catalogue.model_options(model) else UNREAD
    why = user_models.why_not(model, {**variant.get("options", {}), **given}, key)
    return f"Model {model!r}: {why}" if why else ""


def toml_value(text: str) -> object:
    """Parse a setting as a TOML value, such as a number, list or boolean; anything else is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text  # a bare word is a string
