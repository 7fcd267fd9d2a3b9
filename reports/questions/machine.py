"""The machine in words: its GPU, the verdict of `modbench doctor`, what the run's own twins say; and why nothing was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modbench.harness.core.errors import NothingMeasuredError, brief
from modbench.harness.core.labels import Label, of_cell
from modbench.harness.core.units import counted
from modbench.harness.machine.certificate import VERDICTS
from modbench.harness.stats.contrast import APART, EQUIVALENT
from modbench.reports.model import Estimate, Listed, Sentence, Value
from modbench.reports.tables import provenance, unit_files
from modbench.reports.tables.load import Loaded, Row
from modbench.reports.tables.pair_verdicts import why_unchecked

NOTHING = "Nothing was measured"
# Characters of the reason that stands for the others.
MOST_SAID = 300


def nothing_measured(loaded: Loaded) -> str:
    """Say how the cells ended, and why the first one has no value: `Nothing was measured: 8 cells failed. mine:build[…]: …`."""
    rows = loaded.cases
    if rows.empty:
        return f"{NOTHING}: no metric was asked for."
    ended = [(len(loaded.run.missing), "unit", "has no record", "have no record")]
    ended += [(int((rows.status == word).sum()), "cell", word, word) for word in ("failed", "skipped")]
    how = [f"{counted(n, what)} {one if n == 1 else many}" for n, what, one, many in ended if n]
    first = (loaded.failed if not loaded.failed.empty else rows).iloc[0]
    reason = unit_files.in_run_folder(brief(str(first.reason), MOST_SAID), loaded.path)
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
        return loaded.device_name + (f" (driver {', '.join(drivers)})" if drivers else " (not seen by NVML)")
    return f"not measured ({'CPU run; present: ' + names if names else found.get('reason') or 'unknown'})"


def jobs(loaded: Loaded) -> list[tuple[str, str]]:
    """Of a run on a cluster: the nodes that timed it; nothing for another run."""
    found = [node for node in provenance.timed_on(loaded.run) if node.host is not None]
    return [("Timed on", "; ".join(node.in_words() for node in found))] if found else []


GLYPHS = {"unknown": "○", "fit": "●", "undecided": "○", "doubtful": "!", "unfit": "×"}


@dataclass(frozen=True)
class TwinCheck:
    """What the twin of the anchor says of the machine.

    Attributes:
        verdicts: on the twin, one for each time that it was measured in.
        disturbed: number of those that were disturbed.
        apart: where equals came out unequal, in words.
        largest: largest difference, as a share.
    """

    verdicts: list[str]
    disturbed: int
    apart: list[Sentence]
    largest: float

    @property
    def equivalent(self) -> int:
        """Comparisons in which it was equivalent."""
        return self.verdicts.count(EQUIVALENT)

    def in_words(self) -> Sentence:
        """One line: `twin equal in 5 of 6, different in 1, ≤ 0.8 %`."""
        words = "twin equal in {equal} of {all}" + ", different in {apart}" * bool(self.apart)
        words += f", {Label.CONTAMINATED} in {{disturbed}}" * bool(self.disturbed) + ", ≤ {largest}"
        return Sentence(
            words,
            equal=self.equivalent,
            all=len(self.verdicts),
            apart=len(self.apart),
            disturbed=self.disturbed,
            largest=Estimate(self.largest, kind="share"),
        )


def twin_check(loaded: Loaded) -> TwinCheck | None:
    """Return what the run's own twins say; None if none was timed."""
    rows = loaded.twins[loaded.twins.verdict.notna()]
    if rows.empty:
        return None
    wrong: Iterator[Row] = rows[rows.verdict.isin(APART)].itertuples(index=False)
    places = loaded.cases_by_id
    words = "{metric} at {place} {ratio} ({verdict})"
    apart = [
        Sentence(words, metric=row.metric, place=places[row.case_id].place, ratio=ratio, verdict=row.verdict)
        for row in wrong
        for ratio in [Estimate(row.ratio, kind="ratio")]
    ]
    largest = max(max(each, 1 / each) - 1 for each in rows.ratio)
    disturbed = sum(Label.CONTAMINATED in of_cell(cell) for cell in rows.labels)
    return TwinCheck(list(rows.verdict), disturbed, apart, largest)


