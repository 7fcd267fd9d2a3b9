"""Golden runs: stored run folders, and all that modbench makes of them.

    pytest tests/goldens                           # check
    MODBENCH_GOLDEN=write pytest tests/goldens     # write anew, twice if a section is new; then read the difference

Each folder beside this file holds runs (`run.json.xz`, made by `plant.py`) and what is made of them, in two parts:

- `data/`: tables, reports as JSON, exit codes. Columns, order, words of fixed lists and exit codes are compared exactly, numbers
  to 1e-9 of their size.
- `words/`: what people read: in the terminal at 80 columns, Markdown, LaTeX and HTML, and every sentence of the data.
  All are kept of one run, `quick`; of the others what only they have (`kept`), so that a changed sentence changes one file.
"""

from __future__ import annotations

import csv
import html.parser
import io
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from in_process import command_line

from modbench import extend
from modbench.harness.registry import plugins
from modbench.reports import demo
from modbench.reports.tables import load as loading
from modbench.reports.tables.load import Loaded

HERE = Path(__file__).parent
TOLERANCE = 1e-9
# What is left where numbers of about 1 cancel.
ROUNDING = 1e-15
# Parts of the JSON, and columns of the tables, that are sentences.
SENTENCES = {
    *("title", "asked", "answer", "sure", "cautions", "warnings", "facts", "doubts", "reasons", "reason", "protocol"),
    *("check_in_words", "about", "advice", "notes", "differs", "summary", "why", "said", "found", "how"),
}
# What is made of every run, and what more of some: a name, and the command. `report` alone leaves tables and the page in the run.
FORMATS = "md,tex,json"
EVERY = {"report": "report run", "files": f"report run --format {FORMATS} -o views"}
MORE: Mapping[str, Mapping[str, str]] = {
    "quick": {
        "by_capacity": "compare run --by capacity",
        "by_seq_len": "compare run --by seq_len --metric latency/forward",
        "recommend": "recommend run --seq-len 512",
        "recommend_json": "recommend run --seq-len 512 --json",
        "gate_itself": "gate run run --fail-on flops:0%,larger:1%",
    },
    "isoflop": {"recommend": "recommend run"},
    "search": {"by_seq_len": "compare run --by seq_len"},
    "tasks": {"by_variant": "compare run --by variant"},
    "decode": {"by_batch": "compare run --by batch_size", "recommend": "recommend run --batch-size 8"},
    "gate": {
        "report": "report new",
        "files": f"report new --format {FORMATS} -o views",
        "gate": "gate old new --fail-on flops:0%,larger:1%",
        "gate_json": "gate old new --fail-on flops:0%,larger:1% --json",
        "gate_lenient": "gate old new --allow-inconclusive",
        "compare": "compare old new",
        "compare_json": "compare old new --json",
        "compare_verbose": "compare old new -v",
        "by_variant_json": "compare new --by variant --seq-len 64 --json",
        "by_model": "compare new --by model --metric latency/forward",
        "by_capacity_md": "compare new --by capacity --format md",
        "by_capacity_tex": "compare new --by capacity --format tex",
    },
    "capacity_map": {"by_capacity": "compare run --by capacity"},
    "combine": {},
    "trend": {},
    "routing": {},
    "sections": {
        "recommend_fits": "recommend run --max-latency 50ms --max-memory 4.5MB --max-loss-increase 3%",
        "recommend_none": "recommend run --max-latency 10ms --max-memory 4MB",
    },
    "gpu": {"by_seq_len": "compare run --by seq_len"},
}
NAMES = tuple(MORE)
# Goldens whose run cannot be read without a plug-in.
NEEDS = {
    "capacity_map": "map",
    "combine": "combine",
    "gpu": "machine",
    "isoflop": "sweeps",
    "sections": "routing",
    "routing": "routing",
    "search": "search",
    "tasks": "tasks",
    "trend": "sweeps",
}
# Goldens of one question, which do not keep the tables that every run has.
OF_ONE_QUESTION = {"capacity_map", "combine", "trend", "routing", "sections"}
OF_EVERY_RUN = {"cases", "comparisons", "breakeven", "exchange", "isoflop"}


