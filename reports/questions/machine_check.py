"""The machine in words: its GPU, the verdict of `modbench doctor`, what the A/A control says; and why nothing was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.harness.core.errors import NothingMeasuredError, brief
from modbench.harness.core.labels import Label, of_cell
from modbench.harness.core.units import counted
from modbench.harness.machine.certificate import VERDICTS
from modbench.harness.stats.verdicts import APART, EQUIVALENT, INCONCLUSIVE
from modbench.reports.blocks import Estimate, Listed, Sentence, Value
from modbench.reports.tables import job_files, provenance
from modbench.reports.tables.claims import why_unchecked
from modbench.reports.tables.load import Loaded

NOTHING = "Nothing was measured"
# Characters of the reason that stands for the others.
MOST_SAID = 300
# Names of absent plug-ins' metrics; more are counted.
MOST_ABSENT = 6


def nothing_measured(loaded: Loaded) -> str:
    """Say how the cells ended, and why the first one has no value: `Nothing was measured: 8 cells failed. mine:build[…]: …`."""
    rows = loaded.cases
    if rows.empty:
        return f"{NOTHING}: no metric was asked for."
    ended = [(len(loaded.run.missing), "job", "has no record", "have no record")]
    ended += [(int((rows.status == word).sum()), "cell", word, word) for word in ("failed", "skipped")]
    how = [f"{counted(n, what)} {one if n == 1 else many}" for n, what, one, many in ended if n]
    first = (loaded.failed if not loaded.failed.empty else rows).iloc[0]
    reason = job_files.in_run_folder(brief(str(first.reason), MOST_SAID), loaded.path)
    return f"{NOTHING}: {', '.join(how)}. {first.case_id}: {reason.removesuffix('.')}."


def check_measured(loaded: Loaded, page: Path) -> None:
    """Check that a run that ended has a value in any of its cells. Failed cells are data, unless there is nothing else.

    Raises:
        NothingMeasuredError: if every cell failed or was skipped.
    """
    if not loaded.measured:
        raise NothingMeasuredError(f"{nothing_measured(loaded)} Report: {page}")


def gpu(loaded: Loaded) -> str:
    """Return the GPU that was measured, or why none was."""
    found = loaded.run.environment["gpu"]
    names = ", ".join(f"{device['name']} (driver {device['driver']})" for device in found["devices"])
    if loaded.plan.device == "cuda":
        drivers = {str(device["driver"]) for device in found["devices"]}
        return loaded.tables.device_name + (f" (driver {', '.join(drivers)})" if drivers else " (not seen by NVML)")
    return f"not measured ({'CPU run; present: ' + names if names else found.get('reason') or 'unknown'})"


def jobs(loaded: Loaded) -> list[tuple[str, str]]:
    """Of a run on a cluster: the nodes that timed it; nothing for another run."""
    found = [node for node in provenance.timed_on(loaded.run) if node.host is not None]
    return [("Timed on", "; ".join(node.in_words() for node in found))] if found else []


@dataclass(frozen=True)
class AACheck:
    """What the A/A control says of the machine.

    Attributes:
        verdicts: on it, one for each time that it was measured in.
        apart: in how many of these equal models differ.
        largest: largest difference, as a share.
    """

    verdicts: list[str]
    apart: int
    largest: Estimate

    def in_words(self) -> Sentence:
        """One line: `A/A control: 0 of 6 differ, 4 inconclusive, ≤ 3.4 %`."""
        words = "A/A control: {apart} of {all} differ, {open} inconclusive, ≤ {largest}"
        all_, open_ = len(self.verdicts), self.verdicts.count(INCONCLUSIVE)
        return Sentence(words, apart=self.apart, all=all_, open=open_, largest=self.largest)


def aa_control_check(loaded: Loaded) -> AACheck | None:
    """Return what the run's own A/A controls say; None if none was timed."""
    rows = loaded.aa_controls[loaded.aa_controls.verdict.notna()]
    if rows.empty:
        return None
    largest = max(max(each, 1 / each) - 1 for each in rows.ratio)
    return AACheck(list(rows.verdict), int(rows.verdict.isin(APART).sum()), Estimate(largest, kind="share"))


