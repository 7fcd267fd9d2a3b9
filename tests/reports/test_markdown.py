"""Markdown for GitHub: a text stays text, the limit of a job summary, annotations of a gate."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from planted_gate import finding, gate_run
from present import present

from modbench.reports.blocks import Code, Table
from modbench.reports.markup import markdown
from modbench.reports.questions.gate import gate
from modbench.reports.questions.gate.gate import Gate
from modbench.reports.terminal import gate as gate_github

TIME = "latency/forward"
# Marks of Markdown, HTML, what GitHub makes a link of, a new cell, a new line, a command of the runner, and one of a terminal.
HOSTILE = (
    "@octocat #17 <img src=x onerror=alert(1)> | `code` **bold** [a](http://b.c) ![l](m) $x^2$ www.d.e :tada: & \\ ~ { }"
    " \x1b[31m\n::error::n"
)
TAGS = r"h[23]|p|ul|li|table|thead|tbody|t[rhd]|strong|em|code|blockquote|sub|details|summary"
MARKED = st.text("ab1 |`*_[]()<>~$&#@:/.-+=!\\", min_size=1).filter(str.strip)


def rendered(text: str) -> str:
    return str(MarkdownIt("commonmark").enable("table").render(text))


def seen(page: str) -> list[str]:
    """The words of a page."""
    return html.unescape(re.sub(r"<[^>]+>", "", page)).replace("\u200b", "").split()


@given(MARKED)
def test_a_text_is_shown_as_it_is(said: str) -> None:
    page = rendered(markdown.text(said))
    assert {*re.findall(r"<(\w+)", page)} == {"p"}
    assert seen(page) == said.split()


@given(MARKED)
def test_a_cell_is_shown_as_it_is(said: str) -> None:
    page = rendered(markdown.within([markdown.block(Table("t", ("h", said), [(said, Code(said))]))]))
    head, cell, code = (seen(each) for each in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", page)[1:])
    assert head == cell == code == said.split()
    assert {*re.findall(r"<(\w+)", page)} == {"h3", "table", "thead", "tbody", "tr", "th", "td", "code"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("@all", "@&#8203;all"),
        ("a #12 b", "a #&#8203;12 b"),
        ("see http://x.y", "see http:&#8203;//x.y"),
        ("www.x :tada:", "www&#8203;.x :&#8203;tada:"),
        ("a\nb", "a\\\\x0ab"),
        # nothing is escaped that need not be
        ("a_b__c", "a_b__c"),
        ("1.2× [1.0–1.3] ▲", "1.2× [1.0–1.3] ▲"),
        ("-0.05 [-0.08, -0.03]", "-0.05 [-0.08, -0.03]"),
        # but brackets that look like an interval and are a link
        ("see [1](an address)", r"see \[1\](an address)"),
        ("[1.0–1.3]: an address", r"\[1.0–1.3\]: an address"),
    ],
)
def test_what_github_makes_a_link_of_is_parted_and_numbers_stay(said: str, shown: str) -> None:
    assert markdown.text(said) == shown


def test_a_masked_text_is_found_before_it_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODBENCH_MASK", "my_secret")
    assert all("secret" not in written("in my_secret folder") for written in (markdown.text, markdown.code))


@pytest.mark.slow
@pytest.mark.parametrize("text", ["short", "é" * 10_000, "@<|`" * 5_000])
def test_a_summary_of_thousands_of_findings_stays_under_the_limit(text: str) -> None:
    findings = [
        finding(f"{i}{text}", TIME, word, *[0.9] * (word != "not compared"), reason=f"{i}{text}")
        for i in range(120)
        for word in ("fail", "inconclusive", "not compared")
    ]
    found = Gate(findings, 0.02, incomplete=text)
    page = gate_github.summary(found, text, text)
    assert len(page.encode()) <= markdown.MOST_BYTES
    section = page.partition("### Findings\n")[2]
    rows = len(re.findall(r"^\| (?!verdict)", section, flags=re.MULTILINE))
    left = present(re.search(r"^_([\d,]+) more rows: modbench gate … --json\._$", section, flags=re.MULTILINE))
    assert 0 < rows <= gate.MOST_ROWS
    assert rows + int(left[1].replace(",", "")) == len(findings)
    assert len(gate_github.summary(found, text, text, 20_000).encode()) <= 20_000
    assert gate_github.summary(found, text, text, -5) == ""


# --- GitHub Actions


def test_a_strangers_text_is_no_command_of_the_runner() -> None:
    """The runner reads a command where a line begins with `::`, and in its older form wherever `##[` stands."""
    attacks = finding(f"::error::{HOSTILE}", TIME, "fail", reason=f"##[error]{HOSTILE}\r\n::warning::x")
    found = Gate([attacks], 0.02, incomplete=HOSTILE)
    lines = "\n".join(gate_github.annotated(found)).splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(r"::(error|warning) title=[^:,]*::.*", line) for line in lines)
    page = gate_github.summary(found, "##[error]", "::error::")
    assert not re.search(r"^\s*::|##\[", page, flags=re.MULTILINE)
    assert all(re.fullmatch(TAGS, each) for each in re.findall(r"<(\w+)", rendered(page)))


def test_a_command_is_escaped_by_githubs_rules() -> None:
    assert markdown.annotation("error", "a,b: 100%", "c,d: 5%\ne") == "::error title=a%2Cb%3A 100%25::c,d: 5%25%0Ae"
    assert "\r" not in markdown.annotation("error", "t", "a\rb")


@pytest.mark.slow
def test_the_command_adds_the_summary_where_github_wants_it(
    tmp_path: Path, modbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it prints where GitHub names no file is a golden."""
    suite = {"metrics": ["flops/forward"], "grid": {"seq_len": [64]}}
    base, now = (gate_run(tmp_path / name, suite=suite) for name in ("base", "now"))
    asked = ("gate", base.path, now.path, "--fail-on", "flops:0%,breaks", "--format", "github")
    file = tmp_path / "summary.md"
    file.write_text("what came before\n")
    monkeypatch.setenv(markdown.VARIABLE, str(file))
    done = modbench(*asked)
    assert (done.returncode, f"added to {file}" in done.stdout, "##" in done.stdout) == (5, True, False)
    assert file.read_text().startswith("what came before\n## modbench gate: inconclusive\n")
    file.write_text("x" * markdown.MOST_BYTES)
    assert "full: GitHub takes 1,048,576 bytes" in modbench(*asked).stdout
    assert file.stat().st_size == markdown.MOST_BYTES
    monkeypatch.setenv(markdown.VARIABLE, str(tmp_path / "none" / "summary.md"))
    assert modbench(*asked).returncode == 2
