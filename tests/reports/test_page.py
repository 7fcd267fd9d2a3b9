"""What a reader can do with the page, in a real Chromium: tips, tables, choices, downloads, printing; also without script."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
from chromium import opened
from playwright.sync_api import Browser, Page, expect
from present import present
from resealed import reseal, reseal_with

from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.html_report import render

pytestmark = pytest.mark.slow

METRICS = ["flops/forward", "latency/forward", "memory/peak_allocated", "loss/val", "bpb/val"]
TIMED: dict[str, Any] = {"metrics": METRICS[:2], "train": None, "processes": 3, "rounds": 2}
RECORD = "time-forward-T64-B1-fp32-cpu1-process"
TABLE = "#comparisons"
UNFOLD = "for (const each of document.querySelectorAll('details')) each.open = true"
# Which of axe's rules each theme is held against.
SCHEMES: tuple[tuple[Literal["light", "dark"], dict[str, Any]], ...] = (
    ("light", {}),
    ("dark", {"runOnly": ["color-contrast"]}),
)


@pytest.fixture(scope="module")
def planted_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run whose times are planted."""
    run = planted_run(tmp_path_factory.mktemp("page"), planted_plan("draft", metrics=METRICS, processes=3, rounds=2))
    return render.write(run).path / "report.html"


@pytest.fixture
def page(browser: Browser, planted_page: Path) -> Iterator[Page]:
    with opened(browser, planted_page) as made:
        yield made


def focused(page: Page, what: str) -> object:
    return page.evaluate(f"document.activeElement.{what}")


# --- tips


def test_a_mark_says_on_hover_what_it_stands_for(page: Page) -> None:
    mark = page.locator("svg[aria-label^='Peak memory'] .mark").nth(2)  # a bar, which no other mark covers
    mark.hover()
    tip, lit = page.locator("#tip"), page.locator(".mark.lit")
    assert (tip.inner_text(), tip.get_attribute("role")) == (mark.get_attribute("aria-label"), "tooltip")
    variant = mark.get_attribute("data-variant")
    assert {each.get_attribute("data-variant") for each in lit.all()} == {variant}
    assert page.locator("figure:has(.mark.lit)").count() > 1  # the same variant lights up in other figures
    box = present(tip.bounding_box())  # the pointer may move onto the tip without losing it
    page.mouse.move(box["x"] + 5, box["y"] + 5, steps=4)
    page.wait_for_timeout(250)
    assert tip.is_visible()
    page.keyboard.press("Escape")
    assert (tip.is_visible(), lit.count()) == (False, 0)


