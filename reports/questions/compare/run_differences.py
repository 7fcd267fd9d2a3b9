"""In what runs differ besides their numbers: machine, versions, code, suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modbench.harness.core.units import human
from modbench.reports.model import Listed, Sentence
from modbench.reports.tables import nodes, versions
from modbench.reports.tables.load import Loaded

SECTIONS = ("machine", "versions", "code", "suite")
# Facts that make two machines unlike: times of one say little about times of the other.
KIND = ("processor", "GPU", "device", "threads")
# Characters of a hash that are shown.
SHORT = 12
NONE = "–"


@dataclass(frozen=True)
class Difference:
    """A fact in which runs differ.

    Attributes:
        section: one of `SECTIONS`.
        what: its name.
        values: one for each run, in words; `–` where a run has none.
    """

    section: str
    what: str
    values: tuple[str, ...]


def differences(runs: Sequence[Loaded]) -> list[Difference]:
    """Return the facts in which the runs differ, in the order of the sections."""
    told = [{section: dict(facts) for section, facts in _facts(run)} for run in runs]
    found = []
    for section in SECTIONS:
        absent = {name for each in told for name, value in each[section].items() if value == NONE}
        for name in dict.fromkeys(name for each in told for name in each[section]):
            if any(name.startswith(f"{table}.") for table in absent):
                continue  # a run without this table; the table's own name says so
            other = (
                "set" if name in absent and section == "suite" else NONE
            )  # its settings stand under names of their own
            values = tuple(each[section].get(name, other) for each in told)
            if len(set(values)) > 1:
                found.append(Difference(section, name, values))
    return found


def unlike(found: Sequence[Difference]) -> list[Difference]:
    """Return the differences that make the machines unlike."""
    return [each for each in found if each.section == "machine" and each.what in KIND]


def _facts(loaded: Loaded) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    yield "machine", _machine(loaded)
    yield "versions", _versions(loaded)
    yield "code", _code(loaded)
    yield "suite", _suite(loaded)


def _machine(loaded: Loaded) -> Iterator[tuple[str, str]]:
    run, environment = loaded.run, loaded.run.environment
    timed_on = nodes.timed_on(run)
    hardware = sorted({node.hardware for node in timed_on if node.hardware})
    yield "processor", " and ".join(hardware) or str(environment["cpu"])
    if run.plan.device == "cuda":
        yield "GPU", loaded.device_name
        yield "driver", ", ".join(sorted({str(each["driver"]) for each in environment["gpu"]["devices"]})) or "unknown"
    yield "device", run.plan.device
    yield "threads", str(run.plan.suite.threads)
    yield "cores", f"{environment['usable_cores']} of {environment['cores']}"
    yield "memory", human(float(environment["memory_bytes"]), "B")
    yield "system", str(environment["system"])
    yield "fingerprint", " and ".join(sorted(str(node.machine) for node in timed_on if node.machine)) or "not known"
    known = loaded.certificate
    yield "A/A check", known.verdict if known else "not made"


def _versions(loaded: Loaded) -> Iterator[tuple[str, str]]:
    environment = loaded.run.environment
    yield "python", str(environment["python"])
    yield from ((str(name), str(version)) for name, version in sorted(environment["packages"].items()))


def _code(loaded: Loaded) -> Iterator[tuple[str, str]]:
    git = loaded.run.environment["git"]
    yield "commit", str(git["commit"] or "not known")[:SHORT]
    yield "uncommitted changes", {True: "yes", False: "no"}.get(git["dirty"], "not known")
    for file in loaded.run.own_files:
        yield (
            f"{file.kind} {file.name}",
            (file.identity or "missing")[:SHORT] if file.sha256 else str(file.identity or file.what),
        )
    named = {file.sha256 for file in loaded.run.own_files}
    for name, ran in sorted(versions.joined(versions.of_record(record) for record in loaded.run.records).items()):
        if not ran <= named:
            yield f"import {name}", " and ".join(sorted(each[:SHORT] for each in ran))


def _suite(loaded: Loaded) -> Iterator[tuple[str, str]]:
    plan = loaded.run.plan
    suite = plan.suite.model_dump(mode="json", exclude={"about", "arms", "threads", "device"})
    yield "arms", ", ".join(dict.fromkeys(case.arm for case in plan.cases))
    yield from _flat(suite)
    yield "text", (plan.corpus_sha256 or "none")[:SHORT]


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings of nested tables by their keys in a suite file: `grid.seq_len`."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, list):
            yield f"{before}{key}", ", ".join(map(str, value))
        else:
            yield f"{before}{key}", NONE if value is None else str(value)


def the_same(found: Sequence[Difference], of: int) -> Sentence | None:
    """Say which sections are the same in all runs; None if none is."""
    changed = {each.section for each in found}
    same = [section for section in SECTIONS if section not in changed]
    if not same:
        return None
    said = Listed(same, last=" and ")
    return Sentence("The same in {all} runs: {sections}.", all="both" if of == 2 else "all", sections=said)
