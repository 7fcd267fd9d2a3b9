"""The gate's result as lines of a terminal, and for GitHub Actions: annotations, and a job summary in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.core.printable import escaped
from modbench.reports.model import Code, Sentence, Value
from modbench.reports.questions.gate import fail_on, gate
from modbench.reports.questions.gate.gate import Gate
from modbench.reports.writers import markdown
from modbench.reports.writers.number_format import plain


def as_text(found: Gate, *, verbose: bool = False) -> Iterator[str]:
    """Yield the verdict, then what changed or cannot be told, what was asked for, and why the rest has no verdict.

    A reason may hold line feeds, and a folder may be a stranger's: each stays on its line.
    """
    yield from (escaped(plain(said), lines=False) for said in _lines(found, verbose=verbose))


def _lines(found: Gate, *, verbose: bool) -> Iterator[Value]:
    yield gate.headline(found, every=verbose)
    yield from gate.remarks(found)
    yield from gate.changed(found, every=verbose)
    yield from gate.checks(found, every=verbose)
    yield from found.said
    # What decides the exit code is the error's to say.
    yield from [found.incomplete] if found.incomplete and found.verdict == "worse" else []
    yield from gate.without_verdict(found, every=verbose)
    yield from gate.advice(found)


def annotated(found: Gate) -> Iterator[str]:
    """Yield annotations: errors for what fails the gate, warnings for what cannot be told or is reported only."""
    told: dict[str, list[tuple[str, str]]] = {"error": [], "warning": []}
    if found.incomplete:
        told["error"].append(("modbench gate: incomplete", found.incomplete))
    if not found.compared and not found.tiers:
        told["warning"].append(("modbench gate: cannot tell", gate.NOTHING))
    for check in found.empty:
        told["warning"].append((f"cannot tell: {plain(check.written)}", plain(check.reason or fail_on.NOTHING)))
    for verdict, counts, kind in (
        ("worse", True, "error"),
        ("worse", False, "warning"),
        ("cannot tell", True, "warning"),
    ):
        for each in found.findings:
            if each.verdict == verdict and found.counts(each) is counts:
                change, reason = plain(gate.change(each)), plain(each.reason)
                why = f": {reason}" if each.reason and change != reason else ""
                only = "" if counts else " (reported only)"
                told[kind].append((f"{verdict}: {each.what}", f"{gate.metric_of(each)} {change}{why}{only}"))
    for kind, those in told.items():
        yield from markdown.first_annotations(kind, those, "the job summary lists them")


def summary(found: Gate, run: str, base: str, most: int = markdown.MOST_BYTES) -> str:
    """Return a job summary in Markdown, of at most so many bytes; nothing where they do not hold even its first lines."""
    judged = gate.judged_by(found)
    said: list[Value] = [
        *filter(None, [found.incomplete]),
        *found.said,
        *gate.advice(found),
    ]
    blocks = [
        markdown.Block([f"## modbench gate: {markdown.text(found.verdict)}"]),
        markdown.block(Sentence("{run} against {base}: {judged}.", run=Code(run), base=Code(base), judged=judged)),
        markdown.Block(rows=[f"- {markdown.inline(each)}" for each in said], what="sentences", where=gate.FILE),
        *map(markdown.block, gate.tables(found)),
    ]
    return markdown.within(blocks, most, lambda page: len(page.encode()))
