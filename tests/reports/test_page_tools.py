"""What a reader can do with pages, in a real Chromium: tips, keys, downloads, printing; also without script."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from chromium import opened
from PIL import Image, ImageColor
from playwright.sync_api import Browser, Page, expect
from present import present
from resealed import reseal, reseal_with
from screens import shoot

from modbench.planted_runs import planted_plan, planted_run
from modbench.reports import demo
from modbench.reports.html_report import render
from modbench.reports.markup import html
from modbench.reports.sections import numbers
from modbench.reports.tables.load import load

pytestmark = pytest.mark.slow

METRICS = ["flops/forward", "latency/forward", "memory/peak_allocated", "loss/val", "bpb/val"]
WIDTHS = (375, 1280, 1920)
TABLE = "#comparisons"
# Which of axe's rules each theme is held against.
SCHEMES: tuple[tuple[Literal["light", "dark"], dict[str, Any]], ...] = (
    ("light", {}),
    ("dark", {"runOnly": ["color-contrast"]}),
)


@pytest.fixture(scope="module")
def planted_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run whose times are planted."""
    here = tmp_path_factory.mktemp("page")
    return (
        render.write(planted_run(here, planted_plan("draft", metrics=METRICS, processes=3, rounds=2))).path
        / "report.html"
    )


@pytest.fixture
def page(browser: Browser, planted_page: Path) -> Iterator[Page]:
    with opened(browser, planted_page) as made:
        yield made


def focused(page: Page, what: str) -> object:
    return page.evaluate(f"document.activeElement.{what}")


def test_a_mark_says_on_hover_what_it_stands_for(page: Page) -> None:
    assert page.locator("figure svg .mark").count() > 10
    mark = page.locator("svg[aria-label^='Peak memory'] .mark").nth(2)  # a bar, which no other mark covers
    mark.hover()
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert tip.inner_text() == mark.get_attribute("aria-label")
    assert tip.get_attribute("role") == "tooltip"
    variant = mark.get_attribute("data-variant")
    lit = page.locator(".mark.lit")
    assert {each.get_attribute("data-variant") for each in lit.all()} == {variant}
    figures = page.locator("figure:has(.mark.lit)").count()
    assert figures > 1  # the same variant lights up in other figures
    # The pointer may move onto the tip without losing it.
    box: Any = tip.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5, steps=4)
    page.wait_for_timeout(250)
    assert tip.is_visible()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    assert lit.count() == 0


# Presses the right arrow so many times, in the page itself; returns the labels of what had the focus, and what the tip said.
WALKED = """presses => {
    const visited = [], told = [];
    for (let pressed = 0; pressed <= presses; pressed++) {
        if (pressed) {
            const press = new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true, cancelable: true});
            document.activeElement.dispatchEvent(press);
        }
        visited.push(document.activeElement.getAttribute("aria-label"));
        told.push(document.getElementById("tip").textContent);
    }
    return [visited, told];
}"""


def test_arrow_keys_visit_every_mark_of_a_figure(page: Page) -> None:
    for figure in page.locator("figure:has(.mark):visible").all()[:4]:  # one script walks them all
        labels = sorted(figure.locator(".mark").evaluate_all("found => found.map(each => each.ariaLabel)"))
        assert figure.locator('.mark[tabindex="0"]').count() == 1
        figure.locator('.mark[tabindex="0"]').focus()
        visited, told = page.evaluate(WALKED, len(labels) - 1)
        assert told == visited
        assert sorted(visited) == labels
        page.keyboard.press("ArrowRight")  # there is no further one
        assert focused(page, "getAttribute('aria-label')") == visited[-1]
        page.keyboard.press("Home")
        assert focused(page, "getAttribute('aria-label')") == visited[0]
        assert figure.locator('.mark[tabindex="0"]').count() == 1
        page.keyboard.press("Escape")
        assert not page.locator("#tip").is_visible()
        assert focused(page, "getAttribute('aria-label')") == visited[0]  # the focus stays


