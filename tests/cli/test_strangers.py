"""A run folder is data: a stranger's may be reported, gated and resumed without harm. Each test is an attack."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modbench.harness.core.files import unfinished
from modbench.harness.training import checkpoint

if os.name != "posix":
    pytest.skip("links and pipes are POSIX's", allow_module_level=True)

Modbench = Callable[..., subprocess.CompletedProcess[str]]

SUITE = """
name = "tiny"
effort = "smoke"
metrics = ["flops/forward", "loss/val"]
corpus = "CORPUS"
[shape]
d_model = 16
n_layers = 1
n_heads = 1
[grid]
seq_len = [16]
[[arms]]
model = "dense"
[train]
seq_len = 16
batch_size = 1
steps = 2
val_tokens = 32
"""
MODEL = """
import pathlib, torch
pathlib.Path("MARK").open("a").write("imported\\n")
def build(config):
    return torch.nn.Sequential(torch.nn.Embedding(config.vocab_size, 16), torch.nn.Linear(16, config.vocab_size))
"""


class Stranger:
    """A run folder as a stranger may send it: planned here, nothing measured."""

    def __init__(self, here: Path, modbench: Modbench) -> None:
        self.here, self.modbench, self.path = here, modbench, here / "run"
        self.mark, self.model = here / "mark", here / "mine.py"
        (here / "corpus.txt").write_text("the quick brown fox counts lazy dogs\n" * 40)
        self.model.write_text(MODEL.replace("MARK", str(self.mark)))
        (here / "tiny.toml").write_text(SUITE.replace("CORPUS", str(here / "corpus.txt")))

    def plans(self, *flags: str) -> None:
        """Write run.json of a run that was interrupted before its first unit."""
        from modbench import api
        from modbench.harness.core.files import now
        from modbench.harness.machine import certificate, environment
        from modbench.harness.planning.overrides import Overrides

        plan = api.make_plan(str(self.here / "tiny.toml"), Overrides(model=flags, device="cpu"))
        where = environment.collect()
        where |= {"machine": certificate.fingerprint(where, "cpu", 1), "certificate": None}
        api.new_folder(plan, str(self.path)).write_run(plan, where, ["modbench", "run", "tiny.toml"], now())

    def changes(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Edit run.json by hand."""
        body = json.loads((self.path / "run.json").read_text())
        change(body)
        (self.path / "run.json").write_text(json.dumps(body))

    def refused(self, *words: str, command: str = "resume") -> str:
        """The one line that a command refuses the folder with."""
        done = self.modbench(command, self.path, cwd=self.here)
        assert (done.returncode, done.stdout) == (2, ""), (done.returncode, done.stdout, done.stderr)
        for word in words:
            assert word in done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def stranger(tmp_path: Path, modbench: Modbench, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    made = Stranger(tmp_path, modbench)
    monkeypatch.chdir(tmp_path)
    return made


def first(body: dict[str, Any]) -> Any:
    return body["plan"]["units"][0]


@pytest.mark.parametrize(
    "name",
    [
        *("../../victim/notes", "/var/victim", "a/b", "a\\b", "..", ".hidden", "", "nul\0", "esc\x1b[2J", "del\x7f"),
        *("c1\x9b", "bidi\u202e", "n" * 231, "é" * 116, "line\nline"),
    ],
)
def test_a_unit_is_named_as_a_plain_file(stranger: Stranger, name: str) -> None:
    stranger.plans()
    (stranger.here / "victim").mkdir()
    stranger.changes(lambda body: first(body).update(name=name))
    message = stranger.refused("run.json", "plan.units.0.name")
    assert len(message) < 500
    assert message.count("\n") == 1
    stranger.refused("run.json", command="report")
    assert list((stranger.here / "victim").iterdir()) == []


def test_fields_that_become_paths_are_plain_too(stranger: Stranger) -> None:
    stranger.plans()
    kept = (stranger.path / "run.json").read_text()
    trained = next(i for i, unit in enumerate(json.loads(kept)["plan"]["units"]) if unit["protocol"]["train"])

    def sets(field: str, value: object, at: int = 0) -> Callable[[dict[str, Any]], None]:
        *path, last = field.split(".")

        def change(body: dict[str, Any]) -> None:
            where = body["plan"]["units"][at]
            for part in path:
                where = where[part]
            where[last] = value

        return change

    for field, value, at in (
        ("series", "../up", 0),
        ("comparison.name", "a\x1b]0;title\x07", 0),
        ("protocol.train.rate_from", "../../../etc/passwd", trained),
        ("protocol.trace", "/var/victim.json", 0),
    ):
        (stranger.path / "run.json").write_text(kept)
        stranger.changes(sets(field, value, at))
        stranger.refused("run.json", f"plan.units.{at}.{field}")
    (stranger.path / "run.json").write_text(kept)
    stranger.changes(lambda body: body["plan"]["units"].append(dict(first(body))))
    stranger.refused("run.json", "two units")


@pytest.mark.parametrize("place", ["logs", "units", "checkpoints", "weights", "artifacts", "launches"])
def test_a_folder_that_is_a_link_is_refused(stranger: Stranger, place: str) -> None:
    stranger.plans()
    victim = stranger.here / "victim"
    victim.mkdir()
    for unit in json.loads((stranger.path / "run.json").read_text())["plan"]["units"]:
        for ending in (".log", ".pt", ".part", ".progress", ".json"):
            (victim / f"{unit['name']}{ending}").write_text("precious")
    if (stranger.path / place).exists():
        (stranger.path / place).rmdir()
    (stranger.path / place).symlink_to(victim, target_is_directory=True)
    stranger.refused(place, "symbolic link")
    assert {file.read_text() for file in victim.iterdir()} == {"precious"}
    stranger.refused(place, command="report")


@pytest.mark.parametrize("ending", ["logs/{}.log", "logs/{}.progress", "checkpoints/{}.part", "units/{}.json"])
@pytest.mark.parametrize("how", ["symbolic", "hard"])
def test_no_file_outside_is_written_through_a_link(stranger: Stranger, ending: str, how: str) -> None:
    stranger.plans()
    body = json.loads((stranger.path / "run.json").read_text())
    victim = stranger.here / "victim"
    victim.write_text("precious")
    for unit in body["plan"]["units"]:
        file = stranger.path / ending.format(unit["name"])
        file.parent.mkdir(exist_ok=True)
        file.symlink_to(victim) if how == "symbolic" else os.link(victim, file)
    if how == "symbolic":
        stranger.refused("symbolic link")
    else:
        stranger.modbench("resume", stranger.path, cwd=stranger.here)
    assert victim.read_text() == "precious"


def test_views_replace_links_and_never_follow_them(stranger: Stranger) -> None:
    stranger.plans()
    victim = stranger.here / "victim"
    victim.write_text("precious")
    for name in ("report.html", "cases.csv", "comparisons.csv", "finished.json"):
        (stranger.path / name).symlink_to(victim)
        stranger.refused(name, "symbolic link", command="report")
        (stranger.path / name).unlink()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["run.json", "finished.json", "units/x.json", "logs/pipe", "cases.csv"])
