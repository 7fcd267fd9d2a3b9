"""Resolves a suite's variants to model configurations: expands lists, fills in defaults, makes ids distinct."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import ValidationError

from modbench.harness.core import model_specs, variant_titles
from modbench.harness.core.config import ROUTING_KEYS, SHAPE_KEYS, ModelConfig
from modbench.harness.core.errors import UsageError, in_words, unknown
from modbench.harness.core.model_specs import Pairs, label
from modbench.harness.core.units import check_capacity
from modbench.harness.core.variant_titles import short_name
from modbench.harness.domain.suite import MATCHES, Suite
from modbench.harness.domain.variant_tables import Match, Quantity, Variant
from modbench.harness.planning.matched_baselines import QUANTITIES
from modbench.harness.registry import catalogue, user_models, user_routers
from modbench.harness.registry.model_loaders import from_loader

# The model that is matched to each of the user's.
MATCH = "dense"
# Digits of a matched baseline's share of the full shape's cost in its name; more where two matched baselines would have one name.
DIGITS = (2, 3, 4)
# Keys that say something to modbench, whatever the model does with them.
OURS = ("vocab_size", "max_seq_len", "bidirectional", "n_classes")


@dataclass(frozen=True)
class ResolvedVariant:
    """A model with its full configuration, without a grid point.

    Attributes:
        model: catalogue name or a user's spec.
        config: shape of the model.
        parts: what distinguishes it from other variants of its model.
        options: what a user's build is given by name.
        by_name: keys of the configuration that it is given by name as well.
        anchor: whether the suite names it as the baseline.
        matched: whether its shape was solved for.
        shapes: its shape at each length, where lengths need different ones; `config` is that of the longest.
        targets: the variants that it matches: of a matched baseline those that it was solved for, of another dense variant
            those that cost the same.
        quantity: the quantity in which it matches them.
        factor: how many times the targets' cost it has.
        share: its share of the cost of the variant of full shape, by which it is named; 0 where no such variant runs.
        tokens_of: model and options whose tokenizer it takes, where that is no model of the suite's own.
        no_match: why a user's model has no matched baseline, although the suite asks for one.
        title: what tables and figures call it; empty: its own name.
        sized: whether the last of its parts is its size, one of several.
    """

    model: str
    config: ModelConfig
    parts: tuple[str, ...]
    options: Pairs = ()
    by_name: tuple[str, ...] = ()
    anchor: bool = False
    matched: bool = False
    shapes: tuple[tuple[int, ModelConfig], ...] = ()
    targets: tuple[ResolvedVariant, ...] = ()
    quantity: Quantity = "flops/forward"
    factor: float = 1.0
    share: float = 0.0
    tokens_of: str = ""
    no_match: str = ""
    title: str = ""
    sized: bool = False

    @property
    def is_user_model(self) -> bool:
        """Whether it is the user's model."""
        return model_specs.is_user_model(self.model)

    def config_at(self, seq_len: int) -> ModelConfig:
        """Its shape at a sequence length."""
        return dict(self.shapes).get(seq_len, self.config)


class Solver(Protocol):
    """Knows what variants cost where they are matched."""

    def prepare(self, wanted: Iterable[tuple[ResolvedVariant, Quantity]]) -> None:
        """Find what all these variants have of a quantity, which is faster than one after the other."""

    def solved(
        self, base: ResolvedVariant, target: ResolvedVariant, quantity: Quantity, factor: float
    ) -> dict[int, ModelConfig]:
        """By length, shortest first, the shape near `base` that costs as much as the target, or `factor` times.

        Raises:
            UsageError: if there is none, or the target's cost is not known.
        """

    def ratios(
        self, variant: ResolvedVariant, other: ResolvedVariant, target: ResolvedVariant, quantity: Quantity
    ) -> list[float]:
        """Cost of a variant over that of another, at each length where `target` is matched."""

    def read(self, variants: Sequence[ResolvedVariant]) -> Sequence[Collection[str] | None]:
        """The keys of its configuration that each of some users' models reads; None where nobody can tell."""


