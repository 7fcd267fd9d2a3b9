"""The structure of the repository: docs that are true, small files, links to the rooms."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modbench.cli import app, main
from modbench.harness.core import catalogue
from modbench.harness.core.labels import Label

ROOT = Path(__file__).parents[2]
ROOMS = ("harness", "models", "reports", "suites")
SOURCES = [
    path for folder in (*ROOMS, "src/modbench") for path in (ROOT / folder).rglob("*.py") if not path.is_symlink()
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def blocks(text: str) -> list[str]:
    """Fenced blocks of shell."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [body for language, body in fenced if language in {"", "sh"}]


def test_the_readme_has_two_commands_and_ci_calls_the_second() -> None:
    commands = [block.strip() for block in blocks(README) if "python3 -m venv" in block]
    assert len(commands) == 2
    assert all(len(command.splitlines()) == 1 for command in commands)
    job, tests = commands
    assert job.endswith("modbench run quick")
    assert "pip install -e ." in job  # a checkout: run.json then knows the commit
    assert tests.endswith("bin/tox")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert tests in ci


def documented_commands() -> list[str]:
    found = []
    for doc in DOCS:
        for block in blocks(doc.read_text(encoding="utf-8")):
            lines = (line.partition(" #")[0].strip() for line in block.splitlines())
            found += [line for line in lines if line.startswith("modbench ")]
    return found


def test_there_are_documented_commands() -> None:
    assert len(documented_commands()) >= 5


def make_named_files(folder: Path) -> None:
    """The files that documented commands name."""
    (folder / "mine.py").write_text(
        "import torch\ndef build(config):\n    d, v = config.d_model, config.vocab_size\n"
        "    return torch.nn.Sequential(torch.nn.Embedding(v, d), torch.nn.Linear(d, v))\n"
    )
    shutil.copytree(ROOT / "examples" / "bench", folder / "bench")
    shutil.copy(ROOT / "examples" / "routers" / "scaled_norm.py", folder / "my_router.py")
    (folder / "modbench.toml").write_text('include = ["bench"]\n')
    (folder / "novels").mkdir()
    for i in range(2):
        (folder / "novels" / f"{i}.txt").write_text("".join(f"{i} once upon a time, {n} times " for n in range(2000)))
    (folder / "snli").mkdir()
    labels = ("entailment", "contradiction")
    for name in ("train", "dev"):
        pairs = ({"sentence1": f"{name} {i}.", "sentence2": "No.", "gold_label": labels[i % 2]} for i in range(40))
        told = (json.dumps(pair) + "\n" for pair in pairs)
        (folder / "snli" / f"{name}.jsonl").write_text("".join(told))
    suite = 'metrics = ["flops/forward"]\n[[arms]]\nmodel = "dense"\n'
    for name in ("mine", "suite"):
        (folder / f"{name}.toml").write_text(suite)


@pytest.mark.slow
@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands_are_understood(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every `modbench …` line in the docs is accepted: runs are planned instead of run, files that it names are made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_INCLUDE", "")
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    make_named_files(tmp_path)
    words = shlex.split(command)
    if words[1] == "init":
        (tmp_path / "suite.toml").unlink()
    if words[1] == "run":
        words[1] = "plan"
        for flag in ("-o", "--out"):
            if flag in words:
                del words[words.index(flag) : words.index(flag) + 2]
        words = [word for word in words if word != "--strict"]
        for flag in ("--launcher", "--launcher-profile"):
            if flag in words:
                del words[words.index(flag) : words.index(flag) + 2]
        words = words[: words.index("--")] if "--" in words else words  # options of sbatch
    if words[1] in {
        "report",
        "figure",
        "convert",
        "resume",
        "watch",
        "gate",
        "compare",
        "recommend",
        "profile",
        "doctor",
        "train",
    }:  # these need a run, or take their time
        words = [*words[:2], "--help"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in {0, None}, capsys.readouterr().err


@pytest.fixture(scope="module")
def two_runs(modbench_process: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of two smoke runs of the quick suite, for the commands that read runs."""
    here = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        done = modbench_process("run", "quick", "--effort", "smoke", "--device", "cpu", "-o", name, cwd=here)
        assert done.returncode == 0, done.stderr
    return [here / name for name in ("one", "two")]


@pytest.mark.proof
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize(
    "command", [line for line in documented_commands() if not {"-gpu", "slurm"} & {*re.findall(r"-gpu|slurm", line)}]
)
def test_documented_commands_do_what_they_say(
    command: str, two_runs: list[Path], modbench_process: Any, tmp_path: Path
) -> None:
    """Every `modbench …` line in the docs that needs no card, at full length; runs that it names are smoke runs."""
    make_named_files(tmp_path)
    words = shlex.split(command)[1:]
    runs = iter(two_runs)
    words = [str(next(runs)) if word.startswith("runs/") else word for word in words]
    done = modbench_process(*words, cwd=tmp_path, timeout=4 * 3600)
    # Whether this machine is fit is its own matter, and smoke runs tell a gate nothing of times.
    wanted = {0, 5} if words[0] in {"doctor", "gate"} else {0}
    assert done.returncode in wanted, done.stderr
    assert done.stdout.strip()


def test_every_command_and_flag_is_documented() -> None:
    written = "".join(doc.read_text(encoding="utf-8") for doc in DOCS)
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert f"modbench {name}" in written, name
    for flag in ("--model", "--capacity", "--seq-len", "--effort", "--set", "--corpus", "-k"):
        assert flag in README, flag


def test_docs_name_only_files_that_exist() -> None:
    for doc in DOCS:
        text = doc.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", text):
            assert (doc.parent / target).exists(), f"{doc.name}: {target}"
        for room, rest in re.findall(r"`(harness|models|reports|suites|tests)/([\w/.]+\.(?:py|toml))`", text):
            assert "NAME" in rest or (ROOT / room / rest).exists(), f"{doc.name}: {room}/{rest}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 320
    assert ast.get_docstring(ast.parse(text))


def test_links_point_home() -> None:
    for room in ROOMS:
        link = ROOT / "src" / "modbench" / room
        assert link.is_symlink()
        assert str(link.readlink()) == f"../../{room}"


def test_a_checkout_without_links_imports_the_same_names(tmp_path: Path) -> None:
    """Where git makes no links (the default on Windows) the project root is searched."""
    package = tmp_path / "src" / "modbench"
    shutil.copytree(ROOT / "src" / "modbench", package, ignore=shutil.ignore_patterns(*ROOMS, "__pycache__"))
    for room in ROOMS:
        (tmp_path / room).symlink_to(ROOT / room)  # stands for the real top-level folder
        (package / room).write_text(f"../../{room}", encoding="utf-8")  # what git leaves in a link's place
    code = "import modbench.harness.core.catalogue as c; print(c.__file__, *c.entries('models'))"
    environment = {"PYTHONPATH": str(tmp_path / "src"), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert str(tmp_path) in done.stdout
    assert done.stdout.split()[1:] == list(catalogue.entries("models"))


def test_nothing_in_the_repository_names_this_machine() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert tracked
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".png", ".gz"} or path.is_symlink():  # what is packed is checked in tests/cli/test_start.py
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.~])/(home|root|Users)/\w", text), name
        assert "--index-url" not in text or name.startswith("tests/"), name


def test_every_label_is_explained() -> None:
    method = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    explained = re.findall(
        r"^\| `([^`]+)` \|", method.partition("## Labels")[2].partition("\n## ")[0], flags=re.MULTILINE
    )
    assert explained == [*Label]
