"""Resolves a suite's arms to model configurations: expands lists, fills in defaults, makes ids distinct."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import ValidationError

from modbench.harness.core import model_specs, titles
from modbench.harness.core.config import ROUTING_KEYS, SHAPE_KEYS, ModelConfig
from modbench.harness.core.errors import UsageError, in_words, unknown
from modbench.harness.core.model_specs import Pairs, label
from modbench.harness.core.titles import short_name
from modbench.harness.core.units import check_capacity
from modbench.harness.domain.arm_tables import Arm, Match, Quantity
from modbench.harness.domain.suite import RIVALS, Suite
from modbench.harness.planning.dense_ladder import QUANTITIES
from modbench.harness.registry import catalogue, user_models, user_routers
from modbench.harness.registry.model_sources import sourced

# The model that is matched to each of the user's.
RIVAL = "dense"
# Digits of a rung's share of the full shape's cost in its name; more where two rungs would have one name.
DIGITS = (2, 3, 4)
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
        rung: whether its shape was solved for.
        shapes: its shape at each length, where lengths need different ones; `config` is that of the longest.
        targets: the arms that it matches: of a rung those that it was solved for, of another dense arm those that cost the same.
        quantity: the quantity in which it matches them.
        factor: how many times the targets' cost it has.
        share: its share of the cost of the arm of full shape, by which it is named; 0 where no such arm runs.
        tokens_of: model and options whose tokenizer it takes, where that is no model of the suite's own.
        no_rival: why a user's model has no dense model of equal cost, although the suite asks for one.
        title: what tables and figures call it; empty: its own name.
    """

    model: str
    config: ModelConfig
    parts: tuple[str, ...]
    options: Pairs = ()
    by_name: tuple[str, ...] = ()
    anchor: bool = False
    rung: bool = False
    shapes: tuple[tuple[int, ModelConfig], ...] = ()
    targets: tuple[ResolvedArm, ...] = ()
    quantity: Quantity = "flops/forward"
    factor: float = 1.0
    share: float = 0.0
    tokens_of: str = ""
    no_rival: str = ""
    title: str = ""

    @property
    def is_user_model(self) -> bool:
        """Whether it is the user's model."""
        return model_specs.is_user_model(self.model)

    def config_at(self, seq_len: int) -> ModelConfig:
        """Its shape at a sequence length."""
        return dict(self.shapes).get(seq_len, self.config)


class Solver(Protocol):
    """Knows what arms cost where they are matched."""

    def prepare(self, wanted: Iterable[tuple[ResolvedArm, Quantity]]) -> None:
        """Find what all these arms have of a quantity, which is faster than one after the other."""

    def solved(
        self, base: ResolvedArm, target: ResolvedArm, quantity: Quantity, factor: float
    ) -> dict[int, ModelConfig]:
        """By length, shortest first, the shape near `base` that costs as much as the target, or `factor` times.

        Raises:
            UsageError: if there is none, or the target's cost is not known.
        """

    def ratios(self, arm: ResolvedArm, other: ResolvedArm, target: ResolvedArm, quantity: Quantity) -> list[float]:
        """Cost of an arm over that of another, at each length where `target` is matched."""

    def read(self, arms: Sequence[ResolvedArm]) -> Sequence[Collection[str] | None]:
        """The keys of its configuration that each of some users' models reads; None where nobody can tell."""


