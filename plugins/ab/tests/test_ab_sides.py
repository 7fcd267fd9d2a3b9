"""The sides of `ab revisions` and `ab builds`: where their files come from, what they import, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from present import present

from modbench.harness.core.errors import UsageError
from modbench.plugins.ab import sides
from modbench.plugins.ab.compared import SideFailsError

MODEL = "import torch\n\n\ndef build(config):\n    return torch.nn.Embedding(config.vocab_size, config.vocab_size)\n"


def git(root: Path, *words: str) -> str:
    """Run git as somebody; what it prints."""
    who = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who |= {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = [present(shutil.which("git")), "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True, env=os.environ | who, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two revisions of a model, and a third state that is not committed."""
    root = tmp_path / "repo"
    (root / "deep").mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    for tag, file, text in (
        ("zero", "readme", "no model yet\n"),
        ("one", "deep/mine.py", MODEL),
        ("two", "deep/mine.py", f"# two\n{MODEL}"),
    ):
        (root / file).write_text(text)
        git(root, "add", "-A")
        git(root, "commit", "-qm", tag)
        git(root, "tag", tag)
    (root / "deep" / "mine.py").write_text(f"# three\n{MODEL}")
    (root / "deep" / "beside.py").write_text("new = 1\n")
    return root


@pytest.fixture
def models(repository: Path) -> tuple[str]:
    return (f"{repository / 'deep' / 'mine.py'}:build",)


def first_line(side: sides.Side) -> str:
    (model,) = side.models
    return Path(model.rpartition(":")[0]).read_text().splitlines()[0]


def test_a_model_comes_from_its_revision(repository: Path, models: tuple[str], tmp_path: Path) -> None:
    one, two, three = (sides.revision(name, models, tmp_path / f"of {name}") for name in ("one", "HEAD", "."))
    assert [first_line(each) for each in (one, two, three)] == ["import torch", "# two", "# three"]
    assert one.label.startswith("one (")
    assert (tmp_path / "of ." / "deep" / "beside.py").exists()
    assert one.modbench() == two.modbench(), "the same modbench on both sides"
    assert one.identity() == sides.revision("one", models, tmp_path / "again").identity() != two.identity()
    (repository / "loop").symlink_to(".")
    assert sides.revision(".", models, tmp_path / "e").identity(), "a link to its own folder is read once"


def test_what_a_model_imports_comes_from_its_revision_also_where_it_is_installed(
    repository: Path, models: tuple[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From folders of a path, `src` and the root; but no file hides a module of Python, and modbench is that of both sides."""
    for file in ("lib/own.py", "hides/statistics.py", "src/package.py"):
        (repository / file).parent.mkdir()
        (repository / file).touch()
        if not file.startswith("src"):
            monkeypatch.syspath_prepend(str((repository / file).parent))
    monkeypatch.setenv("PYTHONPATH", "/installed")
    side, a = sides.revision(".", models, tmp_path / "a"), tmp_path / "a"
    assert side.imported == (a / "lib", a / "src", a)
    assert side.environment()["PYTHONPATH"].split(os.pathsep) == [*map(str, side.imported), "/installed"]
    (repository / "src" / "modbench").mkdir()
    (repository / "src" / "modbench" / "__init__.py").touch()
    assert tmp_path / "b" / "src" not in sides.revision(".", models, tmp_path / "b").imported


def test_the_files_beside_a_build_are_part_of_what_is_compared(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    for name in ("mine.py", "part/__init__.py", "part/layers.py"):
        (tmp_path / name).write_text("one\n")
    model = f"{tmp_path / 'mine.py'}:build(threshold=0.5)"
    before = sides.build(model).identity()
    (tmp_path / "part" / "layers.py").write_text("two\n")
    assert sides.build(model).identity() != before
    interpreter = sides.revision(sys.executable, (model,), tmp_path / "a")
    assert {each.name for each in interpreter.files} == {"mine.py", "__init__.py", "layers.py"}


MINE, SHALLOW = "repo/deep/mine.py:build", "shallow/deep/mine.py:build"


@pytest.mark.parametrize(
    ("name", "models", "said"),
    [
        ("nowhere", [MINE], "no revision 'nowhere'"),
        ("--output=x", [MINE], "no revision '--output=x'"),
        ("zero", [MINE], "zero .* deep/mine.py"),
        ("one", ["repo/deep/none.py:build"], "there is no file"),
        ("HEAD", ["mine.py:build"], "no git repository"),
        ("HEAD~1", [SHALLOW], "git fetch --unshallow"),
        ("HEAD", [MINE, SHALLOW], "one repository"),
        ("HEAD", [], r"--model FILE\.py:build.* --self"),
    ],
)
def test_what_is_not_there_is_refused(
    repository: Path, tmp_path: Path, name: str, models: list[str], said: str
) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    git(tmp_path, "clone", "-q", "--depth=1", repository.as_uri(), "shallow")
    with pytest.raises(UsageError, match=said):
        sides.revision(name, tuple(f"{tmp_path / model}" for model in models), tmp_path / "a")
    assert not (repository / "x").exists()


@pytest.mark.parametrize(
    ("lacks", "said", "of_new"),
    [
        ("none", "modbench cannot be imported", SideFailsError),
        (f"No module named '{sides.EXTEND}'", "too old for `ab`", UsageError),
    ],
)
def test_an_interpreter_is_a_side_and_must_have_a_modbench_that_takes_turns(
    lacks: str, said: str, of_new: type[Exception], tmp_path: Path
) -> None:
    """Else it is refused before anything runs. That a new side does not run is a finding; that it is too old, a mistake."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\necho "ModuleNotFoundError: {lacks}" >&2\nexit 1\n')
    bare.chmod(0o755)
    side = sides.revision(str(bare), (), tmp_path / "b")
    for each, error in ((side, UsageError), (replace(side, new=True), of_new)):
        with pytest.raises(error, match=said):
            each.modbench()
