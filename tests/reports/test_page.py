"""The page in a real headless Chromium: it opens from a file, logs nothing to the console and requests nothing."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import launched, opened
from PIL import Image, ImageColor
from playwright.sync_api import Browser, Page
from screens import shoot

from modbench.harness.core.labels import Label


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as made:
        yield made


@pytest.fixture
def page(browser: Browser, tiny_run: Path) -> Iterator[Page]:
    with opened(browser, tiny_run / "report.html") as made:
        yield made


SETTINGS = "Which settings are worth considering?"


def test_title_asks_the_question_and_panels_are_there(page: Page) -> None:
    assert page.title().startswith("Does skipping ")
    headings = page.locator("h2").all_inner_texts()
    told_apart = SETTINGS in headings  # on a busy machine no setting may be
    expected = [
        "The answer",
        "At a glance",
        "From which length on does each arm pay?",
        "What stands behind the answer?",
        "Where does it pay? Speed-up by capacity and length",
        "What does it cost in loss?",
        "What would a dense model of the same loss cost?",
        *([SETTINGS] * told_apart),
        "What failed",
        "What should you doubt?",
        "Did FLOPs become milliseconds?",
        "How much memory does it take?",
        "Where does the promised gain go?",
        "How sure is each speed-up?",
        "How busy is the machine?",
        "How did they learn?",
        "All comparisons",
        "Every case",
        "How well was it measured?",
        "How sure are the FLOPs?",
        "Machine and method",
    ]
    assert headings == expected
    assert page.locator("figure svg").count() == 18 or not told_apart
    assert "GPU" not in page.locator(".badges").inner_text()  # none was asked for
    assert page.locator("dl.machine dt").count() >= 12


READERS = ("mod[c0.25]", "mod[c0.5]", "moe", "mine:peek")
CAUSAL = ("dense", "mine:build")


def test_a_model_that_reads_the_future_wears_its_label(tiny_run: Path) -> None:
    """A shipped and a user's model, in both tables and in the terminal; other models have no label."""
    cases, pairs = (pd.read_csv(tiny_run / f"{name}.csv") for name in ("cases", "comparisons"))
    losses = cases[(cases.metric == "loss/val") & (cases.status == "ok")].set_index("arm").labels.fillna("")
    assert all(Label.NOT_AUTOREGRESSIVE in losses[arm] for arm in READERS)
    assert not any(Label.NOT_AUTOREGRESSIVE in losses[arm] for arm in CAUSAL)
    beside = pairs[(pairs.metric == "bpb/val") & (pairs.baseline_arm == "dense")].set_index("arm").labels.fillna("")
    assert all(Label.NOT_AUTOREGRESSIVE in beside[arm] for arm in READERS)
    against = pairs[(pairs.metric == "bpb/val") & (pairs.arm == "mine:build") & (pairs.baseline_arm == "moe")]
    assert against.baseline_labels.str.contains(Label.NOT_AUTOREGRESSIVE).all()
    said = (tiny_run.parent / "stdout").read_text().splitlines()
    assert any("†" in line for line in said if line.startswith("mine:peek"))
    assert not any("†" in line for line in said if line.startswith("mine:build"))


def test_table_sorts_by_number_and_keeps_empty_cells_last(page: Page) -> None:
    column = 5  # Ratio
    head = page.locator(f"#comparisons th:nth-child({column}) button")
    cells = f"#comparisons td:nth-child({column})"

    def values() -> list[str]:
        return page.eval_on_selector_all(cells, "cells => cells.map(c => c.dataset.value)")  # type: ignore[no-any-return]

    for reverse in (False, True):
        head.click()
        shown = values()
        numbers = [float(v.split()[0]) for v in shown if v]
        assert numbers == sorted(numbers, reverse=reverse)
        assert shown[len(numbers) :] == [""] * (len(shown) - len(numbers))
        assert len(set(numbers)) > 10


@pytest.mark.proof  # test_page_tools.py has chips, tiles and the address in CI
def test_chips_aim_the_tiles_and_the_address_keeps_it(page: Page, tiny_run: Path) -> None:
    visible = page.locator(".set:visible")
    assert visible.count() == 1
    assert visible.get_attribute("data-arm") == "mod[c0.25]"
    assert visible.get_attribute("data-length") == "32"
    page.check("input[data-group='arm'][value='moe']")
    page.check("input[data-group='length'][value='16']")
    assert visible.get_attribute("data-arm") == "moe"
    frame = pd.read_csv(tiny_run / "comparisons.csv")
    row = frame[(frame.arm == "moe") & (frame.metric == "memory/peak_allocated") & (frame.seq_len == 16)].iloc[0]
    tile = visible.locator(".tile", has_text="Peak memory").locator(".big").inner_text()
    assert float(tile.removesuffix("×")) == pytest.approx(row.ratio, rel=0.005)
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert page.locator(".set:visible").get_attribute("data-arm") == "moe"


def test_a_table_shows_at_which_edge_there_is_more(browser: Browser, tiny_run: Path) -> None:
    """On a phone: a shade at the edge beyond which columns lie, none where the table ends."""
    with opened(browser, tiny_run / "report.html", width=375, color_scheme="light") as page:
        table = page.locator(".scroll:has(#comparisons)")
        page.locator("details:has(#comparisons)").evaluate_all("found => found.forEach(each => { each.open = true; })")
        page.locator("#comparisons tbody tr:nth-child(n + 20)").evaluate_all(
            "found => found.forEach(each => each.remove())"
        )

        def shaded() -> list[bool]:
            """Whether most of the leftmost and of the rightmost pixels are not of the colour of the paper, nor nearly."""
            paper = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()")
            picture = np.asarray(Image.open(io.BytesIO(table.screenshot())).convert("RGB"), dtype=int)
            apart = [np.median(np.abs(picture[:, x] - ImageColor.getrgb(paper)).max(axis=1)) for x in (2, -3)]
            return [bool(each > 12) for each in apart]

        assert page.locator("#comparisons").evaluate("each => each.offsetWidth") > 375
        assert shaded() == [False, True]
        page.emulate_media(color_scheme="dark")
        assert shaded() == [False, True]
        table.evaluate("each => { each.scrollLeft = 1e6; }")
        assert shaded() == [True, False]
        page.emulate_media(color_scheme="light")
        assert shaded() == [True, False]


@pytest.mark.proof  # of a tool for those who change the page
def test_six_pictures(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>a page")
    made = shoot(browser, tmp_path / "page.html", tmp_path)
    assert len(made) == 6
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)


def test_the_page_is_one_small_file_without_addresses(tiny_run: Path) -> None:
    text = (tiny_run / "report.html").read_text()
    assert len(text) < 3e6
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert "http://www.w3.org" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    # All sentinel colours are replaced: one that remained would not follow the dark theme.
    assert not re.search(r"#010[2-6]\d\d|#020[3-5]\d\d", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
