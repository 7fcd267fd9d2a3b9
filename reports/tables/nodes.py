"""Which machines timed a run: the one of run.json, or the nodes of a cluster that its units name.

A launch times all arms of a comparison on one machine, so a ratio never crosses machines. Launches on several nodes of one type
are repetitions like others: what differs between nodes is in their spread, and a label says so. Launches on different hardware
answer different questions, and their pool has no verdict. GPUs of one machine count as machines do.
"""

from __future__ import annotations

from dataclasses import dataclass

from modbench.harness.machine.certificate import Certificate, from_dict
from modbench.harness.results.records import Record
from modbench.harness.results.run_folder import StoredRun


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
    found = {
        node.machine: node for record in run.records if record.unit.facts.timed and (node := _node(record)) is not None
    }
    if found:
        return list(found.values())
    known = run.environment.get("certificate")
    return [Node(run.environment.get("machine"), from_dict(known) if known else None)]


def certificates(run: StoredRun) -> list[Certificate]:
    """The certificates of all machines that timed the run; none if one of them was never checked."""
    known = [node.certificate for node in timed_on(run)]
    return [each for each in known if each is not None] if None not in known else []


def named(record: Record) -> dict[str, str]:
    """Fingerprint and hardware of the machine, and the GPU, that a record names; empty if it names neither."""
    where = record.environment
    if where is None or not (where.machine or where.device_uuid):
        return {}
    hardware, gpu = where.hardware or "", where.device or ""
    parts = (hardware, gpu) if gpu not in hardware else (hardware,)
    return {f"{where.machine or ''} {where.device_uuid or ''}": ", ".join(filter(None, parts))}


def _node(record: Record) -> Node | None:
    where = record.environment
    if where is None or where.machine is None:
        return None
    return Node(where.machine, where.certificate, where.host, where.hardware)
