"""The machine, the protocol, and the command to repeat the run."""

from __future__ import annotations

import shlex

from markupsafe import Markup

from modbench.harness.domain.evidence import LaunchCount
from modbench.harness.domain.notes import TrainNotes
from modbench.reports.model import Code, Estimate, Listed, Sentence, Value
from modbench.reports.panel import Panel
from modbench.reports.questions.machine import doubtful, gpu, jobs, machine_check
from modbench.reports.tables.best_arms import sentence
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.html import fill, inline

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
        ("Number of launches", _launches(loaded)),
        (
            "Interval",
            Sentence("95 % t-interval over launches of the median block log-ratio; margin {margin}", margin=margin),
        ),
        ("Many comparisons", "Benjamini-Hochberg over the arms against the baseline, for one metric at one place"),
        ("Threads", f"{suite.threads} per worker"),
        ("Text", _text(loaded)),
        *([("Arms", sentence(run.plan.arms_from))] if run.plan.arms_from else []),
        ("Inside measured or trained work", _share(inside, "not known", "{share} of the run's wall time")),
        ("This process beside timed ones", _share(parent, "nothing was timed", "{share} of a core")),
        (CHECK, machine_check(loaded)[1]),
        *jobs(loaded),
        ("Command", Code(shlex.join(run.command))),
    ]


def _commit(git: dict[str, object]) -> str:
    if not git["commit"]:
        return f"none: {git.get('reason') or 'unknown'}"
    return f"{str(git['commit'])[:12]}{' (changed)' if git.get('dirty') else ''}"


def _text(loaded: Loaded) -> Value:
    corpora = {
        f"{outcome.notes.corpus} (sha256 {str(outcome.notes.corpus_sha256)[:12]}…)"
        for record in loaded.run.records
        for outcome in record.outcomes
        if isinstance(outcome.notes, TrainNotes) and outcome.notes.corpus
    }
    return Listed(sorted(corpora)) if corpora else "no corpus was read"


def _share(share: float | None, unknown: str, words: str) -> Value:
    return unknown if share is None else Sentence(words, share=Estimate(share, kind="share"))


def _launches(loaded: Loaded) -> Value:
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


def render(loaded: Loaded) -> Markup | None:
    """Show a list of terms and facts; the check of the machine stands at the top of the page, unless a warning stands there."""
    said_above = set() if doubtful(loaded) else {CHECK}
    return fill("machine", facts=[(term, inline(fact)) for term, fact in facts(loaded) if term not in said_above])


READING = (
    "What the numbers were measured on and how: they hold for this machine, these versions and this method. The A/A "
    "check times two identical models against each other; differences as large as the ones it finds are noise."
)

PANEL = Panel(title="Machine and method", order=90, span=12, render=render, reading=READING)
