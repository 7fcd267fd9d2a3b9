"""The terminal's table of arms: from which length on each pays, and its FLOPs, memory and loss beside the baseline's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modbench.harness.core.case import Case
from modbench.reports.questions import win_rate
from modbench.reports.questions.break_even import AXES, Line, lines, to_be_sure
from modbench.reports.sentences.break_even_words import FAR, SHORT, rounded
from modbench.reports.tables import losses
from modbench.reports.tables.contenders import rung_beside
from modbench.reports.tables.load import Loaded
from modbench.reports.terminal.arm_tables import Ratio, called, difference
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import TIMED, is_number

NONE, OPEN = "–", "?"
# The mark of a line that is found without some of the points, and what is said where no line divides the axis.
WITHOUT_MARK, NO_LINE = "°", "no line"
# What an arm is compared with, as the title of a column.
AGAINST = {"same shape": "shape", "equal cost": "cost"}
# What signs mean, where they occur.
SIGNS = {
    "≤": "≤ at the latest",
    NO_LINE: f"{NO_LINE}: the ratio falls",
    WITHOUT_MARK: f"{WITHOUT_MARK} without points that failed or were disturbed",
}
# What has a column as a share of the baseline's, by metric.
SHARES = {"flops/forward": "FLOPs", "memory/peak_allocated": "memory", "memory/kv_cache": "KV cache"}


@dataclass(frozen=True)
class From:
    """From where on an arm pays against one baseline, in one workload: typical calls, and mean times."""

    typical: Line
    mean: Line

    def text(self, *, full: bool) -> str:
        """Write the later of both estimates: `128`, `332–426` (in full `≈389 [332–426]`), `≤426`, `>454 ?`, `never`, `?`."""
        line = to_be_sure(self.typical, self.mean)
        if line.withheld or line.found.outcome is None:
            return OPEN
        return _where(line, full=full) + WITHOUT_MARK * bool(line.left_out)


@dataclass(frozen=True)
class Column:
    """One column: its group, its title, a cell for each arm, and what it is where the title does not say it."""

    group: str
    title: str
    cells: Sequence[From | str]
    meaning: str = ""

    def texts(self, *, full: bool) -> list[str]:
        """Write its cells."""
        return [cell if isinstance(cell, str) else cell.text(full=full) for cell in self.cells]


@dataclass(frozen=True)
class Table:
    """The table of a run.

    Attributes:
        title: heading of the arms.
        names: of the arms, long and short.
        columns: what is said of them.
        meanings: what the titles mean.
    """

    title: str
    names: tuple[list[str], list[str]]
    columns: list[Column]
    meanings: list[str]

    def lines(self, width: int) -> list[str]:
        """Align it; where it does not fit the width, bands stand without estimates, and groups of columns below each other."""
        for names, full in ((self.names[0], True), (self.names[1], True), (self.names[1], False)):
            found = _aligned([self.title, *names], self.columns, full=full)
            if len(found[0]) <= width:
                return found
        parts: list[list[Column]] = [[]]
        for group in dict.fromkeys(each.group for each in self.columns):
            mine = [each for each in self.columns if each.group == group]
            if parts[-1] and len(_aligned([self.title, *self.names[1]], [*parts[-1], *mine], full=False)[0]) > width:
                parts.append([])
            parts[-1] += mine
        return [line for part in parts for line in _aligned([self.title, *self.names[1]], part, full=False)]


def table(loaded: Loaded) -> Table | None:
    """Return the table; None where nothing is compared, or nothing was timed: then all has tables of its own."""
    if not any(metric in loaded.run.plan.suite.metrics for _, metric in TIMED):
        return None
    arms = [case for case in loaded.arms_shown if not case.rung]
    along, made = _along(loaded, arms)
    made += [*([] if along else _counted(loaded, arms)), *_shares(loaded, arms), *_loss(loaded, arms)]
    made = [column for column in made if {*column.texts(full=False)} - {NONE}]
    if not made:
        return None
    pay = any(isinstance(cell, From) for column in made for cell in column.cells)
    return Table(
        f"pays from {along} (95 %)" if pay else "", called(loaded, arms), made, [*_meanings(loaded, arms, made)]
    )


def _along(loaded: Loaded, arms: Sequence[Case]) -> tuple[str, list[Column]]:
    """Return along what the lines of a run are found, and their columns at the first place; empty for a run without lines.

    There is no column where nothing may be claimed of any line: why stands among the warnings or doubts.
    """
    every = lines(loaded, [case.arm for case in arms])
    if not every:
        return "", []
    axis = min((line.axis for line in every), key=AXES.index)
    found: dict[tuple[str, str, str], From] = {}
    for typical, mean in zip(every[::2], every[1::2], strict=True):  # both estimates of a line follow each other
        if typical.axis == axis:
            found.setdefault((typical.metric, typical.against, typical.case.arm), From(typical, mean))
    claimed = loaded.run.plan.suite.claims and loaded.checked
    titles = {metric: title for title, metric in TIMED}
    keys = dict.fromkeys((metric, against) for metric, against, _ in found) if claimed else {}
    return SHORT[axis], [
        Column(
            titles[metric],
            AGAINST.get(against, against),
            [found.get((metric, against, case.arm), NONE) for case in arms],
        )
        for metric, against in keys
    ]


def _counted(loaded: Loaded, arms: Sequence[Case]) -> Iterator[Column]:
    """Yield columns for a run with one length: against the dense models of equal cost, which the tables of times lack."""
    beside = {case.arm: rung_beside(loaded, case) for case in arms}
    held = {arm: win_rate.held(loaded, arm, rung[0].arm) for arm, rung in beside.items() if rung is not None}
    for workload, _ in TIMED:
        cells = {arm: [cell for cell in found if cell.workload == workload] for arm, found in held.items()}
        yield Column(workload, AGAINST["equal cost"], [_wins(cells.get(case.arm, [])) for case in arms])


def _wins(cells: Sequence[win_rate.Held]) -> str:
    """Write in how many of several places an arm is faster, `2 of 6`; of one its ratio; `?` where no verdict may be given."""
    found = [cell for cell in cells if cell.ratio is not None]
    if not found:
        return "failed" if cells else NONE
    if len(cells) == 1 and found[0].ratio is not None:
        low, high = found[0].ends or (None, None)
        return Ratio(found[0].ratio, low, high, found[0].verdict, tail=False, timed=True).text
    won = sum(cell.verdict == "better" for cell in found)
    return f"{won} of {len(cells)}" if any(cell.verdict for cell in found) else OPEN


def _shares(loaded: Loaded, arms: Sequence[Case]) -> Iterator[Column]:
    """Yield columns of what an arm computes and keeps at the longest length, as shares of the baseline's."""
    for length in loaded.lengths[-1:]:
        for metric, title in SHARES.items():
            rows = [loaded.pair(case.arm, metric, length) for case in arms]
            shares = [NONE if row is None or not is_number(row.ratio) else f"{1 / row.ratio:.2f}" for row in rows]
            yield Column(f"at T = {length:,}", title, shares)


