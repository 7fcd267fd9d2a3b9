"""The page in a real headless Chromium: it opens from a file, logs nothing to the console and requests nothing."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageColor

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None and os.environ.get("CI"):
    pytest.fail("no Chromium in CI: the browser tests must run there", pytrace=False)
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: install it to run the browser tests", allow_module_level=True)

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402  # only where there is a browser
from screens import CHROMIUM_FLAGS, WIDTHS, shoot  # noqa: E402  # as above

from modbench.harness.core.labels import Label  # noqa: E402  # as above
from modbench.reports.tables.load import load  # noqa: E402  # as above
from modbench.reports.terminal import summary  # noqa: E402  # as above


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield launched
        launched.close()


class Opened:
    """A page with its console messages, errors and requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))


@pytest.fixture
def opened(browser: Browser, tiny_run: Path) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True)
    made = Opened(context.new_page())
    made.page.goto((tiny_run / "report.html").resolve().as_uri())
    yield made
    assert made.complaints == []
    # The page itself and its empty icon; nothing else is requested.
    assert {url.partition("#")[0] for url in made.requests if not url.startswith("data:")} <= {
        *("about:blank", (tiny_run / "report.html").resolve().as_uri())
    }
    context.close()


SETTINGS = "Which settings are worth considering?"


def test_title_asks_the_question_and_panels_are_there(opened: Opened) -> None:
    assert opened.page.title().startswith("Does skipping ")
    headings = opened.page.locator("h2").all_inner_texts()
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
    assert opened.page.locator("figure svg").count() == 15 or not told_apart
    assert "GPU: not measured" in opened.page.locator(".badges").inner_text()
    assert opened.page.locator("dl.machine dt").count() >= 12


def test_table_holds_every_comparison(opened: Opened, tiny_run: Path) -> None:
    every = pd.read_csv(tiny_run / "comparisons.csv")
    frame = every[every.baseline_arm == "dense"]
    assert len(every) > len(frame)  # the file has all other pairs too
    rows = opened.page.locator("#comparisons tbody tr")
    assert rows.count() == len(frame)
    row = frame[(frame.arm == "mod[c0.25]") & (frame.metric == "flops/forward")].iloc[0]
    text = opened.page.locator("#comparisons tbody tr", has_text=row.case_id).first.inner_text()
    assert f"{row.ratio:.2f}×" in text


READERS = ("mod[c0.25]", "mod[c0.5]", "moe", "mine:peek")
CAUSAL = ("dense", "mine:build")


def test_a_model_that_reads_the_future_wears_its_label_in_every_output(opened: Opened, tiny_run: Path) -> None:
    """A shipped and a user's model, in both tables, on the page and in the terminal; other models have no label."""
    cases, pairs = (pd.read_csv(tiny_run / f"{name}.csv") for name in ("cases", "comparisons"))
    losses = cases[(cases.metric == "loss/val") & (cases.status == "ok")].set_index("arm").labels.fillna("")
    assert all(Label.NOT_AUTOREGRESSIVE in losses[arm] for arm in READERS)
    assert not any(Label.NOT_AUTOREGRESSIVE in losses[arm] for arm in CAUSAL)
    beside = pairs[(pairs.metric == "bpb/val") & (pairs.baseline_arm == "dense")].set_index("arm").labels.fillna("")
    assert all(Label.NOT_AUTOREGRESSIVE in beside[arm] for arm in READERS)
    against = pairs[(pairs.metric == "bpb/val") & (pairs.arm == "mine:build") & (pairs.baseline_arm == "moe")]
    assert against.baseline_labels.str.contains(Label.NOT_AUTOREGRESSIVE).all()
    said = (tiny_run.parent / "stdout").read_text()
    assert f"{Label.NOT_AUTOREGRESSIVE.capitalize()}: " in " ".join(said.partition("\ndoubt: ")[2].split())
    every = " ".join(summary.closing(load(tiny_run), "page", None, verbose=True).split())
    every = every.partition("What to doubt: ")[2]
    readers = every.partition(f"{Label.NOT_AUTOREGRESSIVE.capitalize()}: ")[2].partition(". ")[0]
    assert "mine:peek" in readers
    assert "mine:build" not in readers
    assert any("†" in line for line in said.splitlines() if line.startswith("mine:peek"))
    assert not any("†" in line for line in said.splitlines() if line.startswith("mine:build"))
    assert f"† {Label.NOT_AUTOREGRESSIVE}" in said
    doubts = opened.page.locator(
        ".panel", has=opened.page.locator("h2", has_text="What should you doubt?")
    ).inner_text()
    assert Label.NOT_AUTOREGRESSIVE in doubts
    assert "mine:peek" in doubts


def test_table_sorts_by_number_and_keeps_empty_cells_last(opened: Opened) -> None:
    column = 5  # Ratio
    head = opened.page.locator(f"#comparisons th:nth-child({column}) button")
    cells = f"#comparisons td:nth-child({column})"

    def values() -> list[str]:
        return opened.page.eval_on_selector_all(cells, "cells => cells.map(c => c.dataset.value)")  # type: ignore[no-any-return]

    for reverse in (False, True):
        head.click()
        shown = values()
        numbers = [float(v.split()[0]) for v in shown if v]
        assert numbers == sorted(numbers, reverse=reverse)
        assert shown[len(numbers) :] == [""] * (len(shown) - len(numbers))
        assert len(set(numbers)) > 10


