"""Resolves a suite's arms to model configurations: expands lists, fills in defaults, makes ids distinct."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from modbench.harness.core import model_specs, titles
from modbench.harness.core.config import ROUTING_KEYS, ModelConfig
from modbench.harness.core.errors import UsageError, in_words, unknown
from modbench.harness.core.ids import short_name
from modbench.harness.core.options import Pairs, label
from modbench.harness.core.units import check_capacity
from modbench.harness.domain.arm_tables import Arm, Match
from modbench.harness.domain.suite import Suite
from modbench.harness.planning.dense_ladder import QUANTITIES
from modbench.harness.registry import catalogue, own_models, own_routers
from modbench.harness.registry.model_sources import sourced

# (model to solve for, its shape, target model, target's shape, what is matched) -> (solved shape, its share of the full shape's)
Solver = Callable[[str, ModelConfig, str, ModelConfig, Match], tuple[ModelConfig, float]]

# Keys that say something to modbench, whatever the model does with them.
OURS = ("vocab_size", "max_seq_len", "bidirectional", "n_classes")


@dataclass(frozen=True)
class ResolvedArm:
    """A model with its full configuration, without a place on the grid.

    Attributes:
        model: catalogue name or a user's spec.
        config: shape of the model.
        parts: what distinguishes it from other arms of its model.
        options: what a user's build is given by name.
        by_name: keys of the configuration that it is given by name as well.
        anchor: whether the suite names it as the anchor.
        target: the arm that it matches, if it is a rung.
        quantity: the quantity in which it matches.
        factor: how many times the target's cost it has.
        title: what tables and figures call it; empty: its own name.
    """

    model: str
    config: ModelConfig
    parts: tuple[str, ...]
    options: Pairs = ()
    by_name: tuple[str, ...] = ()
    anchor: bool = False
    target: ResolvedArm | None = None
    quantity: str = "flops/forward"
    factor: float = 1.0
    title: str = ""


def resolve_arms(suite: Suite, solve: Solver) -> list[ResolvedArm]:
    """Resolve all arms of a suite: the anchor, the rungs of the ladder, then the others in the suite's order.

    Args:
        suite: what to resolve.
        solve: finds the shape of an arm with `match`.

    Raises:
        UsageError: for a model that does not exist, a key that it does not read, or an impossible shape.
    """
    contexts = (suite.decode_grid or suite.grid).seq_len
    lengths = [*suite.grid.seq_len, *contexts, *([suite.train.seq_len] if suite.train else [])]
    served = {metric.workload for key, metric in catalogue.metrics().items() if key in suite.metrics}
    room = max(contexts) + suite.decode.tokens
    if "decode" in served:
        lengths.append(room)
    # A prompt is read into a cache with room for what follows it, where the model has positions for that.
    shape = {"max_seq_len": max(*lengths, room) if "prefill" in served else max(lengths), **suite.shape}
    if sum(arm.anchor for arm in suite.arms) > 1:
        raise UsageError("more than one arm has anchor = true; a comparison has one anchor.")
    plain: list[tuple[ResolvedArm, dict[str, Any]]] = []
    for arm in suite.arms:
        if arm.match is None:
            plain += [
                (replace(_resolve(arm.model, shape, s, o, anchor=arm.anchor), title=_title(arm, {**s, **o})), s)
                for s in product_of(arm.settings)
                for o in product_of(arm.options)
            ]
    if not plain:
        raise UsageError("every arm has a match; a comparison needs an anchor without one.")
    longest = plain[0][0].config.max_seq_len
    for each, _ in plain:
        if sourced(each.model) and each.config.max_seq_len < max(lengths):
            raise UsageError(
                f"model {each.model!r} has {each.config.max_seq_len} positions; this suite reads {max(lengths)} tokens. Lower "
                "--seq-len, train.seq_len or decode.tokens."
            )
    if longest < max(lengths):
        raise UsageError(f"seq_len {max(lengths)} is more than max_seq_len {longest}: raise max_seq_len.")
    named = list(dict.fromkeys(_label(arm, settings, plain) for arm, settings in plain))  # equal arms are one
    rungs = [_rung(arm, arm.match, suite, shape, named, solve) for arm in suite.arms if arm.match is not None]
    anchor = next((arm for arm in named if arm.anchor), named[0])
    arms = [anchor, *dict.fromkeys(rungs), *(arm for arm in named if arm is not anchor)]
    _refuse_double_names(arms)
    check_titles([(short_name(arm.model), arm.title) for arm in arms])
    return arms


def unsolved_arms(suite: Suite) -> list[ResolvedArm]:
    """Resolve all arms without torch: the dense ladder is checked but not solved, which needs closed forms.

    Raises:
        UsageError: as `resolve_arms`.
    """
    names = itertools.count()
    return resolve_arms(suite, lambda _model, base, _target_model, _target, _match: (base, next(names)))


def _title(arm: Arm, point: Mapping[str, Any]) -> str:
    """The title of one of the arms of a table: with the values in which they differ, where it makes several."""
    several = [
        key for key, tried in {**arm.settings, **arm.options}.items() if isinstance(tried, list) and len(tried) > 1
    ]
    values = (f"{point[key]}" if key == "capacity" else f"{key} {point[key]}" for key in several)
    return titles.checked(" ".join([arm.title, *values])) if arm.title else ""


def check_titles(arms: Iterable[tuple[str, str]]) -> None:
    """Check that each title names one arm.

    Args:
        arms: of each its own name, and its title or nothing.

    Raises:
        UsageError: if a title is that of another arm, or its name.
    """
    taken = dict[str, str]()
    for name, title in sorted(arms, key=lambda arm: bool(arm[1])):  # names before titles
        called = (title or name).casefold()
        if title and called in taken:
            raise UsageError(
                f"title {title!r} is what {taken[called]} is called, too: give each arm a title of its own."
            )
        taken.setdefault(called, name)


def _refuse_double_names(arms: list[ResolvedArm]) -> None:
    seen: dict[tuple[str, tuple[str, ...]], ResolvedArm] = {}
    for arm in arms:
        name = (short_name(arm.model), arm.parts)
        if name in seen:
            label = "-".join((name[0], *name[1]))
            raise UsageError(f"two arms would both be called {label!r}: give them different settings.")
        seen[name] = arm


def product_of(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings or options with one value each: all combinations of the values of lists.

    Raises:
        UsageError: if a list is empty.
    """
    for key, value in settings.items():
        if value in ([], ()):
            raise UsageError(f"{key} = [] leaves no arm: give at least one value.")
    axes = [
        [(key, v) for v in (value if isinstance(value, list | tuple) else [value])] for key, value in settings.items()
    ]
    return [dict(point) for point in itertools.product(*axes)]