def resolve_arms(suite: Suite, solver: Solver) -> list[ResolvedArm]:
    """Resolve all arms of a suite: the anchor, the rungs of the ladder, then the others in the suite's order.

    Each model of the user's gets a rung of equal cost beside it if the suite has a `rival`; if nothing else is compared, that of
    its first setting is the anchor.

    Args:
        suite: what to resolve.
        solver: finds the shapes of arms with `match`, and of rivals.

    Raises:
        UsageError: for a model that does not exist, a key that it does not read, or an impossible shape.
    """
    contexts = (suite.decode_grid or suite.grid).seq_len
    lengths = [*suite.grid.seq_len, *contexts, *(suite.train.lengths if suite.train else ())]
    served = {metric.workload for key, metric in catalogue.metrics().items() if key in suite.metrics}
    room = max(contexts) + suite.decode.tokens
    if "decode" in served:
        lengths.append(room)
    if "request" in served:
        lengths += [prompt + new for prompt, new in (suite.decode_grid or suite.grid).requests(suite.decode.tokens)]
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
    _check_read(plain, solver)
    longest = plain[0][0].config.max_seq_len
    for each, _ in plain:
        if sourced(each.model) and each.config.max_seq_len < max(lengths):
            raise UsageError(
                f"model {each.model!r} has {each.config.max_seq_len} positions; this suite reads {max(lengths)} tokens. Lower "
                "--seq-len, --request, train.seq_len or decode.tokens."
            )
    if longest < max(lengths):
        raise UsageError(f"seq_len {max(lengths)} is more than max_seq_len {longest}: raise max_seq_len.")
    named = list(dict.fromkeys(_label(arm, settings, plain) for arm, settings in plain))  # equal arms are one
    wanted = [_matched(arm, arm.match, suite, shape, named) for arm in suite.arms if arm.match is not None]
    rivals = [] if RIVALS[suite.rival] is None else [_rival(arm, suite, named) for arm in named if arm.is_user_model]
    rivals = [
        each for each in rivals if not any((o.target, o.quantity) == (each.target, each.quantity) for o in wanted)
    ]
    solver.prepare((each.target, each.quantity) for each in (*wanted, *rivals))
    rungs = [_solved(each, solver) for each in wanted]
    named, rungs = _with_rivals(named, rungs, rivals, solver)
    rungs = _distinct(rungs)
    anchor = _rival_alone(suite, named, rungs) or next((arm for arm in named if arm.anchor), named[0])
    arms = [anchor, *(arm for arm in (*rungs, *named) if arm is not anchor)]
    _refuse_double_names(arms)
    check_titles([(short_name(arm.model), arm.title) for arm in arms])
    return arms


def _rival_alone(suite: Suite, named: Sequence[ResolvedArm], rungs: Sequence[ResolvedArm]) -> ResolvedArm | None:
    """The rung of the first setting of a user's model with which nothing else is compared; None if it has none."""
    alone = named[0].is_user_model and sum(arm.match is None for arm in suite.arms) == 1
    return next((rung for rung in rungs if named[0] in rung.targets), None) if alone else None


class _Unsolved:
    """Solves nothing: every rung has the shape that it starts from, and a share of its own."""

    def __init__(self) -> None:
        self.names = itertools.count()

    def prepare(self, wanted: Iterable[tuple[ResolvedArm, Quantity]]) -> None:
        """Find nothing."""

    def solved(
        self, base: ResolvedArm, _target: ResolvedArm, _quantity: Quantity, _factor: float
    ) -> dict[int, ModelConfig]:
        """The shape that it starts from."""
        return {base.config.max_seq_len: base.config}

    def ratios(self, _arm: ResolvedArm, _other: ResolvedArm, _target: ResolvedArm, _quantity: Quantity) -> list[float]:
        """A number that no other arm has."""
        return [1e9 + next(self.names)]

    def read(self, arms: Sequence[ResolvedArm]) -> Sequence[Collection[str] | None]:
        """Nothing is built."""
        return [None] * len(arms)


def unsolved_arms(suite: Suite) -> list[ResolvedArm]:
    """Resolve all arms without torch: the dense ladder is checked but not solved, which needs the arms' costs.

    Raises:
        UsageError: as `resolve_arms`.
    """
    return resolve_arms(suite, _Unsolved())


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
        user_routers.check(str(merged["router"]))
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
    why_not = {key: user_models.why_not(model, given, key) for key in of_arm if key not in OURS}
    by_name = tuple(sorted(key for key, why in why_not.items() if not why and user_models.takes(model, given, key)))
    user_models.check_user_model(model, {**given, **{key: of_arm[key] for key in by_name}})
    for key, why in why_not.items():
        if why:
            raise refused(model, key, of_arm[key], why)
    return by_name


def refused(model: str, key: str, value: object, why: str) -> UsageError:
    """The error for a key of an arm that reaches nothing of a user's model."""
    return UsageError(f"model {model!r}: {key} = {value!r} would change nothing: {why}.")


def _check_read(plain: Sequence[tuple[ResolvedArm, dict[str, Any]]], solver: Solver) -> None:
    """Check that users' models read the keys of their arms that they are not given by name: they are built and called once.

    Raises:
        UsageError: for a key that is not read: a list of its values would be one model under several names.
    """
    asked = {
        arm: {key: value for key, value in settings.items() if key not in {*OURS, *arm.by_name}}
        for arm, settings in plain
        if arm.is_user_model and sourced(arm.model, arm.options) is None
    }
    asked = {arm: keys for arm, keys in asked.items() if keys}
    for (arm, keys), read in zip(asked.items(), solver.read(list(asked)), strict=True):
        for key, value in keys.items():
            if read is not None and key not in read:
                raise refused(arm.model, key, value, user_models.unread(arm.model, key))


