"""Which machines timed a run: the one of run.json, or the nodes of a cluster that its units name.

A launch times all arms of a comparison on one machine, so a ratio never crosses machines. Launches on several nodes of one type
are repetitions like others: what differs between nodes is in their spread, and a label says so. Launches on different hardware
answer different questions, and their pool has no verdict. GPUs of one machine count as machines do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modbench.harness.core import catalogue
from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.labels import Label
from modbench.harness.machine.certificate import Certificate, from_dict
from modbench.harness.results.records import Record
from modbench.harness.results.run_folder import StoredRun

if TYPE_CHECKING:
    from modbench.reports.tables import Tables


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
    found = {node.machine: node for record in run.records if _timed(record) and (node := _node(record)) is not None}
    if found:
        return list(found.values())
    known = run.environment.get("certificate")
    return [Node(run.environment.get("machine"), from_dict(known) if known else None)]


def certificates(run: StoredRun) -> list[Certificate]:
    """The certificates of all machines that timed the run; none if one of them was never checked."""
    known = [node.certificate for node in timed_on(run)]
    return [each for each in known if each is not None] if None not in known else []


def labels(tables: Tables, case: Case, metric: Metric) -> list[Label]:
    """Return the label of a time whose launches ran on several machines or GPUs."""
    return [Label.SEVERAL_MACHINES] if len(_of(tables, case, metric)) > 1 else []


def withhold(tables: Tables, rows: Sequence[dict[str, Any]]) -> None:
    """Remove verdicts on times whose launches ran on different hardware, with the reason. *Contaminated* stays."""
    cases = {case.id: case for case in tables.run.plan.cases}
    for row in rows:
        if row.get("verdict") in {None, "contaminated"}:
            continue
        kinds = set(_of(tables, cases[row["case_id"]], tables.metrics[row["metric"]]).values())
        if len(kinds) > 1:
            why = (
                f"its launches ran on different hardware ({' and on '.join(sorted(kinds))}), which no verdict may pool"
            )
            said = (row["reason"], f"{why}: ask for one kind, as with --constraint or CUDA_VISIBLE_DEVICES")
            row["verdict"], row["reason"] = None, "; ".join(filter(None, said))


def named(record: Record) -> dict[str, str]:
    """Fingerprint and hardware of the machine, and the GPU, that a record names; empty if it names neither."""
    where = record.environment
    if where is None or not (where.machine or where.device_uuid):
        return {}
    hardware, gpu = where.hardware or "", where.device or ""
    parts = (hardware, gpu) if gpu not in hardware else (hardware,)
    return {f"{where.machine or ''} {where.device_uuid or ''}": ", ".join(filter(None, parts))}


def _of(tables: Tables, case: Case, metric: Metric) -> dict[str, str]:
    """Hardware of the nodes and GPUs that timed a case for a metric, each once; none where run.json names all there is."""
    return tables.cell(case.id, tables.source(metric).key).nodes if tables.made_in(metric).times else {}


def _node(record: Record) -> Node | None:
    where = record.environment
    if where is None or where.machine is None:
        return None
    return Node(where.machine, where.certificate, where.host, where.hardware)


def _timed(record: Record) -> bool:
    return catalogue.passes()[record.unit.made_in].timed