def _resolve(
    model: str,
    shape: Mapping[str, Any],
    of_arm: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
    *,
    anchor: bool = False,
) -> ResolvedArm:
    given, settings = given or {}, {**shape, **of_arm}
    by_name: tuple[str, ...] = ()
    if model_specs.is_user_model(model):
        by_name = reached_by_name(model, given, of_arm)
        options: Mapping[str, object] = {}
        settings |= decided_by(model, given, settings)
    else:
        catalogue.find("models", model)
        options = catalogue.model_options(model)
        for key in of_arm:
            if key in ROUTING_KEYS and key not in options:
                allowed = f"It reads {', '.join(options)}." if options else "It reads no routing key."
                raise UsageError(f"model {model!r} does not read {key!r}. {allowed}")
    merged = {**options, **settings}
    check_capacity(merged.get("capacity"))
    if "router" in merged:
        own_routers.check(str(merged["router"]))
    try:
        config = ModelConfig.model_validate(merged)
    except ValidationError as error:
        raise UsageError(f"model {model!r}: {in_words(error)}") from error
    if "first_routed" in options and config.first_routed >= config.n_layers:
        raise UsageError(
            f"model {model!r}: first_routed {config.first_routed} leaves no routed block among {config.n_layers} layers "
            "(blocks count from 0). Lower first_routed or add layers."
        )
    return ResolvedArm(model, config, (), tuple(sorted(given.items())), by_name, anchor)


