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
    program, variables = present(shutil.which("git")), os.environ | who
    return subprocess.run(
        [program, "-C", str(root), *words], check=True, capture_output=True, env=variables, text=True
    ).stdout


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


def first_line(side: sides.Side) -> str:
    (model,) = side.models
    return Path(model.rpartition(":")[0]).read_text().splitlines()[0]


def test_a_model_comes_from_its_revision(repository: Path, tmp_path: Path) -> None:
    models = (f"{repository / 'deep' / 'mine.py'}:build",)
    one = sides.revision("one", models, tmp_path / "a")
    two = sides.revision("HEAD", models, tmp_path / "b")
    three = sides.revision(".", models, tmp_path / "c")
    assert [first_line(each) for each in (one, two, three)] == ["import torch", "# two", "# three"]
    assert one.label.startswith("one (")
    assert (tmp_path / "c" / "deep" / "beside.py").exists()
    assert one.modbench() == two.modbench()  # the same modbench on both sides
    again = sides.revision("one", models, tmp_path / "d")
    assert one.identity() == again.identity() != two.identity()
    for name in "abc":
        (repository / name).symlink_to(".")
    assert sides.revision(".", models, tmp_path / "e").identity()  # a link to its own folder is read once


def test_files_as_they_are_are_told_from_those_of_their_commit(repository: Path, tmp_path: Path) -> None:
    """Results in the repository are no change: else no comparison would go on."""
    models = (f"{repository / 'deep' / 'mine.py'}:build",)

    def side(name: str, *apart: Path) -> sides.Side:
        return sides.revision(".", models, tmp_path / name, apart=apart)

    changed = side("changed")
    assert changed.label.endswith(" with changes)")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "three")
    commit = git(repository, "rev-parse", "--short=7", "HEAD").strip()
    clean = side("clean")
    assert clean.label == f"repo as it is ({commit})"
    (repository / "runs").mkdir()
    (repository / "runs" / "report.html").touch()
    assert "with changes" in side("with").label
    without = side("without", repository / "runs", tmp_path / "elsewhere")
    assert (without.label, without.identity()) == (clean.label, clean.identity())
    assert not (tmp_path / "without" / "runs").exists()


def test_what_a_model_imports_comes_from_its_revision_also_where_it_is_installed(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package in `src` or at the root of the repository; but modbench is the same on both sides."""
    for name, what in (("installed/beside.py", "here"), ("repo/src/beside.py", "a revision")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"what = {what!r}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    side = sides.revision(".", (f"{repository / 'deep' / 'mine.py'}:build",), tmp_path / "a")
    code = "import beside, sys; print(beside.what)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=side.environment(), check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "a revision"
    (repository / "src" / "modbench").mkdir()
    (repository / "src" / "modbench" / "__init__.py").touch()
    own = sides.revision(".", (f"{repository / 'deep' / 'mine.py'}:build",), tmp_path / "b")
    assert tmp_path / "b" / "src" not in own.imported


def test_folders_of_a_path_inside_the_repository_are_those_of_the_revision(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one with a file that would hide a module of Python."""
    for name in ("lib", "hides"):
        (repository / name).mkdir()
        (repository / name / f"{'statistics' if name == 'hides' else 'own'}.py").touch()
        monkeypatch.syspath_prepend(str(repository / name))
    side = sides.revision(".", (f"{repository / 'deep' / 'mine.py'}:build",), tmp_path / "a")
    assert side.imported == (tmp_path / "a" / "lib", tmp_path / "a")


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


@pytest.mark.parametrize(
    ("name", "model", "said"),
    [
        ("nowhere", "deep/mine.py:build", "no revision 'nowhere'"),
        ("--output=x", "deep/mine.py:build", "no revision '--output=x'"),
        ("zero", "deep/mine.py:build", "zero .* deep/mine.py"),
        ("one", "deep/none.py:build", "there is no file"),
        ("HEAD", "../mine.py:build", "no git repository"),
        ("HEAD~1", "../shallow/deep/mine.py:build", "git fetch --unshallow"),
    ],
)
def test_what_is_not_there_is_refused(repository: Path, tmp_path: Path, name: str, model: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    git(tmp_path, "clone", "-q", "--depth=1", repository.as_uri(), "shallow")
    with pytest.raises(UsageError, match=said):
        sides.revision(name, (f"{repository / model}",), tmp_path / "a")
    assert not (repository / "x").exists()
    elsewhere = (f"{repository / 'deep' / 'mine.py'}:build", f"{tmp_path / 'shallow' / 'deep' / 'mine.py'}:build")
    with pytest.raises(UsageError, match="one repository"):
        sides.revision("HEAD", elsewhere, tmp_path / "b")


def test_without_a_model_the_revisions_are_those_of_modbench_only_where_that_is_asked(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"--model FILE\.py:build.* --self"):
        sides.revision("HEAD", (), tmp_path / "a")
    monkeypatch.setattr(sides, "__file__", str(repository / "deep" / "sides.py"))
    own = sides.revision("one", (), tmp_path / "b", own=True)
    assert (own.folder, own.source, own.models) == (tmp_path / "b", tmp_path / "b" / "src", ())
    monkeypatch.setattr(sides, "__file__", str(tmp_path / "sides.py"))  # installed, not a checkout
    with pytest.raises(UsageError, match=r"--self: .*--model"):
        sides.revision("one", (), tmp_path / "c", own=True)


@pytest.mark.parametrize(
    ("lacks", "said"),
    [("none", "modbench cannot be imported"), (f"No module named '{sides.EXTEND}'", "too old for `ab`")],
)
def test_an_interpreter_is_a_side_and_must_have_a_modbench_that_takes_turns(
    lacks: str, said: str, tmp_path: Path
) -> None:
    """Else it is refused before anything runs."""
    assert sides.revision(sys.executable, (), tmp_path / "a").python == sys.executable
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\necho "ModuleNotFoundError: {lacks}" >&2\nexit 1\n')
    bare.chmod(0o755)
    side = sides.revision(str(bare), (), tmp_path / "b")
    with pytest.raises(UsageError, match=said):
        side.modbench()
    # That a new side does not run is a finding; that it is too old is a mistake of the command.
    with pytest.raises(UsageError if sides.EXTEND in lacks else SideFailsError, match=said):
        replace(side, new=True).modbench()
