"""Fills the card of a model: runs the probes one after the other. None ends the others."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING

from modbench.harness.audit.card import Card, Finding, unseen
from modbench.harness.core.errors import unknown
from modbench.harness.domain.records import Gap
from modbench.harness.process import clocks
from modbench.harness.registry import catalogue
from modbench.harness.results.outcomes import attempt

if TYPE_CHECKING:
    from modbench.harness.audit.audited import Audited
    from modbench.harness.audit.card import Architecture
    from modbench.harness.audit.probe import Probe
    from modbench.harness.domain.case import Case


def probes(of: Architecture | None, only: Collection[str] = ()) -> dict[str, Probe]:
    """The probes that look at a model, by property, in the order of the card.

    Args:
        of: what the model is held to.
        only: properties; none: all.

    Raises:
        UsageError: for a property that there is not, or that belongs to another architecture.
    """
    every: dict[str, Probe] = catalogue.usable("probes")
    known = {
        name: probe
        for name, probe in sorted(every.items(), key=lambda item: (item[1].order, item[0]))
        if not probe.of or of in probe.of
    }
    for name in only:
        if name not in known:
            raise unknown("property" if of is None else f"property of {of}", name, known)
    return {name: probe for name, probe in known.items() if not only or name in only}


def audit(audited: Audited, *, only: Iterable[str] = (), say: Callable[[str], None] = lambda _title: None) -> Card:
    """Run the probes on a model.

    Args:
        audited: the model.
        only: properties to look at; none: all of what it is held to.
        say: called with the title of each probe before it runs.

    Raises:
        UsageError: for an unknown property.
    """
    chosen = probes(audited.of, tuple(only))
    began = clocks.monotonic()
    findings: dict[str, Finding] = {}
    for name, probe in chosen.items():
        say(probe.title)
        findings[name] = _found(probe, audited)
    place = audited.case.place
    return Card(
        target=_name(audited.case),
        of=audited.of,
        params=sum(p.numel() for p in audited.module.parameters()),
        seq_len=place.seq_len,
        batch_size=place.batch_size,
        dtype=place.dtype,
        config=audited.case.config.model_dump(mode="json"),
        findings=findings,
        titles={name: probe.title for name, probe in chosen.items()},
        wall_s=clocks.monotonic() - began,
    )


def _found(probe: Probe, audited: Audited) -> Finding:
    """What a probe finds; what it raises is why the property cannot be seen."""
    with contextlib.redirect_stderr(io.StringIO()):  # the reason stands on the card
        found = attempt(partial(probe.check, audited))
    if isinstance(found, Gap):
        return unseen("{why}", why=found.reason)
    return found


def _name(case: Case) -> str:
    """Return the model as it is named, with its options."""
    given = ",".join(f"{name}={value}" for name, value in case.options)
    return f"{case.model}({given})" if given else case.model
