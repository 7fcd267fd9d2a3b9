"""Tables of the commands: plain text in columns, wherever it is printed."""

from __future__ import annotations

import pytest

from modbench.harness.core.plain_text import aligned


def test_columns_are_aligned_and_lines_end_at_their_text() -> None:
    rows = [("case", "time", "note"), ("mod[c0.5]", "1 s", ""), ("a", "12 ms", "×")]
    assert aligned(rows, right={1}) == ["case        time  note", "mod[c0.5]    1 s", "a          12 ms  ×"]


def test_nothing_is_wrapped_coloured_or_read_as_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "20", "TERM": "dumb", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    rows = [("[red]x[/red]", "word " * 60 + "end"), (":smile:", "1.5")]
    assert aligned(rows) == [f"[red]x[/red]  {'word ' * 60}end", ":smile:       1.5"]
