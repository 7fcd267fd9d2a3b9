"""Golden runs: stored run folders, and all that modbench makes of them.

    pytest tests/goldens                           # check
    MODBENCH_GOLDEN=write pytest tests/goldens     # write anew, twice if a section is new; then read the difference

Each folder beside this file, and in `plugins/*/tests/goldens`, holds runs (`run.json.xz`, made by `plant.py`) and what is made of
them, in two parts:

- `data/`: tables, reports as JSON, exit codes. Columns, order, words of fixed lists and exit codes are compared exactly, numbers
  to 1e-9 of their size.
- `words/`: what people read: in the terminal at 80 columns, Markdown, LaTeX and HTML, and every sentence of the data.
  All are kept of one run, `quick`; of the others what only they have (`kept`), so that a changed sentence changes one file.

`golden.toml` says what else is made (`Settings`). What a plug-in adds to a golden of the core or of another plug-in (its tables,
sections, commands and formats) is kept in the plug-in: `plugins/recommend/tests/goldens/quick` has no run of its own.
"""

from __future__ import annotations

import csv
import html
import io
import itertools
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from in_process import command_line

from modbench import extend
from modbench.harness.registry import catalogue, plugin_manifests
from modbench.reports import demo
from modbench.reports.tables import load as loading
from modbench.reports.tables.load import Loaded

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOLERANCE = 1e-9
# What is left where numbers of about 1 cancel.
ROUNDING = 1e-15
# Parts of the JSON, and columns of the tables, that are sentences.
SENTENCES = {
    *("title", "asked", "answer", "sure", "cautions", "warnings", "facts", "doubts", "reasons", "reason", "protocol"),
    *("check_in_words", "about", "advice", "notes", "differs", "summary", "why", "said", "found", "how"),
}
# What is made of every run. `report` alone leaves tables and the page in the run.
FORMATS = "md,json"
EVERY = {"report": "report run", "files": f"report run --format {FORMATS} -o views"}
# Tables that every run has: a golden of one question does not keep them.
OF_EVERY_RUN = {"cases", "comparisons", "breakeven", "exchange", "isoflop"}
# Files of formats, and of which part they are.
PAGES = {".md", ".tex"}
# Who owns what the core makes.
CORE = ""


@dataclass(frozen=True)
class Settings:
    """`golden.toml`.

    Attributes:
        commands: what more is made of the runs: a name, and the command.
        one_question: tables that every run has are not kept.
        own_summary: the summary in the terminal is of a kind of its own.
        needs: other plug-ins without which its report looks different.
    """

    commands: Mapping[str, str] = field(default_factory=dict)
    one_question: bool = False
    own_summary: bool = False
    needs: Sequence[str] = ()

    @classmethod
    def of(cls, folder: Path) -> Settings:
        """Those of a golden's folder."""
        file = folder / "golden.toml"
        return cls(**tomllib.loads(file.read_text(encoding="utf-8"))) if file.exists() else cls()


@dataclass(frozen=True)
class Added:
    """What a plug-in adds to what is made of any run: tables, titles of sections, suffixes of files."""

    tables: frozenset[str]
    sections: frozenset[str]
    suffixes: frozenset[str]

    @classmethod
    def by(cls, plugin: plugin_manifests.Plugin) -> Added:
        """What a plug-in adds."""
        every = catalogue.entries("sections").items()
        of_core, sections = (
            [catalogue.load("sections", name) for name, entry in every if entry.plugin == owner]
            for owner in (None, plugin)
        )
        return cls(
            frozenset(table.name for section in sections for table in section.tables),
            # What has a title of the core's stands in that section.
            frozenset(each.title for each in sections) - {each.title for each in of_core},
            frozenset(f".{name}" for name in plugin.adds.get("formats", ())),
        )

    def has(self, kind: str, what: str) -> bool:
        """Whether it adds this."""
        return what in getattr(self, kind)


# The run of which all words are kept.
FIRST = "quick"
# Folders with runs, by name: those of the core, then those of plug-ins.
FOLDERS = {
    packed.parent.name: packed.parent
    for pattern in ("tests/goldens/*/*.json.xz", "plugins/*/tests/goldens/*/*.json.xz")
    for packed in sorted(ROOT.glob(pattern), key=lambda path: (path.parent.name != FIRST, path))
}
NAMES = tuple(FOLDERS)
# The plug-in that a golden belongs to, without which its run cannot be read.
NEEDS = {name: folder.parents[2].name for name, folder in FOLDERS.items() if folder.parent != HERE}
ADDED = {plugin.name: Added.by(plugin) for plugin in plugin_manifests.usable() if plugin.source == "shipped"}


def owners(name: str) -> list[str]:
    """Whose parts a golden has: that of the core or plug-in it belongs to, and those of all other plug-ins."""
    own = NEEDS.get(name, CORE)
    return [own, *(each for each in ADDED if each != own)]


def folder_of(name: str, owner: str) -> Path:
    """Where an owner's part of a golden is stored."""
    return ROOT / "plugins" / owner / "tests/goldens" / name if owner else HERE / name


