"""How a run measured: how well each comparison was timed, on which machine, with which method."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from modbench.harness.core.grouped import grouped
from modbench.harness.domain.evidence import LaunchCount
from modbench.harness.domain.notes import TimeNotes, TrainNotes
from modbench.harness.domain.records import Record
from modbench.harness.stats import contamination, trend_test
from modbench.reports.model import Block, Code, Estimate, Listed, Note, Sentence, Table, Value
from modbench.reports.panel import Panel, panels
from modbench.reports.questions.machine import doubtful, gpu, jobs, machine_check
from modbench.reports.tables.best_arms import sentence
from modbench.reports.tables.load import Loaded, subsample_evenly
from modbench.reports.writers.html import fill, inline

# Rows that the page holds at most.
MOST_TIMED = 200
HEAD = (
    *("Timed", "Launches", "Blocks", "Disturbed", "By what", "Stolen", "Waited for", "Load"),
    *("Number", "Warm-up"),
)


def quality(loaded: Loaded) -> Iterator[Block]:
    """Show a row per comparison and workload, of many some that lie evenly among them."""
    timed = [record for record in loaded.run.records if record.blocks]
    groups = grouped(((each.unit.workload, each.unit.comparison.place.label), each) for each in timed)
    if not groups:
        return
    few = subsample_evenly(list(groups), MOST_TIMED)
    rows = [_timed_row(loaded, *key, groups[key]) for key in few]
    left_out = len(groups) - len(few)
    yield Table("Quality of the timings", HEAD, rows, left_out=left_out, file="units/", rows_are="comparisons")
    yield Note(
        "A block is disturbed where any sample of it was: it waited for a processor for over 1 % of its time, garbage was "
        "collected, other guests of the host took time, or a GPU throttled. No block is dropped; if more than half are "
        "disturbed, wall time supports no claim. Stolen and waited for: share of the blocks' wall time, over the whole machine. "
        "Warm-up is tested by an arm's trend against the anchor (Theil-Sen, Mann-Kendall, over all launches pooled; 1 % level "
        "divided among the arms)."
    )


def _timed_row(loaded: Loaded, workload: str, where: str, records: list[Record]) -> Sequence[Value]:
    causes: Counter[str] = Counter()
    shares: list[float] = []
    notes: list[TimeNotes] = []
    for record in records:
        (blocks,) = record.blocks
        for outcome in record.outcomes:
            if outcome.status == "ok":
                causes.update(contamination.counted(contamination.causes(outcome.samples, blocks.columns)))
                shares.append(contamination.share_of_blocks(outcome.samples, blocks.columns))
                notes.append(outcome.noted(TimeNotes))
    columns = [record.blocks[0].columns for record in records]
    wall = sum(sum(each["wall_s"]) for each in columns)
    return (
        f"{workload} {where}",
        len(records),
        sum(len(each["block"]) for each in columns),
        Estimate(sum(shares) / len(shares), kind="share") if shares else None,
        Listed([Sentence("{cause} ({n})", cause=cause, n=n) for cause, n in causes.most_common(3)])
        if causes
        else "nothing",
        _share_of_wall(columns, "steal_s", wall),
        _share_of_wall(columns, "pressure_s", wall),
        Estimate(max(max(each["load"]) for each in columns)) if all("load" in each for each in columns) else None,
        _asked_of_pilot(loaded, records),
        _warm_up(notes, records),
    )


def _share_of_wall(columns: list[dict[str, list[float]]], name: str, wall: float) -> Value:
    if not wall or any(name not in each for each in columns):
        return None
    return Estimate(sum(sum(each[name]) for each in columns) / wall, kind="share")


def _asked_of_pilot(loaded: Loaded, records: list[Record]) -> str:
    """Say how many launches the pilot asked for."""
    decided = loaded.run.found(LaunchCount).get(records[0].unit.series)
    if decided is None:
        return "fixed" if not loaded.suite.two_stage else "not decided"
    return "no number" if decided.asked is None else f"asked: {decided.asked_in_words}" + " (capped)" * decided.capped


def _warm_up(notes: list[TimeNotes], records: list[Record]) -> str:
    """Say whether warm-up was sufficient, if there were enough blocks to test it."""
    if any(note.warmed_up_again for note in notes):
        return "repeated: an arm still drifted"
    unit = records[0].unit
    tested = trend_test.testable([unit.protocol.rounds] * len(records), len(unit.comparison.arms) - 1)
    return "tested" if tested else "too few rounds to test"


QUALITY = Panel(
    title="How well was it measured?",
    order=75,
    span=12,
    render=quality,
    folded=True,
    reading=(
        "A timing is a comparison of blocks that alternate between arms. The table says how many blocks something "
        "else on the machine disturbed, and by what. Many disturbed blocks make intervals wide; above half of them "
        "no verdict is given. A quiet table does not prove that the machine was quiet."
    ),
    rules=frozenset({"launch_count"}),
)
"""Quality of the timings: for every timed comparison its blocks, what disturbed them, and the state of the machine."""


CHECK = "Machine check"


def facts(loaded: Loaded) -> list[tuple[str, Value]]:
    """Return terms and facts."""
    run, where = loaded.run, loaded.run.environment
    suite = run.plan.suite
    inside, parent = loaded.inside, loaded.parent_share
    load, margin = where["load_average"], Estimate(suite.margin, kind="share")
    packages = [f"{name} {version}" for name, version in where["packages"].items() if version]
    return [
        ("Processor", f"{where['cpu']}, {where['usable_cores']} of {where['cores']} cores usable"),
        ("Memory", Estimate(where["memory_bytes"], unit="B")),
        ("GPU", gpu(loaded)),
        ("System", where["system"]),
        ("Python", where["python"]),
        ("Packages", Listed(packages)),
        ("modbench commit", _commit(where["git"])),
        ("Load before the run", "not known" if load is None else Estimate(load, kind="fraction")),
        (
            "Protocol",
            f"{suite.launches_in_words}; blocks of the anchor and at most three arms, then in reverse order",
        ),
        ("Number of launches", _decided_launches(loaded)),
        (
            "Interval",
            Sentence("95 % t-interval over launches of the median block log-ratio; margin {margin}", margin=margin),
        ),
        (
            "Many comparisons",
            "Holm over the arms against the baseline, and over those against dense of equal cost, for one metric at one place",
        ),
        ("Threads", f"{suite.threads} per worker"),
        ("Text", _corpora(loaded)),
        *([("Arms", sentence(run.plan.arms_from))] if run.plan.arms_from else []),
        ("Inside measured or trained work", _share_or(inside, "not known", "{share} of the run's wall time")),
        ("This process beside timed ones", _share_or(parent, "nothing was timed", "{share} of a core")),
        (CHECK, machine_check(loaded)[1]),
        *jobs(loaded),
        *_requested(loaded),
        ("Command", Code(shlex.join(run.command))),
    ]


def _requested(loaded: Loaded) -> Iterator[tuple[str, Value]]:
    """Yield which units a rule requested while the run went on, and why, where no panel shows it."""
    shown = {rule for _, panel in panels() for rule in panel.rules}
    for group, decided in loaded.run.decisions.items():
        if decided.rule not in shown:
            words = "{group}: {why}" + "; it has not ended" * (not decided.ended)
            yield f"Requested by {decided.rule}", Sentence(words, group=group, why=decided.why)


def _commit(git: dict[str, object]) -> str:
    if not git["commit"]:
        return f"none: {git.get('reason') or 'unknown'}"
    return f"{str(git['commit'])[:12]}{' (changed)' if git.get('dirty') else ''}"


def _corpora(loaded: Loaded) -> Value:
    corpora = {
        f"{outcome.notes.corpus} (sha256 {str(outcome.notes.corpus_sha256)[:12]}…)"
        for record in loaded.run.records
        for outcome in record.outcomes
        if isinstance(outcome.notes, TrainNotes) and outcome.notes.corpus
    }
    return Listed(sorted(corpora)) if corpora else "no corpus was read"


def _share_or(share: float | None, unknown: str, words: str) -> Value:
    return unknown if share is None else Sentence(words, share=Estimate(share, kind="share"))


def _decided_launches(loaded: Loaded) -> Value:
    """What pilots decided, over all comparisons and workloads."""
    run = loaded.run
    if not run.plan.suite.two_stage:
        return "fixed"
    found = list(run.found(LaunchCount).values())
    if not found:
        return "not decided: no pilot has ended"
    made, capped = [each.made for each in found], [each for each in found if each.capped]
    words = "{least} to {most}, computed once from a pilot of {pilot}, for a minimum detectable effect of {effect}"
    if capped:
        words += "; {capped} of {all} were cut at {cap}, where up to {asked} were asked for"
    return Sentence(
        words,
        least=min(made),
        most=max(made),
        pilot=found[0].pilot,
        effect=Estimate(run.plan.suite.wanted_mde, kind="share"),
        capped=len(capped),
        all=len(found),
        cap=capped[0].most if capped else None,
        asked=max(capped, key=lambda each: each.asked or 0).asked_in_words if capped else None,
    )


def machine(loaded: Loaded) -> Markup | None:
    """Show a list of terms and facts; the check of the machine stands at the top of the page, unless a warning stands there."""
    said_above = set() if doubtful(loaded) else {CHECK}
    return fill("machine", facts=[(term, inline(fact)) for term, fact in facts(loaded) if term not in said_above])


MACHINE = Panel(
    title="Machine and method",
    order=90,
    span=12,
    render=machine,
    reading=(
        "What the numbers were measured on and how: they hold for this machine, these versions and this method. "
        "The A/A check times two identical models against each other; differences as large as the ones it finds "
        "are noise."
    ),
)
"""The machine, the protocol, and the command to repeat the run."""