def test_table_filters_by_words(opened: Opened) -> None:
    opened.page.fill("#filter", "mod[c0.25 train_step T32")
    shown = opened.page.locator("#comparisons tbody tr:visible")
    assert shown.count() == 2  # FLOPs and latency
    assert opened.page.locator("#shown").inner_text().startswith("2 of ")


def test_chips_aim_the_tiles_and_the_address_keeps_it(opened: Opened, tiny_run: Path) -> None:
    visible = opened.page.locator(".tiles:visible")
    assert visible.count() == 1
    assert visible.get_attribute("data-arm") == "mod[c0.25]"
    assert visible.get_attribute("data-length") == "32"
    opened.page.click("button[data-value='moe']")
    opened.page.click("button[data-group='length'][data-value='16']")
    assert visible.get_attribute("data-arm") == "moe"
    frame = pd.read_csv(tiny_run / "comparisons.csv")
    row = frame[(frame.arm == "moe") & (frame.metric == "memory/peak_allocated") & (frame.seq_len == 16)].iloc[0]
    tile = visible.locator(".tile", has_text="Peak memory").locator(".big").inner_text()
    assert float(tile.removesuffix("×")) == pytest.approx(row.ratio, rel=0.005)
    address = opened.page.url
    opened.page.goto("about:blank")
    opened.page.goto(address)
    assert opened.page.locator(".tiles:visible").get_attribute("data-arm") == "moe"


def test_a_users_words_are_shown_as_text(opened: Opened) -> None:
    """The text of a user's exception is escaped, not run."""
    failed = opened.page.locator(".panel", has=opened.page.locator("h2", has_text="What failed"))
    assert "the <b>user</b> wrote this" in failed.inner_text()
    assert failed.locator("b").count() == 0


def test_reads_without_script(browser: Browser, tiny_run: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tiny_run / "report.html").resolve().as_uri())
    assert page.locator(".tiles:visible").count() == 1
    assert page.locator("#comparisons tbody tr:visible").count() > 50
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_hangs_over_the_edge(width: int, browser: Browser, tiny_run: Path) -> None:
    """No horizontal scroll of the page at any width; tables scroll inside their own frame."""
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto((tiny_run / "report.html").resolve().as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_shows_at_which_edge_there_is_more(scheme: str, browser: Browser, tiny_run: Path) -> None:
    """On a phone: a shade at the edge beyond which columns lie, none where the table ends."""
    context = browser.new_context(viewport={"width": 375, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    page = context.new_page()
    page.goto((tiny_run / "report.html").resolve().as_uri())
    table = page.locator(".scroll:has(#comparisons)")
    page.locator("details:has(#comparisons)").evaluate_all("found => found.forEach(each => { each.open = true; })")

    paper = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()")

    def shaded() -> list[bool]:
        """Whether most of the leftmost and of the rightmost pixels are not of the colour of the paper, nor nearly."""
        picture = np.asarray(Image.open(io.BytesIO(table.screenshot())).convert("RGB"), dtype=int)
        apart = [np.median(np.abs(picture[:, x] - ImageColor.getrgb(paper)).max(axis=1)) for x in (2, -3)]
        return [bool(each > 12) for each in apart]

    assert page.locator("#comparisons").evaluate("each => each.offsetWidth") > 375
    assert shaded() == [False, True]
    table.evaluate("each => { each.scrollLeft = 1e6; }")
    assert shaded() == [True, False]
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(scheme: str, browser: Browser, tiny_run: Path) -> None:
    """WCAG 2.2 AA: at least 4.5 to 1 for body and caption colours on their background, and for every map cell."""
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    page = context.new_page()
    page.goto((tiny_run / "report.html").resolve().as_uri())
    pairs = [("--ink", "--paper"), ("--muted", "--paper"), ("--muted", "--ground"), ("--accent", "--paper")]
    pairs += [("--warn", "--warn-ground"), ("--warn", "--paper")]
    pairs += [(f"--map-ink-{i}", f"--map-{i}") for i in range(9)]
    for front, back in pairs:
        colors = page.evaluate(
            "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue(n).trim())",
            [front, back],
        )
        light, dark = sorted((luminance(color) for color in colors), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, back, colors)
    context.close()


def luminance(color: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_six_pictures(browser: Browser, tiny_run: Path, tmp_path: Path) -> None:
    made = shoot(browser, tiny_run / "report.html", tmp_path)
    assert len(made) == 6
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)


def test_the_page_is_one_small_file_without_addresses(tiny_run: Path) -> None:
    import re

    text = (tiny_run / "report.html").read_text()
    assert len(text) < 3e6
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert "http://www.w3.org" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    # All sentinel colours are replaced: one that remained would not follow the dark theme.
    assert not re.search(r"#010[2-6]\d\d|#020[3-5]\d\d", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