def machine_check(loaded: Loaded) -> tuple[str, Sentence]:
    """Return the verdict on the machine, and in one line what it rests on: the run's own twins, its certificate.

    A certificate that has nothing against the machine is left out where twins were timed, which are of this run.
    """
    known, twins = loaded.certificate, twin_check(loaded)
    said: list[Value] = (
        [known.in_words()] if known is not None and (twins is None or known.verdict != VERDICTS[-1]) else []
    )
    if known is None and not loaded.checked:
        status = "unknown"
        said.append("not made" + ": times have no verdicts; modbench doctor makes it" * _withheld(loaded))
    elif twins is not None and twins.apart and (known is None or known.verdict != "unfit"):
        status = "doubtful"
    elif known is not None:
        status = known.verdict
    else:
        assert twins is not None, "of the two that check a machine"
        status = "fit" if twins.equivalent == len(twins.verdicts) else "undecided"
    if twins is not None:
        said.append(Sentence("{verdict}" * (not said) + "{twins}", verdict=f"{status}: ", twins=twins.in_words()))
    return status, Sentence("{glyph} machine check (A/A): {said}", glyph=GLYPHS[status], said=Listed(said, "; "))


def warnings(loaded: Loaded) -> list[Value]:
    """Return what must be read first.

    That nothing was measured; a stored run, two versions of a model, a machine that was busy, unchecked or doubtful.
    """
    if not loaded.measured:
        return [nothing_measured(loaded), *_two_versions(loaded)]
    return [*_shipped(loaded), *_two_versions(loaded), *_busy(loaded), *doubtful(loaded)]


def _busy(loaded: Loaded) -> Iterator[str]:
    """Say how many of the times in `cases.csv` were taken on a busy machine; nothing if none was."""
    tables, rows = loaded.tables, list[Any](loaded.cases.itertuples(index=False))
    timed = [row for row in rows if row.status == "ok" and tables.made_in(tables.metrics[row.metric]).times]
    busy = sum(Label.CONTAMINATED in of_cell(row.labels) for row in timed)
    if busy:
        yield (
            f"The machine was busy while {busy} of {counted(len(timed), 'time')} were taken: they are labelled "
            f"{Label.CONTAMINATED}, and may be the machine's more than the models'. Close what else runs, and measure again."
        )


def _shipped(loaded: Loaded) -> Iterator[str]:
    """Say of the run that `modbench demo` shows that nothing was measured here."""
    environment = loaded.run.environment
    if environment.get("shipped"):
        yield (
            f"A stored run, which ships with modbench: measured on {environment['cpu']}, {environment['usable_cores']} cores, "
            f"on {loaded.run.started[:10]}, not on this machine."
        )


def _two_versions(loaded: Loaded) -> Iterator[str]:
    """Name the user's files of which units of the run loaded several versions."""
    if loaded.tables.changed:
        named = ", ".join(sorted({Path(name).name for name in loaded.tables.changed}))
        yield f"{named} changed after this run began: numbers of two versions stand side by side."


def doubtful(loaded: Loaded) -> list[Value]:
    """Return what must be read of the machine first: that equal models came out unequal, or that times have no verdicts."""
    twins = twin_check(loaded)
    if twins is not None and twins.apart:
        words = "The anchor's identical twin was found different in {n} of {all:comparison}, beyond chance: {apart}. "
        words += "Differences of that size between models may be the machine's."
        return [Sentence(words, n=len(twins.apart), all=len(twins.verdicts), apart=Listed(twins.apart, "; "))]
    if _withheld(loaded):
        why = why_unchecked(loaded.run, loaded.twins)
        return [f"Times have no verdicts: {why.replace('`', '')}."]
    return []


def _withheld(loaded: Loaded) -> bool:
    """Whether verdicts on times were withheld because nothing speaks for the machine."""
    timed = any(loaded.tables.made_in(loaded.tables.metrics[key]).times for key in loaded.pairs.metric.unique())
    return loaded.suite.claims and timed and not loaded.checked