@dataclass(frozen=True)
class Added:
    """What a plug-in adds to goldens: it is not compared where the plug-in is absent, all else is.

    Attributes:
        commands: first words of commands.
        tables: names of tables.
        sections: titles of sections of a page.
    """

    commands: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    sections: frozenset[str] = frozenset()


ADDED = {
    "components": Added(tables=frozenset({"components"}), sections=frozenset({"Single components"})),
    "sweeps": Added(tables=frozenset({"exchange"}), sections=frozenset({"What does it cost in loss?"})),
    "recommend": Added(
        commands=frozenset({"recommend"}), sections=frozenset({"Which settings are worth considering?"})
    ),
}
ABSENT = [added for name, added in ADDED.items() if name not in {each.name for each in plugins.usable()}]
# Files of formats, and of which part they are.
PAGES = {".md", ".tex"}


# The run of which all words are kept.
FIRST = "quick"
# Of the others: whose summary in the terminal is of a kind of its own.
OWN_SUMMARIES = {"isoflop", "tasks", "decode"}
# Whose commands print something else than they do of the goldens before.
OWN_COMMANDS = {"isoflop", "sections"}


@dataclass(frozen=True)
class Golden:
    """What was made of a golden's runs.

    Attributes:
        data: file name to content: CSV without sentences, JSON without sentences.
        words: file name to text.
    """

    data: Mapping[str, str]
    words: Mapping[str, str]


def made(name: str, folder: Path) -> Golden:
    """Unpack a golden's runs into a folder, and return what modbench makes of them."""
    for packed in sorted((HERE / name).glob("*.json.xz")):
        run = folder / packed.name.removesuffix(".json.xz")
        run.mkdir()
        demo.unpack(run, packed)
    read: dict[str, Loaded] = {}  # commands leave what a run holds as it is: each is loaded once
    load_anew = loading.load

    def load(*given: Any, **more: Any) -> Loaded:
        if (key := repr((given, more))) not in read:
            read[key] = load_anew(*given, **more)
        return read[key]

    data: dict[str, str] = {}
    words: dict[str, str] = {}
    exits: dict[str, int] = {}
    for title, command in commands(name).items():
        # First of `extend`, which keeps what it finds.
        with mock.patch.object(extend, "load", load), mock.patch.object(loading, "load", load):
            done = command_line(*command.split(), cwd=folder, columns=80)
        exits[command] = done.returncode
        if command.endswith("--json"):
            part, sentences = _split_json(json.loads(done.stdout))
            data[f"{title}.json"], words[f"{title}.txt"] = as_json(part), sentences
        else:
            words[f"{title}.txt"] = done.stdout + ("\n--- standard error\n" + done.stderr if done.stderr else "")
    data["exit_codes.json"] = as_json(exits)
    reported = folder / commands(name)["report"].split()[1]
    for path in (*_tables(name, reported), reported / "report.html", *sorted((folder / "views").iterdir())):
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            data[path.name], words[f"{path.stem}_reasons.txt"] = _split_csv(content)
        elif path.suffix == ".json":
            part, sentences = _split_json(json.loads(content))
            for table in ("cases", "comparisons", "tables"):  # as in the CSV files, which are compared
                part.pop(table)
            data[path.name], words[f"{path.stem}_sentences.txt"] = as_json(part), sentences
        elif path.suffix == ".html":
            words["page.txt"] = page_text(content)
            data["sections.json"] = as_json([*sections(words["page.txt"])])
        elif path.suffix in PAGES:
            words[path.name] = content
    return Golden(data, words)


def commands(name: str) -> dict[str, str]:
    """What is run of a golden, by the names of what is made of it."""
    return {title: command for title, command in {**EVERY, **MORE[name]}.items() if not _is_of(command, ABSENT)}


