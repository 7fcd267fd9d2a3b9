"""Reads suites from TOML files, checks every key and suggests corrections.

Sizes that no suite can mean are refused at once, before anything is expanded, solved or counted. The limits lie far above what
anybody has run. `modbench cost` may go further than a plan: it computes closed forms only.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modbench.harness.core.config import ROUTING_KEYS, SHAPE_KEYS
from modbench.harness.core.errors import UnreadableError, UsageError, in_short, in_words, near_path, nearest, unknown
from modbench.harness.core.units import human
from modbench.harness.core.variant_titles import slug
from modbench.harness.domain.case import ELEMENT_BYTES, Case, Comparison
from modbench.harness.domain.suite import TABLES, Grid, Suite
from modbench.harness.domain.variant_tables import look_beside
from modbench.harness.planning import suite_tables
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.suite_tables import Sizes
from modbench.harness.registry import catalogue, discovery, plugin_manifests
from modbench.harness.registry.discovery import Entry

MOST_VARIANTS = 500
MOST_CASES = 20_000
MOST_JOBS = 200_000
# Layers of a model that is planned to run; its solver and its counters visit each.
MOST_LAYERS = 1000
# More bytes than any one machine has.
MOST_BYTES = 2.0**46


def load_suite(name: str) -> Suite:
    """Load a shipped suite by name, or a suite from a TOML file.

    Raises:
        UsageError: if there is no such suite, or something in it is wrong; the message names the file and key.
    """
    return parse_suite(read_suite(name), name)


def is_file_name(name: str) -> bool:
    """Whether a suite is named by its file: by a path, or a name with an ending."""
    return "/" in name or bool(Path(name).suffix)


def is_suite(name: str) -> bool:
    """Whether this names a suite: one of the catalogue's, or a file."""
    return name in catalogue.entries("suites") or is_suite_file(Path(name))


def is_suite_file(path: Path) -> bool:
    """Whether a file could be a suite, by its name."""
    return path.suffix == ".toml" and path.is_file()


def read_suite(name: str) -> dict[str, Any]:
    """Read the table of a shipped suite, or of a suite's TOML file, without checking its keys; with its name.

    Raises:
        UsageError: if there is no such suite, or it is not TOML.
    """
    known = catalogue.entries("suites")
    near = "" if name in known else near_path(name, is_suite_file)
    if name not in known and (is_file_name(name) or (near and nearest(name, known) is None)):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"there is no suite file {name!r}.{near} `modbench list suites` shows the shipped ones.")
    else:
        path = catalogue.find("suites", name).path
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{name}: not TOML: {in_short(error)}.") from error
    data.setdefault("name", slug(path.stem))
    if folders := data.get("plugins"):
        if not isinstance(folders, list) or not all(isinstance(each, str) for each in folders):
            raise UsageError(f'{name}: plugins: write a list of folders, such as plugins = ["bench"].')
        plugin_manifests.include((path.parent / each for each in folders), by=f"{name}: plugins")
    look_beside(data, path.parent)
    return data


def parse_suite(data: dict[str, Any], source: str) -> Suite:
    """Check a suite's table and return the suite; `source` is named in errors.

    Raises:
        UsageError: if a key or value is wrong.
    """
    _check_needs(data, source)
    try:
        data = suite_tables.checked(data)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error
    for table, fields in ((name, kind.model_fields) for name, kind in TABLES.items()):
        for key in data.get(table) or {} if isinstance(data.get(table), dict | None) else {}:
            if key not in fields:
                raise UsageError(f"{source}: [{table}]: {unknown('key', key, fields)}")
    for key in data["shape"] if isinstance(data.get("shape"), dict) else {}:
        if key not in SHAPE_KEYS:
            why = f" {key!r} belongs to a variant: write it under [[variants]]." if key in ROUTING_KEYS else ""
            raise UsageError(f"{source}: [shape]: {unknown('key', key, SHAPE_KEYS)}{why}")
    try:
        suite = Suite.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{source}: {in_words(error)}") from error
    _check_plugins(suite)
    _check_metrics(suite, source)
    for each in suite_tables.in_use(suite):
        each.check(suite, source)
        suite = each.settled(suite)
    check_size(suite, source)
    return suite


def _check_needs(data: Mapping[str, Any], source: str) -> None:
    """Check that the plug-ins are there which a suite names."""
    needs = data.get("needs")
    for name in needs if isinstance(needs, list | tuple) else ():
        if isinstance(name, str) and (why := plugin_manifests.lack_of(name)):
            raise UsageError(f"{source} {why}.")


def _check_plugins(suite: Suite) -> None:
    """Check that the plug-in is there that watches a training run."""
    if suite.train is not None and suite.train.watch:
        catalogue.find("recorders", "routing")