def resolve_variants(suite: Suite, solver: Solver) -> list[ResolvedVariant]:
    """Resolve all variants of a suite: the baseline, the matched baselines, then the others in the suite's order.

    Each model of the user's gets a matched baseline if the suite has a `match`; if nothing else is
    compared, that of its first setting is the baseline.

    Args:
        suite: what to resolve.
        solver: finds the shapes of variants with `match`, and of matched baselines.

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
    if sum(variant.baseline for variant in suite.variants) > 1:
        raise UsageError("more than one variant has baseline = true; a comparison has one baseline.")
    plain: list[tuple[ResolvedVariant, dict[str, Any]]] = []
    for variant in suite.variants:
        if variant.match is None:
            plain += [
                (
                    replace(
                        _resolve(variant.model, shape, s, o, anchor=variant.baseline), title=_title(variant, {**s, **o})
                    ),
                    s,
                )
                for s in product_of(variant.settings)
                for o in product_of(variant.options)
            ]
    if not plain:
        raise UsageError("every variant has a match; a comparison needs a baseline without one.")
    _check_read(plain, solver)
    longest = plain[0][0].config.max_seq_len
    for each, _ in plain:
        if from_loader(each.model) and each.config.max_seq_len < max(lengths):
            raise UsageError(
                f"model {each.model!r} has {each.config.max_seq_len} positions; this suite reads {max(lengths)} tokens. Lower "
                "--seq-len, --request, train.seq_len or decode.tokens."
            )
    if longest < max(lengths):
        raise UsageError(f"seq_len {max(lengths)} is more than max_seq_len {longest}: raise max_seq_len.")
    named = list(
        dict.fromkeys(_label(variant, settings, plain) for variant, settings in plain)
    )  # equal variants are one
    wanted = [
        _matched(variant, variant.match, suite, shape, named) for variant in suite.variants if variant.match is not None
    ]
    matches = (
        []
        if MATCHES[suite.match] is None
        else [_match(variant, suite, named) for variant in named if variant.is_user_model]
    )
    matches = [
        each for each in matches if not any((o.target, o.quantity) == (each.target, each.quantity) for o in wanted)
    ]
    solver.prepare((each.target, each.quantity) for each in (*wanted, *matches))
    matched_baselines = [_solved(each, solver) for each in wanted]
    named, matched_baselines = _with_matches(named, matched_baselines, matches, solver)
    matched_baselines = _distinct(matched_baselines)
    anchor = _match_alone(suite, named, matched_baselines) or next(
        (variant for variant in named if variant.anchor), named[0]
    )
    variants = [anchor, *(variant for variant in (*matched_baselines, *named) if variant is not anchor)]
    _refuse_double_names(variants)
    check_titles([(short_name(variant.model), variant.title) for variant in variants])
    return variants


def _match_alone(
    suite: Suite, named: Sequence[ResolvedVariant], matched_baselines: Sequence[ResolvedVariant]
) -> ResolvedVariant | None:
    """The matched baseline of the first setting of a user's model with which nothing else is compared; None if it has none."""
    alone = named[0].is_user_model and sum(variant.match is None for variant in suite.variants) == 1
    return next((matched for matched in matched_baselines if named[0] in matched.targets), None) if alone else None


class _Unsolved:
    """Solves nothing: every matched baseline has the shape that it starts from, and a share of its own."""

    def __init__(self) -> None:
        self.names = itertools.count()

    def prepare(self, wanted: Iterable[tuple[ResolvedVariant, Quantity]]) -> None:
        """Find nothing."""

    def solved(
        self, base: ResolvedVariant, _target: ResolvedVariant, _quantity: Quantity, _factor: float
    ) -> dict[int, ModelConfig]:
        """The shape that it starts from."""
        return {base.config.max_seq_len: base.config}

    def ratios(
        self, _variant: ResolvedVariant, _other: ResolvedVariant, _target: ResolvedVariant, _quantity: Quantity
    ) -> list[float]:
        """A number that no other variant has."""
        return [1e9 + next(self.names)]

    def read(self, variants: Sequence[ResolvedVariant]) -> Sequence[Collection[str] | None]:
        """Nothing is built."""
        return [None] * len(variants)


def unsolved_variants(suite: Suite) -> list[ResolvedVariant]:
    """Resolve all variants without torch: the smaller dense models is checked but not solved, which needs the variants' costs.

    Raises:
        UsageError: as `resolve_variants`.
    """
    return resolve_variants(suite, _Unsolved())


