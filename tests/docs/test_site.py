"""The documentation site: every page is in it, every link holds, and what can be chosen is documented."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import docs_build
import docs_reference
import pytest
import reference
from docs_drawing import DRAWINGS, IMAGES
from docs_links import anchors, links

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
        there = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if target else name
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


@pytest.mark.plugin("sweeps")
@pytest.mark.parametrize("page", reference.MADE, ids=lambda page: page.name)
def test_what_is_made_from_the_code_is_up_to_date(page: Path) -> None:
    """Renew it with `python docs/site/reference.py`."""
    assert page.read_text(encoding="utf-8") == reference.text(page)


def test_help_of_an_argument_is_found_where_click_has_lost_it() -> None:
    """With some versions of click and typer, an argument has no help: pages must be the same with all of them."""
    run = dict(docs_reference.commands())["run"]
    (suite,) = [param for param in run.params if param.name == "suite"]
    lost = SimpleNamespace(help=None, name="suite", multiple=False, default=None)
    assert docs_reference.help_of(lost, run) == docs_reference.help_of(suite, run) != ""


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_are_those_that_the_script_draws(name: str) -> None:
    """Renew them with `python docs/site/docs_drawing.py`."""
    assert (IMAGES / name).read_text(encoding="utf-8") == DRAWINGS[name]()


def test_an_example_is_run_by_a_test() -> None:
    """By its name, or because a test goes over its folder."""
    files = [
        file for file in (*ROOT.glob("tests/**/*.py"), *ROOT.glob("plugins/*/tests/*.py")) if file != Path(__file__)
    ]
    tests = [text for text in (file.read_text(encoding="utf-8") for file in files) if "examples" in text]
    for path in (path for path in (ROOT / "examples").rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        by_name = any(re.search(rf"[\"/]{re.escape(path.stem)}(\{path.suffix})?\"", text) for text in tests)
        over = any("glob(" in text and re.search(rf"[\"/]{re.escape(path.parent.name)}[\"/]", text) for text in tests)
        assert by_name or over, path
