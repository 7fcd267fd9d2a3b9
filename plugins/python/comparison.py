"""The result of `modbench.compare`: a table and a figure in a notebook, text elsewhere."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modbench.extend import (
    WIDTH,
    Estimate,
    Finding,
    Label,
    Listed,
    UsageError,
    aligned,
    brief,
    counted,
    cut,
    grouped,
    html_lines,
    html_table,
    human,
    plain,
    printable_text,
    public,
    ratio,
    share,
    shown,
    unknown,
    verdict_words,
    wrapped,
    write_atomically,
)
from modbench.extend import (
    plain_html_of as html,
)
from modbench.plugins.python.callable_contrasts import ONE_PROCESS
from modbench.plugins.python.callables import TimingProcess
from modbench.plugins.python.frames import ratio_figure

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".json", ".csv", ".html", ".txt")
# Errors of the system about a path; any other, such as a full disk, is no mistake of the user who named it.
OF_THE_PATH = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP),
    }
)
# Labels that the title or the verdict shows.
_SHOWN_ELSEWHERE = {ONE_PROCESS, Label.NOISY}
HEAD = ("", "time", "ratio", "theory", "achieved", "verdict")


@dataclass(frozen=True)
class Row:
    """One model of a comparison. What is not known is None, with a reason.

    Attributes:
        name: as it was given.
        time_s: median seconds of a call.
        time_s_ci_low: lower end of its 95 % interval.
        time_s_ci_high: upper end.
        flops: of a call, attention over the full square.
        ratio: time of the baseline over this time: above 1 it is faster; None of the baseline.
        ratio_ci_low: lower end of the 95 % interval.
        ratio_ci_high: upper end.
        mean_ratio: ratio of mean times.
        theoretical: ratio that the FLOPs promise, with causal attention where an operator says that it is causal.
        achieved_share: (that ratio - 1) / (theoretical - 1); None where less than 10 % was promised.
        verdict: `better`, `worse`, `better_open`, `worse_open`, `equivalent` or `inconclusive`; None of the baseline.
        reason: why something is None, or why it is inconclusive.
        labels: what to know of the numbers, such as `one process`.
        noisy: share of blocks that are noisy.
        output_difference: largest difference to the baseline's output, as a share of its largest value; None: not asked.
        cpu_ratio: as `ratio`, of CPU time: what the verdict is on where a label says `by CPU time`; None where it is not known.
        cpu_ratio_ci_low: lower end of the 95 % interval.
        cpu_ratio_ci_high: upper end.
    """

    name: str
    time_s: float
    time_s_ci_low: float | None = None
    time_s_ci_high: float | None = None
    flops: int | None = None
    ratio: float | None = None
    ratio_ci_low: float | None = None
    ratio_ci_high: float | None = None
    mean_ratio: float | None = None
    theoretical: float | None = None
    achieved_share: float | None = None
    verdict: str | None = None
    reason: str | None = None
    labels: tuple[str, ...] = ()
    noisy: float = 0.0
    output_difference: float | None = None
    cpu_ratio: float | None = None
    cpu_ratio_ci_low: float | None = None
    cpu_ratio_ci_high: float | None = None

    @property
    def decided(self) -> Estimate:
        """The ratio that the verdict is on."""
        if Label.BY_CPU in self.labels:
            return Estimate(self.cpu_ratio, self.cpu_ratio_ci_low, self.cpu_ratio_ci_high, "ratio", "s")
        return Estimate(self.ratio, self.ratio_ci_low, self.ratio_ci_high, "ratio", "s")


@dataclass(frozen=True, repr=False)
class Comparison:
    """Models in memory, timed side by side.

    Attributes:
        rows: one for each model, in the order in which they were given; of a baseline that was timed twice its A/A control last.
        baseline: what the others are compared with.
        workload: `forward` or `train_step`.
        device: where the work was done.
        threads: threads that computed.
        rounds: rounds of each process.
        margin: differences below this share are of no practical interest.
        processes: raw samples, one entry for each process.
        remedy: what would make it measurable here, where noise left something inconclusive; None: nothing did, or is known to.
    """

    rows: tuple[Row, ...]
    baseline: str
    workload: str
    device: str
    threads: int
    rounds: int
    margin: float
    processes: Sequence[TimingProcess] = field(default=())
    remedy: str | None = None

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rows as a table, in base units."""
        import pandas as pd

        made = pd.DataFrame([dataclasses.asdict(row) for row in self.rows])
        return made.assign(labels=[";".join(row.labels) for row in self.rows])

    def __getitem__(self, name: str) -> Row:
        """The row of a model.

        Raises:
            UsageError: if there is none of this name.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise unknown("model", name, [row.name for row in self.rows])

    @public("found.verdict('mod')")
    def verdict(self, name: str) -> str | None:
        """The verdict on a model; None of the baseline.

        Raises:
            UsageError: if there is none of this name.
        """
        return self[name].verdict

    @public("found.ratio('mod')")
    def ratio(self, name: str) -> float:
        """Time of the baseline over the model's, as the verdict has it: above 1 it is faster; 1 of the baseline.

        Raises:
            UsageError: if there is none of this name.
        """
        found = self[name].decided.value
        return 1.0 if found is None else found

    @public("found.save('found.json')")
    def save(self, path: str | Path) -> Path:
        """Write it as `.json` (with all samples), `.csv` (the table), `.html` or `.txt`.

        Raises:
            UsageError: for any other ending, or a path that cannot be written.
        """
        if not isinstance(path, str | Path):
            raise UsageError(f"save takes a path; got {shown(path)}. Write found.save('found.json').")
        target = Path(path)
        if target.suffix not in FORMATS:
            raise UsageError(f"{str(path)!r} ends in none of {', '.join(FORMATS)}.")
        made = {".json": self._json, ".csv": self._csv, ".html": self._repr_html_, ".txt": self.__str__}
        content = made[target.suffix]()
        try:
            write_atomically(target, content)
        except OSError as error:
            if error.errno not in OF_THE_PATH:
                raise
            raise UsageError(
                f"{brief(str(target), 200)} cannot be written: {error.strerror}. Name a file in a folder that exists and may be "
                "written."
            ) from error
        return target

    def _json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    def _csv(self) -> str:
        from modbench.extend import csv

        return csv(self.table)

    def __repr__(self) -> str:
        notes = (f"{row.name} {ratio(row.ratio)} {row.verdict}" for row in self.rows if row.ratio is not None)
        return f"<modbench comparison over {self.baseline}: {', '.join(notes)}>"

    def __str__(self) -> str:
        table = [HEAD, *(_cells(row, 18) for row in self.rows)]
        return printable_text(
            [self._title, "", *aligned(table, right=range(1, len(table[0]))), "", *wrapped(self._notes, WIDTH)]
        )

    def _repr_html_(self) -> str:
        head = ("", "time", "FLOPs", *HEAD[2:])
        rows = [
            (name, time, human(row.flops, "FLOP"), *rest)
            for row in self.rows
            for name, time, *rest in (_cells(row, 40),)
        ]
        found = [
            Finding(
                row.name,
                typical=row.decided,
                verdict=row.verdict,
            )
            for row in self.rows
            if row.ratio is not None
        ]
        figure = ratio_figure(found, self.baseline, self.margin) if found else ""
        return html(html_lines([self._title]), html_table(head, rows), figure, html_lines(self._notes))

    @property
    def _title(self) -> str:
        threads = f", {counted(self.threads, 'thread')}" if self.device == "cpu" else ""
        n = len(self.processes)
        processes = "one process" if n == 1 else f"{n} processes"
        return f"{self.workload} on {self.device}{threads}; {processes}, {self.rounds} rounds; over {cut(self.baseline, 18, 5)}"

    @property
    def _notes(self) -> list[str]:
        notes = [f"Ratio: time of {self.baseline} over the row's, above 1× it is faster; 95 % interval."]
        if len(self.processes) == 1:
            notes = [notes[0], "One process: intervals lack what differs between processes. processes=5 has it."]
        rows_by_remark = grouped((_remarks(row), row.name) for row in self.rows)
        notes += [f"{plain(Listed(names, most=6))}: {each}." for each, names in rows_by_remark.items() if each]
        return [*notes, f"⚠ {self.remedy}."] if self.remedy else notes


def _remarks(row: Row) -> str:
    """Remarks on a row, besides its cells."""
    parts = [row.reason, *(label for label in row.labels if label not in {*_SHOWN_ELSEWHERE, Label.BY_CPU})]
    if row.output_difference is not None:
        parts.append(f"output differs by up to {row.output_difference:.2g} of the largest value")
    return "; ".join(filter(None, parts))


def _cells(row: Row, letters: int) -> tuple[str, ...]:
    time = plain(Estimate(row.time_s, unit="s"))
    if row.ratio is None:
        return (cut(row.name, letters, 5), time, "baseline", "", "", "")
    theoretical = plain(Estimate(row.theoretical, kind="ratio"))
    achieved_share = share(row.achieved_share).replace("-0%", "0%")
    return (
        cut(row.name, letters, 5),
        time,
        plain(row.decided),
        theoretical,
        achieved_share,
        plain(verdict_words(row.verdict)),
    )
