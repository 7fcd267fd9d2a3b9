"""The gate's result in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from modbench.harness.core.printable import escaped
from modbench.reports.questions.gate.gate import Gate
from modbench.reports.questions.gate.non_inferiority import Finding

# Reasons why there is no verdict that are named, with `-v` and without.
MOST_REASONS, FEW_REASONS = 8, 3
NOTHING = "nothing was compared, so this gate shows nothing"


def as_text(found: Gate, *, verbose: bool = False) -> Iterator[str]:
    """Yield the verdict, then what changed or cannot be told, what was asked for, and why the rest has no verdict.

    A reason may hold line feeds, and a folder may be a stranger's: each stays on its line.

    Args:
        found: the result.
        verbose: whether each case has a line, not the worst of each metric and verdict.
    """
    yield from (escaped(line, lines=False) for line in _lines(found, verbose=verbose))


def _lines(found: Gate, *, verbose: bool) -> Iterator[str]:
    timed = [finding for finding in found.counted if finding.metric in found.timed]
    yield headline(found, verbose=verbose)
    if not found.compared:
        yield NOTHING
    elif found.empty:
        yield f"{', '.join(each.written for each in found.empty)}: nothing was compared, so this gate shows nothing about it"
    elif not any(finding.changes for finding in timed) and timed:
        yield "no time was compared"
    yield from _changed(found, verbose=verbose)
    yield from _tiers(found, verbose=verbose)
    yield from found.said
    # What decides the exit code is the error's to say.
    yield from (str(why) for why in (found.incomplete, found.unfit) if why and found.verdict == "worse")
    most = MOST_REASONS if verbose else FEW_REASONS
    for word in ("cannot tell", "not compared"):
        silent = [each for each in found.findings if each.verdict == word]
        silent = [each for each in silent if word == "not compared" or each.change is None]
        for kind, counts in ((word, True), (f"{word} (reported only)", False)):
            yield from _grouped(kind, [each for each in silent if found.counts(each) == counts], most, verbose=verbose)
    yield from how_to_tell(found, verbose=verbose)


def _changed(found: Gate, *, verbose: bool) -> Iterator[str]:
    """Yield what changed or cannot be told: for each metric and verdict the worst case, and how many more there are."""
    alike: dict[tuple[str, ...], list[Finding]] = {}
    for each in found.findings:
        if each.verdict in {"worse", "better"} or (each.verdict == "cannot tell" and each.change is not None):
            why = str(each.reason) if each.change is None else ""
            alike.setdefault((each.verdict, each.metric, why, each.case * verbose), []).append(each)
    parts = [{*_parts(each.case)} for those in alike.values() for each in those]
    shared = {part for part in set.intersection(*parts) if not part.startswith("T")} if parts else set[str]()
    for (verdict, *_), those in sorted(alike.items(), key=lambda item: not found.counts(item[1][0])):
        if verdict == "better" and not verbose:  # counted in the first line
            continue
        worst = min(those, key=_how_good)
        # What would let the whole gate pass stands in the last line.
        decides = "" if worst.launches and worst.launches == found.launches and not verbose else more(worst)
        out = "" if found.counts(worst) else "  (reported only)"
        if verbose:
            yield f"{verdict:<12} {worst.case}  {worst.metric}  {change(worst)}{decides}{out}"
            continue
        how = f"{len(those)}, worst " * (len(those) > 1)
        yield f"{verdict} {worst.metric}: {how}{_brief(worst.case, shared)} {_worst(worst)}{decides}{out}"


def _how_good(finding: Finding) -> float:
    """A number that is higher the better a change is; of what cannot be told, the better what its interval reaches."""
    open_ = finding.verdict == "cannot tell"
    return min((each.ends[0] if open_ else each.value for each in finding.changes), default=finding.change or 0.0)


def _parts(case: str) -> list[str]:
    """The parts of a case's id between its brackets: `T512`, `B1`, `fp32`."""
    return case.partition("[")[2].removesuffix("]").split("-")


def _brief(case: str, shared: set[str]) -> str:
    """Return a case's id without the parts that all cases share: `mod[c0.125-T512]`."""
    parts = [part for part in _parts(case) if part not in shared]
    return case.partition("[")[0] + (f"[{'-'.join(parts)}]" if parts else "")


def _worst(finding: Finding) -> str:
    """Return the worse of a change's two estimates, with its interval."""
    low, mean_low = finding.low, finding.mean_low
    if finding.mean_change is None or low is None or mean_low is None or low <= mean_low:
        return change(replace(finding, mean_change=None))
    return f"mean {finding.mean_change:.3f}{_ends(finding.mean_low, finding.mean_high)}"


