"""How a run measured: how well each comparison was timed, on which machine, with which method."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

from markupsafe import Markup

from modbench.harness.domain.evidence import ProcessCount
from modbench.harness.domain.notes import TrainNotes
from modbench.reports.blocks import Code, Estimate, Listed, Sentence, Table, Value, pivot
from modbench.reports.markup.html import fill, inline
from modbench.reports.questions.machine_check import doubtful, gpu, jobs, machine_check
from modbench.reports.section import Section, sections
from modbench.reports.tables.best_variants import sentence
from modbench.reports.tables.load import Loaded, subsample_evenly
from modbench.reports.tables.timings import Timing, timings

# Rows that the page holds at most, and causes of a row.
MOST_TIMED, MOST_CAUSES = 200, 3
NOTE = (
    "Noisy: a block that waited for a processor for over 1 % of its time, or in which garbage was collected, other guests of the "
    "host took time, or a GPU throttled. If over half are, wall time supports no claim. Stolen and waited for: share of the "
    "blocks' wall time. Warm-up: Theil-Sen and Mann-Kendall over all processes, 1 % level divided among the variants."
)


def quality(loaded: Loaded) -> Iterator[Table]:
    """Show a row per comparison and workload, of many some that lie evenly among them."""
    every = timings(loaded)
    if not every:
        return
    few = subsample_evenly(every, MOST_TIMED)
    cells = ((each.what, "", title, cell) for each in few for title, cell in _cells(each).items())
    table = pivot("How noisy the timings were", cells, "Timed")
    left_out = len(every) - len(few)
    yield replace(table, folded=True, left_out=left_out, file="jobs/", rows_are="comparisons", notes=[NOTE])


def _cells(timing: Timing) -> dict[str, Value]:
    causes = [Sentence("{cause} ({n})", cause=cause, n=n) for cause, n in timing.causes.most_common(MOST_CAUSES)]
    return {
        "Processes": timing.processes,
        "Blocks": timing.blocks,
        "Noisy": _share(timing.noisy),
        "By what": Listed(causes or ["nothing"]),
        "Stolen": _share(timing.stolen),
        "Waited for": _share(timing.waited),
        "Warm-up": timing.warm_up,
    }


def _share(share: float | None, unknown: Value = None, words: str = "{share}") -> Value:
    return unknown if share is None else Sentence(words, share=Estimate(share, kind="share"))


QUALITY = Section(
    title="Machine and method",
    order=92,
    span=12,
    render=quality,
    printed=False,
    reading="Noisy blocks make confidence intervals wide; a table without any does not prove that the machine was quiet.",
)
"""For every timed comparison its blocks, what made them noisy, and the state of the machine."""


CHECK = "Machine check"


def facts(loaded: Loaded) -> list[tuple[str, Value]]:
    """Return terms and facts."""
    run, where, suite = loaded.run, loaded.run.environment, loaded.run.plan.suite
    packages = [f"{name} {version}" for name, version in where["packages"].items() if version]
    interval = "95 % t-interval over processes of the median block log-ratio; equivalence margin {share}"
    together = (
        "Holm over the variants against the baseline, and against matched baselines, for one metric at one grid point"
    )
    order = "blocks of the baseline and at most three variants, then in reverse order"
    return [
        ("Processor", f"{where['cpu']}, {where['usable_cores']} of {where['cores']} cores usable"),
        ("Memory", Estimate(where["memory_bytes"], unit="B")),
        ("GPU", gpu(loaded)),
        ("System", where["system"]),
        ("Python", where["python"]),
        ("Packages", Listed(packages)),
        ("modbench commit", _commit(where["git"])),
        ("Load before the run", "not known" if where["load_average"] is None else Estimate(where["load_average"])),
        ("Protocol", f"{suite.processes_in_words}; {order}"),
        ("Number of processes", _decided_processes(loaded)),
        ("Confidence interval", _share(suite.margin, words=interval)),
        ("Many comparisons", together),
        ("Threads", f"{suite.threads} per worker"),
        ("Text", _corpora(loaded)),
        *([("Variants", sentence(run.plan.variants_from))] if run.plan.variants_from else []),
        ("Inside measured or trained work", _share(loaded.inside, "not known", "{share} of the run's wall time")),
        ("This process while others timed", _share(loaded.parent_share, "nothing was timed", "{share} of a core")),
        (CHECK, machine_check(loaded)[1]),
        *jobs(loaded),
        *_requested(loaded),
        ("Command", Code(shlex.join(run.command))),
    ]


def _requested(loaded: Loaded) -> Iterator[tuple[str, Value]]:
    """Yield which units a rule requested while the run went on, and why, where no section shows it."""
    shown = {rule for _, section in sections() for rule in section.rules}
    for group, decided in loaded.run.decisions.items():
        if decided.rule not in shown:
            words = "{group}: {why}" + "; it has not ended" * (not decided.ended)
            yield f"Requested by {decided.rule}", Sentence(words, group=group, why=decided.why)


def _commit(git: dict[str, object]) -> str:
    if not git["commit"]:
        return f"none: {git.get('reason') or 'unknown'}"
    return f"{str(git['commit'])[:12]}{' (changed)' if git.get('dirty') else ''}"


def _corpora(loaded: Loaded) -> Value:
    notes = (note for cell in loaded.tables.cells.values() for note in cell.notes(TrainNotes))
    corpora = {f"{note.corpus} (sha256 {str(note.corpus_sha256)[:12]}…)" for note in notes if note.corpus}
    return Listed(sorted(corpora) or ["no corpus was read"])


def _decided_processes(loaded: Loaded) -> Value:
    """What pilots decided, over all comparisons and workloads."""
    if not loaded.suite.two_stage:
        return "fixed"
    found = list(loaded.run.found(ProcessCount).values())
    if not found:
        return "inconclusive: no pilot has ended"
    made, capped = [each.made for each in found], sum(each.capped for each in found)
    words = "{least} to {most}, computed once from a pilot of {pilot}, for a minimum detectable effect of {effect}"
    return Sentence(
        words + "; {capped} of {all} were cut there" * bool(capped),
        least=min(made),
        most=max(made),
        pilot=found[0].pilot,
        effect=Estimate(loaded.suite.wanted_detectable, kind="share"),
        capped=capped,
        all=len(found),
    )


def machine(loaded: Loaded) -> Markup | None:
    """Show a list of terms and facts; the command stands above, and the check of the machine unless a warning names it."""
    said_above = {"Command"} | (set() if doubtful(loaded) else {CHECK})
    return fill("machine", facts=[(term, inline(fact)) for term, fact in facts(loaded) if term not in said_above])


MACHINE = Section(
    title="Machine and method",
    order=90,
    span=12,
    render=machine,
    reading="What the numbers were measured on and how: they hold for this machine, these versions and this method.",
    rules=frozenset({"process_count"}),
)
"""The machine and the protocol."""
