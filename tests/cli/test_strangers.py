"""A run folder is data: a stranger's may be reported, gated and resumed without harm. Each test is an attack."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted import ENVIRONMENT, left, planted_suite
from resealed import reseal_with

from modbench.commands.run import trust_policy
from modbench.harness.core.errors import UsageError
from modbench.harness.core.files import problem_of_name, unfinished
from modbench.harness.execution.unit import planned
from modbench.harness.registry import catalogue, consent
from modbench.harness.results import trust, user_files
from modbench.harness.results.json_files import DamagedError
from modbench.harness.results.run_folder import RunFolder, read
from modbench.harness.training import checkpoint

pytestmark = pytest.mark.slow

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

HOOK = """
import sys
def hook(event, args, words=("/mine.py", "package/inner", "/private.txt", "/corpus.txt", "some/set", "/run.json")):
    if event.startswith("socket.") or (event == "open" and any(word in repr(args[0]) for word in words)):
        with __builtins__["open"]("HERE/seen", "a") as file:
            file.write(f"{event} {args}\\n")
sys.addaudithook(hook)
"""

# Commands one after the other in a process of their own, and their exit codes.
EACH = """
import json, sys
from modbench.cli import main
codes = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["modbench", *words]
    try:
        main()
    except SystemExit as ended:
        codes.append(ended.code or 0)
