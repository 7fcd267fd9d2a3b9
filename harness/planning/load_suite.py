"""Reads suites from TOML files, checks every key and suggests corrections."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modbench.harness.core.config import ROUTING_KEYS, SHAPE_KEYS
from modbench.harness.core.errors import UnreadableError, UsageError, in_short, in_words, near_path, nearest, unknown
from modbench.harness.core.titles import slug
from modbench.harness.domain.arm_tables import look_beside
from modbench.harness.domain.suite import READ_BY, TABLES, Suite
from modbench.harness.planning.sizes import check_size
from modbench.harness.registry import catalogue, discovery
from modbench.harness.registry.discovery import Entry


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
    look_beside(data, path.parent)
    return data


def parse_suite(data: dict[str, Any], source: str) -> Suite:
    """Check a suite's table and return the suite; `source` is named in errors.

    Raises:
        UsageError: if a key or value is wrong.
    """
    for key in data:
        if key not in Suite.model_fields:
            raise UsageError(f"{source}: {unknown('key', key, Suite.model_fields)}")
    for table, fields in ((name, kind.model_fields) for name, kind in TABLES.items()):
        for key in data.get(table) or {} if isinstance(data.get(table), dict | None) else {}:
            if key not in fields:
                raise UsageError(f"{source}: [{table}]: {unknown('key', key, fields)}")
    for key in data["shape"] if isinstance(data.get("shape"), dict) else {}:
        if key not in SHAPE_KEYS:
            why = f" {key!r} belongs to an arm: write it under [[arms]]." if key in ROUTING_KEYS else ""
            raise UsageError(f"{source}: [shape]: {unknown('key', key, SHAPE_KEYS)}{why}")
    try:
        suite = Suite.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{source}: {in_words(error)}") from error
    _check_metrics(suite, source)
    for table, rule in READ_BY.items():
        if getattr(suite, table) is not None:
            catalogue.load("rules", rule).check_suite(suite, source)
    check_size(suite, source)
    return suite


def _check_metrics(suite: Suite, source: str) -> None:
    """Check that every metric is known, and that the suite has what it is measured on."""
    known = catalogue.metrics()
    for metric in suite.metrics:
        try:
            catalogue.find_metric(metric)
        except UsageError as error:
            raise UsageError(f"{source}: {error}") from error
        made = catalogue.pass_of(known[metric])
        if made.trains and not made.once and not known[metric].task and suite.train is None:
            raise UsageError(
                f"{source}: metric {metric!r} needs a training run: add a [train] table, or leave the metric out."
            )
        if made.confirms and not suite.confirms:
            raise UsageError(
                f"{source}: metric {metric!r} is measured where a sweep is confirmed: add a [confirm] or [trend] table, or leave "
                "it out."
            )
    if suite.grid.request and "latency/request" not in suite.metrics:
        raise UsageError(f"{source}: grid.request is read by the metric 'latency/request' alone: add it to metrics.")
    if suite.isoflop is not None and suite.train is None:
        raise UsageError(f"{source}: [isoflop] needs a [train] table, which sets how a run is trained.")
    if suite.isoflop is not None and suite.train is not None and len(suite.train.places) > 1:
        raise UsageError(
            f"{source}: a sweep ([isoflop]) trains at one length: give train.seq_len and train.batch_size one each."
        )


def broken_suites() -> list[Entry]:
    """The user's suites that cannot be run as they are, with the reason."""
    found: list[Entry] = []
    for entry in discovery.every("suites"):
        if entry.problem:
            found.append(entry)
        elif not entry.shipped:
            try:
                load_suite(entry.name)
            except UsageError as error:
                found.append(replace(entry, problem=str(error).removesuffix(".")))
    return found