def test_cells_of_the_table_say_their_exact_values(page: Page, planted_page: Path) -> None:
    page.locator("#comparisons td").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    cell = page.locator("#comparisons tbody tr").nth(1).locator("td").nth(4)
    assert cell.get_attribute("aria-describedby") == "tip"
    frame = pd.read_csv(planted_page.parent / "comparisons.csv")
    case = page.locator("#comparisons tbody tr").nth(1).locator("td").first.inner_text()
    row = frame[(frame.case_id == case) & (frame.baseline_variant == "dense")].iloc[0]
    assert f"ratio = {row.ratio!r}".replace("np.float64(", "").replace(")", "") in page.locator("#tip").inner_text()
    page.keyboard.press("Control+End")
    assert focused(page, "parentElement.rowIndex") == page.locator("#comparisons tbody tr").count()
    # A filter never hides the one cell that Tab reaches.
    page.fill("#filter", "dense-f0.58 latency")
    assert page.locator('#comparisons tr:visible td[tabindex="0"]').count() == 1


def rows_of(page: Page, button: str) -> list[list[str]]:
    with page.expect_download() as download:
        page.click(button)
    text = Path(str(download.value.path())).read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(text)))


def test_what_is_downloaded_holds_the_rows_of_the_csv(page: Page, planted_page: Path) -> None:
    """Of the table, and of the data of a figure, the choice that is shown."""
    head, *rows = rows_of(page, "button.csv[data-of=comparisons]")
    got = pd.DataFrame(rows, columns=head)
    every = pd.read_csv(planted_page.parent / "comparisons.csv", dtype=str, keep_default_na=False)
    wanted = every[every.baseline_variant == "dense"].reset_index(drop=True)
    exact = [
        "case_id",
        "metric",
        "ratio",
        "difference",
        "ci_low",
        "ci_high",
        "mean_ratio",
        "verdict",
        "theoretical",
        "detectable",
    ]
    assert got[exact].equals(wanted[exact])
    assert len(got) > 20
    # What the filter hides is not downloaded.
    page.fill("#filter", "moe latency/forward")
    assert {row[0].partition("[")[0] for row in rows_of(page, "button.csv[data-of=comparisons]")[1:]} == {"moe"}
    page.get_by_label("same shape").first.check()
    page.locator("details.data:has(#data-map) > summary").click()
    head, *rows = rows_of(page, "button.csv[data-of=data-map]")
    drawn = pd.DataFrame(rows, columns=head)
    for column in ("ratio", "ci_low", "theoretical", "verdict", "reason"):
        mine, theirs = (each[each.metric == "latency/forward"].set_index("case_id") for each in (drawn, wanted))
        assert mine[column].to_dict() == theirs[column].to_dict(), column


def test_a_cell_and_its_row_are_copied(browser: Browser, planted_page: Path) -> None:
    with opened(browser, planted_page, permissions=["clipboard-read", "clipboard-write"]) as page:
        assert not page.locator("#chosen").is_visible()
        row = page.locator("#comparisons tbody tr", has_text="latency/forward").first

        def copied(way: str) -> str:
            row.locator("td").nth(4).click()
            page.get_by_role("button", name=way).click()
            return str(page.evaluate("navigator.clipboard.readText()"))

        number = present(row.locator("td").nth(4).get_attribute("data-value"))
        assert copied("Copy number") == number
        float(number.split()[0])
        text = copied("Copy row as CSV")
        assert next(csv.reader([text]))[0] == row.locator("td").first.inner_text()
        assert number.split()[0] in text
        text = copied("Copy row as LaTeX")
        assert text.endswith(r"\\")
        assert text.count("&") == row.locator("td").count() - 1
        assert "×" not in text
        assert r"$\times$" in text


