"""The machine, the protocol, and how to run it again."""

from __future__ import annotations

import shlex

from markupsafe import Markup

from modbench.harness.units import human
from modbench.reports.load import Loaded
from modbench.reports.panel import Panel


def gpu(loaded: Loaded) -> str:
    """The GPU that was measured, or that none was and why."""
    found = loaded.run.environment["gpu"]
    names = ", ".join(f"{device['name']} (driver {device['driver']})" for device in found["devices"])
    if loaded.run.plan.device == "cuda":
        drivers = {str(device["driver"]) for device in found["devices"]}
        return loaded.device_name + (f" (driver {', '.join(drivers)})" if drivers else " (not seen by NVML)")
    return f"not measured ({'CPU run; present: ' + names if names else found['reason']})"


GLYPHS = {"fit": "●", "undecided": "○", "doubtful": "⚠", "unfit": "✗"}


def machine_check(loaded: Loaded) -> tuple[str, str]:
    """The verdict on the machine, and the certificate in a line."""
    known = loaded.certificate
    if known is None:
        return "unknown", "○ machine check (A/A): not made; modbench doctor makes it"
    mde = f", smallest effect {known.mde:.1%}" if known.mde is not None else ""
    return known.verdict, f"{GLYPHS[known.verdict]} machine check (A/A): {known.in_words()}{mde}"


def render(loaded: Loaded) -> Markup | None:
    """A definition list."""
    run, where = loaded.run, loaded.run.environment
    suite = run.plan.suite
    launches, rounds = suite.protocol_size
    git = where["git"]
    commit = (
        f"{git['commit'][:12]}{' (changed)' if git['dirty'] else ''}" if git["commit"] else f"none: {git['reason']}"
    )
    corpora = {
        f"{outcome.notes['corpus']} (sha256 {str(outcome.notes['corpus_sha256'])[:12]}…)"
        for record in run.records
        for outcome in record.outcomes
        if outcome.notes.get("corpus")
    }
    inside, parent = loaded.inside, loaded.parent_share
    limit = f", a pilot of {suite.pilot} may ask for up to {suite.rounds_limit}" if suite.rounds_limit > rounds else ""
    facts = [
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
            f"{launches} launches x {rounds} rounds{limit}; blocks of the anchor and at most three arms, there and back",
        ),
        ("Interval", f"95 % t-interval over launches of the median block log-ratio; margin {suite.margin:.1%}"),
        ("Many comparisons", f"Benjamini-Hochberg over all {len(loaded.pairs)} pairs of this run"),
        ("Threads", f"{suite.threads} per worker"),
        ("Text", ", ".join(sorted(corpora)) or "nothing was trained"),
        ("Inside measured or trained work", "not known" if inside is None else f"{inside:.0%} of the run's wall time"),
        ("This process beside timed ones", "nothing was timed" if parent is None else f"{parent:.2%} of a core"),
        ("Machine check", machine_check(loaded)[1]),
        ("Command", shlex.join(run.command)),
    ]
    return Markup('<dl class="machine">{}</dl>').format(
        Markup("").join(Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(term, text) for term, text in facts)
    )


PANEL = Panel(title="Machine and method", order=90, span=12, render=render)