def test_pipes_do_not_hang_a_reader(stranger: Stranger, name: str) -> None:
    stranger.plans()
    file = stranger.path / name
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    for command in ("report", "resume"):
        stranger.refused(Path(name).name if name != "run.json" else "run.json", command=command)


def test_a_run_folder_may_be_reached_through_a_link(stranger: Stranger) -> None:
    stranger.plans()
    (stranger.here / "link").symlink_to(stranger.path, target_is_directory=True)
    done = stranger.modbench("report", stranger.here / "link")
    assert done.returncode == 4, done.stderr  # nothing was measured
    assert (stranger.path / "report.html").exists()


@pytest.mark.parametrize("how", ["symbolic", "hard"])
def test_a_checkpoint_leaves_alone_what_its_unfinished_file_is_linked_to(tmp_path: Path, how: str) -> None:
    victim, file = tmp_path / "victim", tmp_path / "run" / "checkpoint.pt"
    victim.write_text("precious")
    file.parent.mkdir()
    unfinished(file).symlink_to(victim) if how == "symbolic" else os.link(victim, unfinished(file))
    checkpoint.save(file, {"format": 1})
    assert victim.read_text() == "precious"
    assert not file.is_symlink()


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "mark",))

    torch.save({"format": checkpoint.FORMAT, "fingerprint": "f", "model": Bomb()}, tmp_path / "bomb.pt")
    assert checkpoint.load(tmp_path / "bomb.pt", "f") is None
    assert not (tmp_path / "mark").exists()