def test_a_table_sorts_by_number_and_the_address_keeps_it(page: Page, browser: Browser, planted_page: Path) -> None:
    """Empty cells stay last, whichever way; who is sent the address sees the same order, and the same filter."""

    def values(here: Page, column: int) -> list[str]:
        cells = f"{TABLE} td:nth-child({column})"
        return here.eval_on_selector_all(cells, "cells => cells.map(c => c.dataset.value)")  # type: ignore[no-any-return]

    for column, reverse in ((8, False), (8, True), (5, False), (5, True)):  # theoretical ratios, and ratios
        page.locator(f"{TABLE} th:nth-child({column}) button").click()
        shown = values(page, column)
        numbers = [float(v.split()[0]) for v in shown if v]
        assert numbers == sorted(numbers, reverse=reverse)
        assert shown[len(numbers) :] == [""] * (len(shown) - len(numbers))
        assert ("" in shown) == (column == 8)
        assert len(set(numbers)) > 5
    page.fill("#filter", "moe")
    with opened(browser, planted_page) as other:
        other.goto("about:blank")
        other.goto(page.url)
        assert other.input_value("#filter") == "moe"
        assert other.locator(f"{TABLE} th:nth-child(5)").get_attribute("aria-sort") == "descending"
        assert values(other, 5) == shown


def test_a_table_shows_at_which_edge_there_is_more(browser: Browser, planted_page: Path) -> None:
    """On a phone: a shade at the edge beyond which columns lie, none where the table ends."""
    with opened(browser, planted_page, width=375, color_scheme="light") as page:
        table = page.locator(f".scroll:has({TABLE})")
        page.locator(f"details:has({TABLE})").evaluate_all("found => found.forEach(each => { each.open = true; })")
        page.locator(f"{TABLE} tbody tr:nth-child(n + 20)").evaluate_all(
            "found => found.forEach(each => each.remove())"
        )

        def shaded() -> list[bool]:
            """Whether most of the leftmost and of the rightmost pixels are not of the colour of the paper, nor nearly."""
            paper = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()")
            picture = np.asarray(Image.open(io.BytesIO(table.screenshot())).convert("RGB"), dtype=int)
            apart = [np.median(np.abs(picture[:, x] - ImageColor.getrgb(paper)).max(axis=1)) for x in (2, -3)]
            return [bool(each > 12) for each in apart]

        assert page.locator(TABLE).evaluate("each => each.offsetWidth") > 375
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            table.evaluate("each => { each.scrollLeft = 0; }")
            assert shaded() == [False, True]
            table.evaluate("each => { each.scrollLeft = 1e6; }")
            assert shaded() == [True, False]


def reachable(page: Page) -> list[str]:
    """What Tab reaches, from the top of the page until it leaves it."""
    found = []
    page.evaluate("document.activeElement.blur()")
    for _ in range(400):
        page.keyboard.press("Tab")
        mark = page.evaluate(
            """() => { const here = document.activeElement; if (!here || here === document.body) return null;
            if (here.dataset.seen) return "again"; here.dataset.seen = 1;
            const box = here.getBoundingClientRect(), style = getComputedStyle(here);
            return [here.tagName, style.outlineStyle, box.width > 0].join(" "); }"""
        )
        if mark is None or mark == "again":
            break
        found.append(mark)
    return found


def test_keys_alone_reach_everything(page: Page) -> None:
    stops = reachable(page)
    assert stops[0].startswith("A ")  # the skip link comes first
    assert all(stop.split()[1] != "none" for stop in stops if not stop.startswith("MAIN")), stops  # a visible focus
    missed = page.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")]
        .filter((each) => !each.matches("[type='radio']:not(:checked)")) // arrow keys lead from the checked one to these
        .filter((each) => each.checkVisibility() && each.tabIndex >= 0 && !each.dataset.seen)
        .map((each) => each.outerHTML.slice(0, 90))"""
    )
    assert missed == []
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert focused(page, "id") == "content"  # past the strip


def test_axe_finds_nothing(browser: Browser, planted_page: Path) -> None:
    """axe-core with its default rules, everything unfolded and a tip shown; in the dark, what differs there."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with opened(browser, planted_page, color_scheme="light") as page:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        page.locator("#comparisons td").nth(0).focus()
        assert page.locator("#tip").is_visible()
        # Rows, cards and marks are alike, and axe looks at each of them.
        alike = "tbody tr:nth-child(n + 3), .card:nth-of-type(n + 3)"
        page.evaluate("alike => { for (const each of document.querySelectorAll(alike)) each.remove(); }", alike)
        few = "found => found.forEach(each => [...each.querySelectorAll('.mark')].slice(2).forEach(mark => mark.remove()))"
        page.locator("figure").evaluate_all(few)
        for scheme, only in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            found = axe.Axe().run(page, options={"resultTypes": ["violations"], **only})
            assert found.violations_count == 0, (scheme, found.generate_report())


