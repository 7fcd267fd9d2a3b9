"""The documentation site: every page is in it, every link holds, and everything that can be chosen is documented."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import docs_build
import docs_reference
import pytest
from docs_api import exported, public
from docs_drawing import DRAWINGS, IMAGES
from docs_links import FENCED, anchors, links, with_anchors

from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.suite import Suite
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


def test_a_table_has_a_head() -> None:
    for file in docs_build.sources():
        lines = ["", *FENCED.sub("", file.read_text(encoding="utf-8")).splitlines(), ""]
        for above, row, below in zip(lines, lines[1:], lines[2:], strict=False):
            if row.startswith("|") and not above.startswith("|"):
                assert re.match(r"\| ?:?--", below), f"{file.name}: {row}"


def test_headings_name_the_anchors_that_github_gives_them() -> None:
    text = "# A/A: `doctor` [x](y)\n```sh\n# none\n```\n## Two – words\n## Two – words  \n"
    assert anchors(text) == ["aa-doctor-x", "two--words", "two--words-1"]
    assert with_anchors(text).splitlines()[-1] == "## Two – words { #two--words-1 }"
    assert "# none\n" in with_anchors(text)


def test_links_into_the_repository_become_links_into_the_site() -> None:
    index = PAGES["index.md"]
    assert "](start.md#install)" in index
    assert "](reference/suites.md#quick)" in index
    assert "](docs/" not in index
    assert "](index.md" in PAGES["security.md"] or "](run_folder.md" in PAGES["security.md"]


def test_the_sources_of_the_site_are_gathered(tmp_path: Path) -> None:
    docs_build.gather(tmp_path / "site")
    found = {str(path.relative_to(tmp_path / "site/pages")) for path in (tmp_path / "site/pages").rglob("*.md")}
    assert found == {*PAGES}
    config = (tmp_path / "site" / "zensical.toml").read_text(encoding="utf-8")
    assert all(f'"{name}"' in config for name in PAGES)
    assert not [name for name in docs_build.navigation() if f'"{name}"' in config and name not in PAGES]


def test_pages_load_nothing_over_the_network(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "page.html").write_text(
        f'<script src="{docs_build.SHIM}"></script><a href="https://example.org"></a><link rel="icon" href="a.png">'
    )
    assert docs_build.without_network(tmp_path) == []
    assert '"../assets/worker.js"' in (tmp_path / "deep" / "page.html").read_text()
    for text in ('<img src="https://a.b/c.png">', '<link rel="stylesheet" href="https://a.b/c.css">'):
        (tmp_path / "page.html").write_text(text)
        assert docs_build.without_network(tmp_path) == [
            f"page.html loads https://a.b/c.{'png' if 'img' in text else 'css'}"
        ]


# --- everything that can be chosen is documented


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, _ in docs_reference.commands()])
def test_every_flag_that_help_prints_is_on_the_page_of_commands(name: str, modbench: object) -> None:
    printed = modbench(*name.split(), "--help").stdout  # type: ignore[operator]
    section = PAGES["reference/cli.md"].partition(f"## `modbench {name}`\n")[2].partition("\n## ")[0]
    flags = {*re.findall(r"(?<![\w-])--?[a-z][a-z-]*", printed)} - {"--help", "-h"}
    flags = {flag for flag in flags if re.search(rf"^ +(-\w, )?{flag}\b|^ +{flag}\b", printed, flags=re.MULTILINE)}
    assert {flag for flag in flags if f"`{flag}`" not in section} == set()


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_everything_in_the_catalogue_is_on_its_page(kind: str) -> None:
    section = PAGES["reference/catalogue.md"].partition(f"## {kind.capitalize()}\n")[2].partition("\n## ")[0]
    names = catalogue.metrics() if kind == "metrics" else catalogue.entries(kind)
    assert names
    assert docs_reference.ABOUT_KINDS[kind]
    assert {name for name in names if f"| `{name}` |" not in section} == set()


def test_every_key_of_a_suite_is_on_its_page() -> None:
    page = PAGES["reference/suites.md"]
    for table, fields in (
        {"Keys of a suite": Suite.model_fields} | {k: v.model_fields for k, v in suite_tables.plans().items()}
    ).items():
        head = table if " " in table else f"`[{table}]`"
        section = page.partition(f"## {head}\n")[2].partition("\n## ")[0]
        own = {
            key for key in fields if " " not in table or (f"## `[{key}]`" not in page and f"## `[[{key}]]`" not in page)
        }
        assert {key for key in own if f"| `{key}` |" not in section} == set(), table
    variants = page.partition("## `[[variants]]`\n")[2].partition("\n## ")[0]
    assert {key for key in ModelConfig.model_fields if f"| `{key}` |" not in variants} == set()


def test_every_part_of_the_page_is_explained_as_on_the_page() -> None:
    page = PAGES["reference/parts.md"]
    for name in catalogue.entries("sections"):
        section = catalogue.load("sections", name)
        if section.reading:
            assert f"## {section.title}\n\n{section.reading}\n" in page
        else:
            assert section.title not in page
            assert section.render(None) is None, f"{name} has a part of the page, which nothing explains"


def test_the_python_api_is_documented() -> None:
    page = PAGES["reference/api.md"]
    for name, module in exported(ROOT / "src/modbench/__init__.py").items():
        assert module == "modbench" or f"### `modbench.{name}`\n" in page, name
    for name in public("modbench.api"):
        assert f"### `{name}`\n" in page
    load = page.partition("### `modbench.load`")[2].partition("\n### ")[0]
    assert "load(" in load
    assert "- `run_folder`: " in load
    assert "- `UsageError`: " in load


def test_every_command_is_shown_in_use() -> None:
    written = "".join(file.read_text(encoding="utf-8") for file in docs_build.sources())
    for name, _ in docs_reference.commands():
        assert f"modbench {name}" in written, name


# --- drawings and examples


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_are_those_that_the_script_draws(name: str) -> None:
    """Renew them with `python docs/site/docs_drawing.py`."""
    assert (IMAGES / name).read_text(encoding="utf-8") == DRAWINGS[name]()


EXAMPLES = [path for path in (ROOT / "examples").rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_an_example_is_run_by_a_test() -> None:
    """By its name, or because a test goes over its folder."""
    files = [file for file in (ROOT / "tests").rglob("*.py") if file.name != Path(__file__).name]
    tests = [text for text in (file.read_text(encoding="utf-8") for file in files) if "examples" in text]
    for path in EXAMPLES:
        by_name = any(re.search(rf"[\"/]{re.escape(path.stem)}(\{path.suffix})?\"", text) for text in tests)
        over = any("glob(" in text and re.search(rf"[\"/]{re.escape(path.parent.name)}[\"/]", text) for text in tests)
        assert by_name or over, path