def _title(variant: Variant, point: Mapping[str, Any]) -> str:
    """The title of one of the variants of a table: with the values in which they differ, where it makes several."""
    several = [
        key
        for key, tried in {**variant.settings, **variant.options}.items()
        if isinstance(tried, list) and len(tried) > 1
    ]
    values = (f"{point[key]}" if key == "capacity" else f"{key} {point[key]}" for key in several)
    return variant_titles.checked(" ".join([variant.title, *values])) if variant.title else ""


def check_titles(variants: Iterable[tuple[str, str]]) -> None:
    """Check that each title names one variant.

    Args:
        variants: of each its own name, and its title or nothing.

    Raises:
        UsageError: if a title is that of another variant, or its name.
    """
    taken = dict[str, str]()
    for name, title in sorted(variants, key=lambda variant: bool(variant[1])):  # names before titles
        called = (title or name).casefold()
        if title and called in taken:
            raise UsageError(
                f"title {title!r} is what {taken[called]} is called, too: give each variant a title of its own."
            )
        taken.setdefault(called, name)


def _refuse_double_names(variants: list[ResolvedVariant]) -> None:
    seen: dict[tuple[str, tuple[str, ...]], ResolvedVariant] = {}
    for variant in variants:
        name = (short_name(variant.model), variant.parts)
        if name in seen:
            label = "-".join((name[0], *name[1]))
            raise UsageError(f"two variants would both be called {label!r}: give them different settings.")
        seen[name] = variant