print(json.dumps(codes))
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

    def changes(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Edit run.json by hand."""
        reseal_with(self.path / "run.json", change)

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
        *("/var/victim", "a/b", "a\\b", "..", ".hidden", "", "nul\0", "del\x7f", "c1\x9b", "bidi\u202e"),
        *("é" * 116, "line\nline"),
    ],
)
def test_what_is_no_name_of_a_plain_file(name: str) -> None:
    assert problem_of_name(name)


@pytest.mark.parametrize("name", ["../../victim/notes", "esc\x1b[2J\nline", "n" * 231])
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
    plan = json.loads(kept)["plan"]
    trained = next(i for i, unit in enumerate(plan["units"]) if plan["protocols"][unit["protocol"]]["train"])

    def sets(field: str, value: object, at: int = 0) -> Callable[[dict[str, Any]], None]:
        *path, last = field.split(".")

        def change(body: dict[str, Any]) -> None:
            where = body["plan"]["units"][at]
            for part in path:
                where = body["plan"][f"{part}s"][where[part]] if part in {"comparison", "protocol"} else where[part]
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


def test_a_metric_that_only_the_suite_names_is_known_too(stranger: Stranger) -> None:
    stranger.plans()
    stranger.changes(lambda body: body["plan"]["suite"]["metrics"].append("no/such"))
    stranger.refused("run.json", "no/such", command="report")


@pytest.mark.parametrize("value", [None, 3, "--wrap", [1], {"a": 1}, True])
def test_damaged_options_of_a_launcher_are_named(stranger: Stranger, value: object) -> None:
    stranger.plans()
    stranger.changes(lambda body: body.update(launcher_options=value))
    stranger.refused("damaged at launcher_options", command="report")


def test_a_single_unit_is_named_as_a_plain_file_too(stranger: Stranger) -> None:
    stranger.plans()
    stranger.changes(lambda body: first(body).update(name="../../victim"))
    with pytest.raises(UsageError, match=r"unit.name.*begins with a dot"):
        planned(stranger.path, "../../victim")


@pytest.mark.parametrize("place", ["logs", "units", "checkpoints", "weights", "artifacts", "decisions"])
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


ENDINGS = ("logs/{}.log", "logs/{}.progress", "checkpoints/{}.part", "units/{}.json")


def link(stranger: Stranger, ending: str, how: Callable[[Path, Path], object]) -> Path:
    """Let a file of each unit be a link to one outside, which is returned."""
    victim = stranger.here / ending.replace("/", " ")
    victim.write_text("precious")
    for unit in json.loads((stranger.path / "run.json").read_text())["plan"]["units"]:
        file = stranger.path / ending.format(unit["name"])
        file.parent.mkdir(exist_ok=True)
        how(victim, file)
    return victim


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_is_a_link_is_refused(stranger: Stranger, ending: str) -> None:
    stranger.plans()
    victim = link(stranger, ending, lambda outside, file: file.symlink_to(outside))
    stranger.refused("symbolic link")
    assert victim.read_text() == "precious"


def test_no_file_outside_is_written_through_a_hard_link(stranger: Stranger) -> None:
    stranger.plans()
    victims = [link(stranger, ending, os.link) for ending in ENDINGS]
    done = stranger.modbench("resume", stranger.path, "--trust", cwd=stranger.here)
    assert done.returncode == 0, done.stderr
    assert [victim.read_text() for victim in victims] == ["precious"] * len(ENDINGS)


def test_views_replace_links_and_never_follow_them(stranger: Stranger) -> None:
    stranger.plans()
    victim = stranger.here / "victim"
    victim.write_text("precious")
    for name in ("report.html", "cases.csv", "comparisons.csv", "trend.csv", "finished.json"):
        (stranger.path / name).symlink_to(victim)
        stranger.refused(name, "symbolic link", command="report")
        (stranger.path / name).unlink()
    assert victim.read_text() == "precious"
    (stranger.path / "report.html").mkdir()
    stranger.refused("report.html", "no plain file", command="report")


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


def test_a_strangers_model_is_not_run(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger.plans("mine.py:build")
    monkeypatch.setenv("MODBENCH_STATE", str(stranger.here / "of another user"))
    hashed = hashlib.sha256(stranger.model.read_bytes()).hexdigest()
    said = stranger.refused(str(stranger.model), hashed, f"{stranger.model.stat().st_size:,} bytes", "--trust")
    assert "corpus.txt" in said  # what it would read is shown too
    assert not stranger.mark.exists()
    assert not list((stranger.path / "units").iterdir())
    assert not list((stranger.path / "logs").iterdir())


@pytest.mark.parametrize(
    "model",
    [*(pytest.param(each, marks=pytest.mark.proof) for each in ("mine.py:build", "mine:build")), "package.inner:build"],
)
def test_trusted_once_it_is_run_and_asked_about_no_more(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    (stranger.here / "package").mkdir()
    (stranger.here / "package" / "__init__.py").write_text("")
    (stranger.here / "package" / "inner.py").write_text(stranger.model.read_text())
    stranger.plans(model)
    monkeypatch.setenv("MODBENCH_STATE", str(stranger.here / "of another user"))
    stranger.refused("sha256")
    done = stranger.modbench("resume", stranger.path, "--trust", cwd=stranger.here)
    assert (done.returncode, stranger.mark.exists()) == (0, True), done.stderr
    for file in (stranger.path / "units").iterdir():
        file.unlink()
    assert trust.untrusted(user_files.of(read(str(stranger.path)).planned, "local"), *agreed(stranger)) == []


def agreed(stranger: Stranger) -> tuple[tuple[user_files.UserFile, ...], str | None]:
    stored = read(str(stranger.path))
    return stored.own_files, stored.token


def test_the_user_who_began_a_run_is_not_asked_unless_a_file_changed(stranger: Stranger) -> None:
    stranger.plans("mine.py:build")
    stored = read(str(stranger.path))
    trust.confirm(stored, trust=False)  # nothing is raised
    stranger.model.write_text("# better\n" + stranger.model.read_text())
    stranger.refused("mine.py", "changed since the run began", "two versions would be mixed", "--trust")
    with pytest.raises(UsageError, match="two versions"):
        trust.confirm(stored, trust=False)
    trust.confirm(stored, trust=True)
    trust.confirm(stored, trust=False)  # and now they are agreed to
    assert not stranger.mark.exists()


def test_a_file_that_run_json_claims_to_know_is_not_known(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger writes run.json: neither its hashes nor a token that he made up count."""
    stranger.plans("mine.py:build")
    state = stranger.here / "of another user"
    monkeypatch.setenv("MODBENCH_STATE", str(state))
    (stranger.here / "stolen.json").write_text((next((stranger.here / "state" / "runs").iterdir())).read_text())
    stranger.changes(lambda body: body.update({"token": "../../../stolen"}))
    (state / "runs").mkdir(parents=True)
    stranger.refused("as run.json says", "--trust")


@pytest.mark.parametrize(
    ("field", "value"),
    [("corpus_path", "/etc/passwd"), ("task_path", "/etc/passwd"), ("corpus_path", "hf:somebody/some-set")],
)
def test_what_a_strangers_run_reads_is_asked_about(stranger: Stranger, field: str, value: str) -> None:
    stranger.plans()
    stranger.changes(lambda body: [each.update({field: value}) for each in body["plan"]["protocols"]])
    stranger.refused(value, "--trust")


@pytest.mark.parametrize("changes", [{"launcher": "slurm"}, {"launcher_options": ["--wrap", "rm -r ."]}])
def test_a_strangers_launcher_is_asked_about(stranger: Stranger, changes: dict[str, Any]) -> None:
    stranger.plans()
    stranger.changes(lambda body: body.update(changes))
    stranger.refused("launcher", "--trust")


def test_a_masked_option_is_not_passed_on(stranger: Stranger) -> None:
    stranger.plans()
    stranger.changes(lambda body: body.update(launcher_options=["--export=HF_TOKEN=***"]))
    stranger.refused("was masked", "behind --")


def test_a_device_is_not_hashed(stranger: Stranger) -> None:
    stranger.plans()
    stranger.changes(lambda body: body["plan"]["protocols"][0].update(corpus_path="/dev/zero"))
    stranger.refused("/dev/zero", "cannot be read")


def test_an_answer_on_a_terminal(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger.plans("mine.py:build")
    monkeypatch.setenv("MODBENCH_STATE", str(stranger.here / "of another user"))
    found = trust.untrusted(user_files.of(read(str(stranger.path)).planned, "local"), *agreed(stranger))
    shown = io.StringIO()
    shown.isatty = lambda: True  # type: ignore[method-assign]  # as a terminal
    monkeypatch.setattr("sys.stderr", shown)
    for typed, trusted in (("y\n", True), ("n\n", False), ("\n", False), ("", False)):
        answer = io.StringIO(typed)
        answer.isatty = lambda: True  # type: ignore[method-assign]  # as a terminal
        monkeypatch.setattr("sys.stdin", answer)
        assert trust_policy(trust=False)(found) is trusted
    changed = [trust.UntrustedFile(found[0].file, changed=True, known=True)]
    assert not trust_policy(trust=False)(changed)  # never asked: only --trust mixes two versions
    assert trust_policy(trust=True)(changed)


def test_additions_of_the_user_are_own_files(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = stranger.here / "extra"
    (extra / "corpora").mkdir(parents=True)
    (extra / "corpora" / "poems.py").write_text(
        '"""Poems."""\nfrom modbench.harness.core.contracts import Corpus, Text\n'
        "CORPUS = Corpus(lambda path: Text('poems', b'a b c ' * 99, b'd e f ' * 99, 'c0ffee'))\n"
    )
    monkeypatch.setenv("MODBENCH_INCLUDE", str(extra))
    (stranger.here / "tiny.toml").write_text(SUITE.replace("CORPUS", "poems"))
    stranger.plans()
    (own,) = read(str(stranger.path)).own_files
    assert (own.kind, own.name, own.path) == ("addition", "corpora/poems", str(extra / "corpora" / "poems.py"))


def test_a_strangers_router_is_asked_about(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned without running it, resumed only with the user's word, and hashed as models are."""
    suite = (stranger.here / "tiny.toml").read_text()
    arms = '[[arms]]\nmodel = "mod"\nfirst_routed = 0\nrouter = "mine.py:build"'
    (stranger.here / "tiny.toml").write_text(suite.replace('[[arms]]\nmodel = "dense"', arms))
    stranger.plans()
    (own,) = [file for file in read(str(stranger.path)).own_files if file.kind == "router"]
    assert own.sha256 == hashlib.sha256(stranger.model.read_bytes()).hexdigest()
    assert str(stranger.model) in json.loads((stranger.path / trust.AGREED).read_text())
    monkeypatch.setenv("MODBENCH_STATE", str(stranger.here / "of another user"))
    stranger.refused("router mine.py:build", "--trust")
    assert not stranger.mark.exists()


def test_folders_that_a_strangers_run_names_are_not_included(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only this user's own state counts, whatever run.json says of a token."""
    evil = stranger.here / "evil"
    (evil / "metrics").mkdir(parents=True)
    (evil / "metrics" / "mine.py").write_text(
        f"import pathlib\npathlib.Path({str(stranger.mark)!r}).touch()\nMETRICS = ()\n"
    )
    monkeypatch.setenv("MODBENCH_INCLUDE", "")
    stranger.plans()
    stranger.changes(lambda body: body.update(included=[{"kind": "folder", "name": str(evil)}]))
    (stranger.here / "forged.json").write_text(
        json.dumps({"files": [], "included": {str(evil): consent.digests([evil])}})
    )
    assert (stranger.here / "state" / "runs" / "../../forged.json").exists()
    for token in ("../../forged", "", "0" * 32):
        stranger.changes(lambda body, token=token: body.update(token=token))  # type: ignore[misc]  # a default
        done = stranger.modbench("report", stranger.path, cwd=stranger.here)
        assert done.returncode == 4  # nothing was measured
        assert f"{str(evil)!r}" in done.stderr
        assert f"--include {evil}" in done.stderr
    assert not stranger.mark.exists()


def test_folders_that_a_run_began_with_are_included_again_as_they_were(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder in the same place runs nothing, and is named with what changed."""
    bench = stranger.here / "bench"
    (bench / "metrics").mkdir(parents=True)
    (bench / "metrics" / "mine.py").write_text("METRICS = ()\n")
    monkeypatch.setenv("MODBENCH_INCLUDE", str(bench))
    stranger.plans()
    monkeypatch.setenv("MODBENCH_INCLUDE", "")
    done = stranger.modbench("report", stranger.path, cwd=stranger.here)
    assert (done.returncode, "this run began with" in done.stderr) == (4, False)  # nothing was measured
    mark = f"import pathlib\npathlib.Path({str(stranger.mark)!r}).touch()\n"
    (bench / "metrics" / "mine.py").write_text(f"{mark}METRICS = ()\n")
    catalogue.forget()
    sys.modules.pop("modbench_include.metrics.mine")  # another process would import it anew
    for command in ("report", "resume", "figure"):
        monkeypatch.setenv("MODBENCH_INCLUDE", "")
        stranger.modbench(command, stranger.path, cwd=stranger.here)
        assert not stranger.mark.exists(), command
    monkeypatch.setenv("MODBENCH_INCLUDE", "")
    done = stranger.modbench("report", stranger.path, cwd=stranger.here)
    assert f"add --include {bench} ('metrics/mine.py' changed since)" in done.stderr
    assert not stranger.mark.exists()
    stranger.modbench("report", stranger.path, "--include", bench, cwd=stranger.here)
    assert stranger.mark.exists()


def test_report_and_gate_run_and_read_nothing_that_a_folder_names(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit hook sees every file that Python opens and every address that it connects to."""
    (stranger.here / "package").mkdir()
    (stranger.here / "package" / "inner.py").write_text(stranger.model.read_text())
    stranger.plans("mine.py:build", "package.inner:build")

    def names(body: dict[str, Any]) -> None:
        for protocol in body["plan"]["protocols"]:
            protocol |= {
                "corpus": "hf",
                "corpus_path": "hf:some/set",
                "task_path": str(stranger.here / "private.txt"),
            }

    stranger.changes(names)
    (stranger.here / "private.txt").write_text("secret")
    (stranger.here / "sitecustomize.py").write_text(HOOK.replace("HERE", str(stranger.here)))
    monkeypatch.setenv("PYTHONPATH", f"{stranger.here}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    formats = "html,csv,md,tex,json,pytest-benchmark"
    commands = (
        (4, ["report", str(stranger.path), "--format", formats]),
        (0, ["figure", str(stranger.path)]),
        (5, ["gate", str(stranger.path), "--against", str(stranger.path)]),
    )
    words = [words for _, words in commands]
    command = [sys.executable, "-c", EACH, json.dumps(words)]
    done = subprocess.run(command, cwd=stranger.here, capture_output=True, text=True, check=True)
    codes = json.loads(done.stdout.splitlines()[-1])
    assert all(code in {wanted, 4} for code, (wanted, _) in zip(codes, commands, strict=True)), (codes, done.stderr)
    assert not stranger.mark.exists()
    seen = (stranger.here / "seen").read_text().splitlines()
    assert {line for line in seen if "run.json" not in line} == set()
    assert seen  # the hook works


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

    body = {"format": checkpoint.FORMAT, "fingerprint": "f", "model": Bomb()}
    checkpoint.save(tmp_path / "bomb.pt", body, sealed=True)
    assert checkpoint.load(tmp_path / "bomb.pt", "f") is None
    assert not (tmp_path / "mark").exists()


# --- records


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run as a stranger may send it: nothing in it is damaged."""
    monkeypatch.chdir(tmp_path)
    made = planted_suite("draft", grid={"seq_len": [64]}, arms=[{"model": "dense"}, {"model": "mod", "capacity": 0.5}])
    monkeypatch.setitem(ENVIRONMENT, "machine", "here")
    return left(tmp_path, made)


LAUNCH = "time-forward-T64-B1-fp32-cpu1-launch{}.json"


def test_a_folder_in_the_place_of_a_record_is_set_aside(measured: Path) -> None:
    file = measured / "units" / LAUNCH.format(1)
    file.unlink()
    file.mkdir()
    (damaged,) = read(str(measured)).damaged
    RunFolder(measured).set_aside(damaged)
    run = read(str(measured))
    assert (run.damaged, run.missing) == ([], [file.stem])


def test_a_folder_in_the_place_of_a_decision_is_damage(tmp_path: Path) -> None:
    made = planted_suite("standard", metrics=["latency/forward"], grid={"seq_len": [16]})
    run = left(tmp_path / "run", made)
    (group, *_) = made.groups
    (run / "decisions" / f"{group.name}.json").unlink(missing_ok=True)
    (run / "decisions" / f"{group.name}.json").mkdir(parents=True)
    with pytest.raises(DamagedError, match="Remove it"):
        read(str(run))