def kept(name: str, words: Mapping[str, str]) -> dict[str, str]:
    """The words of a golden that are stored: of `quick` all; of others what their own commands print, the reasons in tables that
    `quick` lacks, and the sections of a report that no golden before has.
    """
    if name == FIRST or "page.txt" not in words:
        return dict(words)
    left = {"files.txt", "report.md", "report.tex", "tables.tex", "report_sentences.txt", "page.txt"}
    left |= {f"{table}_reasons.txt" for table in OF_EVERY_RUN - {"isoflop"}}
    left |= set() if name in OWN_SUMMARIES else {"report.txt"}
    earlier = NAMES[: NAMES.index(name)]
    if name not in OWN_COMMANDS:
        left |= {f"{command}.txt" for other in earlier for command in MORE[other]}
    before = {title for other in earlier for title in titles(other)}
    own = [text for title, text in sections(words["page.txt"]).items() if title not in before]
    stored = {file: text for file, text in words.items() if file not in left} | {"page.txt": "".join(own)}
    return {file: text for file, text in stored.items() if text}


def titles(name: str) -> list[str]:
    """The titles of the sections that a golden's report has, as stored."""
    path = HERE / name / "data" / "sections.json"
    return [*json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def sections(page: str) -> dict[str, str]:
    """The sections of a report's text, by their titles."""
    found = re.split(r"^## (.*)\n", page, flags=re.MULTILINE)
    return {title: f"## {title}\n{text}" for title, text in zip(found[1::2], found[2::2], strict=True)}


def _tables(name: str, run: Path) -> list[Path]:
    """Return the tables of a run that a golden keeps."""
    skipped = OF_EVERY_RUN if name in OF_ONE_QUESTION else set[str]()
    return sorted(path for path in run.glob("*.csv") if path.stem not in skipped)


def as_json(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _split_csv(text: str) -> tuple[str, str]:
    """Return a table without its columns of sentences, and those sentences, each once, in order."""
    rows = list(csv.DictReader(io.StringIO(text)))
    columns = [column for column in (rows[0] if rows else {}) if column not in SENTENCES]
    kept = io.StringIO()
    writer = csv.DictWriter(kept, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    sentences = dict.fromkeys(row[column] for row in rows for column in row if column in SENTENCES and row[column])
    return kept.getvalue(), "".join(f"{each}\n" for each in sentences)


def _split_json(data: Any) -> tuple[Any, str]:
    """Return JSON without its sentences, and those sentences by their key, in order."""
    sentences: dict[str, None] = {}

    def keep(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            for key in value.keys() & SENTENCES:
                sentences.update(dict.fromkeys(f"{path}{key}: {each}" for each in _texts(value[key])))
            return {key: keep(each, f"{path}{key}/") for key, each in value.items() if key not in SENTENCES}
        if isinstance(value, list):
            return [keep(each, path) for each in value]
        return value

    kept = keep(data, "")
    return kept, "".join(f"{each}\n" for each in sorted(sentences))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from (f"{key}: {text}" for text in _texts(each))
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif value is not None:
        yield str(value)


class _Text(html.parser.HTMLParser):
    """The text of a page, a line for each block; without scripts, styles and drawings."""

    SILENT = ("script", "style", "svg", "head")
    INLINE = frozenset(
        {
            *("a", "abbr", "b", "code", "em", "i", "small", "span", "strong", "sub", "sup"),
            *("td", "th", "label", "button"),
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = [""]
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        del attrs
        if tag in self.SILENT:
            self.silent.append(tag)
        self._between(tag)
        if tag == "h2":
            self.lines[-1] += "## "

    def handle_endtag(self, tag: str) -> None:
        if self.silent and tag == self.silent[-1]:
            self.silent.pop()
        self._between(tag)

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.lines[-1] += data

    def _between(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self.lines[-1] += " "
        elif tag not in self.INLINE:
            self.lines.append("")


def page_text(page: str) -> str:
    """Return what a page says, a line for each block of text."""
    parser = _Text()
    parser.feed(page)
    lines = (re.sub(r"\s+", " ", line).strip() for line in parser.lines)
    return "".join(f"{line}\n" for line in lines if line)


# --- comparing


def differences(name: str, golden: Golden) -> list[str]:
    """Return how what was made differs from what is stored, a line for each file."""
    found: list[str] = []
    for part, made in (("data", golden.data), ("words", kept(name, golden.words))):
        stored = {path.name: path.read_text(encoding="utf-8") for path in (HERE / name / part).glob("*")}
        there, files = (without(ABSENT, name, each) for each in (stored, made))
        found += [f"{name}/{part}/{each}: no longer made" for each in sorted(there.keys() - files.keys())]
        found += [f"{name}/{part}/{each}: new" for each in sorted(files.keys() - there.keys())]
        for each in sorted(there.keys() & files.keys()):
            where = first_difference(part, there[each], files[each])
            found += [f"{name}/{part}/{each}: {where}"] if where else []
    return found


def _is_of(command: str, additions: Collection[Added]) -> bool:
    return any(command.split(maxsplit=1)[0] in added.commands for added in additions)


def without(additions: Collection[Added], name: str, files: Mapping[str, str]) -> Mapping[str, str]:
    """Return files of a golden without what plug-ins add."""
    tables = {each for added in additions for each in added.tables}
    titles = {each for added in additions for each in added.sections}
    out = {f"{table}{end}" for table in tables for end in (".csv", "_reasons.txt")}
    out |= {f"{title}{end}" for title, run in MORE[name].items() if _is_of(run, additions) for end in (".txt", ".json")}
    left = {file: text for file, text in files.items() if file not in out}
    if (page := left.get("page.txt")) and titles:
        own = sections(page)
        page = page[: page.index("## ")] + "".join(own[each] for each in own if each not in titles)
        left["page.txt"] = re.sub(rf" · (?:{'|'.join(tables)})\.csv", "", page) if tables else page
    if told := left.get("report_sentences.txt"):
        of_tables = tuple(f"tables/{table}/" for table in tables)
        left["report_sentences.txt"] = "".join(
            each for each in told.splitlines(keepends=True) if not each.startswith(of_tables)
        )
    if told := left.get("sections.json"):
        left["sections.json"] = as_json([each for each in json.loads(told) if each not in titles])
    if told := left.get("exit_codes.json"):
        left["exit_codes.json"] = as_json(
            {run: code for run, code in json.loads(told).items() if not _is_of(run, additions)}
        )
    return left


# What lies between numbers in data. Words are compared to the letter, but for numbers with many decimals: the data of the page's
# figures, whose last digits depend on the processor.
_SPLIT = {"data": re.compile(r'([,\n\s:\[\]{}";]+)').split, "words": re.compile(r"(-?\d+\.\d{5,}(?:e[+-]?\d+)?)").split}


def first_difference(part: str, stored: str, text: str) -> str:
    """Return where two texts of a part, `data` or `words`, differ, numbers by more than the tolerance; empty: nowhere."""
    for number, (old, new) in enumerate(_lines(stored, text), 1):
        if old == new:
            continue
        apart: list[tuple[str | None, str | None]] = [(old, new)]
        if old is not None and new is not None and len(olds := _SPLIT[part](old)) == len(news := _SPLIT[part](new)):
            apart = [pair for pair in zip(olds, news, strict=True) if not _same(*pair)]
        if apart:
            return f"line {number}\n  stored: {apart[0][0]}\n  now:    {apart[0][1]}"
    return ""


def _lines(stored: str, text: str) -> Iterator[tuple[str | None, str | None]]:
    old, new = stored.split("\n"), text.split("\n")
    for index in range(max(len(old), len(new))):
        yield (old[index] if index < len(old) else None), (new[index] if index < len(new) else None)


def _same(old: str, new: str) -> bool:
    if old == new:
        return True
    try:
        return math.isclose(float(old), float(new), rel_tol=TOLERANCE, abs_tol=ROUNDING)
    except ValueError:
        return False


def store(name: str, golden: Golden) -> None:
    """Write what was made of a golden's runs, but for files that differ within the tolerance."""
    for part, files in (("data", golden.data), ("words", kept(name, golden.words))):
        folder = HERE / name / part
        if not files and not folder.exists():
            continue
        folder.mkdir(exist_ok=True)
        there = {path.name: path for path in folder.glob("*")}
        for file in there.keys() - files.keys():
            there[file].unlink()
        for file, content in files.items():
            if file not in there or first_difference(part, there[file].read_text(encoding="utf-8"), content):
                (folder / file).write_text(content, encoding="utf-8")