def _loss(loaded: Loaded, arms: Sequence[Case]) -> Iterator[Column]:
    """Yield a column of held-out losses as differences to the baseline's: routed causally where that was measured."""
    known = losses.shown(loaded)[::-1]
    cells = dict.fromkeys((case.arm for case in arms), NONE)
    used = dict[str, None]()
    for case in arms:
        for loss in known:
            row = loaded.pair(case.arm, loss.metric)
            if row is not None and is_number(row.difference):
                cells[case.arm], used[loss.title] = difference(row, loss), None
                break
    if used:
        said = f"loss: {known[0].unit} over {name(loaded.arms[0])}, {', else '.join(used)}"
        yield Column("", "loss", list(cells.values()), said)


def _meanings(loaded: Loaded, arms: Sequence[Case], made: Sequence[Column]) -> Iterator[str]:
    """Yield what the titles and signs mean."""
    base, titles = name(loaded.arms[0]), {column.title for column in made}
    words = {"shape": f"{base} of equal shape", "cost": f"dense of equal cost{_apart(loaded, arms)}"}
    against = [title for title in words if title in titles]
    if against:
        said = ", ".join(words[title] for title in against)
        yield f"{', '.join(against)}: {said.replace(', dense', ',') if base == 'dense' else said}"
    text = " ".join(cell for column in made for cell in column.texts(full=True))
    yield from (said for sign, said in SIGNS.items() if sign in text)
    shares = [title for title in SHARES.values() if title in titles]
    if shares:
        yield f"{', '.join(shares)}: ÷ {base}"
    yield from (column.meaning for column in made if column.meaning)


def _apart(loaded: Loaded, arms: Sequence[Case]) -> str:
    """Say how far the FLOPs of a model of equal cost are from equal at most: it was solved for one length."""
    beside = [found[1] for case in arms if (found := rung_beside(loaded, case)) is not None]
    gaps = [
        rung.gaps[at] for rung in beside if rung.quantity == "flops/forward" for at in rung.gaps if at in loaded.lengths
    ]
    far = max(map(abs, gaps), default=0.0)
    return f" (FLOPs ±{100 * far:.0f} %)" if far >= FAR else ""


def _where(line: Line, *, full: bool) -> str:
    """Write from where on a line says that an arm pays."""
    found = line.found
    if found.outcome == "crossing":
        assert found.high is not None, "a crossing has an upper end"
        if found.at is None or found.low is None:
            return f"≤{rounded(found.high)}"
        band = f"{rounded(found.low)}–{rounded(found.high)}"
        return f"≈{rounded(found.at)} [{band}]" if full else band
    if found.outcome == "undecided" and found.low is not None:
        return f">{rounded(found.low)} {OPEN}"
    words = {"always": f"{line.measured[0]:,}", "never": "never", "not monotone": NO_LINE} if line.measured else {}
    return words.get(str(found.outcome), OPEN)


def _aligned(names: Sequence[str], made: Sequence[Column], *, full: bool) -> list[str]:
    """Align the columns below their titles, and these below the names of their groups."""
    wide = max(map(len, names))
    rows = [" " * wide, *(each.ljust(wide) for each in names)]
    for group in dict.fromkeys(column.group for column in made):
        mine = [[column.title, *column.texts(full=full)] for column in made if column.group == group]
        widths = [max(map(len, texts)) for texts in mine]
        block = [
            " ".join(text.rjust(w) for text, w in zip(row, widths, strict=True)) for row in zip(*mine, strict=True)
        ]
        wide = max(map(len, [group, *block]))
        rows = [
            f"{row}  {text}"
            for row, text in zip(rows, [group.ljust(wide), *(each.rjust(wide) for each in block)], strict=True)
        ]
    return rows
