"""Measures the example of docs/your-model.md, and writes what its commands print into the page.

    python docs/site/example.py measure    # the page's runs of examples/skipping/mine.py; some six minutes on a quiet machine
    python docs/site/example.py write      # from the stored runs; a test compares

A block behind `<!-- output -->` is what the last command above it prints that reads a stored run, the line behind
`<!-- setup -->` its date, machine and commit.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import make_demo

from modbench.reports import demo

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "your-model.md"
FIGURE = ROOT / "docs" / "img" / "your-model.svg"
FOLDER = ROOT / "examples" / "skipping"
MODEL = FOLDER / "mine.py"
# The change whose run is the second of the gate: all tokens are computed, and most of them are thrown away.
CHANGED_RUN = "new"
CHANGE = ("block(x_BTD[:, kept_K])", "block(x_BTD)[:, kept_K]")
# Lines that the page leaves out: from the first pattern to before the second, and what stands in their place.
CUTS = (
    (r"^train step, ms", r"^ +T = \d+$", "[… train step, break-even, FLOPs and memory]\n"),
    (r"^speed-up over the baseline", r"^sure ", "[… what the marks mean]\n"),
    (r"^next: ", r"\Z", "[… commands that would decide what is inconclusive]\n"),
)
# Of the terminal.
WIDTH = 80
# Commands that read stored runs alone.
RENDER = {"report", "recommend", "figure", "gate"}
PART = re.compile(
    r"```sh\n(?P<commands>.*?)```\n|<!-- output -->\n+```text\n(?P<text>.*?)```\n|<!-- setup -->\n(?:[^\n]+\n)?",
    flags=re.DOTALL,
)
Run = Callable[[list[str], Path], str]


def stored() -> dict[str, Path]:
    """The stored runs, by the names of their folders in `runs/`."""
    return {file.name.partition(".")[0]: file for file in sorted(FOLDER.glob("*.json.xz"))}


def unpack(folder: Path) -> None:
    """Write the model and the stored runs into a folder, as a reader has them after the commands of the page."""
    shutil.copy(MODEL, folder / MODEL.name)
    for name, file in stored().items():
        demo.unpack(folder / "runs" / name, file)


def commands(block: str) -> Iterator[list[str]]:
    """The words of each command of a block."""
    for line in block.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def written(page: str, folder: Path, run: Run) -> str:
    """The page with what its commands print, in a folder that `unpack` has filled; `run` runs one and returns what it printed."""
    said = ""

    def filled(part: re.Match[str]) -> str:
        nonlocal said
        if part["commands"] is not None:
            for words in commands(part["commands"]):
                if words[1] in RENDER:
                    said = run(words, folder)
            return part[0]
        if part["text"] is None:
            return f"<!-- setup -->\n{setup()}"
        begin, end = (at - part.start() for at in part.span("text"))
        return part[0][:begin] + shown(said) + part[0][end:]

    return PART.sub(filled, page)


def shown(said: str) -> str:
    """What the page shows of an output: without what is cut, and empty lines."""
    for begin, until, instead in CUTS:
        first = re.search(begin, said, re.MULTILINE)
        last = first and re.compile(until, re.MULTILINE).search(said, first.end())
        if first and last:
            said = said[: first.start()] + instead + said[last.start() :]
    return "".join(f"{line.rstrip()}\n" for line in said.splitlines() if line.strip())


def printed(words: list[str], folder: Path) -> str:
    """What a command prints, run in a process of its own; a gate and a recommendation may end with another code than 0."""
    environment = os.environ | {"COLUMNS": str(WIDTH)}
    done = subprocess.run(  # noqa: S603  # commands of our own page
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in {0, 1, 5} or not done.stdout:
        raise ValueError(f"{shlex.join(words)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def setup() -> str:
    """When, where and by which commit the run was made; its other conditions are in its output."""
    head = demo.contents(stored()["mine"].read_bytes())["run.json"]
    found = head["environment"]
    return (
        f"*Setup: {head['started'][:10]}, {found['usable_cores']} cores, torch {found['packages']['torch'].partition('+')[0]}, "
        f"commit {found['git']['commit'][:9]}; training and losses as in the suite `quick`.*\n"
    )


def source() -> str:
    """A comment for the figure: which stored run it shows."""
    return f"<!-- of mine.json.xz, SHA-256 {hashlib.sha256(stored()['mine'].read_bytes()).hexdigest()} -->\n"


def write() -> None:
    """Write the outputs into the page, and its figure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(folder)
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), folder, printed), encoding="utf-8")
        figure = (folder / "runs" / "mine" / "figures" / "pareto.svg").read_text(encoding="utf-8")
        FIGURE.write_text(figure.rstrip("\n") + "\n" + source(), encoding="utf-8")


def measure(*more: str) -> None:
    """Make the page's runs anew, with more words for each such as `--set processes=3`, and store them."""
    page = PAGE.read_text(encoding="utf-8")
    runs = [words for part in PART.finditer(page) for words in commands(part["commands"] or "") if words[1] == "run"]
    with tempfile.TemporaryDirectory() as name:
        folder, text = Path(name), MODEL.read_text(encoding="utf-8")
        for words in (words for words in runs if "-o" in words):
            out = words[words.index("-o") + 1]
            new = Path(out).name == CHANGED_RUN
            (folder / MODEL.name).write_text(text.replace(*CHANGE) if new else text, encoding="utf-8")
            print(shlex.join([*words, *more]), flush=True)
            print(printed([*words, *more], folder))
            made = make_demo.packed(folder / out, frozenset({MODEL.name}), ships=False)
            (FOLDER / f"{Path(out).name}.json.xz").write_bytes(made)


if __name__ == "__main__":
    {"measure": measure, "write": write}[sys.argv[1]](*sys.argv[2:])
