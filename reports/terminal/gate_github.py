"""The gate's result for GitHub Actions: annotations, and a job summary in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.reports.questions.gate import fail_on
from modbench.reports.questions.gate.fail_on import Checked
from modbench.reports.questions.gate.gate import Gate
from modbench.reports.questions.gate.non_inferiority import Finding
from modbench.reports.terminal import gate_text
from modbench.reports.writers.github import MOST_BYTES, Page, code, first_annotations, markdown

REST = "`modbench gate … --json` has all"
# Verdicts with a table of their own, and its title.
TABLES = (("worse", "Worse"), ("cannot tell", "Cannot tell"), ("better", "Better"))
SILENT = ("why", "findings", "such as")
CHANGE = "change: above 1 is better; of a loss the difference"


def annotated(found: Gate) -> Iterator[str]:
    """Yield annotations: errors for what fails the gate, warnings for what cannot be told or is reported only."""
    told: dict[str, list[tuple[str, str]]] = {"error": [], "warning": []}
    if found.incomplete:
        told["error"].append(("modbench gate: incomplete", found.incomplete))
    if found.unfit:
        told["warning"].append(("modbench gate: cannot tell", found.unfit))
    if not found.compared and not found.tiers:
        told["warning"].append(("modbench gate: cannot tell", gate_text.NOTHING))
    for check in found.empty:
        told["warning"].append((f"cannot tell: {check.written}", check.reason or fail_on.NOTHING))
    for verdict, counts, kind in (
        ("worse", True, "error"),
        ("worse", False, "warning"),
        ("cannot tell", True, "warning"),
    ):
        for each in found.findings:
            if each.verdict == verdict and found.counts(each) is counts:
                only = "" if counts else " (reported only)"
                told[kind].append((f"{verdict}: {each.case}", f"{each.metric} {_in_words(each)}{only}"))
    for kind, those in told.items():
        yield from first_annotations(kind, those, "the job summary lists them")


def _in_words(finding: Finding) -> str:
    change, reason = gate_text.change(finding), str(finding.reason or "")
    return change if change == reason or not reason else f"{change}: {reason}"


def summary(found: Gate, run: str, base: str, most: int = MOST_BYTES) -> str:
    """Return a job summary in Markdown, of at most so many bytes.

    Args:
        found: the result.
        run: the new run, as the user named it.
        base: the run that it was compared with.
        most: bytes that it may have.
    """
    page = Page(most)
    page.write(f"## modbench gate: {found.verdict}")
    page.write()
    page.write(f"{code(run)} against {code(base)}: {markdown(gate_text.judged_by(found))}.")
    page.write()
    for sentence in (found.incomplete, found.unfit, *found.said, *gate_text.how_to_tell(found)):
        if sentence:
            page.write(f"- {markdown(sentence)}")
    if found.tiers:
        page.write()
        page.table(
            ["tier", "check", "verdict", "findings", "why"],
            sorted(found.tiers, key=lambda each: not each.named),
            _tier,
            REST,
        )
    for verdict, title in TABLES:
        _findings(page, found, verdict, title)
    silent = [each for each in found.findings if each.verdict == "not compared"]
    if silent:
        page.write("### Not compared")
        page.write()
        page.table(SILENT, _grouped(silent), _group, REST)
    return str(page)


def _tier(each: Checked) -> list[str]:
    verdict = f"**{each.verdict}**" if each.named else "fails nothing"
    counts = gate_text.in_numbers(each.counts) or "none"
    return [each.tier, code(each.written), verdict, counts, markdown(each.reason or "")]


def _findings(page: Page, found: Gate, verdict: str, title: str) -> None:
    mine = [each for each in found.findings if each.verdict == verdict]
    if not mine:
        return
    page.write(f"### {title}")
    page.write()
    changed = sorted((each for each in mine if each.change is not None), key=lambda each: not found.counts(each))
    page.table(
        ["case", "metric", CHANGE, "why"],
        changed,
        lambda each: [
            code(each.case),
            code(each.metric),
            markdown(gate_text.change(each)),
            _beside(found, each),
        ],
        REST,
    )
    page.table(SILENT, _grouped([each for each in mine if each.change is None]), _group, REST)


def _beside(found: Gate, finding: Finding) -> str:
    """Return what must be said beside a change."""
    said = [gate_text.more(finding).strip() or finding.reason or ""]
    said += [] if found.counts(finding) else ["(reported only)"]
    return markdown(" ".join(filter(None, said)))


def _grouped(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Return findings by reason."""
    reasons: dict[str, list[Finding]] = {}
    for finding in findings:
        reasons.setdefault(str(finding.reason), []).append(finding)
    return [*reasons.values()]


def _group(those: list[Finding]) -> list[str]:
    first = those[0]
    return [markdown(str(first.reason)), f"{len(those):,}", f"{code(first.case)} {code(first.metric)}"]