def commands(name: str) -> dict[str, str]:
    """What is run of a golden, by the names of what is made of it."""
    return {title: command for owner in owners(name) for title, command in _commands(name, owner).items()}


def _commands(name: str, owner: str) -> Mapping[str, str]:
    """An owner's part of what is run."""
    own = Settings.of(folder_of(name, owner)).commands
    return {**EVERY, **own} if owner == NEEDS.get(name, CORE) else own


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
    for packed in sorted(FOLDERS[name].glob("*.json.xz")):
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
            part, sentences = split_json(json.loads(done.stdout))
            data[f"{title}.json"], words[f"{title}.txt"] = as_json(part), sentences
        else:
            words[f"{title}.txt"] = done.stdout + ("\n--- standard error\n" + done.stderr if done.stderr else "")
    data["exit_codes.json"] = as_json(exits)
    reported = folder / commands(name)["report"].split()[1]
    for path in (*_tables(name, reported), reported / "report.html", *sorted((folder / "views").iterdir())):
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            data[path.name], words[f"{path.stem}_reasons.txt"] = split_csv(content)
        elif path.suffix == ".json":
            part, sentences = split_json(json.loads(content))
            for table in ("cases", "comparisons", "tables"):  # as in the CSV files, which are compared
                part.pop(table)
            data[path.name], words[f"{path.stem}_sentences.txt"] = as_json(part), sentences
        elif path.suffix == ".html":
            words["page.txt"] = page_text(content)
            data["sections.json"] = as_json([*sections(words["page.txt"])])
        elif path.suffix in PAGES:
            words[path.name] = content
    return Golden(data, words)


def parts(name: str, golden: Golden) -> dict[str, Golden]:
    """What each owner has of a golden: plug-ins what they add, the first one all else."""
    own, *others = owners(name)
    added = {other: ADDED[other] for other in others}
    made = {other: _part(name, other, golden, each.has) for other, each in added.items()}
    return {
        own: _part(name, own, golden, lambda kind, what: not any(each.has(kind, what) for each in added.values()))
    } | made


def _part(name: str, owner: str, golden: Golden, has: Callable[[str, str], bool]) -> Golden:
    """What is left of a golden of an owner that has tables, sections and suffixes."""
    ran = {title: title in _commands(name, owner) for title in commands(name)}
    ran |= {command: ran[title] for title, command in commands(name).items()}

    def of_owner(files: Mapping[str, str]) -> dict[str, str]:
        left = ((file, _owned(file, text, ran, has)) for file, text in files.items())
        return {file: text for file, text in left if text}

    return Golden(of_owner(golden.data), of_owner(golden.words))


def _owned(file: str, text: str, ran: Mapping[str, bool], has: Callable[[str, str], bool]) -> str:
    """An owner's part of a file; empty: it has none."""
    match file:
        case "exit_codes.json":
            codes = {command: code for command, code in json.loads(text).items() if ran[command]}
            return as_json(codes) if codes else ""
        case "sections.json":
            titles = [title for title in json.loads(text) if has("sections", title)]
            return as_json(titles) if titles else ""
        case "page.txt":
            shown = "".join(each for title, each in sections(text).items() if has("sections", title))
            if not ran["report"]:
                return shown
            page = text[: text.index("## ")] + shown
            return re.sub(r" · (\w+)\.csv", lambda link: link[0] if has("tables", link[1]) else "", page)
        case "report_sentences.txt":
            lines = ((re.match(r"tables/(\w+)/", line), line) for line in text.splitlines(keepends=True))
            return "".join(line for table, line in lines if (has("tables", table[1]) if table else ran["report"]))
    stem, _, suffix = file.rpartition(".")
    if f".{suffix}" in PAGES:
        mine = has("suffixes", f".{suffix}")
    elif stem in ran:
        mine = ran[stem]
    else:
        mine = has("tables", stem.removesuffix("_reasons"))
    return text if mine else ""


def kept(name: str, owner: str, words: Mapping[str, str]) -> dict[str, str]:
    """The words of a part that are stored: of `quick` all; of others what their own commands print, the reasons in tables that
    `quick` lacks, and the sections of a report that no golden before has.
    """
    if name == FIRST:
        return dict(words)
    settings, before = Settings.of(folder_of(name, owner)), earlier(name)
    left = {"files.txt", "report.md", "report.tex", "report_sentences.txt", "page.txt", "tables.tex"}
    left |= {f"{table}_reasons.txt" for table in OF_EVERY_RUN - {"isoflop"}}
    left |= set() if settings.own_summary else {"report.txt"}
    left |= {f"{title}.txt" for other in before for title in commands(other)} - {"report.txt"}
    seen = {title for other in before for title in titles(other, owner)}
    if owner == NEEDS.get(name):
        seen |= {title for other in before for title in titles(other, CORE)}
    own = [text for title, text in sections(words.get("page.txt", "")).items() if title not in seen]
    stored = {file: text for file, text in words.items() if file not in left} | {"page.txt": "".join(own)}
    return {file: text for file, text in stored.items() if text}