def decided_by(model: str, given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of its shape that a model decides itself, whatever the suite's shape says; none for most models.

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
    arm: ResolvedArm, settings: dict[str, Any], siblings: Sequence[tuple[ResolvedArm, dict[str, Any]]]
) -> ResolvedArm:
    """Name an arm: its capacity, options and a router of the user's always, other keys if arms of the same model differ."""
    parts = [f"c{arm.config.capacity:g}"] if arm.config.capacity is not None else []
    if any(short_name(other.model) == short_name(arm.model) and other.model != arm.model for other, _ in siblings):
        parts.insert(0, arm.model.rpartition(":")[0].removesuffix(".py"))  # two files with the same name: add the path
    others = [other for other, _ in siblings if other.model == arm.model]
    for key in settings:
        value = getattr(arm.config, key, None)
        own = key == "router" and user_routers.is_spec(str(value))
        differ = len({(getattr(other.config, key), key in other.by_name) for other in others}) > 1
        if key != "capacity" and (own or differ):
            name = user_routers.short(str(value)) if own else value
            parts.append(str(name) if isinstance(name, str) else f"{key}{name:g}")
    parts += [label(name, value) for name, value in arm.options]
    return replace(arm, parts=tuple(parts))


@dataclass(frozen=True)
class _Wanted:
    """A rung that is to be solved.

    Attributes:
        base: the arm whose shape is changed.
        whole: the arm of whose cost it is named a share; None: none such runs, and it is named by the target.
        target: the arm to match.
        quantity: what is matched.
        factor: how many times the target's cost it shall have.
    """

    base: ResolvedArm
    whole: ResolvedArm | None
    target: ResolvedArm
    quantity: Quantity
    factor: float = 1.0

    def solved(self, solver: Solver) -> ResolvedArm:
        """The rung, without a name."""
        shapes = solver.solved(self.base, self.target, self.quantity, self.factor)
        made = replace(
            self.base,
            config=list(shapes.values())[-1],
            shapes=tuple(shapes.items()) if len(set(shapes.values())) > 1 else (),
            rung=True,
            targets=(self.target,),
            quantity=self.quantity,
            factor=self.factor,
        )
        if self.whole is None:
            return made
        return replace(made, share=solver.ratios(made, self.whole, self.target, self.quantity)[-1])


def _matched(arm: Arm, match: Match, suite: Suite, shape: dict[str, Any], named: Sequence[ResolvedArm]) -> _Wanted:
    """The rung of an arm with `match`, whose target is the suite's arm of that model with the match's settings and options."""
    if model_specs.is_user_model(arm.model):
        raise UsageError("match needs a closed form: only the shape of a catalogue model can be solved.")
    own = model_specs.is_user_model(match.arm)
    if not own and match.arm not in catalogue.entries("models"):
        raise UsageError(f"match: {unknown('arm', match.arm, catalogue.entries('models'))}")
    theirs = next((other for other in suite.arms if other.model == match.arm and other.match is None), None)
    fixed = (
        {key: value for key, value in theirs.settings.items() if not isinstance(value, list | tuple)} if theirs else {}
    )
    given = {key: values[0] for key, values in theirs.options.items() if len(values) == 1} if theirs else {}
    given |= {key: values[0] for key, values in match.options.items()}
    target = _resolve(match.arm, shape, {**fixed, **match.settings}, given)
    same = (target.model, target.config, target.options)
    beside: list[tuple[ResolvedArm, dict[str, Any]]] = [(other, {}) for other in (target, *named)]
    target = next((a for a in named if (a.model, a.config, a.options) == same), None) or _label(
        target, match.settings, beside
    )
    base = _resolve(arm.model, {**shape, **_shape_of(target)} if own else shape, arm.settings, anchor=arm.anchor)
    base = replace(base, tokens_of=_tokens_of(target), title=arm.title)
    whole = (
        _dense_arm(named) if own else next((a for a in named if (a.model, a.config) == (base.model, base.config)), None)
    )
    return _Wanted(base, whole, target, match.quantity, match.factor)


