"""Completion for shells: names from the catalogue, which reads files without importing them, and run folders.

A word that begins none of the names is left to the shell, which completes paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

Completion = Callable[[str], list[tuple[str, str]]]


def _names_in(room: str) -> Completion:
    """Complete the name of an entry of a room, with its first line."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        from modbench.harness.registry import catalogue

        return matching(((name, entry.about) for name, entry in catalogue.entries(room).items()), incomplete)

    return complete


def matching(named: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    """The names that begin as typed; after a comma the next name of a list is completed."""
    before, comma, last = incomplete.rpartition(",")
    return [(f"{before}{comma}{name}", about) for name, about in named if name.startswith(last)]


def one_of(*names: str) -> Completion:
    """Complete one of these words."""
    return lambda incomplete: matching(((name, "") for name in names), incomplete)


suites, models, routers, formats = _names_in("suites"), _names_in("models"), _names_in("routers"), _names_in("formats")
corpora, launchers, probes = _names_in("corpora"), _names_in("launchers"), _names_in("probes")


def rooms(incomplete: str) -> list[tuple[str, str]]:
    """Complete what `modbench list` lists."""
    from modbench.harness.registry import catalogue

    return matching(((name, "") for name in catalogue.ROOMS), incomplete)


def settings(incomplete: str) -> list[tuple[str, str]]:
    """Complete the key of `--set`: a key of a suite or of a model; for `metrics=`, a metric."""
    key, equals, typed = incomplete.partition("=")
    if equals:
        if key != "metrics":
            return []
        return [(f"metrics={name}", about) for name, about in metrics(typed)]
    from modbench.harness.core.config import ModelConfig
    from modbench.harness.domain.suite import TABLES
    from modbench.harness.planning.overrides import TOP_KEYS

    in_tables = (f"{table}.{name}" for table, kind in TABLES.items() for name in kind.model_fields)
    return matching(((f"{name}=", "") for name in (*TOP_KEYS, *ModelConfig.model_fields, *in_tables)), incomplete)


def options(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete the name of an option: one that the build of a model of the command line takes."""
    from modbench.harness.core.errors import UsageError
    from modbench.harness.core.model_specs import is_user_model, parse_spec, split
    from modbench.harness.registry import own_models

    typed = ctx.params.get("model") or []
    names = dict[str, None]()
    try:
        for text in [typed] if isinstance(typed, str) else [each for value in typed for each in split(value)]:
            model, given = parse_spec(text)
            if is_user_model(model):
                names |= dict.fromkeys(name for name in own_models.option_names(model) if name not in given)
    except (UsageError, ValueError):  # what is typed wrong is refused when the command runs
        return []
    return [] if "=" in incomplete else matching(((f"{name}=", "") for name in names), incomplete)


def metrics(incomplete: str) -> list[tuple[str, str]]:
    """Complete the key of a metric."""
    from modbench.harness.registry import catalogue

    return matching(((name, metric.about) for name, metric in catalogue.metrics().items()), incomplete)


def runs(incomplete: str) -> list[tuple[str, str]]:
    """Complete a run folder in `runs/`, the newest first."""
    from modbench.harness.results.stored_runs import stored

    return matching(((str(run), "") for run in stored()), incomplete)
