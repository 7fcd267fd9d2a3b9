"""The gate's result as lines of a terminal, and for GitHub Actions: annotations, and a job summary in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.core.plain_text import escaped
from modbench.harness.stats.verdicts import FAIL, INCONCLUSIVE
from modbench.reports.blocks import Code, Sentence
from modbench.reports.markup import markdown, text
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.gate import gate
from modbench.reports.questions.gate.gate import Gate


def as_text(found: Gate, width: int, code: int, *, verbose: bool = False) -> list[str]:
    """Return the verdict with the exit code, and a line for each check; with `verbose` every finding too."""
    lines = [text.apart(plain(gate.headline(found)), f"exit {code}" * bool(code), width)]
    lines += text.labelled(gate.checks(found), width)
    lines += ["", *text.table(gate.table(found), width)] if verbose else []
    return [escaped(line, lines=False) for line in lines]


def annotated(found: Gate) -> Iterator[str]:
    """Yield annotations: errors for what fails the gate, warnings for what is inconclusive or reported only."""
    told: dict[str, list[tuple[str, str]]] = {"error": [], "warning": []}
    if found.incomplete:
        told["error"].append(("modbench gate: incomplete", found.incomplete))
    if not found.compared and found.fail_on is None:
        told["warning"].append((f"modbench gate: {INCONCLUSIVE}", gate.NOTHING))
    for check in found.empty:
        told["warning"].append((f"{INCONCLUSIVE}: {plain(check.written)}", plain(check.reason or gate.NOTHING)))
    for verdict, counts in ((FAIL, True), (FAIL, False), (INCONCLUSIVE, True)):
        for each in found.findings:
            if each.verdict == verdict and found.counts(each) is counts:
                kind = "error" if verdict == FAIL and counts else "warning"
                told[kind].append((f"{verdict}: {each.what}", f"{each.metric} {plain(gate.change(each))}"))
    for kind, those in told.items():
        yield from markdown.first_annotations(kind, those)


def summary(found: Gate, base: str, new: str, most: int = markdown.MOST_BYTES) -> str:
    """Return a job summary in Markdown, of at most so many bytes; nothing where they do not hold even its first lines."""
    said = [Sentence("{check}: {found}", check=check, found=cell) for check, cell in gate.checks(found)]
    answer = Sentence("{new} against {base}. {said}", new=Code(new), base=Code(base), said=gate.headline(found))
    blocks = [
        markdown.Block([f"## modbench gate: {markdown.text(found.verdict)}"]),
        markdown.block(answer),
        markdown.listed("Checks", said, "checks", gate.FILE),
        markdown.block(gate.table(found)),
    ]
    return markdown.within(blocks, most, lambda page: len(page.encode()))
