"""The page of examples: every file below examples/ with its text, so that the site needs no repository beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from docs_links import slug

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "sh", ".json": "json"}


def examples_page() -> str:
    """Return the page: a heading for each folder and file, the text of each file, the cells of each notebook."""
    lines = ["# Examples", "", "Files of `examples/` in the repository. Each is run by a test.", ""]
    for path in (EXAMPLES, *_paths()):
        if path != EXAMPLES:
            lines += [f"{'##' if path.is_dir() else '###'} `{path.relative_to(ROOT).as_posix()}`", "", *_shown(path)]
    return "\n".join(lines)


def anchor(path: Path) -> str:
    """The anchor of an example on its page."""
    return slug(f"`{path.relative_to(ROOT).as_posix()}`")


def _paths() -> list[Path]:
    """Files before folders, so that each file stands below its own folder."""
    found = [path for path in EXAMPLES.rglob("*") if "__pycache__" not in path.parts and not path.name.startswith(".")]
    return sorted(found, key=lambda path: [(part in path.parts[:-1] or path.is_dir(), part) for part in path.parts])


def _shown(path: Path) -> Iterator[str]:
    if path.is_dir():
        return
    if path.suffix == ".ipynb":
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            text = "".join(cell["source"]).strip()
            yield from (text.lstrip("# "), "") if cell["cell_type"] == "markdown" else ("```python", text, "```", "")
        return
    if path.suffix not in LANGUAGES and path.suffix != ".md":
        yield "(not text)"
        yield ""
        return
    yield from (f"```{LANGUAGES.get(path.suffix, 'text')}", path.read_text(encoding="utf-8").strip(), "```", "")
