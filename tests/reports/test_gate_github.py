"""The gate for GitHub Actions: golden files, a stranger's text that stays text, and GitHub's limits."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from planted_gate import finding, gate_run
from present import present

from modbench.reports.markup import markdown
from modbench.reports.questions.gate import gate
from modbench.reports.questions.gate.fail_on import FailOn
from modbench.reports.questions.gate.gate import Gate, GateFinding
from modbench.reports.terminal import gate as gate_github

GOLDEN = Path(__file__).parent / "golden"
TIME, FLOPS, LOSS, MEMORY = "latency/forward", "flops/forward", "loss/val", "memory/peak_allocated"
CHECKS = {TIME: "slower", FLOPS: "flops", LOSS: "loss", MEMORY: "larger"}
# Marks of Markdown, HTML, GitHub's links, a new cell, a new line and a command of the runner.
ATTACK = "a|b `c` *d* _e_ <img src=x> [f](http://g) @octocat #1 ~~h~~ $i$ :smile: www.j.k ![l](m)\\|\n::error::n"
FINDINGS = (
    finding(
        "moe[T64]", TIME, "fail", 0.909, 0.905, 0.913, p=0.001, reason="ratio to the baseline, now divided by before"
    ),
    finding("mod[c0.5-T64]", TIME, "fail", reason="fails now: error: 100% lost,\nsee: the log"),
    finding("moe[T64]", MEMORY, "fail", 0.667, reason="counted, not sampled"),
    finding(
        "mod[c0.5-T64]",
        LOSS,
        "inconclusive",
        0.001,
        -0.004,
        0.006,
        kind="difference",
        reason="difference, seed by seed",
    ),
    finding("dense[T64]", LOSS, "inconclusive", reason="trained on different text"),
    finding("dense[T64]", FLOPS, "pass", 1.5, reason="counted, not sampled"),
    finding("mod[c0.5-T64]", FLOPS, "pass", 1.0, reason="counted: identical"),
    finding("moe[T64]", "tokens_per_s/forward", "not compared", reason="derived from a time, which is compared"),
    finding("dense[T64]", "tokens_per_s/forward", "not compared", reason="derived from a time, which is compared"),
)


def made(findings: Sequence[GateFinding], **more: Any) -> Gate:
    limits = {"slower": Fraction(2, 100), "flops": Fraction(0), "loss": Fraction(5, 1000), "syncs": None}
    checked = [replace(each, check=CHECKS.get(each.metric)) for each in findings]
    return Gate(checked, 0.02, fail_on=FailOn(limits), **more)


def golden(name: str, text: str) -> None:
    """Compare with a file; `MODBENCH_GOLDEN=write` writes it anew, to be read before it is committed."""
    file = GOLDEN / name
    if os.environ.get("MODBENCH_GOLDEN") == "write":
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gate_tiers", made(FINDINGS)),
        ("gate_attacked", made([finding(ATTACK, TIME, "fail", reason=ATTACK)], incomplete=ATTACK)),
        ("gate_plain", Gate([*FINDINGS[:1]], 0.02)),
        ("gate_passes", made([FINDINGS[6]], incomplete=None)),
    ],
)
def test_the_summary_and_the_annotations_are_as_agreed(name: str, found: Gate) -> None:
    golden(f"{name}.md", gate_github.summary(found, "runs/old", "runs/new"))
    golden(f"{name}.txt", "".join(f"{line}\n" for line in gate_github.annotated(found)))


def test_a_strangers_text_is_no_command_of_the_runner() -> None:
    """The runner reads a command where a line begins with `::`, and in its older form wherever `##[` stands."""
    found = made([finding(f"::error::{ATTACK}", TIME, "fail", reason=f"##[error]{ATTACK}\r\n::warning::x")])
    lines = "\n".join(gate_github.annotated(found)).splitlines()
    assert all(re.fullmatch(r"::(error|warning) title=[^:,]*::.*", line) for line in lines)
    assert "##[" not in gate_github.summary(found, "##[error]", "::error::")
    assert not re.search(r"^\s*::", gate_github.summary(found, "##[error]", "::error::"), flags=re.MULTILINE)


def test_a_command_is_escaped_by_githubs_rules() -> None:
    assert markdown.annotation("error", "a,b: 100%", "c,d: 5%\ne") == "::error title=a%2Cb%3A 100%25::c,d: 5%25%0Ae"
    assert "\r" not in markdown.annotation("error", "t", "a\rb")


def test_at_most_ten_annotations_of_a_kind() -> None:
    for number, shown in ((10, 10), (11, 10), (5000, 10)):
        findings = [finding(f"moe[T{i}]", TIME, "fail", 0.9) for i in range(number)]
        lines = [*gate_github.annotated(made(findings))]
        errors = [line for line in lines if line.startswith("::error ")]
        assert len(errors) == shown
        assert ("and 4%2C991 more::" in errors[-1]) == (number == 5000)
        assert "moe[T9]" in errors[-1] or number != 10


@pytest.mark.slow
@pytest.mark.parametrize("text", ["short", "é" * 10_000, "@<|`" * 5_000])
def test_a_summary_of_thousands_of_findings_stays_under_the_limit(text: str) -> None:
    words = ("fail", "inconclusive", "not compared")
    many = 120
    findings = [
        finding(f"{i}{text}", TIME, word, *[0.9] * (word != "not compared"), reason=f"{i}{text}")
        for i in range(many)
        for word in words
    ]
    found = made(findings, incomplete=text)
    page = gate_github.summary(found, text, text)
    assert len(page.encode()) <= markdown.MOST_BYTES
    section = page.partition("### Findings\n")[2]
    rows = len(re.findall(r"^\| (?!verdict)", section, flags=re.MULTILINE))
    assert 0 < rows <= gate.MOST_ROWS
    left = present(re.search(r"^_([\d,]+) more rows: modbench gate … --json\._$", section, flags=re.MULTILINE))
    assert rows + int(left[1].replace(",", "")) == many * len(words)
    few = gate_github.summary(found, text, text, 20_000)
    assert len(few.encode()) <= 20_000
    assert gate_github.summary(found, text, text, -5) == ""


@pytest.mark.slow
def test_the_command_appends_the_summary_or_prints_it(
    tmp_path: Path, modbench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = {"metrics": [FLOPS], "grid": {"seq_len": [64]}}
    base, now = (gate_run(tmp_path / name, suite=suite) for name in ("base", "now"))
    asked = ("gate", base.path, now.path, "--fail-on", "flops:0%,breaks", "--format", "github")
    monkeypatch.delenv(markdown.VARIABLE, raising=False)
    printed = modbench(*asked)
    assert printed.returncode == 5
    assert printed.stdout.index(markdown.VARIABLE) < printed.stdout.index("\n## modbench gate: inconclusive\n")
    assert "::warning title=inconclusive%3A breaks::" in printed.stdout
    file = tmp_path / "summary.md"
    file.write_text("what came before\n")
    monkeypatch.setenv(markdown.VARIABLE, str(file))
    written = modbench(*asked)
    assert written.returncode == 5
    assert f"added to {file}" in written.stdout
    assert "##" not in written.stdout
    assert file.read_text().startswith("what came before\n## ")
    file.write_text("x" * markdown.MOST_BYTES)
    full = modbench(*asked)
    assert "full: GitHub takes 1,048,576 bytes" in full.stdout
    assert file.stat().st_size == markdown.MOST_BYTES
    assert modbench(*asked, "--json").returncode == 2
    assert modbench(*asked[:-1], "gitlab").returncode == 2
    monkeypatch.setenv(markdown.VARIABLE, str(tmp_path / "none" / "summary.md"))
    assert modbench(*asked).returncode == 2
