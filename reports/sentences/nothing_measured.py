"""A run in which nothing was measured: said first, in every output."""

from __future__ import annotations

from pathlib import Path

from modbench.harness.core.errors import NothingMeasuredError, brief
from modbench.harness.core.units import counted
from modbench.reports.tables import logs
from modbench.reports.tables.load import Loaded

NOTHING = "Nothing was measured"
# Characters of the reason that stands for the others.
MOST_SAID = 300


def in_words(loaded: Loaded) -> str:
    """Say how the cells ended, and why the first one has no value: `Nothing was measured: 8 cells failed. mine:build[…]: …`."""
    rows = loaded.cases
    if rows.empty:
        return f"{NOTHING}: no metric was asked for."
    ended = [(len(loaded.run.missing), "unit", "has no record", "have no record")]
    ended += [(int((rows.status == word).sum()), "cell", word, word) for word in ("failed", "skipped")]
    how = [f"{counted(n, what)} {one if n == 1 else many}" for n, what, one, many in ended if n]
    first = (loaded.failed if not loaded.failed.empty else rows).iloc[0]
    reason = logs.in_run_folder(brief(str(first.reason), MOST_SAID), loaded.path)
    return f"{NOTHING}: {', '.join(how)}. {first.case_id}: {reason.removesuffix('.')}."


def check(loaded: Loaded, page: Path) -> None:
    """Check that a run that ended has a value in any of its cells. Failed cells are data, unless there is nothing else.

    Args:
        loaded: the run.
        page: its report, which the message names.

    Raises:
        NothingMeasuredError: if every cell failed or was skipped.
    """
    if not loaded.measured:
        raise NothingMeasuredError(f"{in_words(loaded)} Report: {page}")
