"""The documentation site: every page is in it, every link holds, and what can be chosen is documented."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import docs_build
import docs_reference
import pytest
import tables
from docs_api import exported, public
from docs_drawing import DRAWINGS, IMAGES
from docs_links import anchors, links, with_anchors

from modbench.harness.core.config import ModelConfig
from modbench.harness.planning import suite_tables
from modbench.harness.registry import catalogue

ROOT = Path(__file__).parents[2]
PAGES = docs_build.pages()


def test_every_page_is_in_the_navigation_once() -> None:
    named = docs_build.navigation()
    assert sorted(named) == sorted(set(named))
    assert {*PAGES} <= {*named}


def test_links_and_anchors_hold_in_the_site() -> None:
    copied = {f"files/{file.relative_to(ROOT)}" for file in docs_build.linked_files()}
    copied |= {f"img/{file.name}" for file in IMAGES.iterdir()}
    known = {name: anchors(page) for name, page in PAGES.items()}
    for name, (target, anchor) in ((name, link) for name, page in PAGES.items() for link in links(page)):
        if docs_build.is_outside(target):
            parts = urlsplit(target)
            assert parts.scheme in {"https", "http", "mailto"}, target
            assert parts.scheme == "mailto" or re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", parts.netloc), target
            continue
        there = str(Path(name).parent / target).replace("reference/../", "") if target else name
        assert there in known or there in copied, f"{name}: {target}"
        assert not anchor or anchor in known[there], f"{name}: {target}#{anchor}"


def test_links_and_anchors_hold_in_the_repository() -> None:
    for file in docs_build.sources():
        for target, anchor in links(file.read_text(encoding="utf-8")):
            if docs_build.is_outside(target):
                continue
            there = file.parent / target if target else file
            assert there.exists(), f"{file.name}: {target}"
            assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), f"{file.name}: {target}#{anchor}"


def test_headings_name_the_anchors_that_github_gives_them() -> None:
    text = "# A/A: `doctor` [x](y)\n```sh\n# none\n```\n## Two – words\n## Two – words  \n"
    assert anchors(text) == ["aa-doctor-x", "two--words", "two--words-1"]
    assert with_anchors(text).splitlines()[-1] == "## Two – words { #two--words-1 }"


@pytest.mark.parametrize(
    ("text", "loaded"),
    [
        (f'<script src="{docs_build.SHIM}"></script><a href="https://example.org"></a><link href="a.png">', []),
        ('<img src="https://a.b/c.png">', ["deep/page.html loads https://a.b/c.png"]),
        ('<link rel="stylesheet" href="https://a.b/c.css">', ["deep/page.html loads https://a.b/c.css"]),
    ],
)
def test_pages_load_nothing_over_the_network(text: str, loaded: list[str], tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "page.html").write_text(text)
    assert docs_build.without_network(tmp_path) == loaded
    assert docs_build.SHIM not in (tmp_path / "deep" / "page.html").read_text()


# --- everything that can be chosen is documented


def section(page: str, head: str) -> str:
    """A part of a page of the reference, without its heading."""
    found = PAGES[f"reference/{page}.md"].partition(f"## {head}\n")
    assert found[1], f"{page} has no {head}"
    return found[2].partition("\n## ")[0]


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_everything_in_the_catalogue_is_on_its_page(kind: str) -> None:
    names = catalogue.metrics() if kind == "metrics" else catalogue.entries(kind)
    assert names
    assert docs_reference.ABOUT_KINDS[kind]
    assert [name for name in names if f"| `{name}` |" not in section("catalogue", kind.capitalize())] == []


def test_every_key_of_a_suite_is_on_its_page() -> None:
    tables_of = {f"`[{name}]`": plan.model_fields for name, plan in suite_tables.plans().items()}
    for head, fields in (tables_of | {"`[[variants]]`": ModelConfig.model_fields}).items():
        assert [key for key in fields if f"| `{key}` |" not in section("suites", head)] == [], head


def test_every_part_of_the_page_is_explained_as_on_the_page() -> None:
    for name in catalogue.entries("sections"):
        part = catalogue.load("sections", name)
        if part.reading:
            assert f"## {part.title}\n\n{part.reading}\n" in PAGES["reference/parts.md"]
        else:
            assert part.render(None) is None, f"{name} has a part of the page, which nothing explains"


def test_the_python_api_is_documented() -> None:
    page = PAGES["reference/api.md"]
    ours = [name for name, module in exported(ROOT / "src/modbench/__init__.py").items() if module != "modbench"]
    assert [name for name in ours if f"### `modbench.{name}`\n" not in page] == []
    assert [name for name in public("modbench.api") if f"### `{name}`\n" not in page] == []


@pytest.mark.plugin("sweeps")
def test_the_page_of_columns_is_that_of_the_declarations() -> None:
    """Renew it with `python docs/site/tables.py`."""
    assert tables.PAGE.read_text(encoding="utf-8") == tables.page()


def test_columns_have_names_of_their_own_and_a_meaning() -> None:
    for name, _, columns in tables.declared():
        names = [each.name for each in columns]
        assert len(set(names)) == len(names), name
        assert all(each.meaning and not each.meaning.endswith(".") for each in columns), name


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_are_those_that_the_script_draws(name: str) -> None:
    """Renew them with `python docs/site/docs_drawing.py`."""
    assert (IMAGES / name).read_text(encoding="utf-8") == DRAWINGS[name]()


def test_an_example_is_run_by_a_test() -> None:
    """By its name, or because a test goes over its folder."""
    files = [file for file in (ROOT / "tests").rglob("*.py") if file.name != Path(__file__).name]
    tests = [text for text in (file.read_text(encoding="utf-8") for file in files) if "examples" in text]
    for path in (path for path in (ROOT / "examples").rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        by_name = any(re.search(rf"[\"/]{re.escape(path.stem)}(\{path.suffix})?\"", text) for text in tests)
        over = any("glob(" in text and re.search(rf"[\"/]{re.escape(path.parent.name)}[\"/]", text) for text in tests)
        assert by_name or over, path