def too_wide(page: Page) -> list[str]:
    """Cells of tables whose text reaches into the next cell."""
    found: list[str] = page.locator("td:visible, th:visible").evaluate_all(
        """found => found.filter((cell) => {
            const range = document.createRange();
            range.selectNodeContents(cell);
            const text = range.getBoundingClientRect(), own = cell.getBoundingClientRect();
            const outside = text.right > own.right + 1 || text.left < own.left - 1;
            return text.width && outside && getComputedStyle(cell).overflow !== "hidden";
        }).map((cell) => cell.textContent.trim().slice(0, 60))"""
    )
    return found


def test_captions_have_two_lines_and_nothing_hangs_over_the_edge_when_unfolded(page: Page) -> None:
    for caption in page.locator("main figcaption").all():
        lines = caption.evaluate(
            "made => made.getBoundingClientRect().height / parseFloat(getComputedStyle(made).lineHeight)"
        )
        assert lines <= 2.2, caption.inner_text()
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert too_wide(page) == []
        page.locator("#comparisons td").first.focus()
        box = present(page.locator("#tip").bounding_box())
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        page.evaluate("document.activeElement.blur()")


def test_a_row_leads_to_its_case_and_its_raw_samples(page: Page, planted_page: Path) -> None:
    row = page.locator("#comparisons tbody tr", has_text="latency/forward").first
    case = row.locator("td").first.inner_text()
    page.locator("#comparisons td").first.focus()
    for _ in range(row.evaluate("each => each.rowIndex") - 1):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    section = page.locator("details.card[open]", has=page.locator("summary", has_text=case)).first
    expect(section.locator("summary").first).to_be_focused()  # which comes after the address has changed
    assert section.locator("svg circle").count() == 3 * 2 * 2  # processes, rounds, visits
    # The numbers drawn are those in the records.
    shown = section.locator(".raw td").all_inner_texts()
    record = json.loads((planted_page.parent / "jobs" / "time-forward-T64-B1-fp32-cpu1-process0.json").read_text())
    outcome = next(each for each in record["outcomes"] if each["case"] == case)
    wall = [float(f"{1000 * value:.6g}") for value in outcome["samples"]["wall_s"]]
    assert [float(text) for cell in shown[:2] for text in cell.split()] == pytest.approx(wall, rel=1e-5)
    assert "jobs/time-forward-T64-B1-fp32-cpu1-process{0..2}.json" in section.inner_text()
    assert "not started by" in section.inner_text()  # planted records have no command
    # What was open stays open for who is sent the address.
    assert page.url.endswith(f"#{section.locator(':scope > div').get_attribute('id')}")


@pytest.mark.usefixtures("undrawn")
def test_too_many_samples_are_named_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "MOST_SAMPLES", 10)
    monkeypatch.setattr(numbers, "MOST_CASES", 5)
    monkeypatch.setattr(numbers, "SOME_CASES", 3)
    monkeypatch.setattr(html, "MOST_CELLS", 20)
    made = planted_plan("draft", metrics=["flops/forward", "latency/forward"], train=None, processes=3, rounds=2)
    text = render.html(load(planted_run(tmp_path, made)))
    assert 'id="samples"' not in text
    assert text.count('<details class="card"><summary><code>') == 3
    assert f"{len(made.cases) - 3} further cases" in text
    assert "<code>modbench figure RUN map</code>" in text
    assert 'id="data-map"' not in text
    assert "jobs/time-forward-T64-B1-fp32-cpu1-process{0..2}.json" in text


