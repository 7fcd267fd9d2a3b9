"""Models, metrics, passes and other additions by name; only what is asked for is imported.

`discovery.py` finds them. What the user added and cannot be used (`broken`) stops nothing by itself: it is named where it is
asked for, and in `modbench list`. What modbench ships is never skipped: an error in it is raised.
"""

from __future__ import annotations

import ast
import functools
import importlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from modbench.harness.core.contracts import AnyMetric, Corpus, Metric, Model, Task
from modbench.harness.core.errors import UsageError, in_short, shown, unknown
from modbench.harness.core.loggers import Logger
from modbench.harness.domain.passes import Pass
from modbench.harness.registry import discovery, plugin_manifests
from modbench.harness.registry.discovery import Entry, one_of
from modbench.harness.registry.plugin_manifests import KINDS, cached

if TYPE_CHECKING:
    from modbench.harness.domain.case import JobFacts

__all__ = ["KINDS", "Entry"]


class BrokenError(UsageError):
    """An addition of the user's cannot be used; `entry.problem` says why."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(f"{entry.one} {entry.name!r} ({entry.origin}): {entry.path} cannot be used: {entry.problem}.")
        self.entry = entry


@cached
def entries(kind: str) -> dict[str, Entry]:
    """All entries of a kind by name that can be used as far as is known, without importing them."""
    return {entry.name: entry for entry in discovery.every(kind) if not entry.problem}


def find(kind: str, name: str) -> Entry:
    """Find an entry by name.

    Raises:
        UsageError: if there is no such entry; the message suggests the nearest name.
        BrokenError: if the user's file cannot be used.
    """
    known = entries(kind)
    if name in known:
        return known[name]
    wrong = next((entry for entry in discovery.every(kind) if entry.name == name), None)
    if wrong is not None:
        raise BrokenError(wrong)
    raise UsageError(f"{unknown(one_of(kind), name, known)}{plugin_manifests.perhaps_in()}")


def is_shipped(kind: str, name: str) -> bool:
    """Whether an entry comes with modbench; False for a user's own, wherever it is."""
    return name in (known := entries(kind)) and known[name].shipped


def load(kind: str, name: str) -> Any:  # noqa: ANN401  # each kind exports its own type
    """Import an entry and return the object that it exports.

    Raises:
        UsageError: if there is no such entry.
        BrokenError: if the user's file cannot be used.
    """
    entry = find(kind, name)
    if entry.shipped:
        return getattr(importlib.import_module(entry.module), entry.attribute)
    try:
        made = getattr(_module_of(entry), entry.attribute)
    except (Exception, SystemExit) as error:
        raise BrokenError(replace(entry, problem=import_error(error, entry))) from error
    wrong = type_error(kind, made)
    if wrong:
        raise BrokenError(replace(entry, problem=f"its {entry.attribute} {wrong}"))
    return made


def _module_of(entry: Entry) -> ModuleType:
    if entry.plugin is not None:
        plugin_manifests.import_from(entry.plugin)
    return importlib.import_module(entry.module)


def usable(kind: str) -> dict[str, Any]:
    """What a kind's entries export, by name, without the user's that cannot be used."""
    return _usable(kind)[0]


def broken(kind: str) -> tuple[Entry, ...]:
    """The user's entries of a kind that cannot be used, with the reason; all are imported to find out."""
    if kind == "metrics":
        return tuple(_metrics().broken)
    if kind == "passes":
        return tuple(_passes()[1])
    if kind == "suites":
        return tuple(entry for entry in discovery.every(kind) if entry.problem and not entry.shipped)
    return _usable(kind)[1]


@cached
def _usable(kind: str) -> tuple[dict[str, Any], tuple[Entry, ...]]:
    found, wrong = {}, [entry for entry in discovery.every(kind) if entry.problem]
    for name in entries(kind):
        try:
            found[name] = load(kind, name)
        except BrokenError as error:
            wrong.append(error.entry)
    return found, tuple(wrong)


@dataclass
class _Metrics:
    """All metrics by key, the file of each, and the user's that cannot be used."""

    known: dict[str, AnyMetric] = field(default_factory=dict)
    files: dict[str, Entry] = field(default_factory=dict)
    broken: list[Entry] = field(default_factory=list)
    refused: dict[str, BrokenError] = field(default_factory=dict)


