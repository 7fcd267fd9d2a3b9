"""The machine, the protocol, and the command to repeat the run."""

from __future__ import annotations

import shlex

from markupsafe import Markup

from modbench.harness.core.units import human
from modbench.harness.results.notes.training import TrainNotes
from modbench.reports.panel import Panel
from modbench.reports.sentences.machine import gpu, jobs, machine_check
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.templates import fill


def render(loaded: Loaded) -> Markup | None:
    """Show a list of terms and facts."""
    return fill("machine", facts=facts(loaded))


def facts(loaded: Loaded) -> list[tuple[str, str]]:
    """Return terms and facts: the machine, its software, the protocol."""
    run, where = loaded.run, loaded.run.environment
    suite = run.plan.suite
    git = where["git"]
    commit = f"none: {git.get('reason') or 'unknown'}"
    if git["commit"]:
        commit = f"{git['commit'][:12]}{' (changed)' if git.get('dirty') else ''}"
    corpora = {
        f"{outcome.notes.corpus} (sha256 {str(outcome.notes.corpus_sha256)[:12]}…)"
        for record in run.records
        for outcome in record.outcomes
        if isinstance(outcome.notes, TrainNotes) and outcome.notes.corpus
    }
    inside, parent = loaded.inside, loaded.parent_share
    return [
        ("Processor", f"{where['cpu']}, {where['usable_cores']} of {where['cores']} cores usable"),
        ("Memory", human(where["memory_bytes"], "B")),
        ("GPU", gpu(loaded)),
        ("System", where["system"]),
        ("Python", where["python"]),
        ("Packages", ", ".join(f"{name} {version}" for name, version in where["packages"].items() if version)),
        ("modbench commit", commit),
        ("Load before the run", f"{where['load_average']:.2f}" if where["load_average"] is not None else "not known"),
        (
            "Protocol",
            f"{suite.launches_in_words}; blocks of the anchor and at most three arms, then in reverse order",
        ),
        ("Number of launches", _decided(loaded)),
        ("Interval", f"95 % t-interval over launches of the median block log-ratio; margin {suite.margin:.1%}"),
        ("Many comparisons", "Benjamini-Hochberg over the arms against the baseline, for one metric at one place"),
        ("Threads", f"{suite.threads} per worker"),
        ("Text", ", ".join(sorted(corpora)) or "no corpus was read"),
        ("Inside measured or trained work", "not known" if inside is None else f"{inside:.0%} of the run's wall time"),
        ("This process beside timed ones", "nothing was timed" if parent is None else f"{parent:.2%} of a core"),
        ("Machine check", machine_check(loaded)[1]),
        *jobs(loaded),
        ("Command", shlex.join(run.command)),
    ]


def _decided(loaded: Loaded) -> str:
    """What pilots decided, over all comparisons and workloads."""
    run = loaded.run
    if not run.plan.suite.two_stage:
        return "fixed"
    found = list(run.decisions.values())
    if not found:
        return "not decided: no pilot has ended"
    wanted = f"for a minimum detectable effect of {run.plan.suite.wanted_mde:.1%}"
    made = [each.made for each in found]
    said = f"{min(made)} to {max(made)}, computed once from a pilot of {found[0].pilot}, {wanted}"
    if capped := [each for each in found if each.capped]:
        most = max(capped, key=lambda each: each.asked or 0).asked_in_words
        said += f"; {len(capped)} of {len(found)} were cut at {capped[0].most}, where up to {most} were asked for"
    return said


READING = (
    "What the numbers were measured on and how: they hold for this machine, these versions and this method. The A/A "
    "check times two identical models against each other; differences as large as the ones it finds are noise."
)

PANEL = Panel(title="Machine and method", order=90, span=12, render=render, reading=READING)