HOSTILE = "</script><img src=x onerror=alert(1)>'\"&{{7*7}}"


@pytest.mark.usefixtures("undrawn")
def test_a_strangers_words_stay_text(tmp_path: Path, browser: Browser) -> None:
    """In tips, data of figures, sections of cases, cards and commands: a run folder is data."""
    made = planted_plan("draft", metrics=["flops/forward", "latency/forward"], train=None, processes=3, rounds=2)
    run = planted_run(tmp_path, made)
    reseal_with(run / "run.json", lambda body: body.update(command=["modbench", "run", HOSTILE]))
    for file in (run / "jobs").glob("time-*.json"):
        record = json.loads(file.read_text())
        for outcome in record["outcomes"]:
            if outcome["case"].startswith("moe"):
                outcome.update(status="failed", kind="error", reason=HOSTILE, samples={}, notes={})
        reseal(file, record)
    render.write(run)
    with opened(browser, run / "report.html") as page:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        assert page.locator("img").count() == 0
        assert page.locator("details.card code", has_text="onerror").count() > 3
        assert HOSTILE in page.locator("#data-map").inner_text()
        page.locator("#comparisons td").first.focus()
        page.keyboard.press("Control+End")
        for _ in range(40):  # up to a row that failed
            if "onerror" in str(page.locator("#tip").text_content()):
                break
            page.keyboard.press("ArrowUp")
        assert HOSTILE in str(page.locator("#tip").text_content())


# The sections in which a reader chooses what ratios are taken to, and the figures of each choice.
CHOOSES = ".panel:has([data-group='against'])"
COST = ["Speed-up over the matched baseline by variant and sequence length"]
SHAPE = ["Speed-up over dense by variant and sequence length"]


def compared(page: Page) -> list[str]:
    """What the tiles that are shown compare."""
    return page.locator(".set:visible .compared").all_inner_texts()


def figures_shown(page: Page) -> list[str]:
    labels = [each.get_attribute("aria-label") for each in page.locator(f"{CHOOSES} figure > div > svg:visible").all()]
    return [str(label).partition(" with its interval")[0] for label in labels]


def test_a_choice_holds_in_every_section_and_in_the_address(page: Page, browser: Browser, planted_page: Path) -> None:
    assert page.locator(CHOOSES).count() == 2  # tiles, map
    assert compared(page) == ["MoD 0.125 at T = 128 against dense, 58 % of the FLOPs"]
    assert figures_shown(page) == COST
    # The largest numbers on the page are those against the matched baseline.
    largest = page.locator("main *:visible").evaluate_all(
        """found => { const own = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const sized = found.filter(own).map((each) => [parseFloat(getComputedStyle(each).fontSize), each]);
        const most = Math.max(...sized.map(([size]) => size));
        return sized.filter(([size]) => size === most).map(([, each]) => each.closest("[data-at]")?.dataset.at); }"""
    )
    assert set(largest) == {"0"}
    # Keys alone: an arrow moves from one choice to the next, in a group that is one stop of Tab and has a name.
    group = page.locator(".panel:has(figure) [role='radiogroup']").first
    assert group.get_attribute("aria-label") == "Against"
    group.locator("input:checked").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("radio", name="same shape").evaluate_all("found => found.every(each => each.checked)")
    assert compared(page) == ["MoD 0.125 at T = 128 against dense of the same shape"]
    assert figures_shown(page) == SHAPE
    # A variant without a matched baseline is shown whatever is chosen.
    for choice in ("matched", "same shape"):
        page.get_by_label(choice).first.check()
        page.get_by_label("MoE", exact=True).check()
        assert compared(page) == ["MoE at T = 128 against dense of the same shape"]
        page.get_by_label("MoD 0.125", exact=True).check()
    with opened(browser, planted_page) as other:
        other.goto("about:blank")
        other.goto(page.url)
        assert compared(other) == ["MoD 0.125 at T = 128 against dense of the same shape"]
        assert figures_shown(other) == SHAPE