def metrics() -> dict[str, AnyMetric]:
    """All metrics by key. Their files import nothing heavy."""
    return _metrics().known


def file_of_metric(key: str) -> Entry:
    """The file of a metric."""
    return _metrics().files[key]


def find_metric(key: str) -> AnyMetric:
    """Find a metric that was asked for.

    Raises:
        UsageError: if there is none, or a file of the user's that has it cannot be used; broken files are named, since one of
            them may have it.
    """
    found = _metrics()
    if key in found.refused:
        raise found.refused[key]
    if key in found.known:
        return found.known[key]
    if not found.broken:
        raise UsageError(f"{unknown('metric', key, found.known)}{plugin_manifests.perhaps_in()}")
    more = f" (and {len(found.broken) - 1} more)" if len(found.broken) > 1 else ""
    raise UsageError(f"{unknown('metric', key, found.known)} Perhaps it is in{more}: {BrokenError(found.broken[0])}")


@cached
def _metrics() -> _Metrics:
    made, wrong = _usable("metrics")
    found = _Metrics(broken=list(wrong))
    for name, exported in made.items():
        entry = find("metrics", name)
        for metric in exported:
            taken = metric.key in found.known
            assert not (entry.shipped and taken), f"two shipped metrics have the key {metric.key!r}"
            problem = f"there is a metric {metric.key!r} already. Give this one another key" if taken else ""
            if not entry.shipped and metric.measured_by and metric.measured_by not in passes():
                problem = _no_pass(metric.key, metric.measured_by)
            if problem:
                error = BrokenError(replace(entry, problem=problem))
                found.broken.append(error.entry)
                found.refused[metric.key] = error
                continue
            found.known[metric.key], found.files[metric.key] = metric, entry
    for key, metric in list(found.known.items()):
        if metric.source and metric.source not in found.known:
            entry = found.files.pop(key)
            assert not entry.shipped, f"the shipped metric {key!r} has no source"
            problem = f"its metric {key!r} is derived from {metric.source!r}, and there is no such metric"
            found.refused[key] = BrokenError(replace(entry, problem=problem))
            found.broken.append(found.refused[key].entry)
            del found.known[key]
    return found


def _no_pass(key: str, name: str) -> str:
    wrong = next((entry for entry in broken("passes") if entry.name == name), None)
    why = f"cannot be used ({wrong.path}: {wrong.problem})" if wrong else "does not exist"
    return f"its metric {key!r} is made in the pass {name!r}, which {why}"


def passes() -> dict[str, Pass]:
    """All passes by name, in the order in which a plan lists their jobs."""
    return _passes()[0]


@cached
def _passes() -> tuple[dict[str, Pass], list[Entry]]:
    made, wrong = _usable("passes")
    found, problems = dict[str, Pass](), list(wrong)
    for name, each in made.items():
        if each.name == name:
            found[name] = each
            continue
        entry = find("passes", name)
        assert not entry.shipped, f"the PASS of {entry.path} has another name"
        problems.append(replace(entry, problem=f"its PASS is named {each.name!r}. Name it {name!r}, as it is listed"))
    return dict(sorted(found.items(), key=lambda item: (item[1].phase, item[1].order))), problems


def pass_of(metric: AnyMetric) -> Pass:
    """The pass that measures a metric; for a derived metric, the pass that measures its source."""
    return passes()[metric.measured_by or metrics()[metric.source].measured_by]


@cached
def with_sources(keys: tuple[str, ...]) -> frozenset[str]:
    """Metrics that must be measured for these: themselves, and the sources of derived ones."""
    return frozenset(keys) | {metrics()[key].source for key in keys if metrics()[key].source}


