"""Speed-up by variant and length, over matched baselines and over the baseline, where no other section draws it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from modbench.harness.domain.case import Case
from modbench.reports.figures import heat_map
from modbench.reports.figures.style import Mark, Marks, bin_of, in_lines, new_figure
from modbench.reports.model import Block, Figure, Finding, Sentence, Value
from modbench.reports.section import Section, in_place
from modbench.reports.tables.findings import Against, against, by_length, figure_rows
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import DECIDED, TIMED, name, short
from modbench.reports.writers.number_format import NONE, bare, half, plain

# Width of the figure in inches.
WIDTH = 5.0
# A map of many cells is wider, up to a limit; names of variants and one cell, in inches.
WIDEST, NAMES, CELL = 7.5, 1.3, 0.4
# With more lengths a cell has room for its ratio alone.
FEW_LENGTHS = 7
# Least height of a row in inches, and of a line of its name.
ROW, LINE = 0.36, 0.17
MATCHED = "the matched baseline"
CAPTION = "Speed-up over {base} ± half of its 95 % CI. Purple is faster, orange slower; grey equivalent, hatched inconclusive."


def render(loaded: Loaded) -> Iterator[Block]:
    """Draw cells coloured by log2 speed-up in nine bins; inconclusive ones hatched; failures named."""
    titles = {metric: title for metric, title in TIMED.items() if (loaded.comparisons.metric == metric).any()}
    instead = in_place(loaded)
    if not titles or not loaded.variants_shown or loaded.sizes_differ or (instead and instead.drawn):
        return
    choices = against(loaded, titles)
    for choice in choices:
        yield replace(_figure(loaded, titles, choice), against=choice.title * (len(choices) > 1))


def _figure(loaded: Loaded, titles: Mapping[str, str], choice: Against) -> Figure:
    pairs, lengths = choice.pairs, loaded.lengths_shown
    columns = len(titles) * len(lengths)
    whole = min(WIDEST, max(WIDTH, NAMES + CELL * columns))
    names = [in_lines(case) + f"\nover {short(other)}" * choice.matched for case, other in pairs]
    row = max(ROW, LINE * max(text.count("\n") + 1 for text in names))
    made, axes = new_figure(whole, 0.8 + row * len(pairs), len(titles), share_y=True)
    marks, data, few = Marks(), list[Finding](), len(lengths) <= FEW_LENGTHS
    for axis, (metric, title) in zip(axes, titles.items(), strict=True):
        found = [by_length(loaded, metric, *pair, lengths) for pair in pairs]
        cells = [
            [_cell(case, length, title, mine.get(length), few=few) for length in lengths]
            for (case, _), mine in zip(pairs, found, strict=True)
        ]
        heat_map.draw(axis, cells, [str(length) for length in lengths], marks, 8.5 if few else 6.5)
        axis.set_title(title)
        axis.set_xlabel("tokens per sequence")
        data += [mine[length] for mine in found for length in lengths if length in mine]
    axes[0].set_yticks([i + 0.5 for i in range(len(pairs))], names)
    base: Value = MATCHED if choice.matched else loaded.baseline
    label = f"Speed-up over {MATCHED if choice.matched else name(loaded.baseline)} by variant and sequence length"
    called, caption = "map" + "-cost" * choice.matched, Sentence(CAPTION, base=base)
    return Figure(called, made, label, caption, figure_rows(loaded, data), wide=True, marks=marks)


def _cell(case: Case, length: int, title: str, found: Finding | None, *, few: bool) -> heat_map.Cell:
    found = found or Finding(case, status="skipped", reason="not measured")
    spread = half(found.typical) if few else ""  # on hover, and in the table
    undecided = found.status == "ok" and found.verdict not in DECIDED
    color = bin_of(found.typical.value or 1.0, found.verdict)
    return heat_cell(case, length, title, found, color, spread, hatched=undecided)


def heat_cell(
    case: Case, length: int, title: str, found: Finding, color: int, below: str, *, hatched: bool = False
) -> heat_map.Cell:
    """Return a cell of a map with its number, and what it says on hover: `MoD 0.125, T = 512, forward pass: 1.62× ▲ faster`."""
    told = Sentence("{status}: {reason}", status=found.status, reason=found.reason)
    typical, words = found.typical, "{variant}, T = {length}, {title}: {told}"
    told = told if typical.value is None else found.judged()
    said = Sentence(words, variant=short(case), length=length, title=title, told=told)
    mark = Mark(plain(said), case.variant)
    if typical.value is None:
        return heat_map.Cell(None, "failed" if found.status == "failed" else NONE, "", False, mark)
    shown = typical.alone.shown
    text = bare(shown.value or 0.0, shown) if shown.kind == "cost" else plain(shown)  # its title has the unit
    return heat_map.Cell(color, text, below, hatched, mark)


READING = "Each number is the time of the baseline, which the buttons choose, divided by that of the variant: above 1 is faster."

SECTION = Section(
    title="Which variant is faster at which length?",
    order=20,
    span=7,
    render=render,
    draws=True,
    reading=READING,
)