def _solved(wanted: _Wanted, solver: Solver) -> ResolvedArm:
    """The rung of a `match`, which nothing replaces if it cannot be had."""
    try:
        return wanted.solved(solver)
    except UsageError as error:
        target = "-".join((short_name(wanted.target.model), *wanted.target.parts))
        raise UsageError(f"match of {target}: {error}") from error


def _rival(target: ResolvedArm, suite: Suite, named: Sequence[ResolvedArm]) -> _Wanted:
    """The dense model of equal cost that a user's model gets by the suite's `rival`."""
    quantity = RIVALS[suite.rival]
    assert quantity is not None
    base = replace(_resolve(RIVAL, _shape_of(target), {}), tokens_of=_tokens_of(target))
    return _Wanted(base, _dense_arm(named), target, quantity)


def _dense_arm(named: Sequence[ResolvedArm]) -> ResolvedArm | None:
    """The suite's dense arm, of which the names of rivals give a share; None without one."""
    return next((arm for arm in named if arm.model == RIVAL), None)


def _shape_of(target: ResolvedArm) -> dict[str, Any]:
    """The shape of an arm: of a checkpoint its own, else the suite's."""
    return {key: getattr(target.config, key) for key in SHAPE_KEYS}


def _tokens_of(target: ResolvedArm) -> str:
    """The tokenizer that comes with a model's trained weights; empty where there is none."""
    found = sourced(target.model, target.options)
    return (found.tokenizer() or "") if found else ""


def _with_rivals(
    named: Sequence[ResolvedArm], rungs: Sequence[ResolvedArm], rivals: Sequence[_Wanted], solver: Solver
) -> tuple[list[ResolvedArm], list[ResolvedArm]]:
    """The arms and the rungs with a rung of equal cost for each of the user's models; arms of the same cost share one.

    A dense arm without `match` that costs as much is taken too. An arm for which no shape can be solved says why.
    """
    arms, made = list(named), list(rungs)
    for each in rivals:
        try:
            found = each.solved(solver)
        except UsageError as error:
            at = arms.index(each.target)
            arms[at] = replace(arms[at], no_rival=str(error))
            continue
        for group in (made, arms):
            same = next((other for other in group if _costs_as_much(other, each, solver)), None)
            if same is not None:
                targets = (*same.targets, each.target)
                group[group.index(same)] = replace(same, targets=targets, quantity=each.quantity)
                break
        else:
            made.append(found)
    return arms, made


def _costs_as_much(arm: ResolvedArm, wanted: _Wanted, solver: Solver) -> bool:
    """Whether an arm can be the rung that is wanted."""
    if arm.model != RIVAL or (arm.targets and arm.quantity != wanted.quantity) or arm.factor != 1:
        return False
    if (arm.config.vocab_size, arm.tokens_of) != (wanted.base.config.vocab_size, wanted.base.tokens_of):
        return False
    ratios = solver.ratios(arm, wanted.target, wanted.target, wanted.quantity)
    return max(abs(ratio - 1) for ratio in ratios) <= QUANTITIES[wanted.quantity].tolerance


def _distinct(rungs: Sequence[ResolvedArm]) -> list[ResolvedArm]:
    """The rungs with their names: equal ones once, with all their targets; others by as many digits as tell them apart."""
    merged: dict[ResolvedArm, list[ResolvedArm]] = {}
    for rung in rungs:
        merged.setdefault(replace(rung, targets=()), []).extend(rung.targets)
    made = [replace(rung, targets=tuple(dict.fromkeys(targets))) for rung, targets in merged.items()]
    names = [tuple(_parts_of(rung, digits) for rung in made) for digits in DIGITS]
    chosen = next((each for each in names if len(set(each)) == len(made)), names[0])
    return [replace(rung, parts=parts) for rung, parts in zip(made, chosen, strict=True)]


def _parts_of(rung: ResolvedArm, digits: int) -> tuple[str, ...]:
    """A rung's share of the full shape's cost; where that depends on the length or does not run, the arm that costs the same."""
    letter, target = QUANTITIES[rung.quantity].letter, rung.targets[0]
    if rung.share and not rung.shapes:
        return (f"{letter}{rung.share:.{digits}f}",)
    return (letter, short_name(target.model), *target.parts, *[f"x{rung.factor:g}"] * (rung.factor != 1))