def machine_check(loaded: Loaded) -> tuple[str, Sentence]:
    """Return the verdict on the machine, and in one line what it rests on: the run's A/A controls, its certificate.

    A certificate that has nothing against the machine is left out where A/A controls were timed, which are of this run.
    """
    known, aa_controls = loaded.certificate, aa_control_check(loaded)
    said = list[Value]()
    if known is not None and (aa_controls is None or known.verdict != VERDICTS[-1]):
        words = "modbench doctor: {verdict}, {hits} of {all} A/A comparisons differ"
        said.append(Sentence(words, verdict=known.verdict, hits=known.hits, all=known.comparisons))
    if aa_controls is not None:
        said.append(aa_controls.in_words())
    if known is None and not loaded.checked:
        status = "unknown"
    elif aa_controls is not None and aa_controls.apart and (known is None or known.verdict != "unfit"):
        status = "inconclusive"
    elif known is not None:
        status = known.verdict
    else:
        assert aa_controls is not None, "of the two that check a machine"
        status = "fit" if set(aa_controls.verdicts) == {EQUIVALENT} else "inconclusive"
    return status, Sentence("{said}", said=Listed(said or ["no A/A control"], "; "))


def warnings(loaded: Loaded) -> list[Value]:
    """Return what must be read first.

    That nothing was measured; a stored run, two versions of a model, a machine that was busy, unchecked or not found fit.
    """
    absent = Listed(loaded.run.absent, most=MOST_ABSENT)
    gone = [Sentence("not shown: {absent} (plug-in absent)", absent=absent)] if loaded.run.absent else []
    if not loaded.measured:
        return [nothing_measured(loaded), *_two_versions(loaded), *gone]
    return [*gone, *_shipped(loaded), *_two_versions(loaded), *_busy(loaded), *doubtful(loaded)]


def _busy(loaded: Loaded) -> Iterator[Value]:
    """Say how many of the times in `cases.csv` were taken on a busy machine; nothing if none was."""
    tables, rows = loaded.tables, list[Any](loaded.cases.itertuples(index=False))
    timed = [row for row in rows if row.status == "ok" and tables.made_in(tables.metrics[row.metric]).times]
    busy = sum(Label.NOISY in of_cell(row.labels) for row in timed)
    if busy:
        words = "{busy} of {all:time is|times are} noisy: close what else runs on the machine, and measure again."
        yield Sentence(words, busy=busy, all=len(timed))


def _shipped(loaded: Loaded) -> Iterator[str]:
    """Say of the run that `modbench demo` shows that nothing was measured here."""
    environment = loaded.run.environment
    if environment.get("shipped"):
        cores = environment["usable_cores"]
        where = f"{environment['cpu']}, {cores} cores, {loaded.run.started[:10]}"
        yield f"This run ships with modbench. It was not measured on this machine ({where})."


def _two_versions(loaded: Loaded) -> Iterator[str]:
    """Name the user's files of which units of the run loaded several versions."""
    if loaded.tables.changed:
        named = ", ".join(sorted({Path(name).name for name in loaded.tables.changed}))
        yield f"{named} changed after this run began: numbers of two versions stand side by side."


def doubtful(loaded: Loaded) -> list[Value]:
    """Return what must be read of the machine first: that equal models came out unequal, or that times have no verdicts."""
    aa_controls = aa_control_check(loaded)
    if aa_controls is not None and aa_controls.apart:
        words = "The A/A control differs in {n} of {all}: differences up to {largest} may be the machine's (modbench doctor)."
        return [Sentence(words, n=aa_controls.apart, all=len(aa_controls.verdicts), largest=aa_controls.largest)]
    timed = any(loaded.tables.made_in(loaded.tables.metrics[key]).times for key in loaded.pairs.metric.unique())
    if loaded.suite.claims and timed and not loaded.checked:
        why = why_unchecked(loaded.run, loaded.aa_controls)
        return [f"Times have no verdicts: {why.replace('`', '')}."]
    return []
