"""What a run can be written as: files, hostile names, limits, schemas. What is written of a run, `tests/goldens` holds.

After an intended change of the export for pytest-benchmark, which they do not hold:
`MODBENCH_GOLDEN=write pytest tests/reports/test_formats.py`, then look at the difference.
"""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from in_process import succeeded
from markdown_it import MarkdownIt
from resealed import reseal, reseal_with

import modbench
from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.blocks import Code, Finding, Table
from modbench.reports.formats import md
from modbench.reports.formats.json import VERSION, Report, type_of
from modbench.reports.html_report import render
from modbench.reports.markup import markdown
from modbench.reports.markup.markdown import LIMIT, Block, within
from modbench.reports.markup.number_format import plain
from modbench.reports.output_format import parse_formats
from modbench.reports.questions import value_tables
from modbench.reports.tables.cases import CASES
from modbench.reports.tables.comparisons import COMPARISONS, MORE
from modbench.reports.tables.load import Loaded, load

pytest_benchmark = pytest.importorskip("modbench.plugins.pytest.format", reason="the plug-in is absent")

SCHEMAS = Path(modbench.__file__).parent / "schemas"
Modbench = Callable[..., subprocess.CompletedProcess[str]]
GOLDEN = Path(__file__).parent / "golden"
FORMATS = ("csv", "md", "json", "pytest_benchmark")
# Names as a stranger may give them.
HOSTILE = "@octocat #17 <img src=x onerror=alert(1)> | `code` **bold** [a](http://b.c) $x^2$ www.d.e :tada: & \\ ~ { } \x1b[31m"
VARIANTS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}, {"model": "moe"}]
METRICS = ["flops/forward", "latency/forward", "memory/peak_allocated", "bpb/val"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A run at a fixed time: two lengths, three variants, of which one fails."""
    folder = tmp_path_factory.mktemp("formats")
    plan = planted_plan("draft", metrics=METRICS, variants=VARIANTS, processes=3, rounds=2)
    planted_run(folder, plan, fails="moe")
    return changed(folder / "run", lambda body: body.update(started="2026-01-02T03:04:05+00:00"))


def changed(run: Path, change: Callable[[dict[str, Any]], object]) -> Loaded:
    """The run with another run.json."""
    reseal_with(run / "run.json", change)
    return load(run)


@pytest.fixture(scope="module")
def written(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """File name to content, in every format but the page."""
    files = render.views(loaded, FORMATS, tmp_path_factory.mktemp("views"))
    return {file.name: file.read_text(encoding="utf-8") for file in files}


def test_the_export_for_pytest_benchmark_is_as_its_golden_file(written: dict[str, str]) -> None:
    """Numbers may differ in their last digits between machines: text is compared without them, then they are."""
    made, file = written["pytest-benchmark.json"], GOLDEN / "pytest-benchmark.json"
    if os.environ.get("MODBENCH_GOLDEN") == "write":
        file.write_text(made, encoding="utf-8")
    golden = file.read_text(encoding="utf-8")
    number = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")
    assert number.sub("0", made) == number.sub("0", golden)
    assert [float(each) for each in number.findall(made)] == pytest.approx(
        [float(each) for each in number.findall(golden)], rel=1e-6, abs=1e-12
    )


def test_equal_runs_make_equal_bytes(loaded: Loaded, written: dict[str, str], tmp_path: Path) -> None:
    again = render.views(load(loaded.path), FORMATS, tmp_path)
    assert {file.name: file.read_text(encoding="utf-8") for file in again} == written


def test_a_run_folder_that_was_moved_away_is_not_made_again(tmp_path: Path) -> None:
    """Whoever moves it while a run ends finds one folder, not a second one that holds the views alone."""
    planted_run(tmp_path, planted_plan("smoke"))
    loaded = load(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match=r"cases\.csv"):
        render.views(loaded)
    assert not (tmp_path / "run").exists()


# --- the command


def test_the_command_writes_the_formats_that_are_named_where_they_are_wanted(
    loaded: Loaded, modbench: Modbench, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in loaded.path.rglob("*") if path.is_file()}
    done = succeeded(modbench("report", loaded.path, "--format", "md,pytest-benchmark", "-o", tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pytest-benchmark.json", "report.md"]
    assert done.stdout.splitlines() == [str(tmp_path / "out" / name) for name in ("report.md", "pytest-benchmark.json")]
    assert {path: path.read_bytes() for path in loaded.path.rglob("*") if path.is_file()} == before
    done = modbench("report", loaded.path, "--format", "json", "--json", "-o", tmp_path / "out")
    assert json.loads(done.stdout)["files"] == [str(tmp_path / "out" / "report.json")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "markdown"), "unknown format 'markdown'. Known: csv, html, json, md, pytest-benchmark"),
        (("--format", ""), "--format needs at least one of csv, html"),
        (("-o", " "), "--out '' names no folder"),
    ],
)
def test_mistakes_are_said(loaded: Loaded, modbench: Modbench, arguments: tuple[str, ...], said: str) -> None:
    done = modbench("report", loaded.path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_format_is_named_once() -> None:
    assert parse_formats("md, md,pytest-benchmark") == ("md", "pytest_benchmark")


@pytest.mark.plugin("paper")
def test_every_format_is_in_the_table_of_the_docs() -> None:
    doc = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| `([\w-]+)` \|", doc, flags=re.MULTILINE)
    assert sorted(names) == sorted(name.replace("_", "-") for name in catalogue.entries("formats"))


# --- Markdown


def rendered(text: str) -> str:
    return str(MarkdownIt("commonmark").enable("table").render(text))


def test_hostile_text_means_nothing_in_markdown(loaded: Loaded, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(loaded.path, run)
    for file in (run / "jobs").glob("time-*.json"):
        reseal(file, json.loads(file.read_text().replace("planted failure", json.dumps(HOSTILE)[1:-1])))
    made = md.markdown(changed(run, lambda body: body.update(command=["modbench", "run", f"{HOSTILE}.toml"])))
    page = rendered(made.replace(markdown.PART, "\u2063"))
    assert "onerror=alert(1)&gt;" in page  # as text
    tags = r"h[23]|p|ul|li|table|thead|tbody|t[rhd]|strong|em|code|blockquote|sub|details|summary"
    assert all(re.fullmatch(tags, each) for each in re.findall(r"<(\w+)", page))
    for sentence in re.findall(r"<li>(.*?)</li>", page):
        outside = re.sub(r"<code>.*?</code>", "", sentence)
        assert "<em>" not in outside
        assert not re.search(r"@octocat|#17|http://|www\.d|:tada:", outside), outside
    assert "\x1b" not in made
    assert r"\x1b" in made


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<b>", r"\<b\>"),
        ("@all", "@&#8203;all"),
        ("a #12 b", "a #&#8203;12 b"),
        ("see http://x.y", "see http:&#8203;//x.y"),
        ("- a", r"\- a"),
        ("=", r"\="),
        ("a_b__c", "a_b__c"),
        ("_a_ b_", r"\_a\_ b\_"),
        ("__a_.b", r"\_\_a\_.b"),
        ("# a", r"\# a"),
        ("1. a", r"1\. a"),
        ("16.3 ms", "16.3 ms"),
        ("-0.5", "-0.5"),
        ("a\nb", "a\\\\x0ab"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_markdown_escapes(said: str, shown: str) -> None:
    assert markdown.text(said) == shown


@pytest.mark.parametrize(
    "said", ["=", "==", "- a", "# a", "1. a", "---", "a_b", "é_ü", "_a_", "x__y__z", "*", "[x](y)"]
)
def test_a_cell_escapes_what_it_must(said: str) -> None:
    """Where nothing begins a line, marks of lists and headings are text."""
    made = markdown.within([markdown.block(Table("t", ("h", said), [(said, Code(said))]))])
    page = rendered(made)
    assert re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", page) == ["h", said, said, f"<code>{said}</code>"]
    assert page.count("<h3>") == 1
    assert ("\\" in made) == (said in {"_a_", "*", "[x](y)"})


def test_a_masked_text_is_found_before_it_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODBENCH_MASK", "my_secret")
    assert all("secret" not in written("in my_secret folder") for written in (markdown.text, markdown.code))


@pytest.mark.parametrize("said", ["a`b", "``", "`a`", "a``b`c", "|", " "])
def test_code_stays_code(said: str) -> None:
    page = rendered(f"| h |\n|---|\n| {markdown.code(said)} |\n")
    (cell,) = re.findall(r"<td><code>(.*?)</code></td>", page)
    assert cell.strip() == said.strip()


def test_a_long_report_is_cut_with_a_remark() -> None:
    rows = [f"| {'x' * 100} | {number} |" for number in range(5000)]
    made = within(
        [Block(["# title"]), Block(["| a | b |", "|---|---|"], rows, "variants", "comparisons.csv"), Block(["end"])]
    )
    assert len(made) < LIMIT
    kept = made.count("xx |")
    assert f"_{5000 - kept:,} more variants: comparisons.csv._" in made
    assert kept > 300
    assert made.endswith("end\n")


def test_a_report_with_endless_reasons_stays_below_the_limit(loaded: Loaded, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(loaded.path, run)
    for number, file in enumerate(sorted((run / "jobs").glob("time-*.json"))):
        reseal(file, json.loads(file.read_text().replace("planted failure", f"{number} " + "@" * 200_000)))
    assert len(md.markdown(load(run))) < LIMIT


def test_batch_sizes_are_columns_where_there_is_one_length(tmp_path: Path) -> None:
    grid = {"seq_len": [64], "batch_size": [1, 2], "dtype": ["fp32", "bf16"]}
    planted_run(
        tmp_path,
        planted_plan("draft", metrics=["latency/forward"], variants=VARIANTS[:2], grid=grid, processes=3, rounds=1),
    )
    first, second = value_tables.tables(load(tmp_path / "run"))
    for made, dtype in ((first, "fp32"), (second, "bf16")):
        assert [*map(plain, (*made.head, made.at))] == ["", "T = 64, B = 1", "T = 64, B = 2", dtype]
    _, (variant, *cells) = first.rows
    assert isinstance(variant, Case)
    assert variant.variant == "mod[c0.125]"
    assert [cell.where.batch_size for cell in cells if isinstance(cell, Finding) and cell.where] == [1, 2]


# --- JSON


def test_the_json_report_follows_its_schema(written: dict[str, str]) -> None:
    data = json.loads(written["report.json"])
    assert data["schema_version"] == VERSION
    again = Report.model_validate_json(written["report.json"])
    assert json.loads(again.model_dump_json()) == data
    schema = json.loads((SCHEMAS / "report.schema.json").read_text(encoding="utf-8"))
    assert set(schema["required"]) <= set(data) <= set(schema["properties"])
    row = schema["$defs"]["PairRow"]["properties"]
    assert set(data["comparisons"][0]) == set(row)
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: checked with pydantic alone")
    jsonschema.validate(data, schema)


def test_every_column_has_one_type_in_the_schema() -> None:
    """A new column of a table belongs into one of the sets in `_schema.py`."""
    assert {type_of(column) for column in (*CASES, *COMPARISONS, *MORE)} == {int, float, bool, str}


def test_the_json_report_holds_the_tables(loaded: Loaded, written: dict[str, str]) -> None:
    data = json.loads(written["report.json"])
    assert len(data["cases"]) == len(loaded.cases)
    assert len(data["comparisons"]) == len(loaded.pairs)
    row = next(row for row in data["comparisons"] if row["variant"] == "mod[c0.125]" and row["unit"] == "s")
    assert row["ratio"] == loaded.pair("mod[c0.125]", "latency/forward", row["seq_len"]).ratio  # type: ignore[union-attr]


def test_every_row_says_on_which_machine_and_when(written: dict[str, str], loaded: Loaded) -> None:
    """Rows of several runs can be put into one table."""
    for name in ("cases.csv", "comparisons.csv"):
        rows = [*csv.DictReader(written[name].splitlines())]
        assert {(row["machine"], row["date"]) for row in rows} == {(loaded.tables.device_name, "2026-01-02")}


# --- pytest-benchmark


@pytest.mark.slow
def test_pytest_benchmark_compares_two_exports(written: dict[str, str], tmp_path: Path) -> None:
    """Its own command, in a process of its own."""
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file in files:
        file.write_text(written["pytest-benchmark.json"])
    command = [sys.executable, "-c", "from pytest_benchmark.cli import main; main()", "compare", *map(str, files)]
    done = subprocess.run(
        [*command, "--columns", "median,rounds"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Failed to load" not in done.stdout + done.stderr
    assert done.stdout.count("mod[c0.125-T64-B1-fp32-cpu1] forward") == 2
    assert "benchmark 'forward T64-B1-fp32-cpu1': 4 tests" in done.stdout


def by_pytest_benchmark(data: list[float]) -> dict[str, Any]:
    """What its own code makes of samples."""
    made: Any = importlib.import_module("pytest_benchmark.stats").Stats()
    for value in data:
        made.update(value)
    return dict(made.as_dict())


def test_the_export_is_what_pytest_benchmark_would_have_stored(loaded: Loaded) -> None:
    """Statistics by its own code; every sample; and a word that verdicts are elsewhere."""
    made = pytest_benchmark.exported(loaded)
    assert len(made["benchmarks"]) == 4  # two variants, two lengths: what failed has no times
    for benchmark in made["benchmarks"]:
        for field, value in by_pytest_benchmark(benchmark["stats"]["data"]).items():
            ours = benchmark["stats"][field]
            assert ours == (value if isinstance(value, str) else pytest.approx(value)), field
        assert sum(benchmark["extra_info"]["processes"].values()) == benchmark["stats"]["rounds"]
        assert "Verdicts come from modbench" in benchmark["extra_info"]["note"]


@pytest.mark.parametrize("n", range(1, 14))
def test_quartiles_are_theirs(n: int) -> None:
    data = [((7 * i) % 13) ** 2 / 7 + 0.001 for i in range(n)]
    ours = pytest_benchmark.statistics_of(data)
    for field, value in by_pytest_benchmark(data).items():
        assert ours[field] == (value if isinstance(value, str) else pytest.approx(value)), (n, field)
