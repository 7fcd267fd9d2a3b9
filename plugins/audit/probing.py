"""Fills the audit report of a model: runs the probes one after the other. None ends the others."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from modbench.extend import (
    GridPoint,
    Missing,
    ModbenchError,
    ModelConfig,
    UsageError,
    attempt,
    catalogue,
    clocks,
    from_loader,
    in_short,
    unknown,
    user_code,
)
from modbench.plugins.audit.report import AuditReport, Finding, unseen

if TYPE_CHECKING:
    from modbench.extend import Case
    from modbench.plugins.audit.model import Audited
    from modbench.plugins.audit.probe import Probe
    from modbench.plugins.audit.report import Architecture

# The default shape: small, so that a card takes seconds.
SHAPE: Mapping[str, int] = MappingProxyType({"d_model": 128, "n_layers": 4})
SEQ_LEN, BATCH_SIZE = 64, 4
# Keys that follow from the width, or that are given for one width.
OF_WIDTH = {"n_heads", "n_kv_heads", "head_dim", "d_ff", "expert_d_ff"}


def small(case: Case) -> Case:
    """A case of a run, in the default shape on the CPU; a checkpoint, and what is no larger, keeps its shape.

    Raises:
        ValueError: if its other settings do not fit that shape.
    """
    config, threads = case.config, case.grid_point.threads
    values = {"max_seq_len": max(SEQ_LEN, config.max_seq_len)}
    whole = all(getattr(config, key) <= size for key, size in SHAPE.items())
    if not whole and from_loader(case.model, case.options) is None:
        values |= SHAPE
    kept = config.model_dump(exclude=set() if values.keys() <= {"max_seq_len"} else OF_WIDTH)
    grid_point = GridPoint(
        seq_len=SEQ_LEN, batch_size=BATCH_SIZE, dtype="fp32", device="cpu", threads=threads, compile=False
    )
    made = ModelConfig.model_validate(kept | values)
    return case.model_copy(update={"config": made, "grid_point": grid_point}).with_facts(case.facts)


def built(case: Case, of: Architecture | None, seed: int = 0) -> Audited:
    """Build a model that is named.

    Raises:
        UsageError: if it cannot be built or called.
    """
    from modbench.plugins.audit.model import Audited

    try:
        return Audited(case, of, seed=seed)
    except ModbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"model {case.model!r} cannot be audited: {why(error)}") from error


def why(error: BaseException) -> str:
    """What a model raised, and where."""
    where = user_code.where_in(error.__traceback__)
    return f"{type(error).__name__}: {in_short(error)}{f' ({where})' if where else ''}"


def probes(of: Architecture | None, only: Collection[str] = ()) -> dict[str, Probe]:
    """The probes that look at a model, by property, in the order of the audit report.

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


def audit(
    audited: Audited, *, only: Iterable[str] = (), say: Callable[[str], None] = lambda _title: None
) -> AuditReport:
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
    grid_point = audited.case.grid_point
    return AuditReport(
        target=_name(audited.case),
        of=audited.of,
        params=sum(p.numel() for p in audited.module.parameters()),
        seq_len=grid_point.seq_len,
        batch_size=grid_point.batch_size,
        dtype=grid_point.dtype,
        config=audited.case.config.model_dump(mode="json"),
        findings=findings,
        titles={name: probe.title for name, probe in chosen.items()},
        wall_s=clocks.monotonic() - began,
    )


def _found(probe: Probe, audited: Audited) -> Finding:
    """What a probe finds; what it raises is why the property cannot be seen."""
    with contextlib.redirect_stderr(io.StringIO()):  # the reason stands on the card
        found = attempt(partial(probe.check, audited))
    if isinstance(found, Missing):
        return unseen("{why}", why=found.reason)
    return found


def _name(case: Case) -> str:
    """Return the model as it is named, with its options."""
    given = ",".join(f"{name}={value}" for name, value in case.options)
    return f"{case.model}({given})" if given else case.model
