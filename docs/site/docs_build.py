"""Builds the documentation site. Usage: python docs/site/docs_build.py [FOLDER].

Gathers README.md, docs/*.md and the other pages of the repository, with links that hold inside the site, and calls zensical,
strictly: a broken link or anchor ends it with exit code 1, and so does a page that would load anything over the network. The
pages of docs/reference are made from the code by reference.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docs_examples
from docs_links import LINK, links, outside_blocks, with_anchors

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CONFIG = DOCS / "zensical.toml"
# Pages of the repository outside docs/, and their names in the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
# What a browser would fetch with a page: of links only style sheets, icons and the like.
FETCHES = re.compile(
    r"<(?:script|img|iframe|source|video)\b[^>]*?\ssrc=\"?(https?://[^\s\">]+)"
    r"|<link\b(?![^>]*rel=\"?canonical)[^>]*?\shref=\"?(https?://[^\s\">]+)"
)
# A search that works from the disk needs a stand-in for workers: zensical's page loads one from the network, ours is a file.
SHIM = "https://unpkg.com/iframe-worker/shim"
WORKER = Path(__file__).parent / "worker.js"
STYLE = Path(__file__).parent / "site.css"


def sources() -> list[Path]:
    """The pages of the documentation: those of plug-ins stand in their folders."""
    plugins = sorted((ROOT / "plugins").glob("*/README.md"))
    return [
        *sorted(DOCS.glob("*.md")),
        *sorted(DOCS.glob("reference/*.md")),
        *(ROOT / name for name in OUTSIDE),
        *plugins,
    ]


def site_name(file: Path) -> str:
    """The path in the site of a page of the repository: `plugins/NAME.md` of a plug-in's."""
    inside = file.relative_to(ROOT)
    if file.is_relative_to(DOCS):
        return file.relative_to(DOCS).as_posix()
    if inside.parts[0] == "plugins":
        return f"plugins/{inside.parts[1]}.md"
    return OUTSIDE[str(inside)]


def pages() -> dict[str, str]:
    """Return every page of the site, by its path in it."""
    return {site_name(file): moved(file) for file in sources()}


def moved(file: Path) -> str:
    """A page of the repository with links that hold in the site."""
    known = {*sources()}
    up = "../" * site_name(file).count("/")

    def target(link: re.Match[str]) -> str:
        name, anchor = link[1], link[2] or ""
        if not name or is_outside(name):
            return link[0]
        there = (file.parent / name).resolve()
        inside = there.relative_to(ROOT)
        if there in known:
            return f"{up}{site_name(there)}{anchor}"
        if inside.parts[0] == "docs":
            return f"{up}{inside.relative_to('docs')}{anchor}"
        if inside.parts[0] == "suites":
            return f"{up}reference/suites.md#{inside.stem}"
        if inside.parts[0] == "examples":
            return f"{up}reference/examples.md#{docs_examples.anchor(there)}"
        return f"{up}files/{inside}{anchor}"

    return outside_blocks(file.read_text(encoding="utf-8"), lambda part: LINK.sub(target, part))


def is_outside(target: str) -> bool:
    """Whether a link leads out of the repository."""
    return re.match(r"\w+:", target) is not None


def linked_files() -> set[Path]:
    """Other files of the repository that pages link to, such as the licence: the site has them as they are."""
    found = {
        (file.parent / name).resolve()
        for file in sources()
        for name, _ in links(file.read_text(encoding="utf-8"))
        if name and not is_outside(name)
    }
    inside = {path: path.relative_to(ROOT) for path in found - {*sources()} if path.is_file()}
    return {path for path, at in inside.items() if at.parts[0] not in {"docs", "suites", "examples"}}


def named(nav: list[Any]) -> Iterator[str]:
    """Pages that a navigation names."""
    for entry in nav:
        for target in entry.values():
            yield from named(target) if isinstance(target, list) else [target]


def navigation() -> list[str]:
    """Pages that the site's navigation names."""
    return [*named(tomllib.loads(CONFIG.read_text(encoding="utf-8"))["project"]["nav"])]


def gather(folder: Path) -> None:
    """Write the site's sources into a folder, which is emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    found = pages()
    for name, text in found.items():
        path = folder / "pages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(with_anchors(text), encoding="utf-8")
    shutil.copytree(DOCS / "img", folder / "pages" / "img")
    shutil.copy(STYLE, folder / "pages" / STYLE.name)
    for file in linked_files():
        path = folder / "pages" / "files" / file.relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, path)
    config = CONFIG.read_text(encoding="utf-8")
    for name in {*navigation()} - {*found}:  # zensical would link to nothing
        config = re.sub(rf'^.*"{re.escape(name)}".*\n', "", config, flags=re.MULTILINE)
    config = re.sub(r"^.*= \[\s*\] \},\n", "", config, flags=re.MULTILINE)  # a section without pages
    (folder / "zensical.toml").write_text(config, encoding="utf-8")


def without_network(site: Path) -> list[str]:
    """Let pages use the stand-in for workers that lies in the site; return what they would still load over the network."""
    shutil.copy(WORKER, site / "assets" / WORKER.name)
    left: list[str] = []
    for page in sorted(site.rglob("*.html")):
        inside = page.relative_to(site)
        up = "../" * (len(inside.parts) - 1)
        text = page.read_text(encoding="utf-8").replace(SHIM, f"{up}assets/{WORKER.name}")
        page.write_text(text, encoding="utf-8")
        left += [f"{inside} loads {''.join(found)}" for found in FETCHES.findall(text)]
    return left


def main(folder: Path) -> int:
    """Build the site; return the exit code."""
    gather(folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(folder / "zensical.toml")]
    done = subprocess.run(command, check=False)  # noqa: S603  # our own words
    if done.returncode:
        return done.returncode
    left = without_network(folder / "site")
    print(*left or [f"{folder / 'site' / 'index.html'} opens without a network"], sep="\n")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "docs").absolute()))