def _check_metrics(suite: Suite, source: str) -> None:
    """Check that every metric is known, and that the suite has what it is measured on."""
    known = catalogue.metrics()
    for metric in suite.metrics:
        try:
            catalogue.find_metric(metric)
        except UsageError as error:
            raise UsageError(f"{source}: {error}") from error
        made = catalogue.pass_of(known[metric])
        if made.trains and not known[metric].planned_by and suite.train is None:
            raise UsageError(
                f"{source}: metric {metric!r} needs a training run: add a [train] table, or leave the metric out."
            )
        if made.needs_table and not {*made.needs_table} & suite.tables.keys():
            tables = " or ".join(f"[{table}]" for table in made.needs_table)
            raise UsageError(
                f"{source}: metric {metric!r} is of a table that this suite lacks: add a {tables} table, or leave it out."
            )
    if suite.grid.serves and "latency/request" not in suite.metrics:
        raise UsageError(
            f"{source}: grid.input_len and grid.output_len are read by the metric 'latency/request' alone: add it to metrics."
        )


def broken_suites() -> list[Entry]:
    """The user's suites that cannot be run as they are, with the reason."""
    found: list[Entry] = []
    for entry in (each for each in discovery.every("suites") if not each.shipped):
        if entry.problem:
            found.append(entry)
        else:
            try:
                load_suite(entry.name)
            except UsageError as error:
                found.append(replace(entry, problem=str(error).removesuffix(".")))
    return found


def _lengths(grid: Grid) -> int:
    """How many lengths a grid has, those of requests too."""
    requests = len(grid.input_len or grid.seq_len) * max(1, len(grid.output_len)) if grid.serves else 0
    return len(grid.seq_len) + requests


def check_size(suite: Suite, source: str) -> None:
    """Check that a suite can be expanded: how many variants, cases and jobs it asks for, and how deep they are.

    Args:
        suite: the suite.
        source: its file, for messages.

    Raises:
        UsageError: if it cannot.
    """
    variants = sum(
        math.prod(
            len(value)
            for value in (*variant.settings.values(), *variant.options.values())
            if isinstance(value, list | tuple)
        )
        for variant in suite.variants
    )
    sizes = suite_tables.sizes_of(suite) or Sizes(({},), 0)
    variants *= len(sizes.shapes)
    _at_most(source, variants, MOST_VARIANTS, "variants", "Give fewer capacities, sizes or other values")
    grids = [suite.grid, *([suite.decode_grid] if suite.decode_grid else [])]
    points = sum(_lengths(g) * math.prod(map(len, (g.batch_size, g.dtype, g.execution))) for g in grids)
    _at_most(
        source,
        variants * points,
        MOST_CASES,
        "cases",
        f"{variants} variants at {points} grid points: give fewer of them",
    )
    jobs = points * suite.processes_limit + variants * sizes.runs * len(suite.seeds)
    _at_most(source, jobs, MOST_JOBS, "jobs", "Give fewer processes, seeds or grid points")
    depths = [size.get("n_layers", 0) for size in sizes.shapes]
    for settings in (suite.shape, *(variant.settings for variant in suite.variants)):
        depth = settings.get("n_layers", 0)
        depths += [each for each in (depth if isinstance(depth, list | tuple) else [depth]) if type(each) is int]
    _check_depth(source, max(depths, default=0))


def check_called(case: Case, memory: float | None) -> None:
    """Check that a single case can be built and called: how deep it is, and how much memory it needs.

    Args:
        case: the case.
        memory: bytes that this machine has; None: that is not known.

    Raises:
        UsageError: if it cannot.
    """
    _check_depth(f"model {case.model!r}", case.config.n_layers)
    _check_memory(case)
    _check_memory(case, memory, "this machine")


def _check_depth(source: str, layers: int) -> None:
    _at_most(source, layers, MOST_LAYERS, "layers", "`modbench cost` takes deeper models")


def _at_most(source: str, asked: int, most: int, what: str, instead: str) -> None:
    if asked > most:
        number = f"{asked:,}" if asked < 10**15 else f"{asked:.3g}" if asked < 10**300 else "over 10^300"
        raise UsageError(f"{source}: {number} {what}: a plan holds at most {most:,}. {instead}.")


def check_memory(comparisons: Sequence[Comparison]) -> None:
    """Check that no case needs more memory than any machine has, by its closed form.

    Raises:
        UsageError: if one does.
    """
    largest: dict[tuple[object, ...], tuple[int, Case]] = {}
    for comparison in comparisons:
        for case in comparison.variants:
            key = (case.model, case.config, case.grid_point.dtype)
            tokens = case.grid_point.seq_len * case.grid_point.batch_size
            if key not in largest or tokens > largest[key][0]:
                largest[key] = tokens, case
    for _, case in largest.values():
        _check_memory(case)


def _check_memory(case: Case, most: float | None = MOST_BYTES, who: str = "any machine") -> None:
    """Check the forecast of a closed form; of a model of the user's what its logits take, which is the least that it needs."""
    grid_point, cost, width = case.grid_point, case_cost(case), ELEMENT_BYTES[case.grid_point.dtype]
    logits = width * grid_point.batch_size * grid_point.seq_len * case.config.vocab_size
    needed = cost.memory_forward(width) if cost else logits
    if most is not None and needed > most:
        raise UsageError(
            f"{case.id}: a forward pass needs {human(needed, 'B')}, more than {who} has ({human(most, 'B')}). "
            "Make it smaller; `modbench cost` shows what a model of any size costs."
        )