@cached  # many jobs of a large plan share them
def facts_of_job(name: str, workload: str, keys: tuple[str, ...]) -> JobFacts:
    """What a plan stores with a job.

    Args:
        name: its pass.
        workload: what it times; empty for every group of metrics.
        keys: metrics of its comparison.

    Raises:
        KeyError: if there is no such pass, or a metric is unknown.
    """
    from modbench.harness.domain.case import JobFacts, Made  # what lists names must not load pydantic

    made_in, asked = passes()[name], with_sources(keys)
    measured = [
        metric for metric in metrics().values() if metric.measured_by == name and workload in {"", metric.group}
    ]
    return JobFacts(
        phase=made_in.phase,
        # A pass that always runs measures all its metrics.
        makes=tuple(
            Made(metric.key, metric.unit)
            for metric in measured
            if metric.key in asked or (made_in.runs_for_every_case and not metric.on_request)
        ),
        samples=made_in.samples,
        column=made_in.column,
        alone=made_in.exclusive,
        timed=made_in.timed,
        cold=made_in.fresh_interpreter,
        repeated=made_in.repeated,
        trains=made_in.trains,
        about_machine=made_in.findings is not None,
        predicts=made_in.estimate_seconds is not None,
        environment=tuple(made_in.environment.items()),
    )


def model_options(name: str) -> Mapping[str, object]:
    """Routing keys that a model reads, with their defaults; parsed from its file without importing torch."""
    return _options_in(find("models", name).path.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=64)  # by content: a notebook's process outlives an edit of the file
def _options_in(source: str) -> Mapping[str, object]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Model":
            for keyword in node.keywords:
                if keyword.arg == "options":
                    return MappingProxyType(dict(ast.literal_eval(keyword.value)))
    return MappingProxyType({})


TYPES = {"models": Model, "passes": Pass, "corpora": Corpus, "tasks": Task, "loggers": Logger}
# Types that this package cannot import, known by what is asked of them.
PARTS = {
    "warnings": ("check", "advice", "label"),
    "probes": ("title", "check", "order", "of"),
    "suite_tables": ("plan", "check", "settled", "on_grid", "selected"),
    "adaptive_rules": ("groups", "is_conditional", "decide"),
    "sections": ("title", "order", "span", "render"),
    "formats": ("files",),
    "machine_checks": ("device", "processes", "run"),
}


def type_error(kind: str, made: object) -> str:
    """Why an object is not what a kind takes, in words that follow its name; empty if it is."""
    exported = TYPES.get(kind)
    if isinstance(made, Task) and kind == "tasks" and not 0 < made.solved <= 1:
        return f"has solved={made.solved:g}: a share of the way, above 0 and at most 1, such as 0.75"
    if exported is not None:
        return "" if isinstance(made, exported) else f"is no {exported.__name__} but {shown(made)}"
    if kind == "metrics":
        return _not_metrics(made)
    if kind == "routers":
        fits = isinstance(made, type) and callable(getattr(made, "score", None))
        return "" if fits else f"is no class with a method `score`, such as a Router, but {shown(made)}"
    lacking = [part for part in PARTS.get(kind, ()) if not hasattr(made, part)]
    if lacking:
        return f"is no {kind.removesuffix('s').title()}: it has no {', '.join(lacking)}"
    return "" if kind in PARTS or callable(made) else f"cannot be called: {shown(made)}"


@functools.cache
def _choices() -> dict[str, tuple[str, ...]]:
    """The values that fields of a metric can have; a user's pass may know further workloads and timers."""
    hints = get_type_hints(Metric)
    return {name: get_args(hints[name]) for name in ("unit", "better", "per", "scored_as")}


def _not_metrics(made: object) -> str:
    """Why an object is no tuple of metrics, or which field of one has no value that it can have."""
    if not isinstance(made, tuple | list) or not all(isinstance(each, Metric) for each in made):
        return f"is no tuple of Metric but {shown(made)}"
    for metric in made:
        has = f"has a metric {metric.key!r} with"
        for name, known in _choices().items():
            if (given := getattr(metric, name)) not in known:
                return f"{has} {name}={shown(given)}: give one of {', '.join(known)}"
        if metric.better == "neither" and metric.scored_as == "ratio":
            return f"{has} better='neither', so that no ratio is better: set scored_as='difference'"
    return ""


def import_error(error: BaseException, entry: Entry) -> str:
    """The message of an exception from importing a user's file, with the last line of that file that it passed."""
    if isinstance(error, AttributeError) and error.name == entry.attribute and getattr(error.obj, "__file__", None):
        return f"it defines no {entry.attribute}"
    said = in_short(error, 200).removesuffix(".")
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}: {error.msg}"
    passed = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(entry.path)]
    return f"line {passed[-1]}: {text}" if passed else text
