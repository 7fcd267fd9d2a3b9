"""What is printed and written steers no terminal and no spreadsheet, is short, and holds no secret."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from markupsafe import escape
from resealed import reseal

from modbench.harness.core import masking
from modbench.harness.core.plain_text import escaped, escaped_json, is_printable
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.markup.data import text_cell

Modbench = Callable[..., subprocess.CompletedProcess[str]]

CONTROL = "\x1b[2J\x1b]0;title\x07\x9b31m\x7f\u202e\u2066\u2028\r\0"
MARKUP = "</td><img src=x onerror='alert(1)'><script>alert(2)</script>"


def test_every_control_character_is_an_escape() -> None:
    controls = map(chr, [*range(32), *range(127, 160), 0xE0041])
    for character in (*controls, *"\u202a\u202e\u2066\u2069\u200f\u2028\u200b\u2060\xad\ufeff\u3164"):
        kept = character in "\n\t"
        assert is_printable(escaped(f"a{character}b")) is not kept
        assert is_printable(escaped(f"a{character}b", lines=False))
        assert not is_printable(character)
        assert character not in escaped(f"a{character}b", lines=False)
        assert json.loads(escaped_json(json.dumps([character], ensure_ascii=False))) == [character]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        *((text, f"'{text}") for text in ("=1+1", "+1+1", "-2+3", "@SUM(A1)", "=cmd|' /C calc'!A0")),
        *((text, text) for text in ("mod[c0.125]", "-0.5", "+1e-3", "a=b", "")),
        *((text, f"\\x{ord(text[0]):02x}=1") for text in ("\t=1", "\r=1", "\n=1")),  # one line
    ],
)
def test_a_cell_is_no_formula(text: str, cell: str) -> None:
    assert text_cell(text) == cell


VIEWS = ("report.html", "cases.csv", "comparisons.csv")


def poisoned(here: Path, reason: str) -> Path:
    """A run in which nothing was measured, for a stranger's reason."""
    run = planted_run(here, planted_plan("smoke"))
    for file in (run / "jobs").glob("*.json"):
        body = json.loads(file.read_text())
        for i, outcome in enumerate(body["outcomes"]):
            kind = {"status": "failed", "kind": "error"} if i % 2 else {"status": "skipped", "kind": None}
            outcome |= {**kind, "reason": reason, "samples": {}, "notes": {}}
        reseal(file, body)
    return run


@pytest.mark.slow
def test_a_strangers_reasons_steer_nothing(tmp_path: Path, modbench: Modbench) -> None:
    """A failure's reason is any text: it reaches the page, the tables, the terminal and JSON."""
    run = poisoned(tmp_path, f"=1+1{CONTROL}{MARKUP}")
    shown, as_json = modbench("report", run), modbench("report", run, "--json")
    assert "=1+1\\x1b[2J" in shown.stdout
    for text in (shown.stdout, as_json.stdout, *((run / name).read_text() for name in VIEWS)):
        assert is_printable(re.sub("[\n\t]", "", text))
    with (run / "cases.csv").open(newline="") as table:
        cells = [text for row in csv.reader(table) for text in row]
    assert any(text.startswith("'=1+1\\x1b") for text in cells)
    assert not any(text.startswith(("=", "+", "@")) for text in cells)
    page = (run / "report.html").read_text()
    assert MARKUP not in page
    assert str(escape(MARKUP)) in page


@pytest.mark.parametrize(
    ("words", "recorded"),
    [
        (["--api-token", "abc"], ["--api-token", "***"]),
        (["--hub-password=abc"], ["--hub-password=***"]),
        (["--set", "hub.key=abc"], ["--set", "hub.key=***"]),
        (["--export=ALL,HF_TOKEN=ab,c"], ["--export=ALL,HF_TOKEN=***"]),  # a comma may belong to the value
        (["--setup=tool --token abc"], ["--setup=tool --token ***"]),
        (["--setup=curl -H 'Authorization: Bearer abc'"], ["--setup=curl -H 'Authorization: ***'"]),
        (["--setup=export HF_TOKEN='a b'"], ["--setup=export HF_TOKEN=***"]),
        (["--set", "corpus=hf:a?token=abc"], ["--set", "corpus=hf:a?token=***"]),
        (["--corpus", "https://me:a/b@c@host/x"], ["--corpus", "https://***@host/x"]),
        (["--api-key", "-abc"], ["--api-key", "***"]),
        (["--set", "train.tokens=200000"], ["--set", "train.tokens=200000"]),
        (["--token", "--json"], ["--token", "--json"]),
        (["--db-pwd=abc", "--jwt", "abc"], ["--db-pwd=***", "--jwt", "***"]),
        (["--passes=3", "--keyboard=us"], ["--passes=3", "--keyboard=us"]),
    ],
)
def test_secrets_in_flags_are_masked(words: list[str], recorded: list[str]) -> None:
    assert masking.masked_command(["modbench", *words]) == ["modbench", *recorded]


@pytest.mark.slow
def test_chosen_texts_are_masked_in_all_that_is_written(
    tmp_path: Path, modbench: Modbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODBENCH_MASK", "hush, a fake ,")
    run = poisoned(tmp_path, "said hush")
    shown = modbench("report", run).stdout + modbench("report", run, "--json").stdout
    for text in (shown, *((run / name).read_text() for name in ("run.json", *VIEWS))):
        assert "hush" not in text
        assert "a fake" not in text
    assert "said ***" in shown
