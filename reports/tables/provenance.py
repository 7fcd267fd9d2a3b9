"""Where numbers come from: which machines timed a run, and which versions of the user's files its jobs ran.

Machines are the one of run.json, or the nodes of a cluster that its jobs name.

A process times all variants of a comparison on one machine, so a ratio never crosses machines. Processes on several nodes of one
type are repetitions like others: what differs between nodes is in their standard deviation, and a label says so. Processes on
different hardware answer different questions, and their pool has no verdict. GPUs of one machine count as machines do.

Files of the user's may change while a run goes on, or before `resume --allow-changed`. What ran in one process ran in one
version. A number is labelled where another job of the run ran another version of a file that its own jobs ran, since tables and
figures show the two side by side. Where one number, or the two of a comparison, come from two versions of a file, there is no
verdict. Two runs may differ in their code: that is what they are compared for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from modbench.harness.core.group_by import grouped
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.machine.certificate import Certificate, from_dict
from modbench.harness.registry import catalogue
from modbench.harness.results.run_file import StoredRun


@dataclass(frozen=True)
class Node:
    """A machine that timed something.

    Attributes:
        machine: its fingerprint; None in runs that do not say.
        certificate: what was known of it.
        host: its name; None for the machine of run.json.
        hardware: its hardware in words; None for the machine of run.json.
    """

    machine: str | None
    certificate: Certificate | None
    host: str | None = None
    hardware: str | None = None

    def in_words(self) -> str:
        """One line: `n17 (EPYC 7763, 64 cores; A/A: fit)`."""
        return f"{self.host} ({self.hardware}; A/A: {self.certificate.verdict if self.certificate else 'not made'})"


def timed_on(run: StoredRun) -> list[Node]:
    """The machines that timed the run, each once; the machine of run.json if its units name none."""
    there = (record.environment for record in run.records if record.job.facts.timed)
    found = {each.machine: each for each in there if each is not None and each.machine is not None}
    if found:
        return [Node(each.machine, each.certificate, each.host, each.hardware) for each in found.values()]
    known = run.environment.get("certificate")
    return [Node(run.environment.get("machine"), from_dict(known) if known else None)]


def certificates(run: StoredRun) -> list[Certificate]:
    """The certificates of all machines that timed the run; none if one of them was never checked."""
    known = [node.certificate for node in timed_on(run)]
    return [each for each in known if each is not None] if None not in known else []


def nodes_named(record: Record) -> dict[str, str]:
    """Fingerprint and hardware of the machine, and the GPU, that a record names; empty if it names neither."""
    where = record.environment
    if where is None or not (where.machine or where.device_uuid):
        return {}
    hardware, gpu = where.hardware or "", where.device or ""
    parts = (hardware, gpu) if gpu not in hardware else (hardware,)
    return {f"{where.machine or ''} {where.device_uuid or ''}": ", ".join(filter(None, parts))}


# SHA-256 of all versions of a file, by the file's name.
Versions = Mapping[str, frozenset[str]]


def versions_of_outcome(record: Record, outcome: Outcome) -> Versions:
    """What stands behind a value; nothing where none of the user's code has a part in it, or the record does not say."""
    return versions_of_record(record) if outcome.status == "ok" and record.code and _is_own(record, outcome) else {}


def versions_of_record(record: Record) -> Versions:
    """What a job ran."""
    return {name: frozenset({sha256}) for name, sha256 in (record.code or {}).items()}


def _is_own(record: Record, outcome: Outcome) -> bool:
    """Whether a value depends on code of the user's: of its case, or of what measured it. Other variants only ran beside it."""
    case = next((each for each in record.job.comparison.variants if each.id == outcome.case), None)
    if case is None or case.facts.runs_user_code:
        return True
    used = [("passes", record.job.made_in), ("corpora", record.job.protocol.corpus)]
    if (metric := catalogue.metrics().get(outcome.metric)) is not None:
        used += [("metrics", catalogue.file_of_metric(metric.key).name), *filter(None, [metric.entry])]
    entries = (catalogue.entries(room).get(name) for room, name in used)
    return any(entry is not None and not entry.shipped for entry in entries)


def joined_versions(several: Iterable[Versions]) -> Versions:
    """All versions of each file."""
    by_name = grouped(versions for each in several for versions in each.items())
    return {name: frozenset().union(*versions) for name, versions in by_name.items()}


def mixed_versions(versions: Versions) -> list[str]:
    """Names of the files of which there are several versions."""
    return sorted(name for name, each in versions.items() if len(each) > 1)


def versions_in_words(names: Sequence[str]) -> str:
    """Files by their names alone: `parts.py, mine.py`."""
    return ", ".join(PurePath(name).name for name in names)
