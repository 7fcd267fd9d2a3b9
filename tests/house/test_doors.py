"""What is done in one place: each door lists the files that may do it, and why where there is more than one."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from product import SOURCES

ROOT = Path(__file__).parents[2]
# Where the names are that plug-ins import.
EXTENDED = {
    each.asname or each.name: node.module
    for node in ast.walk(ast.parse((ROOT / "src/modbench/extend.py").read_text(encoding="utf-8")))
    if isinstance(node, ast.ImportFrom)
    for each in node.names
}
Rule = Callable[[ast.AST], bool]
# What rules look at.
FOUND = (ast.Attribute, ast.Call, ast.Compare, ast.Constant, ast.FormattedValue, ast.Import, ast.ImportFrom, ast.Raise)


def dotted(node: ast.AST) -> str:
    """The name of an expression such as `os.path.join`; empty for anything else."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def uses(*names: str) -> Rule:
    """Whether a node names one of them, with its module or imported from it; `*` stands for any name."""
    pattern = re.compile("|".join(re.escape(name).replace(r"\*", r"\w*") for name in names))

    def found(node: ast.AST) -> bool:
        said: list[str] = []
        if isinstance(node, ast.Attribute):
            said = [dotted(node)]
        elif isinstance(node, ast.ImportFrom) and node.module:
            said = [f"{node.module}.{alias.name}" for alias in node.names]
            said += [f"{node.module.rpartition('.')[2]}.{alias.name}" for alias in node.names]
        return any(map(pattern.fullmatch, said))

    return found


def calls(*methods: str) -> Rule:
    """Whether a node calls a method of such a name, of whatever object."""
    return lambda node: (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods
    )


def texts(node: ast.AST) -> str:
    """All text in an expression."""
    parts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    return "".join(part for part in parts if isinstance(part, str))


def refuses_a_file(node: ast.AST) -> bool:
    """Whether an error says of a file that it cannot be read, and is of another type than the one for that."""
    said = re.compile(r"damaged|not JSON|not TOML|not Python|cannot be read\b")
    return (
        isinstance(node, ast.Call)
        and dotted(node.func) in {"UsageError", "ModbenchError"}
        and any(said.search(texts(each)) for each in node.args[:1])
    )


def pads(node: ast.AST) -> bool:
    """Whether a text is padded to a width: by a method, or in an f-string or a format."""
    if calls("ljust", "rjust")(node):
        return True
    if isinstance(node, ast.FormattedValue) and isinstance(node.format_spec, ast.JoinedStr):
        return bool(re.match(r"[<>](\{|\d|$)", texts(node.format_spec)))
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(re.search(r"\{:[<>]", node.value))


def raises(name: str) -> Rule:
    return lambda node: (
        isinstance(node, ast.Raise)
        and node.exc is not None
        and dotted(node.exc.func if isinstance(node.exc, ast.Call) else node.exc) == name
    )