def product_of(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings or options with one value each: all combinations of the values of lists.

    Raises:
        UsageError: if a list is empty.
    """
    for key, value in settings.items():
        if value in ([], ()):
            raise UsageError(f"{key} = [] leaves no variant: give at least one value.")
    axes = [
        [(key, v) for v in (value if isinstance(value, list | tuple) else [value])] for key, value in settings.items()
    ]
    return [dict(point) for point in itertools.product(*axes)]


def _resolve(
    model: str,
    shape: Mapping[str, Any],
    of_variant: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
    *,
    anchor: bool = False,
) -> ResolvedVariant:
    given, settings = given or {}, {**shape, **of_variant}
    by_name: tuple[str, ...] = ()
    if model_specs.is_user_model(model):
        by_name = reached_by_name(model, given, of_variant)
        options: Mapping[str, object] = {}
        settings |= decided_by(model, given, settings)
    else:
        catalogue.find("models", model)
        options = catalogue.model_options(model)
        for key in of_variant:
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
    return ResolvedVariant(model, config, (), tuple(sorted(given.items())), by_name, anchor)


def reached_by_name(model: str, given: Mapping[str, Any], of_variant: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of a variant that a user's build is given by name; it reads the others from the configuration.

    Args:
        model: the user's model.
        given: its options.
        of_variant: the settings of the variant, without the shape that all variants share.

    Raises:
        UsageError: if the model cannot be found or called so, or one of the keys reaches nothing.
    """
    why_not = {key: user_models.why_not(model, given, key) for key in of_variant if key not in OURS}
    by_name = tuple(sorted(key for key, why in why_not.items() if not why and user_models.takes(model, given, key)))
    user_models.check_user_model(model, {**given, **{key: of_variant[key] for key in by_name}})
    for key, why in why_not.items():
        if why:
            raise refused(model, key, of_variant[key], why)
    return by_name


def refused(model: str, key: str, value: object, why: str) -> UsageError:
    """The error for a key of a variant that reaches nothing of a user's model."""
    return UsageError(f"model {model!r}: {key} = {value!r} would change nothing: {why}.")


def _check_read(plain: Sequence[tuple[ResolvedVariant, dict[str, Any]]], solver: Solver) -> None:
    """Check that users' models read the keys of their variants that they are not given by name: they are built and called once.

    Raises:
        UsageError: for a key that is not read: a list of its values would be one model under several names.
    """
    asked = {
        variant: {key: value for key, value in settings.items() if key not in {*OURS, *variant.by_name}}
        for variant, settings in plain
        if variant.is_user_model and from_loader(variant.model, variant.options) is None
    }
    asked = {variant: keys for variant, keys in asked.items() if keys}
    for (variant, keys), read in zip(asked.items(), solver.read(list(asked)), strict=True):
        for key, value in keys.items():
            if read is not None and key not in read:
                raise refused(variant.model, key, value, user_models.unread(variant.model, key))


def decided_by(model: str, given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of its shape that a model decides itself, whatever the suite's shape says; none for most models.

    Raises:
        UsageError: if it has no such part as these ask for.
    """
    found = from_loader(model, given)
    if found is None:
        return {}
    for key in ("mixer", "bidirectional"):
        if settings.get(key) not in {None, ModelConfig.model_fields[key].default}:
            raise UsageError(f"model {model!r} has no {key} = {settings[key]!r}: leave it out of this suite.")
    return dict(found.settings())


def _label(
    variant: ResolvedVariant, settings: dict[str, Any], siblings: Sequence[tuple[ResolvedVariant, dict[str, Any]]]
) -> ResolvedVariant:
    """Name a variant: its capacity, options and a user's router always, other keys if variants of a model differ."""
    parts = [f"c{variant.config.capacity:g}"] if variant.config.capacity is not None else []
    if any(
        short_name(other.model) == short_name(variant.model) and other.model != variant.model for other, _ in siblings
    ):  # two files or folders with the same name: add the path
        file, _, folder = variant.model.rpartition(":")
        parts.insert(0, folder if from_loader(variant.model) else file.removesuffix(".py"))
    others = [other for other, _ in siblings if other.model == variant.model]
    for key in settings:
        value = getattr(variant.config, key, None)
        own = key == "router" and user_routers.is_spec(str(value))
        differ = len({(getattr(other.config, key), key in other.by_name) for other in others}) > 1
        if key != "capacity" and (own or differ):
            name = user_routers.short(str(value)) if own else value
            parts.append(str(name) if isinstance(name, str) else f"{key}{name:g}")
    parts += [label(name, value) for name, value in variant.options]
    return replace(variant, parts=tuple(parts))


@dataclass(frozen=True)
class _Wanted:
    """A matched baseline that is to be solved.

    Attributes:
        base: the variant whose shape is changed.
        whole: the variant of whose cost it is named a share; None: none such runs, and it is named by the target.
        target: the variant to match.
        quantity: what is matched.
        factor: how many times the target's cost it shall have.
    """

    base: ResolvedVariant
    whole: ResolvedVariant | None
    target: ResolvedVariant
    quantity: Quantity
    factor: float = 1.0

    def solved(self, solver: Solver) -> ResolvedVariant:
        """The matched baseline, without a name."""
        shapes = solver.solved(self.base, self.target, self.quantity, self.factor)
        made = replace(
            self.base,
            config=list(shapes.values())[-1],
            shapes=tuple(shapes.items()) if len(set(shapes.values())) > 1 else (),
            matched=True,
            targets=(self.target,),
            quantity=self.quantity,
            factor=self.factor,
        )
        if self.whole is None:
            return made
        return replace(made, share=solver.ratios(made, self.whole, self.target, self.quantity)[-1])


def _matched(
    variant: Variant, match: Match, suite: Suite, shape: dict[str, Any], named: Sequence[ResolvedVariant]
) -> _Wanted:
    """The matched baseline of a variant with `match`: its target has that model with the match's settings and options."""
    if model_specs.is_user_model(variant.model):
        raise UsageError("match needs a closed form: only the shape of a catalogue model can be solved.")
    own = model_specs.is_user_model(match.variant)
    if not own and match.variant not in catalogue.entries("models"):
        raise UsageError(f"match: {unknown('variant', match.variant, catalogue.entries('models'))}")
    theirs = next((other for other in suite.variants if other.model == match.variant and other.match is None), None)
    fixed = (
        {key: value for key, value in theirs.settings.items() if not isinstance(value, list | tuple)} if theirs else {}
    )
    given = {key: values[0] for key, values in theirs.options.items() if len(values) == 1} if theirs else {}
    given |= {key: values[0] for key, values in match.options.items()}
    target = _resolve(match.variant, shape, {**fixed, **match.settings}, given)
    same = (target.model, target.config, target.options)
    beside: list[tuple[ResolvedVariant, dict[str, Any]]] = [(other, {}) for other in (target, *named)]
    target = next((a for a in named if (a.model, a.config, a.options) == same), None) or _label(
        target, match.settings, beside
    )
    base = _resolve(
        variant.model, {**shape, **_shape_of(target)} if own else shape, variant.settings, anchor=variant.baseline
    )
    base = replace(base, tokens_of=_tokens_of(target), title=variant.title)
    whole = (
        _dense_variant(named)
        if own
        else next((a for a in named if (a.model, a.config) == (base.model, base.config)), None)
    )
    return _Wanted(base, whole, target, match.quantity, match.factor)


def _solved(wanted: _Wanted, solver: Solver) -> ResolvedVariant:
    """The matched baseline of a `match`, which nothing replaces if it cannot be had."""
    try:
        return wanted.solved(solver)
    except UsageError as error:
        target = "-".join((short_name(wanted.target.model), *wanted.target.parts))
        raise UsageError(f"match of {target}: {error}") from error


def _match(target: ResolvedVariant, suite: Suite, named: Sequence[ResolvedVariant]) -> _Wanted:
    """The matched baseline that a user's model gets by the suite's `match`."""
    quantity = MATCHES[suite.match]
    assert quantity is not None
    base = replace(_resolve(MATCH, _shape_of(target), {}), tokens_of=_tokens_of(target))
    return _Wanted(base, _dense_variant(named), target, quantity)


def _dense_variant(named: Sequence[ResolvedVariant]) -> ResolvedVariant | None:
    """The suite's dense variant, of which the names of matched baselines give a share; None without one."""
    return next((variant for variant in named if variant.model == MATCH), None)


def _shape_of(target: ResolvedVariant) -> dict[str, Any]:
    """The shape of a variant: of a checkpoint its own, else the suite's."""
    return {key: getattr(target.config, key) for key in SHAPE_KEYS}


def _tokens_of(target: ResolvedVariant) -> str:
    """The tokenizer that comes with a model's trained weights; empty where there is none."""
    found = from_loader(target.model, target.options)
    return (found.tokenizer() or "") if found else ""


def _with_matches(
    named: Sequence[ResolvedVariant],
    matched_baselines: Sequence[ResolvedVariant],
    matches: Sequence[_Wanted],
    solver: Solver,
) -> tuple[list[ResolvedVariant], list[ResolvedVariant]]:
    """The variants, and a matched baseline for each of the user's models; variants of the same cost share one.

    A dense variant without `match` that costs as much is taken too. A variant for which no shape can be solved says why.
    """
    variants, made = list(named), list(matched_baselines)
    for each in matches:
        try:
            found = each.solved(solver)
        except UsageError as error:
            at = variants.index(each.target)
            variants[at] = replace(variants[at], no_match=str(error))
            continue
        for group in (made, variants):
            same = next((other for other in group if _costs_as_much(other, each, solver)), None)
            if same is not None:
                targets = (*same.targets, each.target)
                group[group.index(same)] = replace(same, targets=targets, quantity=each.quantity)
                break
        else:
            made.append(found)
    return variants, made


def _costs_as_much(variant: ResolvedVariant, wanted: _Wanted, solver: Solver) -> bool:
    """Whether a variant can be the matched baseline that is wanted."""
    if variant.model != MATCH or (variant.targets and variant.quantity != wanted.quantity) or variant.factor != 1:
        return False
    if (variant.config.vocab_size, variant.tokens_of) != (wanted.base.config.vocab_size, wanted.base.tokens_of):
        return False
    ratios = solver.ratios(variant, wanted.target, wanted.target, wanted.quantity)
    return max(abs(ratio - 1) for ratio in ratios) <= QUANTITIES[wanted.quantity].tolerance


def _distinct(matched_baselines: Sequence[ResolvedVariant]) -> list[ResolvedVariant]:
    """The matched baselines with their names: equal ones once, with all targets; others with as many digits as they need."""
    merged: dict[ResolvedVariant, list[ResolvedVariant]] = {}
    for matched in matched_baselines:
        merged.setdefault(replace(matched, targets=()), []).extend(matched.targets)
    made = [replace(matched, targets=tuple(dict.fromkeys(targets))) for matched, targets in merged.items()]
    names = [tuple(_parts_of(matched, digits) for matched in made) for digits in DIGITS]
    chosen = next((each for each in names if len(set(each)) == len(made)), names[0])
    return [replace(matched, parts=parts) for matched, parts in zip(made, chosen, strict=True)]


def _parts_of(matched: ResolvedVariant, digits: int) -> tuple[str, ...]:
    """A matched baseline's share of the full shape's cost; where that is no one number, the variant that costs the same."""
    letter, target = QUANTITIES[matched.quantity].letter, matched.targets[0]
    if matched.share and not matched.shapes:
        return (f"{letter}{matched.share:.{digits}f}",)
    return (letter, short_name(target.model), *target.parts, *[f"x{matched.factor:g}"] * (matched.factor != 1))