def test_it_reads_without_script(browser: Browser, planted_page: Path) -> None:
    with opened(browser, planted_page, java_script_enabled=False) as page:
        assert page.locator("#comparisons tbody tr:visible").count() > 20
        assert compared(page) == ["MoD 0.125 at T = 128 against dense, 58 % of the FLOPs"]
        assert figures_shown(page) == COST
        # Each section chooses for itself; nothing is shown that does nothing.
        page.locator(".panel:has(.tiles)").get_by_label("same shape").check()
        assert compared(page) == ["MoD 0.125 at T = 128 against dense of the same shape"]
        assert figures_shown(page) == COST
        assert (
            page.locator(".chips:visible").evaluate_all("found => found.map(each => each.ariaLabel)") == ["Against"] * 2
        )
        assert page.locator("button.csv:visible").count() == 0
        page.locator(".panel:has(#data-map)").get_by_label("same shape").check()
        page.locator("details.data:has(#data-map) > summary").click()
        assert page.locator("#data-map tbody tr:visible").count() > 5
        page.locator("#comparisons a").nth(2).click()  # the browser itself unfolds what an address names
        assert page.locator("#case-3 table tbody tr:visible").count() > 2


def test_paper_is_white_and_whole(browser: Browser, planted_page: Path) -> None:
    """In print: the light theme, no controls, folded sections open, tables in full."""
    with opened(browser, planted_page, color_scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        paper = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()")
        assert paper == "#ffffff"
        for hidden in (".chips", ".tools", ".command button", "details.reading", ".skip"):
            assert page.locator(f"{hidden}:visible").count() == 0, hidden
        # Nothing can be chosen on paper: both are there, with the variant and the length of each tile.
        assert compared(page) == [
            "MoD 0.125 at T = 128 against dense, 58 % of the FLOPs",
            "MoD 0.125 at T = 128 against dense of the same shape",
        ]
        assert sorted(figures_shown(page)) == sorted([*COST, *SHAPE])
        assert page.locator("#comparisons th button").first.inner_text() == "Case"
        scroll = page.locator(".scroll:has(#comparisons)")
        assert scroll.evaluate("each => getComputedStyle(each).overflow") == "visible"
        # Of the table what is read, and what is left out is named.
        heads = page.locator("#comparisons th:visible").all_inner_texts()
        assert heads == ["Case", "Metric", "Value", "Baseline", "Ratio [95 %]", "Verdict"]
        assert page.locator("#cases:visible").count() == 0
        assert "Every case" in page.locator(".printed").inner_text()
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


@pytest.mark.proof  # all that is printed of a planted run, see above, takes a third of the time
@pytest.mark.parametrize("suite", demo.SHIPPED)
def test_a_report_has_twelve_sections_and_takes_six_pages_of_paper(
    suite: str, tmp_path: Path, browser: Browser
) -> None:
    """The runs that ship."""
    demo.unpack(tmp_path, demo.SHIPPED[suite])
    (tmp_path / "report.html").write_text(render.html(load(tmp_path)), encoding="utf-8")
    with opened(browser, tmp_path / "report.html") as page:
        paper = page.pdf(prefer_css_page_size=True)
        pages = len(re.findall(rb"/Type\s*/Page\b", paper))
        assert 3 < pages <= 6
        titles = page.locator("main h2").all_inner_texts()
        assert len(titles) == len(set(titles)) <= 12
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 718, "height": 1047})  # A4 without its margins, in CSS pixels
        assert page.evaluate("document.documentElement.scrollWidth") <= 718
        assert too_wide(page) == []


@pytest.mark.proof  # of a tool for those who change the page
def test_six_pictures(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>a page")
    made = shoot(browser, tmp_path / "page.html", tmp_path)
    assert len(made) == 6
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)