def writes_a_line(node: ast.AST) -> bool:
    """Whether a text that begins as modbench's lines on standard error do is printed or written."""
    called = dotted(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
    return called in {"print", "write"} and texts(node).startswith("modbench: ")


def imports_the_root(node: ast.AST) -> bool:
    """Whether a name of the root package is imported that is no module in it."""
    if isinstance(node, ast.Import):
        return any(alias.name == "modbench" for alias in node.names)
    if not isinstance(node, ast.ImportFrom) or node.module != "modbench":
        return False
    package = ROOT / "src" / "modbench"
    return not all((package / f"{alias.name}.py").exists() or (package / alias.name).is_dir() for alias in node.names)


# Not `inconclusive`, which break-even points, gates and machine checks may be as well.
VERDICTS = {"better", "worse", "better_open", "worse_open", "equivalent"}
JUDGES = {"contrast", "together", "counted", "estimated", "limited", "verdict", "clock"}


def is_a_verdict(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in VERDICTS


def judges(node: ast.AST) -> bool:
    """Whether a node names a function of `harness/stats/verdicts.py` that judges: imported from it, or as its attribute."""
    if isinstance(node, ast.ImportFrom):
        plugged = node.module == "modbench.extend"
        homes = {alias.name: str(EXTENDED.get(alias.name) if plugged else node.module) for alias in node.names}
        names = {name.partition("_of_")[0] for name, home in homes.items() if home.endswith("stats.verdicts")}
        return bool(JUDGES & names)
    return isinstance(node, ast.Attribute) and dotted(node) in {f"verdicts.{name}" for name in JUDGES}


def compares_a_p_value(node: ast.AST) -> bool:
    """Whether a p-value is compared with a level."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
    names = {re.sub(r"\[.*", "", side).rpartition(".")[2] for side in sides}
    return bool(names & {"p", "p_adjusted", "p_value", "pvalue"}) and any(
        "LEVEL" in side or re.fullmatch(r"0\.\d+", side) for side in sides
    )


def either(*rules: Rule) -> Rule:
    return lambda node: any(rule(node) for rule in rules)


@dataclass(frozen=True)
class Door:
    """Something that is done in one place.

    Attributes:
        finds: whether a node of a syntax tree does it.
        files: where it may be done: the door itself without a reason, any other with one.
        wrong: code that a second door would have.
        places: in how many places the door itself does it; None: as often as it likes.
    """

    finds: Rule
    files: Mapping[str, str]
    wrong: str
    count: int | None = None


DOORS = {
    "a child process is started and held": Door(
        uses(
            *("subprocess.Popen", "subprocess.run", "subprocess.call", "subprocess.check_*", "subprocess.getoutput"),
            *("os.fork*", "os.exec*", "os.spawn*", "os.posix_spawn*", "os.system", "os.popen", "pty.fork"),
            *("multiprocessing.get_context", "multiprocessing.Process", "multiprocessing.Pool"),
            *("futures.ProcessPoolExecutor", "torch.multiprocessing", "distributed.run"),
            *("child.start", "child.tied"),
        ),
        {
            "harness/machine/process/child.py": "",
            "harness/execution/launchers/local.py": "the forked or spawned process that it gives to the door",
            "harness/execution/command.py": "the command that it gives to the door",
            "harness/execution/ranks.py": "torchrun starts the ranks of a unit, inside the process that the door started",
            "harness/machine/process/processes.py": "programs that are asked something and waited for",
            "plugins/ab/one_command.py": "a command, in the group of the process that the door started",
        },
        "import subprocess\nsubprocess.run(['git'])",
    ),
    "an exception becomes a line and an exit code": Door(
        either(
            uses("sys.exit", "os._exit"),
            raises("SystemExit"),
            writes_a_line,
        ),
        {
            "harness/machine/process/exit_codes.py": "",
            "harness/execution/worker.py": "ends whatever threads a model left",
            "harness/machine/process/child.py": "runs without modbench, as a script",
            "plugins/ab/one_process.py": "nobody is left who could read a line",
        },
        "import sys\nsys.exit(2)",
    ),
    "a command answers by its exit code": Door(
        uses("typer.Exit"),
        {
            "src/modbench/cli.py": "--version ends the parser",
            **dict.fromkeys(
                (
                    "plugins/ab/flags.py",
                    "plugins/audit/command.py",
                    "src/modbench/commands/gate/__init__.py",
                    "src/modbench/commands/listing.py",
                    "plugins/recommend/command.py",
                    "src/modbench/commands/run.py",
                    "plugins/published/command.py",
                    "src/modbench/commands/watch/__init__.py",
                ),
                "the answer is no, and what was printed says so: that is no error",
            ),
        },
        "import typer\nraise typer.Exit(1)",
    ),
    "a file of somebody else's is refused by one type of error": Door(
        refuses_a_file, {}, "raise UsageError(f'{file}: not JSON')"
    ),
    "text becomes tokens": Door(
        either(calls("encode_batch", "encode_batch_fast", "encode_ordinary"), uses("Tokenizer.from_*")),
        {"harness/planning/text/tokens.py": ""},
        "ids = tokenizer.encode_batch(texts)",
    ),
    "anything of a Hugging Face folder is loaded": Door(
        calls("from_pretrained", "from_config", "safe_open"),
        {
            "plugins/huggingface/model/loading.py": "",  # runs no code of the folder: test_security.py
            "plugins/huggingface/model/files.py": "headers, before anything is loaded",
        },
        "from transformers import AutoModel\nAutoModel.from_pretrained(folder)",
    ),
    "JSON is escaped": Door(
        uses("plain_text.escaped_json"),
        {
            "harness/core/atomic_files.py": "",
            "harness/results/json_files.py": "a file is sealed by the digest of its bytes",
            "harness/results/progress_file.py": "the state of a run, which is replaced every second without waiting for the disk",
            "src/modbench/commands/_output.py": "what a command prints is no file",
        },
        "from modbench.harness.core.plain_text import escaped_json",
    ),
    "a model is checked before its times are believed": Door(
        uses("check_caching.kept", "check_caching.reused", "check_skipping.claims", "check_skipping.masked"),
        {
            "plugins/python/checks.py": "",
            "harness/measure/passes/count.py": "before anything is timed: what a case says of itself is counted and stored",
        },
        "from modbench.harness.call.subject import check_skipping\ncheck_skipping.claims(model, tokens)",
        count=2,  # each of the two guards of calls once
    ),
    "a call must leave the settings of the process as they were": Door(
        uses("process_settings.check", "process_settings.changed"),
        {
            "plugins/python/checks.py": "callables in a user's process: of `mb.compare`, `mb.measure` and the pytest plug-in",
            "harness/measure/passes/time.py": "the variants of a run",
            "harness/call/subject/subject.py": "what loads, builds and first calls a model",
        },
        "from modbench.harness.call.subject import process_settings\nprocess_settings.check({}, variant)",
    ),
    "the words of verdicts are written": Door(
        is_a_verdict,
        {
            "harness/stats/verdicts.py": "",
            "harness/registry/catalogue.py": "the field of a metric that says which direction is better",
        },
        "said = 'worse' if slower else 'equivalent'",
    ),
    "two variants are judged in one metric": Door(
        judges,
        {
            "plugins/sweeps/confirmation/rule.py": "losses of the best of two sweeps, confirmed",
            "harness/stats/paired.py": "samples of two variants: pairs of a run, the machine check, the number of processes",
            "harness/stats/over_seeds.py": "losses of seeds, and accuracies",
            "plugins/python/callable_contrasts.py": "`mb.compare`, and the fixture of pytest",
            "plugins/recommend/section.py": "counts of variants that are chosen between",
            "plugins/ab/question.py": "blocks of `modbench ab`",
            "plugins/combine/question.py": "ratios of two pairs",
            "plugins/tasks/counts.py": "counts of runs that solved a task",
            "reports/questions/gate/gate.py": "limits on two runs",
            "plugins/recommend/question.py": "variants of a run in a metric that is computed from others",
            "reports/tables/comparisons.py": "counts and shares of a run",
            "reports/tables/values.py": "pairs of a run, and along an axis",
            "reports/tables/claims.py": "families of a run",
            "reports/tables/two_runs.py": "two stored runs",
        },
        "from modbench.harness.stats import verdicts\nverdicts.contrast(base, new, 'within', rule)",
    ),
    "p-values are adjusted for their family": Door(
        uses("effects.adjusted"),
        {
            "harness/stats/verdicts.py": "",
        },
        "from modbench.harness.stats.effects import adjusted",
    ),
    "a p-value is compared with a level": Door(
        compares_a_p_value,
        {
            "harness/stats/verdicts.py": "",
            "harness/measure/warnings/times.py": "whether the cost of one variant depends on its input",
            "harness/stats/trend_test.py": "whether one variant drifts",
        },
        "found = effect.p < 0.05",
    ),
    "Markdown is escaped": Door(
        lambda node: (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (bool(re.search(r"\[(?=[^]]*`)(?=.*\|.*\])", node.value)) or node.value in {"\\|", "&#124;"})
        ),
        {"reports/markup/markdown.py": ""},
        "cell.replace('|', '\\\\|')",
    ),
    "columns of text are aligned": Door(
        pads,
        {
            "harness/core/plain_text.py": "",
            "reports/markup/short.py": "the two parts of a cell, inside a column",
            "reports/markup/text.py": "titles of groups",
            "src/modbench/commands/_app.py": "typer writes the lines of --help",
            "src/modbench/commands/listing.py": "names below several headings",
            "plugins/published/recompute.py": "names below several headings",
        },
        "f'{name:<{width}}  {about}'",
    ),
    "the root package names all that is below it, for type checkers: nothing below imports it": Door(
        imports_the_root, {}, "from modbench import compare"
    ),
}


@pytest.fixture(scope="module")
def found() -> dict[str, list[tuple[str, int]]]:
    """Files and lines that do what each door is for; every file is read once."""
    places: dict[str, list[tuple[str, int]]] = {what: [] for what in DOORS}
    for path in SOURCES:
        if path.name == "extend.py":  # it names what plug-ins use
            continue
        for node in (each for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(each, FOUND)):
            for what, door in DOORS.items():
                if door.finds(node):
                    places[what].append((path.relative_to(ROOT).as_posix(), getattr(node, "lineno", 0)))
    return places


@pytest.mark.slow
@pytest.mark.parametrize("what", DOORS)
def test_there_is_no_second_door(what: str, found: dict[str, list[tuple[str, int]]]) -> None:
    files = DOORS[what].files
    assert [f"{file}:{line}" for file, line in found[what] if file not in files] == []
    absent = {file for file in files if file.startswith("plugins/") and not (ROOT / file).parent.is_dir()}
    assert files.keys() - absent == {file for file, _ in found[what]}, "a file that is allowed no longer needs it"


@pytest.mark.slow
@pytest.mark.parametrize("what", [what for what, door in DOORS.items() if door.count])
def test_the_door_itself_does_it_in_one_way(what: str, found: dict[str, list[tuple[str, int]]]) -> None:
    lines = [f"{file}:{line}" for file, line in found[what] if DOORS[what].files.get(file) == ""]
    assert len(lines) == DOORS[what].count, lines


@pytest.mark.parametrize("what", DOORS)
def test_a_second_door_would_be_found(what: str) -> None:
    assert any(map(DOORS[what].finds, ast.walk(ast.parse(DOORS[what].wrong))))


@pytest.mark.parametrize("what", DOORS)
def test_of_several_files_one_is_the_door_and_the_others_say_why(what: str) -> None:
    assert len([why for why in DOORS[what].files.values() if not why]) <= 1
