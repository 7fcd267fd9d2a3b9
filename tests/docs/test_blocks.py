"""Every block of code and every command in the documentation is executed; what takes over ten seconds is planned here.

The proofs run it. A comment before a block may say why it is not: `<!-- not executed: REASON -->`, or `<!-- proof: REASON -->`
for what the proofs alone execute.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import struct
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import example
import pytest
import typer.main
import yaml  # type: ignore[import-untyped]  # it has no types
from doc_blocks import ALL, PAGES, ROOT, Block, blocks, inline_commands, words_of
from in_process import succeeded
from planted_compare import VARIANTS, compared_run

from modbench.cli import app
from modbench.harness.domain.case import Case
from modbench.harness.domain.user_model_cost import UserModelCost
from modbench.harness.execution import user_model_costs
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.text.tokens import byte_characters
from modbench.harness.registry.case_facts import with_facts
from modbench.plugins.pytest.format import statistics_of
from modbench.reports.tables import load as loading
from modbench.reports.tables.load import Loaded

Modbench = Callable[..., CompletedProcess[str]]
LANGUAGES = {"sh", "python", "toml", "json", "yaml", "text", "bibtex"}
GROUP: Any = typer.main.get_command(app)

# Commands that measure or wait (and `demo`, which tests/cli/test_start.py runs): here only their arguments are read.
LONG = {"ab", "train", "profile", "doctor", "resume", "demo"}
# What `audit` looks at here, and at its own size in the proofs.
SMALL = ("--seq-len", "32", "--batch-size", "2", "--set", "d_model=32", "--set", "n_layers=2")
# Flags of `run` that `plan` has no use for, with the words that follow them.
ONLY_OF_RUN = {"-o": 1, "--out": 1, "--launcher": 1, "--launcher-profile": 1, "--timeout": 1, "--strict": 0}
# Exit codes that are an answer too: a gate may fail or be inconclusive; planted runs have no end.
ANSWERS = {"gate": {0, 1, 5}, "doctor": {0, 5}, "watch": {0, 4}, "report": {0, 4}, "recommend": {0, 1, 5}}
# Programs besides modbench, which are not started here: they install, run these tests, have tests or need a cluster.
OTHERS = {
    *("cd", "source", "venv", "pip", "tox", "ruff", "mypy", "lint-imports"),
    *("pytest", "pytest-benchmark", "jupyter", "srun", "torchrun"),
}


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def make_named_files(folder: Path) -> None:
    """The files that documented commands name."""
    (folder / "mine.py").write_text(
        "import torch\ndef build(config, threshold=0.5, mode='soft'):\n    d, v = config.d_model, config.vocab_size\n"
        "    return torch.nn.Sequential(torch.nn.Embedding(v, d), torch.nn.Linear(d, v))\n"
    )
    shutil.copytree(ROOT / "plugins" / "example", folder / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "examples" / "routers" / "scaled_norm.py", folder / "my_router.py")
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = {"model_type": "llama", "max_position_embeddings": 1024, "vocab_size": 512, **shape}
    (folder / "my_llama").mkdir()
    (folder / "my_llama" / "config.json").write_text(json.dumps(config))
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer: dict[str, Any] = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor"))
    tokenizer |= {"version": "1.0", "added_tokens": [], "decoder": level, "pre_tokenizer": level}
    tokenizer |= {"model": {"type": "BPE", "vocab": byte_characters(), "merges": []}}
    (folder / "my_llama" / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "my_llama" / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")  # whole, and empty
    (folder / "novels").mkdir()
    for i in range(2):
        (folder / "novels" / f"{i}.txt").write_text("".join(f"{i} once upon a time, {n} times " for n in range(2000)))
    (folder / "snli").mkdir()
    labels = ("entailment", "contradiction")
    for name in ("train", "dev"):
        pairs = ({"sentence1": f"{name} {i}.", "sentence2": "No.", "gold_label": labels[i % 2]} for i in range(40))
        told = (json.dumps(pair) + "\n" for pair in pairs)
        (folder / "snli" / f"{name}.jsonl").write_text("".join(told))
    one = {"fullname": "bench_gather", "stats": statistics_of([0.1, 0.2]), "extra_info": {}}
    (folder / "micro.json").write_text(json.dumps({"benchmarks": [one]}))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with planted times, of the variants and lengths that pages name."""
    metrics = ["flops/forward", "latency/forward", "latency/train_step", "memory/peak_allocated", "loss/val_causal"]
    suite = {"metrics": metrics, "grid": {"seq_len": [128, 256, 512]}, "processes": 3, "variants": VARIANTS[:2]}
    return compared_run(tmp_path_factory.mktemp("planted") / "run", suite=suite).path


