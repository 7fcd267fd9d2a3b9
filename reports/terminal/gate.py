"""The gate's result as lines of a terminal, and for GitHub Actions: annotations, and a job summary in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.core.printable import escaped
from modbench.harness.stats.contrast import FAIL, INCONCLUSIVE
from modbench.reports.model import Code, Listed, Sentence, Value
from modbench.reports.questions.gate import gate
from modbench.reports.questions.gate.gate import Gate
from modbench.reports.writers import markdown
from modbench.reports.writers.number_format import plain


def as_text(found: Gate, *, verbose: bool = False) -> Iterator[str]:
    """Yield the verdict, what each check found, and what fails or is open; with `verbose` all that was not compared too.

    A reason may hold line feeds, and a folder may be a stranger's: each stays on its line.
    """
    said: list[Value] = [
        Sentence("gate: {verdict}: {judged}", verdict=found.verdict, judged=gate.judged_by(found)),
        *(Listed([*row], "  ") for table in gate.tables(found, every=verbose) for row in table.rows),
        # What decides the exit code is the error's to say.
        *([found.incomplete] if found.incomplete and found.verdict == FAIL else []),
        *gate.remarks(found),
    ]
    yield from (escaped(plain(each), lines=False) for each in said)


def annotated(found: Gate) -> Iterator[str]:
    """Yield annotations: errors for what fails the gate, warnings for what is inconclusive or reported only."""
    told: dict[str, list[tuple[str, str]]] = {"error": [], "warning": []}
    if found.incomplete:
        told["error"].append(("modbench gate: incomplete", found.incomplete))
    if not found.compared and not found.tiers:
        told["warning"].append((f"modbench gate: {INCONCLUSIVE}", gate.NOTHING))
    for check in found.empty:
        told["warning"].append((f"{INCONCLUSIVE}: {plain(check.written)}", plain(check.reason or gate.NOTHING)))
    for verdict, counts in ((FAIL, True), (FAIL, False), (INCONCLUSIVE, True)):
        for each in found.findings:
            if each.verdict == verdict and found.counts(each) is counts:
                kind = "error" if verdict == FAIL and counts else "warning"
                told[kind].append((f"{verdict}: {each.what}", f"{each.metric} {plain(gate.change(each))}"))
    for kind, those in told.items():
        yield from markdown.first_annotations(kind, those, "the job summary lists them")


def summary(found: Gate, base: str, new: str, most: int = markdown.MOST_BYTES) -> str:
    """Return a job summary in Markdown, of at most so many bytes; nothing where they do not hold even its first lines."""
    said: list[Value] = [*filter(None, [found.incomplete]), *gate.remarks(found)]
    judged = Sentence("{new} against {base}: {judged}.", new=Code(new), base=Code(base), judged=gate.judged_by(found))
    blocks = [
        markdown.Block([f"## modbench gate: {markdown.text(found.verdict)}"]),
        markdown.block(judged),
        markdown.Block(rows=[f"- {markdown.inline(each)}" for each in said], what="sentences", where=gate.FILE),
        *map(markdown.block, gate.tables(found, every=True)),
    ]
    return markdown.within(blocks, most, lambda page: len(page.encode()))