def headline(found: Gate, *, verbose: bool) -> str:
    """Return the verdict, and what led to it."""
    return f"gate: {found.verdict}: {judged_by(found, verbose=verbose)}"


def judged_by(found: Gate, *, verbose: bool = True) -> str:
    """Return the number of findings by verdict, and by which limits they were judged; verbosely, how changes are to be read."""
    words = in_numbers(Counter(finding.verdict for finding in found.counted))
    by = f"margin {found.margin:.1%}" if found.fail_on is None else f"fails on {found.fail_on}"
    ends = "; above 1 is better" if any(f.change is not None and f.verdict != "pass" for f in found.findings) else ""
    ends = "; above 1 is better, 90 % intervals" if any(f.low is not None for f in found.findings) else ends
    return f"{words or 'nothing to compare'} ({by}{ends * verbose})"


def in_numbers(counts: Mapping[str, int]) -> str:
    """Return numbers of findings by verdict: `1 worse, 3 pass`."""
    return ", ".join(
        f"{counts[word]} {word}"
        for word in ("worse", "cannot tell", "better", "pass", "not compared")
        if counts.get(word)
    )


def _tiers(found: Gate, *, verbose: bool) -> Iterator[str]:
    """Yield a line for each check that was named, then the others: in one line, or with a line each."""
    others = list[str]()
    for each in sorted(found.tiers, key=lambda each: not each.named):
        numbers = in_numbers(each.counts)
        why = f": {each.reason}" if each.reason and (verbose or not each.compared) else ""
        if each.named:
            yield f"{each.tier:<6} {each.written:<14} {each.verdict}{f' ({numbers})' if numbers else ''}{why}"
        elif verbose:
            yield f"{each.tier:<6} {each.word:<14} not in --fail-on, fails nothing ({numbers})"
        else:
            others.append(f"{each.word} ({numbers})")
    if others:
        yield f"not in --fail-on: {'; '.join(others)}"


def change(finding: Finding) -> str:
    """Return how a metric changed, with its interval."""
    if finding.change is None:
        return str(finding.reason)
    typical = f"{finding.change:.3f}{_ends(finding.low, finding.high)}"
    if finding.mean_change is None:
        return typical
    return f"{typical}, mean {finding.mean_change:.3f}{_ends(finding.mean_low, finding.mean_high)}"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3f}–{high:.3f}]"


def more(finding: Finding) -> str:
    """Return what would decide it, or whatever else must be said beside a change."""
    if finding.verdict == "cannot tell" and finding.launches:
        slower = any(change.value < -change.alarms for change in finding.changes)
        what = "show a slowdown as large as this" if slower else "let it pass if nothing changed"
        return f"  {finding.launches} launches in each run would {what}"
    told = finding.verdict == "cannot tell" or str(finding.reason).startswith("the anchor")
    return f"  {finding.reason}" if finding.reason and finding.change is not None and told else ""


def how_to_tell(found: Gate, *, verbose: bool = True) -> Iterator[str]:
    """Yield how many launches would decide what the gate cannot tell."""
    asked = found.asked
    if not found.too_few:
        return
    if asked.launches is None:
        yield f"not even 1,000 launches in each run would let identical code pass all {asked.cases} timed comparisons"
        return
    if not verbose:
        how = f"--effort {found.effort} --set launches={asked.launches} --set rounds={found.rounds}"
        yield f"to pass identical code in {100 * asked.passing:.0f} %: {how}"
        return
    yield (
        f"with {asked.launches} launches in each run identical code passes all {asked.cases} timed comparisons in "
        f"{asked.passing:.0%} of gates: make both runs with `--effort {found.effort} "
        f"--set launches={asked.launches} --set rounds={found.rounds}`"
    )


def _grouped(word: str, findings: Sequence[Finding], most: int, *, verbose: bool) -> Iterator[str]:
    """Yield each reason once, with the number of its findings, or verbosely with the first case and its changes."""
    reasons: dict[str, list[Finding]] = {}
    for finding in findings:
        reasons.setdefault(str(finding.reason), []).append(finding)
    for reason, those in list(reasons.items())[:most]:
        if not verbose and len(those) > 1:
            yield f"{len(those)} {word}: {reason}"
            continue
        more = f" and {len(those) - 1} more" if len(those) > 1 else ""
        changes = sorted(each.change for each in those if each.change is not None)
        ratios = "–".join(dict.fromkeys(f"{end:.3f}" for end in (changes[0], changes[-1]))) + ": " if changes else ""
        yield f"{word}: {those[0].case} {those[0].metric}{more}: {ratios}{reason}"
    if len(reasons) > most:
        yield f"and {len(reasons) - most} more reasons: -v, or --json"