def test_axe_finds_nothing(browser: Browser, planted_page: Path) -> None:
    """axe-core with its default rules, everything unfolded and a tip shown; in the dark, what differs there."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with opened(browser, planted_page, color_scheme="light") as page:
        page.evaluate(UNFOLD)
        page.locator(f"{TABLE} td").nth(0).focus()
        # Rows, cards and marks are alike, and axe looks at each of them.
        alike = "tbody tr:nth-child(n + 3), .card:nth-of-type(n + 3)"
        page.evaluate("alike => { for (const each of document.querySelectorAll(alike)) each.remove(); }", alike)
        few = "found => found.forEach(each => [...each.querySelectorAll('.mark')].slice(2).forEach(mark => mark.remove()))"
        page.locator("figure").evaluate_all(few)
        for scheme, only in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            found = axe.Axe().run(page, options={"resultTypes": ["violations"], **only})
            assert found.violations_count == 0, (scheme, found.generate_report())


# --- tables


def test_cells_of_the_table_say_their_exact_values(page: Page, planted_page: Path) -> None:
    page.locator(f"{TABLE} td").first.focus()
    for key in (*["ArrowRight"] * 4, "ArrowDown"):
        page.keyboard.press(key)
    frame = pd.read_csv(planted_page.parent / "comparisons.csv")
    case = page.locator(f"{TABLE} tbody tr").nth(1).locator("td").first.inner_text()
    row = frame[(frame.case_id == case) & (frame.baseline_variant == "dense")].iloc[0]
    assert f"ratio = {float(row.ratio)!r}" in page.locator("#tip").inner_text()
    page.keyboard.press("Control+End")
    assert focused(page, "parentElement.rowIndex") == page.locator(f"{TABLE} tbody tr").count()
    page.fill("#filter", "dense-f0.58 latency")  # a filter never hides the one cell that Tab reaches
    assert page.locator(f'{TABLE} tr:visible td[tabindex="0"]').count() == 1


def rows_of(page: Page, table: str) -> pd.DataFrame:
    """What is downloaded of a table."""
    with page.expect_download() as download:
        page.click(f"button.csv[data-of={table}]")
    text = Path(str(download.value.path())).read_text(encoding="utf-8")
    head, *rows = csv.reader(io.StringIO(text))
    return pd.DataFrame(rows, columns=head)


def test_what_is_downloaded_holds_the_rows_of_the_csv(page: Page, planted_page: Path) -> None:
    """Of the table what the filter shows, and of the data of a figure the choice that is shown."""
    every = pd.read_csv(planted_page.parent / "comparisons.csv", dtype=str, keep_default_na=False)
    wanted = every[every.baseline_variant == "dense"].reset_index(drop=True)
    exact = ["case_id", "metric", "ratio", "difference", "ci_low", "ci_high", "mean_ratio", "verdict", "theoretical"]
    assert rows_of(page, "comparisons")[exact].equals(wanted[exact])
    page.fill("#filter", "moe latency/forward")
    assert {case.partition("[")[0] for case in rows_of(page, "comparisons").case_id} == {"moe"}
    page.get_by_label("same shape").first.check()
    page.locator("details.data:has(#data-map) > summary").click()
    columns = ["ratio", "ci_low", "theoretical", "verdict", "reason"]
    mine, theirs = (
        each[each.metric == "latency/forward"].set_index("case_id")[columns].sort_index()
        for each in (rows_of(page, "data-map"), wanted)
    )
    pd.testing.assert_frame_equal(mine, theirs)


def test_a_table_sorts_by_number(page: Page) -> None:
    """Empty cells stay last, whichever way."""
    for column, reverse in ((8, False), (8, True), (5, False), (5, True)):  # theoretical ratios, and ratios
        page.locator(f"{TABLE} th:nth-child({column}) button").click()
        cells = page.locator(f"{TABLE} td:nth-child({column})")
        shown = list(cells.evaluate_all("cells => cells.map(c => c.dataset.value)"))
        numbers = [float(value.split()[0]) for value in shown if value]
        assert len(set(numbers)) > 5
        assert numbers == sorted(numbers, reverse=reverse)
        assert shown[len(numbers) :] == [""] * (len(shown) - len(numbers))
        assert ("" in shown) == (column == 8)


def test_a_row_leads_to_its_case_and_its_raw_samples(page: Page, planted_page: Path) -> None:
    row = page.locator(f"{TABLE} tbody tr", has_text="latency/forward").first
    case = row.locator("td").first.inner_text()
    page.locator(f"{TABLE} td").first.focus()
    for _ in range(row.evaluate("each => each.rowIndex") - 1):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    section = page.locator("details.card[open]", has=page.locator("summary", has_text=case)).first
    expect(section.locator("summary").first).to_be_focused()  # which comes after the address has changed
    assert section.locator("svg circle").count() == 3 * 2 * 2  # processes, rounds, visits
    record = json.loads((planted_page.parent / "jobs" / f"{RECORD}0.json").read_text())
    (wall_s,) = (each["samples"]["wall_s"] for each in record["outcomes"] if each["case"] == case)
    shown = " ".join(section.locator(".raw td").all_inner_texts()[:2]).split()
    assert [float(text) for text in shown] == pytest.approx([1000 * value for value in wall_s], rel=1e-5)
    assert f"jobs/{RECORD}{{0..2}}.json" in section.inner_text()
    # What was open stays open for who is sent the address.
    assert page.url.endswith(f"#{section.locator(':scope > div').get_attribute('id')}")


HOSTILE = "</script><img src=x onerror=alert(1)>'\"&{{7*7}}"


@pytest.mark.usefixtures("undrawn")
def test_a_strangers_words_stay_text(tmp_path: Path, browser: Browser) -> None:
    """In tips, data of figures, sections of cases, cards and commands: a run folder is data."""
    run = planted_run(tmp_path, planted_plan("draft", **TIMED), fails="moe")
    reseal_with(run / "run.json", lambda body: body.update(command=["modbench", "run", HOSTILE]))
    for file in (run / "jobs").glob("time-*.json"):
        reseal(file, json.loads(file.read_text().replace("planted failure", json.dumps(HOSTILE)[1:-1])))
    render.write(run)
    with opened(browser, run / "report.html") as page:
        page.evaluate(UNFOLD)
        assert page.locator("img").count() == 0
        assert page.locator("details.card code", has_text="onerror").count() > 3
        assert HOSTILE in page.locator("#data-map").inner_text()
        page.locator(f"{TABLE} td").first.focus()
        page.keyboard.press("Control+End")
        for _ in range(40):  # up to a row that failed
            if "onerror" in str(page.locator("#tip").text_content()):
                break
            page.keyboard.press("ArrowUp")
        assert HOSTILE in str(page.locator("#tip").text_content())


# --- choices


# The sections in which a reader chooses what ratios are taken to, and the figures of each choice.
CHOOSES = ".panel:has([data-group='against'])"
COST = ["Speed-up over the matched baseline by variant and sequence length"]
SHAPE = ["Speed-up over dense by variant and sequence length"]
OVER_COST = "MoD 0.125 at T = 128 against dense, 58 % of the FLOPs"
OVER_SHAPE = "MoD 0.125 at T = 128 against dense of the same shape"


def compared(page: Page) -> tuple[list[str], list[str]]:
    """What the tiles that are shown compare, and the labels of the figures that are."""
    labels = [each.get_attribute("aria-label") for each in page.locator(f"{CHOOSES} figure > div > svg:visible").all()]
    tiles = page.locator(".set:visible .compared").all_inner_texts()
    return tiles, [str(label).partition(" with its interval")[0] for label in labels]


def test_a_choice_holds_in_every_section_and_in_the_address(page: Page, browser: Browser, planted_page: Path) -> None:
    assert page.locator(CHOOSES).count() == 2  # tiles, map
    assert compared(page) == ([OVER_COST], COST)
    # Keys alone: an arrow moves from one choice to the next, in a group that is one stop of Tab and has a name.
    group = page.locator(".panel:has(figure) [role='radiogroup']").first
    assert group.get_attribute("aria-label") == "Against"
    group.locator("input:checked").focus()
    page.keyboard.press("ArrowRight")
    assert compared(page) == ([OVER_SHAPE], SHAPE)
    # A variant without a matched baseline is shown whatever is chosen.
    for choice in ("matched", "same shape"):
        page.get_by_label(choice).first.check()
        page.get_by_label("MoE", exact=True).check()
        assert compared(page)[0] == ["MoE at T = 128 against dense of the same shape"]
        page.get_by_label("MoD 0.125", exact=True).check()
    with opened(browser, planted_page) as other:
        other.goto("about:blank")
        other.goto(page.url)
        assert compared(other) == ([OVER_SHAPE], SHAPE)


def test_it_reads_without_script(browser: Browser, planted_page: Path) -> None:
    with opened(browser, planted_page, java_script_enabled=False) as page:
        assert page.locator(f"{TABLE} tbody tr:visible").count() > 20
        assert compared(page) == ([OVER_COST], COST)
        # Each section chooses for itself; nothing is shown that does nothing.
        page.locator(".panel:has(.tiles)").get_by_label("same shape").check()
        assert compared(page) == ([OVER_SHAPE], COST)
        assert page.locator("button.csv:visible").count() == 0
        page.locator(".panel:has(#data-map)").get_by_label("same shape").check()
        page.locator("details.data:has(#data-map) > summary").click()
        assert page.locator("#data-map tbody tr:visible").count() > 5
        page.locator(f"{TABLE} a").nth(2).click()  # the browser itself unfolds what an address names
        assert page.locator("#case-3 table tbody tr:visible").count() > 2


# --- paper