def reached_by_name(model: str, given: Mapping[str, Any], of_arm: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of an arm that a user's build is given by name; it reads the others from the configuration.

    Args:
        model: the user's model.
        given: its options.
        of_arm: the settings of the arm, without the shape that all arms share.

    Raises:
        UsageError: if the model cannot be found or called so, or one of the keys reaches nothing.
    """
    ways = {key: own_models.way(model, given, key) for key in of_arm if key not in OURS}
    by_name = tuple(sorted(key for key, way in ways.items() if way.by_name))
    own_models.check_user_model(model, {**given, **{key: of_arm[key] for key in by_name}})
    for key, way in ways.items():
        if way.why_not:
            raise UsageError(f"model {model!r}: {key} = {of_arm[key]!r} would change nothing: {way.why_not}.")
    return by_name


def decided_by(model: str, given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of its shape that a model decides itself, whatever the suite's shape says; none for most models.

    Args:
        model: its name.
        given: its options.
        settings: the suite's shape and the arm's settings.

    Raises:
        UsageError: if it has no such part as these ask for.
    """
    found = sourced(model, given)
    if found is None:
        return {}
    for key in ("mixer", "bidirectional"):
        if settings.get(key) not in {None, ModelConfig.model_fields[key].default}:
            raise UsageError(f"model {model!r} has no {key} = {settings[key]!r}: leave it out of this suite.")
    return dict(found.settings())


def _label(
    arm: ResolvedArm, settings: dict[str, Any], siblings: list[tuple[ResolvedArm, dict[str, Any]]]
) -> ResolvedArm:
    """Name an arm: its capacity, options and a router of the user's always, other keys if arms of the same model differ."""
    parts = [f"c{arm.config.capacity:g}"] if arm.config.capacity is not None else []
    if any(short_name(other.model) == short_name(arm.model) and other.model != arm.model for other, _ in siblings):
        parts.insert(0, arm.model.rpartition(":")[0].removesuffix(".py"))  # two files with the same name: add the path
    others = [other for other, _ in siblings if other.model == arm.model]
    for key in settings:
        value = getattr(arm.config, key, None)
        own = key == "router" and own_routers.is_spec(str(value))
        differ = len({(getattr(other.config, key), key in other.by_name) for other in others}) > 1
        if key != "capacity" and (own or differ):
            name = own_routers.short(str(value)) if own else value
            parts.append(str(name) if isinstance(name, str) else f"{key}{name:g}")
    parts += [label(name, value) for name, value in arm.options]
    return replace(arm, parts=tuple(parts))


def _rung(
    arm: Arm, match: Match, suite: Suite, shape: dict[str, Any], named: list[ResolvedArm], solve: Solver
) -> ResolvedArm:
    """Solve for the shape that costs what its target does: the suite's arm of that model with the match's settings."""
    if model_specs.is_user_model(arm.model) or model_specs.is_user_model(match.arm):
        raise UsageError("match needs closed forms: only catalogue models can be solved or matched.")
    if match.arm not in catalogue.entries("models"):
        raise UsageError(f"match: {unknown('arm', match.arm, catalogue.entries('models'))}")
    theirs = next((other.settings for other in suite.arms if other.model == match.arm and other.match is None), {})
    fixed = {key: value for key, value in theirs.items() if not isinstance(value, list | tuple)}
    base = _resolve(arm.model, shape, arm.settings)
    target = _resolve(match.arm, shape, {**fixed, **match.settings})
    target = next((a for a in named if (a.model, a.config) == (target.model, target.config)), None) or _label(
        target, {}, []
    )
    config, share = solve(arm.model, base.config, target.model, target.config, match)
    letter = QUANTITIES[match.quantity][1]
    return ResolvedArm(
        arm.model,
        config,
        (f"{letter}{share:.2f}",),
        anchor=arm.anchor,
        target=target,
        quantity=match.quantity,
        factor=match.factor,
        title=arm.title,
    )
