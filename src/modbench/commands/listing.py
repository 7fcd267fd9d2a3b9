"""`modbench list`."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import JsonFlag, VerboseFlag, kinds
from modbench.commands._output import say, say_json
from modbench.harness.core.errors import in_short, unknown
from modbench.harness.core.plain_text import SCREEN

if TYPE_CHECKING:
    from modbench.harness.registry.discovery import Entry
    from modbench.harness.registry.plugin_manifests import Plugin

WIDTH = 80


@command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[WHAT]",
            help="plugins, models, routers, metrics, passes, adaptive_rules, launchers, suites, tasks, corpora, sections, "
            "formats, warnings, probes, loggers, model_loaders, recorders, suite_tables, machine_checks.",
            autocompletion=kinds,
        ),
    ] = "",
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Also import what you added; exit 1 if some of it cannot be used.")
    ] = False,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """List models, suites, metrics and other names.

    Your additions are listed with the plug-in that they come from.
    """
    from modbench.harness.registry import catalogue

    if what and what not in (known := ("plugins", *catalogue.KINDS)):
        raise unknown("list", what, known)
    if what == "plugins":
        _plugins(as_json=as_json, check=check)
        return
    kinds = [what] if what else list(catalogue.KINDS)
    broken = {kind: _broken(kind, check=check) for kind in kinds}
    found = {kind: _usable(kind, broken[kind]) for kind in kinds}
    if as_json:
        say_json(_as_json(found, broken))
    else:
        say("\n".join(_lines(found, broken, verbose=verbose)))
    if check and any(broken.values()):
        raise typer.Exit(1)


def _broken(kind: str, *, check: bool) -> Sequence[Entry]:
    """Additions of the user that cannot be used."""
    from modbench.harness.registry import catalogue, discovery

    if kind == "suites" and check:
        from modbench.harness.planning.load_suite import broken_suites

        return broken_suites()
    # Metrics are named inside their files, which import nothing heavy. Other files are read, and imported only to check them.
    if check or kind == "metrics":
        return catalogue.broken(kind)
    return [entry for entry in discovery.every(kind) if entry.problem and not entry.shipped]


def _plugins(*, as_json: bool, check: bool) -> None:
    """List the plug-ins, each with its sentence and what it adds."""
    from modbench.harness.registry import catalogue, plugin_manifests

    found = plugin_manifests.every()
    broken = [entry for kind in catalogue.KINDS for entry in _broken(kind, check=True)] if check else []
    problems = [[*_problems(each, broken)] if check else [] for each in found]
    if as_json:
        say_json([_plugin_as_json(each, wrong) for each, wrong in zip(found, problems, strict=True)])
    else:
        lines = (line for each, wrong in zip(found, problems, strict=True) for line in _plugin_lines(each, wrong))
        say("\n".join(lines) or "none yet")
    if any(problems) or (check and any(each.problem for each in found)):
        raise typer.Exit(1)


def _problems(plugin: Plugin, broken: Sequence[Entry]) -> Iterator[str]:
    """What cannot be used of a plug-in that can be used otherwise."""
    from modbench.harness.registry import plugin_manifests

    for entry in broken:
        if entry.plugin == plugin:
            yield f"{entry.one} {entry.name!r} cannot be used: {entry.problem}"
    if plugin.source == "shipped" or plugin.problem:
        return
    for kind in plugin_manifests.FURTHER:  # whose files export no object of a type
        for name, file in plugin.adds.get(kind, {}).items():
            try:
                plugin_manifests.import_from(plugin)
                importlib.import_module(plugin.module(file))
            except Exception as error:  # noqa: BLE001  # of the user's
                yield f"{name!r} of [{kind}] cannot be used: {file}: {in_short(error)}"


def _plugin_as_json(plugin: Plugin, problems: Sequence[str]) -> dict[str, object]:
    return {
        "name": plugin.name,
        "about": plugin.about,
        "from": plugin.origin,
        "path": str(plugin.folder),
        "needs": plugin.needs,
        "extras": plugin.extras,
        "adds": {kind: {name: str(file) for name, file in files.items()} for kind, files in plugin.adds.items()},
        "problem": plugin.problem or "; ".join(problems),
    }


def _plugin_lines(plugin: Plugin, problems: Sequence[str]) -> Iterator[str]:
    where = "" if plugin.source == "shipped" else f" [{plugin.origin}]"
    if plugin.problem:
        yield f"{plugin.name:<12} cannot be used: {plugin.problem}{where}"
        return
    yield f"{plugin.name:<12} {plugin.about}{where}"
    adds = "; ".join(f"{kind} {', '.join(files)}" for kind, files in plugin.adds.items())
    needs = f"; needs {', '.join(plugin.needs)}" if plugin.needs else ""
    yield from textwrap.wrap(
        f"adds {adds}{needs}", WIDTH, initial_indent=" " * 13, subsequent_indent=" " * 13, max_lines=2, placeholder=" …"
    )
    yield from (" " * 13 + each for each in problems)


def _usable(kind: str, broken: Sequence[Entry]) -> dict[str, tuple[str, Entry]]:
    """Description and file by name."""
    from modbench.harness.registry import catalogue

    if kind == "metrics":
        files = {key: catalogue.file_of_metric(key) for key in catalogue.metrics()}
        return {
            key: (metric.about, catalogue.find(*metric.entry) if metric.entry else files[key])
            for key, metric in catalogue.metrics().items()
        }
    wrong = {entry.path for entry in broken}
    return {name: (each.about, each) for name, each in catalogue.entries(kind).items() if each.path not in wrong}


def _as_json(found: dict[str, dict[str, tuple[str, Entry]]], broken: dict[str, Sequence[Entry]]) -> dict[str, object]:
    body: dict[str, object] = {
        kind: {
            name: {"about": about, "kind": entry.source, "from": entry.origin, "path": str(entry.path)}
            for name, (about, entry) in entries.items()
        }
        for kind, entries in found.items()
    }
    body["broken"] = [
        {"room": kind, "name": e.name, "kind": e.source, "from": e.origin, "path": str(e.path), "reason": e.problem}
        for kind, entries in broken.items()
        for e in entries
    ]
    return body


def _lines(
    found: dict[str, dict[str, tuple[str, Entry]]], broken: dict[str, Sequence[Entry]], *, verbose: bool
) -> Iterator[str]:
    """One kind with descriptions where a screen holds them, else names alone; what the user added is always described."""
    # Padded by hand: importing rich would add a third to the time of this command.
    names = [*(name for each in found.values() for name in each), *(e.name for each in broken.values() for e in each)]
    width = max(map(len, names), default=0)
    if len(found) > 1 and not verbose:
        yield f"{len(names)} names of {len(found)} kinds; `modbench list KIND` describes those of one, -v all\n"
    for i, (kind, entries) in enumerate(found.items()):
        described = verbose or (len(found) == 1 and len(entries) < SCREEN)
        if described:
            yield ("\n" if i else "") + kind + ("" if entries or broken[kind] else " (none yet)")
        else:
            yield from _names(kind, [*entries], lines=1 if len(found) > 1 else None)
        for name, (about, entry) in entries.items():
            if described or not entry.shipped:
                yield f"  {name:<{width}}  {about}" + ("" if entry.shipped else f" [{entry.origin}]")
        for entry in broken[kind]:
            yield f"  {entry.name:<{width}}  cannot be used: {entry.problem} [{entry.path}]"


def _names(kind: str, names: Sequence[str], lines: int | None) -> list[str]:
    """A kind with its number and names, on as many lines as it takes, or on the first few."""
    head = f"{kind:<10}{len(names):>4}  "
    return textwrap.wrap(
        ", ".join(names) or "none yet",
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
        max_lines=lines,
        placeholder=" …",
    )
