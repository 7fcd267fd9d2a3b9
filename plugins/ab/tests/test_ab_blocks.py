"""Commands of the documentation that compare revisions of a reader's model: each is run in a repository of the reader."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import example
import pytest
from doc_blocks import ALL, words_of
from test_ab_sides import git
from test_blocks import in_this_process

from modbench.harness.execution import user_model_costs
from modbench.plugins.ab import command
from modbench.plugins.ab.suites import Suites

Modbench = Callable[..., CompletedProcess[str]]
COMMANDS = sorted(
    {
        command
        for block in ALL
        if block.language == "sh"
        for command in block.commands
        if words_of(command)[:3] == ["modbench", "ab", "revisions"] and "--self" not in command
    }
)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with mine.py: a commit that the tag v1 names, one on main, and a change that is not committed."""
    root = tmp_path / "theirs"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setattr(user_model_costs, "_in_processes", in_this_process)
    text = example.MODEL.read_text(encoding="utf-8")
    git(root, "init", "-q", "-b", "main")
    for tag in ("v1", "v2"):
        (root / "mine.py").write_text(f"# {tag}\n{text}")
        git(root, "add", "-A")
        git(root, "commit", "-qm", tag)
        git(root, "tag", tag)
    (root / "mine.py").write_text(f"# changed\n{text}")
    return root


def test_pages_have_such_commands() -> None:
    assert len(COMMANDS) > 1


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("documented", COMMANDS)
def test_revisions_of_the_readers_model_can_be_measured(
    documented: str, mine: Path, modbench: Modbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the blocks: both sides are the files of their revision, and a run of each can be planned."""
    planned = list[str]()

    def compare(opened: Any, _: Any) -> None:
        with opened as suites:
            assert isinstance(suites, Suites)
            for side in suites.both:
                (model,) = side.models
                file = Path(model.partition(":")[0])
                assert file.name == "mine.py"
                assert not file.is_relative_to(mine)  # a copy
                planned.append(file.read_text(encoding="utf-8").partition("\n")[0])
                words = suites.command(side, mine / "out")
                words = words[words.index("run") + 1 :]
                at = words.index("-o")
                done = modbench("plan", *words[:at], *words[at + 2 :], cwd=mine)
                assert done.returncode == 0, done.stderr

    monkeypatch.setattr(command, "compare", compare)
    words = words_of(documented)[1:]
    done = modbench(*words, cwd=mine)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
    assert len(planned) == 2
    assert planned[0] != planned[1]