def earlier(name: str) -> list[str]:
    """The goldens before one that are of the core or of its own plug-in: other plug-ins may be absent."""
    return [each for each in NAMES[: NAMES.index(name)] if NEEDS.get(each) in {None, NEEDS.get(name)}]


def titles(name: str, owner: str) -> list[str]:
    """The titles of an owner's sections that a golden's report has, as stored."""
    path = folder_of(name, owner) / "data" / "sections.json"
    return [*json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def sections(page: str) -> dict[str, str]:
    """The sections of a report's text, by their titles."""
    found = re.split(r"^## (.*)\n", page, flags=re.MULTILINE)
    return {title: f"## {title}\n{text}" for title, text in zip(found[1::2], found[2::2], strict=True)}


def _tables(name: str, run: Path) -> list[Path]:
    """Return the tables of a run that a golden keeps."""
    skipped = OF_EVERY_RUN if Settings.of(FOLDERS[name]).one_question else set[str]()
    return sorted(path for path in run.glob("*.csv") if path.stem not in skipped)


def as_json(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def split_csv(text: str) -> tuple[str, str]:
    """Return a table without its columns of sentences, and those sentences, each once, in order."""
    rows = list(csv.DictReader(io.StringIO(text)))
    columns = [column for column in (rows[0] if rows else {}) if column not in SENTENCES]
    kept = io.StringIO()
    writer = csv.DictWriter(kept, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    sentences = dict.fromkeys(row[column] for row in rows for column in row if column in SENTENCES and row[column])
    return kept.getvalue(), "".join(f"{each}\n" for each in sentences)


def split_json(data: Any) -> tuple[Any, str]:
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


# Tags that part no words, and what holds none.
INLINE = "a|abbr|b|code|em|i|small|span|strong|sub|sup|label|button"
SILENT = re.compile(r"<(script|style|svg|head)\b.*?</\1>")


def page_text(page: str) -> str:
    """Return what a page says, a line for each block of text; without scripts, styles and drawings."""
    text = SILENT.sub("\n", re.sub(r"\s+", " ", page))
    text = re.sub(r"</?t[dh]\b[^>]*>", " ", re.sub(r"<h2\b[^>]*>", "\n## ", text))
    text = re.sub(rf"</?(?!(?:{INLINE})\b)\w[^>]*>", "\n", text)
    lines = html.unescape(re.sub(r"<[^>]*>", "", text)).split("\n")
    return "".join(f"{' '.join(line.split())}\n" for line in lines if line.strip())


# --- comparing


def differences(name: str, golden: Golden) -> list[str]:
    """Return how what was made differs from what is stored, a line for each file."""
    found: list[str] = []
    for owner, own in parts(name, golden).items():
        for part, made in (("data", own.data), ("words", kept(name, owner, own.words))):
            where = folder_of(name, owner) / part
            there = {path.name: path.read_text(encoding="utf-8") for path in where.glob("*")}
            said = where.relative_to(ROOT)
            found += [f"{said}/{each}: no longer made" for each in sorted(there.keys() - made.keys())]
            found += [f"{said}/{each}: new" for each in sorted(made.keys() - there.keys())]
            for each in sorted(there.keys() & made.keys()):
                differs = first_difference(part, there[each], made[each])
                found += [f"{said}/{each}: {differs}"] if differs else []
    return found


# What lies between numbers in data. Words are compared to the letter, but for numbers with many decimals: the data of the page's
# figures, whose last digits depend on the processor.
_SPLIT = {"data": re.compile(r'([,\n\s:\[\]{}";]+)').split, "words": re.compile(r"(-?\d+\.\d{5,}(?:e[+-]?\d+)?)").split}


def first_difference(part: str, stored: str, text: str) -> str:
    """Return where two texts of a part, `data` or `words`, differ, numbers by more than the tolerance; empty: nowhere."""
    for number, (old, new) in enumerate(itertools.zip_longest(stored.split("\n"), text.split("\n")), 1):
        if old == new:
            continue
        apart: list[tuple[str | None, str | None]] = [(old, new)]
        if old is not None and new is not None and len(olds := _SPLIT[part](old)) == len(news := _SPLIT[part](new)):
            apart = [pair for pair in zip(olds, news, strict=True) if not _same(*pair)]
        if apart:
            return f"line {number}\n  stored: {apart[0][0]}\n  now:    {apart[0][1]}"
    return ""


def _same(old: str, new: str) -> bool:
    if old == new:
        return True
    try:
        return math.isclose(float(old), float(new), rel_tol=TOLERANCE, abs_tol=ROUNDING)
    except ValueError:
        return False


def store(name: str, golden: Golden) -> None:
    """Write what was made of a golden's runs, but for files that differ within the tolerance."""
    for owner, own in parts(name, golden).items():
        for part, files in (("data", own.data), ("words", kept(name, owner, own.words))):
            folder = folder_of(name, owner) / part
            there = {path.name: path for path in folder.glob("*")}
            for file in there.keys() - files.keys():
                there[file].unlink()
            for file, content in files.items():
                folder.mkdir(parents=True, exist_ok=True)
                if file not in there or first_difference(part, there[file].read_text(encoding="utf-8"), content):
                    (folder / file).write_text(content, encoding="utf-8")
