"""The pages of `modbench compare --html`, in a real headless Chromium, and that no file is overwritten."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted_compare import VARIANTS, compared_run

from modbench.planted_runs import UNFIT
from modbench.reports.blocks import Note
from modbench.reports.html_report import comparison, layout
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.compare_axis import Filter, compare_by
from modbench.reports.questions.compare_runs import compare_runs
from modbench.reports.questions.machine_check import machine_check
from modbench.reports.tables.load import Loaded

pytestmark = pytest.mark.slow

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Loaded]:
    """Two runs: one variant slower, one failing, one new; a package with a stranger's name."""
    here = tmp_path_factory.mktemp("runs")
    suite: dict[str, Any] = {"grid": {"seq_len": [64]}}
    packages = {"packages": {"modbench": "0", EVIL: "1"}}
    more = {"variants": [*VARIANTS, {"model": "mod", "capacity": 0.75}]}
    after: dict[str, Any] = {
        "suite": suite | more,
        "slower": {"mod[c0.125]": 1.2},
        "fails": "mod[c0.5]",
        "environment": packages,
    }
    return [compared_run(here / "before", suite=suite, seed=1), compared_run(here / "after", seed=2, **after)]


@pytest.fixture(scope="module")
def pages(runs: list[Loaded], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The page of the two runs, and that of one along an axis."""
    here = tmp_path_factory.mktemp("pages")
    command = ["modbench", "compare", "--token=secret", "<b>"]
    along = comparison.of_axis(runs[1], compare_by(runs[1], "capacity", None, Filter()), command)
    made = {"runs.html": comparison.of_runs(compare_runs(runs), command), "along.html": along}
    for name, page in made.items():
        layout.write(page, str(here / name), force=False, compared=runs)
    return [here / name for name in made]


def test_names_of_strangers_are_escaped_and_nothing_is_fetched(pages: list[Path]) -> None:
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert EVIL not in text
        assert "secret" not in text
        assert "planted <b>failure" not in text
        assert "planted &lt;b&gt;failure&lt;/b&gt;" in text
        assert not re.search(r'(?:src|href)="(?!#|data:,")', text)
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # the namespace of drawings, no address
    assert "&lt;script&gt;alert(1)" in pages[0].read_text(encoding="utf-8")


def test_an_unfit_machine_is_named(tmp_path: Path) -> None:
    bad = compared_run(tmp_path / "unfit", suite={"grid": {"seq_len": [64]}}, environment={"certificate": UNFIT})
    made = comparison.of_axis(bad, compare_by(bad, "capacity", None, Filter()), [])
    said = [plain(block.said) for section in made.sections for block in section.blocks if isinstance(block, Note)]
    assert plain(machine_check(bad)[1]) in said
    assert "unfit, 20 of 100" in html.unescape(layout.html(made))


@pytest.mark.usefixtures("undrawn")
def test_nothing_is_overwritten_and_nothing_is_written_into_a_run(
    runs: list[Loaded], tmp_path: Path, modbench: Any
) -> None:
    pair = [run.path for run in runs]
    file = tmp_path / "new.html"
    assert modbench("compare", *pair, "--html", file).returncode == 0
    first = file.read_bytes()
    file.write_text("mine")
    refused = modbench("compare", *pair, "--html", file)
    assert (refused.returncode, file.read_text()) == (2, "mine")
    assert "--force" in refused.stderr
    assert modbench("compare", *pair, "--html", file, "--force").returncode == 0
    assert len(file.read_bytes()) > len(first) // 2
    inside = modbench("compare", pair[0], "--by", "capacity", "--html", pair[0] / "new.html", "--force")
    assert (inside.returncode, (pair[0] / "new.html").exists()) == (2, False)
    assert "in a run folder" in inside.stderr
    folder = modbench("compare", *pair, "--html", tmp_path)
    assert "is a folder" in folder.stderr
    missing = modbench("compare", *pair, "--html", tmp_path / "no" / "such.html")
    assert missing.returncode == 2
    assert "Traceback" not in missing.stderr


@pytest.mark.parametrize("which", [0, 1])
def test_the_page_fits_its_window_and_says_nothing_to_the_console(
    which: int, opened: Callable[[Path], Any], pages: list[Path]
) -> None:
    with opened(pages[which]) as page:
        for width in (375, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("h1").count() == 1
        assert page.locator("[role=region]:not([tabindex])").count() == 0  # every table can be reached by keyboard
