"""LaTeX tables: they compile, whatever names hold, and fit a page; marks of labels and verdicts are explained."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from planted_compare import compared_run

from modbench.extend import planted_plan, planted_run
from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case
from modbench.plugins.paper import tex
from modbench.reports.blocks import ILLUSTRATION, Estimate, Finding, Sentence, Table, Value
from modbench.reports.html_report import render
from modbench.reports.markup import short
from modbench.reports.tables.load import Loaded, load

Modbench = Callable[..., subprocess.CompletedProcess[str]]
# Names as a stranger may give them.
HOSTILE = "@octocat #17 <img src=x onerror=alert(1)> | `code` **bold** [a](http://b.c) $x^2$ www.d.e :tada: & \\ ~ { } \x1b[31m"
VARIANTS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}, {"model": "moe"}]
METRICS = ["flops/forward", "latency/forward", "memory/peak_allocated", "bpb/val"]
# What LaTeX has for the mark of a label.
SIGNS = {"†": r"\dag", "‡": r"\ddag", "§": r"\S", "¹": "$^{1}$", "!": "!", "c": "c1.50"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A run with two lengths and three variants, of which one fails."""
    folder = tmp_path_factory.mktemp("formats")
    plan = planted_plan("draft", metrics=METRICS, variants=VARIANTS, processes=3, rounds=2)
    return load(planted_run(folder, plan, fails="moe"))


@pytest.fixture(scope="module")
def case() -> Case:
    return planted_plan("draft").cases[1]


def compiled(folder: Path) -> None:
    """Check that the document in a folder compiles and fits the page."""
    pdflatex = shutil.which("pdflatex")
    if pdflatex is None:
        pytest.skip("no pdflatex on this machine: install texlive-latex-base and texlive-latex-recommended")
    command = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (folder / "report.log").read_text(errors="replace")
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")


def test_it_compiles(loaded: Loaded, tmp_path: Path) -> None:
    """The document as written, and one whose names hold every printable character, and some that LaTeX has no letter for."""
    render.views(loaded, ("tex",), tmp_path)
    every = [chr(code) for code in range(32, 127)]
    rows: list[list[Value]] = [
        [word * 3, 1] for word in (*every, HOSTILE, "é ü ß × – µ", "中文 ▲ 🚀", "[x]", "*", "--", "?`")
    ]
    hostile = tex.table(Table(HOSTILE, ("a", "b"), rows), "hostile")
    (tmp_path / "tables.tex").write_text((tmp_path / "tables.tex").read_text() + hostile)
    compiled(tmp_path)


@pytest.mark.slow
def test_a_comparison_compiles_and_fits_the_page(modbench: Modbench, tmp_path: Path) -> None:
    run = compared_run(tmp_path / "run")
    done = modbench("compare", run.path, "--by", "capacity", "--format", "tex")
    assert done.stdout.startswith(f"% {run.path}: ")
    assert done.stdout.count(r"\begin{table}") == 1
    (tmp_path / "report.tex").write_text(tex._DOCUMENT)
    (tmp_path / "tables.tex").write_text(done.stdout)
    compiled(tmp_path)
    log = (tmp_path / "report.log").read_text(errors="replace")
    assert not re.search(r"Overfull \\hbox .* in (paragraph|alignment)", log), log


def test_foreign_text_means_nothing() -> None:
    assert tex.inline(Sentence("100 {x}", x="50 % & more")) == r"100 50 \% \& more"
    assert tex.text("512° ≤129") == r"512$^{\circ}$ $\leq$129"
    title = r"Ours \textless{}b\textgreater{}\&\textbar{}{*}a{*} \$x\_1\$ 50 \%"
    assert tex.text("Ours <b>&|*a* $x_1$ 50 %") == title


@pytest.mark.parametrize("label", [*sorted(Label), ILLUSTRATION])
def test_a_label_is_a_mark_that_is_explained(label: str, case: Case) -> None:
    of_loss = label in {*short.MARKS} and short.MARKS[label] in {short.FUTURE, short.FEW}
    made = Estimate(1.5, 1.4, 1.6, *(("difference", "bit/B") if of_loss else ("ratio", "s")))
    found = Finding(case, case, typical=made, verdict="better")
    written, without = (
        tex.table(Table("t", ("variant", "x"), [[case, dataclasses.replace(found, labels=labels)]]), "x")
        for labels in ((label,), ())
    )
    sign = SIGNS[short.BY_CPU if label == Label.BY_CPU else short.MARKS.get(label, short.LABELLED)]
    assert sign in written.replace("1.50$", "1.50")
    assert sign not in without


def test_a_time_without_a_verdict_has_no_glyph(case: Case) -> None:
    made = Finding(case, case, typical=Estimate(1.5, 1.4, 1.6, "ratio", "s"))
    written = tex.table(Table("t", ("variant", "x"), [[case, made]]), "x")
    assert not any(glyph in written for glyph in (r"\triangle", r"\nabla", r"\approx"))