def make_page_files(page: Path, planted: Path, folder: Path) -> None:
    """What a page names: its own blocks with a title, the example folder, and a copy of the planted run for every run.

    The page of the example has the runs of the example.
    """
    text = page.read_text(encoding="utf-8")
    if page == example.PAGE:
        example.unpack(folder)
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
    if "--plugin bench" in text and not (folder / "bench").exists():
        shutil.copytree(ROOT / "plugins" / "example", folder / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    for name in {*re.findall(r"\bruns/[\w.-]*\w", text)}:
        if not (folder / name).exists():
            shutil.copytree(planted, folder / name)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that pages name."""
    make_named_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_PLUGINS", "")
    monkeypatch.setattr(user_model_costs, "_in_processes", in_this_process)
    return tmp_path


def in_this_process(cases: Sequence[Case], *, memory: bool, operators: bool) -> list[UserModelCost | str]:
    """Count models of the pages here: a process for each command of each page would import torch some thirty times.

    Memory is forecast of the first alone, and of no checkpoint: that takes most of the time of a plan.
    """
    first = next((case for case in cases if memory and not case.model.startswith("hf:")), None)
    return [user_model_costs.count(with_facts(case), memory=case is first, operators=operators) for case in cases]


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a run once for all commands of a page, and again when one of them has added to it."""
    anew, read = loading.load, dict[str, Loaded]()

    def load(run: str | Path, *given: Any, **more: Any) -> Loaded:
        key = repr((str(run), given, more, sorted(map(str, Path(run).rglob("*.json")))))
        if key not in read:
            read[key] = anew(run, *given, **more)
        return read[key]

    monkeypatch.setattr(loading, "load", load)


# --- what every block must be


def test_blocks_say_what_they_are() -> None:
    for block in ALL:
        assert block.language in LANGUAGES, f"{block.grid_point}: ```{block.language}"
        assert not block.how or len(block.why.split()) >= 3, f"{block.grid_point}: no reason"
    assert {block.language for block in ALL} >= {"sh", "python", "toml", "yaml", "text"}
    assert sum(len(block.commands) for block in ALL if block.language == "sh") > 50


# --- shell


def parsed(words: list[str]) -> None:
    """Read a command's arguments as the command line does; what it refuses ends the test."""
    command, rest = command_of(words)
    command.make_context(words[0], rest)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and those behind its name; of a group with the name of its part."""
    command = GROUP.commands[words[0]]
    parts = getattr(command, "commands", {})
    return (parts[words[1]], words[2:]) if len(words) > 1 and words[1] in parts else (command, words[1:])


def without_what_init_writes(words: Sequence[str], folder: Path) -> None:
    """Remove the file that `modbench init` is to write: a reader has none yet."""
    if words[0] == "init" and len(words) > 1:
        (folder / words[1]).unlink(missing_ok=True)


def planned(words: list[str]) -> list[str]:
    """The words of `modbench plan` for those of `modbench run`."""
    kept, skip = ["plan"], 0
    for word in words[1 : words.index("--") if "--" in words else None]:
        if skip:
            skip -= 1
        elif word in ONLY_OF_RUN:
            skip = ONLY_OF_RUN[word]
        else:
            kept.append(word)
    return kept


# Commands that need no run and leave nothing behind: what an earlier page ran is not run again.
READ_ALONE = {"run", "plan", "verify"}
RAN: set[tuple[str | bytes, ...]] = set()


def told(words: list[str], folder: Path) -> tuple[str | bytes, ...]:
    """All that a command is told: its words, and what is in the files that it names."""
    files = (folder / word.partition(":")[0] for word in words)
    return (*words, *(file.read_bytes() for file in files if file.is_file()))


def others(words: list[str], folder: Path) -> None:
    """Check a command of another program as far as can be without starting it."""
    program = Path(words[0]).name
    if re.fullmatch(r"python(3[.\d]*)?", program):
        if words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file() or (folder / words[1]).is_file(), words
            return
        assert words[1] == "-m", words
        program = words[2]
        if program == "modbench":
            parsed(words[3:])
            return
    assert program in OTHERS, f"{words}: name it in OTHERS if it is not to be executed"
    if program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
        named = {extra for word in words for found in re.findall(r"\[([\w,-]+)\]", word) for extra in found.split(",")}
        assert named <= {*extras}, words


@pytest.mark.slow
@pytest.mark.usefixtures("read_once", "unmeasured", "undrawn")
@pytest.mark.parametrize("page", [page for page in PAGES if any(b.language == "sh" for b in blocks(page))], ids=page_id)
def test_commands_do_what_the_page_says(page: Path, here: Path, planted: Path, modbench: Modbench) -> None:
    """Every command of a page in its order, in one folder: runs are planned, what reads runs gets planted ones."""
    make_page_files(page, planted, here)
    for block in blocks(page):
        if block.language != "sh" or block.how == "not executed":
            continue
        for command in block.commands:
            words = words_of(command)
            if Path(words[0]).name != "modbench":
                others(words, here)
                continue
            name, *rest = words[1:]
            if name.startswith("-"):
                assert name in {"--help", "--version", "--install-completion", "--show-completion"}, command
                continue
            parsed([name, *rest])
            if name in LONG or block.how == "proof":
                continue
            if name in READ_ALONE and told(words, here) in RAN:
                continue
            RAN.add(told(words, here))
            without_what_init_writes([name, *rest], here)
            small = SMALL if name == "audit" and "--seq-len" not in rest else ()
            done = modbench(*(planned(words[1:]) if name == "run" else words[1:]), *small, cwd=here)
            wanted = ANSWERS.get(name, {0})
            assert done.returncode in wanted, f"{block.grid_point}: {command}\n{done.stderr}"
            assert done.stdout.strip(), command


@pytest.mark.plugin("recommend")
def test_commands_inside_sentences_exist_with_their_flags() -> None:
    for command in (command for page in PAGES for command in inline_commands(page)):
        words = command.split()
        if re.fullmatch(r"[A-Z]+", words[1]) or words[1].startswith("-"):
            continue  # `modbench COMMAND --help`
        assert words[1] in GROUP.commands, command
        options = command_of(words[1:])[0].params
        known = {option for param in options for option in (*param.opts, *param.secondary_opts)}
        ours = words[: words.index("--")] if "--" in words else words
        used = {word.partition("=")[0] for word in ours if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help", "-h"}, command


# --- Python


def run_python(page: Path, hows: set[str]) -> None:
    """Execute a page's blocks of Python in one namespace, in order, without what they print."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python" and block.how in hows and not block.title:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile("\n" * block.line + block.text, block.grid_point, "exec"), namespace)  # noqa: S102  # our own pages


PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
# Pages whose blocks measure: these tests run them with fewer rounds and stored runs, the proofs below as they are.
SHORTENED = {"plugins/python/README.md": "plugins/python/tests/test_python_examples.py"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON, ids=page_id)
def test_python_blocks_run(page: Path, here: Path, planted: Path) -> None:
    if page_id(page) in SHORTENED:
        assert f'"{page.name}"' in (ROOT / SHORTENED[page_id(page)]).read_text(encoding="utf-8")
        return
    make_page_files(page, planted, here)
    run_python(page, {""})


# --- data


def test_data_can_be_read_and_suites_are_valid() -> None:
    read = {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads}
    for block in ALL:
        found = read.get(block.language, len)(block.text)
        if block.language == "toml" and "variants" in found and not block.how:
            parse_suite({"name": "block", "metrics": ["flops/forward"], **found}, block.grid_point)


# --- the proofs


@pytest.fixture(scope="module")
def two_runs(modbench_process: Modbench, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of two smoke runs of the quick suite, for the commands that read runs."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        succeeded(modbench_process("run", "quick", "--effort", "smoke", "--device", "cpu", "-o", name, cwd=folder))
    return [folder / name for name in ("one", "two")]


# Not here: what needs a card, a cluster or a repository with two revisions.
ELSEWHERE = re.compile(r"gpu|slurm|--device cuda|modbench ab|completion|runs/sweep")
COMMANDS = [
    (block, command)
    for block in ALL
    if block.language == "sh" and block.how != "not executed"
    for command in block.commands
    if Path(words_of(command)[0]).name == "modbench" and not ELSEWHERE.search(command)
]


def at_smoke(words: list[str], command: str) -> list[str]:
    """Have a `run` make a few calls and steps: sweeps take hours. The first command of the README runs as it is."""
    if words[0] != "run" or "--effort" in words or command == COMMANDS[0][1]:
        return words
    return [*words, "--effort", "smoke"]


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("block", "command"), COMMANDS, ids=lambda each: each if isinstance(each, str) else each.grid_point
)
def test_commands_run(block: Block, command: str, two_runs: list[Path], modbench_process: Modbench, here: Path) -> None:
    """Every command of the documentation that needs no card; runs that it names are smoke runs, and so are those it makes."""
    make_page_files(block.page, two_runs[0], here)
    words = words_of(command)[1:]
    if words[0] == "run" and "-o" in words:  # a reader has no such run yet
        shutil.rmtree(here / words[words.index("-o") + 1], ignore_errors=True)
    elif block.page != example.PAGE:  # which has runs of its own
        runs = iter(two_runs)
        words = [str(next(runs)) if word.startswith("runs/") else word for word in words]
    if words[0] != "init" and "suite.toml" in words:
        assert modbench_process("init", "suite.toml", cwd=here).returncode == 0
    without_what_init_writes(words, here)
    done = modbench_process(*at_smoke(words, command), cwd=here)
    # Whether this machine is fit is its own matter, and smoke runs tell a gate nothing of times.
    wanted = (
        ANSWERS.get(words[0], {0}) if block.page == example.PAGE else {0, 5} if words[0] in {"doctor", "gate"} else {0}
    )
    assert done.returncode in wanted, f"{block.grid_point}\n{done.stderr}"
    assert done.stdout.strip()


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", PYTHON, ids=page_id)
def test_python_blocks_run_in_full(page: Path, here: Path, planted: Path) -> None:
    make_page_files(page, planted, here)
    run_python(page, {"", "proof"})
