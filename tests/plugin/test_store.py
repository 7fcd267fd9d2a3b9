"""`--modbench-store` and `--modbench-against`: what is kept, and what a later session of the same machine shows by it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modbench.harness.core.errors import UsageError
from modbench.harness.machine import certificate, environment
from modbench.harness.results import lock
from modbench.harness.timing.callables import Launch
from modbench.testing import session_store

Slower = Callable[[float], str]
HERE = environment.collect()
# What the candidate takes, in three sessions of the same code; the baseline takes 0.01.
ALIKE = (0.0100, 0.01003, 0.00998)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fingerprint of the machine, which may be set; its environment is read once, which takes a while."""
    name = ["one"]
    monkeypatch.setattr(environment, "collect", lambda: HERE)
    monkeypatch.setattr(certificate, "fingerprint", lambda *_: name[0])
    return name


@pytest.fixture
def stored(suite: Any, slower: Slower, machine: list[str]) -> Callable[..., None]:
    """Stores a session for each time that the candidate takes."""

    def store(*seconds: float) -> None:
        assert machine
        for each in seconds:
            suite.write(slower(each))
            result = suite.run("--modbench-store=kept")
            result.stdout.fnmatch_lines(["samples of 1 comparison *kept/*.json"])

    return store


def against(suite: Any, text: str, *arguments: str) -> pytest.RunResult:
    suite.write(text)
    result: pytest.RunResult = suite.run("--modbench-against=kept", *arguments)
    return result


def test_samples_are_kept_raw_with_the_machine(suite: Any, stored: Any) -> None:
    stored(0.01)
    (file,) = (suite.pytester.path / "kept").glob("*")
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert (kept["kind"], kept["schema_number"]) == ("modbench samples of pytest", 1)
    assert kept["environment"]["python"]
    one = kept["comparisons"]["test_speed.py::test_speed"]
    assert one["machine"] == "one"
    assert len(one["samples"]["candidate"]["wall_s"]) == len(one["samples"]["baseline"]["wall_s"]) == 40
    assert "ratio" not in json.dumps(kept), "statistics are computed, not stored"


def test_a_named_file_is_replaced(suite: Any, slower: Slower, machine: list[str]) -> None:
    assert machine
    suite.write(slower(0.01))
    for _ in range(2):
        suite.run("--modbench-store=new/kept.json").assert_outcomes(passed=1)
    assert [path.name for path in (suite.pytester.path / "new").iterdir()] == ["kept.json"]


def session(folder: Path, **candidates: float) -> session_store.SessionStore:
    """A session that began now and kept samples, whose candidates took so many seconds."""
    made = session_store.SessionStore(folder, "kept.json", ())
    for name, seconds in candidates.items():
        columns = {"round": [0.0], "block": [0.0], "wall_s": [seconds]}
        made.keep_and_compare(name, Launch("baseline", {"baseline": columns, "candidate": columns}), 0.02)
    return made


def candidates(folder: Path) -> dict[str, float]:
    kept = json.loads((folder / "kept.json").read_text(encoding="utf-8"))["comparisons"]
    return {name: each["samples"]["candidate"]["wall_s"][0] for name, each in kept.items()}


@pytest.mark.usefixtures("machine")
def test_later_samples_of_a_comparison_replace_earlier_ones_and_never_those_of_a_session_beside_it(
    tmp_path: Path,
) -> None:
    assert session(tmp_path, one=1.0, two=2.0).write()
    assert session(tmp_path, two=3.0).write()
    assert candidates(tmp_path) == {"one": 1.0, "two": 3.0}
    first, second, third = session(tmp_path, two=4.0), session(tmp_path, two=5.0, four=5.0), session(tmp_path, four=6.0)
    assert first.write()
    assert not second.write()
    assert candidates(tmp_path) == {"one": 1.0, "two": 4.0}
    (said,) = second.notes
    assert "wrote samples of two" in said
    assert "Name a folder" in said
    assert third.write()
    assert candidates(tmp_path) == {"one": 1.0, "two": 4.0, "four": 6.0}


def test_each_comparison_keeps_the_environment_it_was_made_in(
    tmp_path: Path, machine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine
    assert session(tmp_path, one=1.0).write()
    monkeypatch.setattr(environment, "collect", lambda: {**HERE, "python": "4.0"})
    assert session(tmp_path, two=2.0).write()
    kept = session_store.read_samples(tmp_path / "kept.json")
    assert kept.environment["python"] == "4.0"
    assert {name: (each.environment or kept.environment)["python"] for name, each in kept.comparisons.items()} == {
        "one": HERE["python"],
        "two": "4.0",
    }


@pytest.mark.usefixtures("machine")
def test_a_session_waits_for_one_that_writes_and_says_who_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert session(tmp_path, one=1.0).write()
    with contextlib.ExitStack() as beside:
        beside.enter_context(lock.hold(tmp_path, name=".kept.json.lock"))
        waits: list[float] = []
        monkeypatch.setattr(lock, "pause", waits.append)
        waiting = session(tmp_path, two=2.0)
        assert not waiting.write()
        assert f"in use by process {os.getpid()} on" in waiting.notes[0]
        assert sum(waits) == pytest.approx(session_store.WAIT_S)
        monkeypatch.setattr(lock, "pause", lambda _s: beside.close())
        assert session(tmp_path, two=2.0).write()
    assert candidates(tmp_path) == {"one": 1.0, "two": 2.0}
    assert [file.name for file in tmp_path.iterdir()] == ["kept.json"]


OTHERS = {
    "another JSON": b'{"name": "a package", "version": 3}\n',
    "a list": b"[1, 2]",
    "a program": b"import os\n",
    "empty": b"",
    "bytes": b"\xff\xfe\x00",
}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("what", OTHERS)
def test_a_file_that_is_something_else_stays_as_it_is(what: str, tmp_path: Path) -> None:
    """Named at the start it ends the session; put there meanwhile, nothing is kept."""
    file = tmp_path / "kept.json"
    file.write_bytes(OTHERS[what])
    with pytest.raises(UsageError, match=rf"{file} is no file of --modbench-store.* Name another file"):
        session(tmp_path, one=1.0)
    file.unlink()
    late = session(tmp_path, one=1.0)
    file.write_bytes(OTHERS[what])
    assert not late.write()
    assert f"{file} is no file" in late.notes[0]
    assert file.read_bytes() == OTHERS[what]


def test_a_regression_against_three_sessions_fails_though_the_pair_passes(
    suite: Any, slower: Slower, stored: Any
) -> None:
    """The candidate may be half as fast as its baseline; but it was not, until now."""
    stored(*ALIKE)
    allowed = slower(0.0115).replace("takes(0.0115, seed=1)", "takes(0.0115, seed=1), margin=0.9, against_margin=0.05")
    result = against(suite, allowed)
    result.assert_outcomes(failed=1)
    wanted = "*slower against its baseline than in stored sessions: 0.8* of the ratio then (90 % interval; 3 stored sessions*"
    result.stdout.fnmatch_lines([wanted, "*--modbench-against."])
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize(
    ("seconds", "word", "why"),
    [
        (ALIKE, "pass", "3 stored sessions *0.*margin 2 %"),
        (ALIKE[:2], "cannot tell", "2 stored sessions *; 3 tell"),
        ((0.0100, 0.0104, 0.0097), "cannot tell", "differ by 3.* %*"),
    ],
)
def test_what_sessions_of_this_machine_do_not_show_fails_nothing(
    seconds: tuple[float, ...], word: str, why: str, suite: Any, slower: Slower, stored: Any
) -> None:
    stored(*seconds)
    result = against(suite, slower(0.01002))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"against the store: test_speed.py::test_speed: {word}: *of the ratio then; *{why}*"])


def test_a_session_that_has_nothing_in_common_with_the_store_does_not_pass(
    suite: Any, slower: Slower, stored: Any, machine: list[str]
) -> None:
    stored(*ALIKE)
    machine[0] = "two"
    allowed = slower(0.015).replace("seed=1)", "seed=1), margin=0.9")
    result = against(suite, allowed)
    result.assert_outcomes(passed=1)
    said = "--modbench-against: nothing was compared with the store*"
    result.stdout.fnmatch_lines(["against the store: *: not compared: *another machine*", said])
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    machine[0] = "one"
    result = against(suite, allowed.replace("test_speed", "test_other"))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["against the store: *: not compared: no stored*", said])
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result = against(suite, allowed + allowed.replace("test_speed", "test_other"))
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK  # a new test beside one that the store has


def test_sessions_that_are_in_doubt_are_left_out(suite: Any, slower: Slower, stored: Any) -> None:
    stored(*ALIKE, 0.01)
    for file in sorted((suite.pytester.path / "kept").glob("*"))[:2]:
        kept = json.loads(file.read_text(encoding="utf-8"))
        kept["comparisons"]["test_speed.py::test_speed"]["unsteady"] = {"candidate": "it drifted"}
        file.write_text(json.dumps(kept), encoding="utf-8")
    result = against(suite, slower(0.01))
    result.stdout.fnmatch_lines(["against the store: *2 stored sessions*; 2 doubtful*"])
    (first, *others) = sorted((suite.pytester.path / "kept").glob("*"))
    others[0].unlink()
    result = against(suite, slower(0.01))
    assert first.exists()
    result.stdout.fnmatch_lines(["against the store: *; 1 doubtful*"])


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("how", ["cut", "newer", "short", "negative", "gone", "empty"])
def test_a_damaged_file_is_refused(how: str, tmp_path: Path) -> None:
    assert session(tmp_path, one=1.0).write()
    file = tmp_path / "kept.json"
    kept = json.loads(file.read_text(encoding="utf-8"))
    samples = kept["comparisons"]["one"]["samples"]
    if how == "newer":
        kept["schema_number"] = 2
    elif how == "short":
        samples["candidate"]["wall_s"].pop()
    elif how == "negative":
        samples["candidate"]["wall_s"][0] = -1.0
    elif how == "gone":
        del samples["candidate"]
    elif how == "empty":
        samples["candidate"] = {}
    file.write_text(json.dumps(kept)[: -9 if how == "cut" else None], encoding="utf-8")
    with pytest.raises(UsageError, match=f"{file} is no file"):
        session_store.read_samples(file)


def test_a_damaged_file_is_one_line(suite: Any, slower: Slower, stored: Any) -> None:
    """Named, it ends the session before any test runs; in a folder it is left out."""
    stored(0.01, 0.01)
    file = min((suite.pytester.path / "kept").glob("*"))
    file.write_text(file.read_text(encoding="utf-8")[:900], encoding="utf-8")
    result = suite.run(f"--modbench-against={file}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.stderr.lines if line.strip())
    assert f"{file} is no file" in line
    result = against(suite, slower(0.01))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"left out: {file} is no file*"])


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--modbench-against=nowhere", "cannot be read (No such file or directory)"),
        ("--modbench-against=empty", "holds no session"),
        ("--modbench-store=test_speed.py/kept", "cannot be made (Not a directory)"),
    ],
)
def test_a_place_that_cannot_be_is_one_line(argument: str, said: str, suite: Any, slower: Slower) -> None:
    suite.pytester.mkdir("empty")
    suite.write(slower(0.01))
    result = suite.run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.stderr.lines if line.strip())
    assert said in line


def test_a_session_that_timed_nothing_says_that_it_keeps_nothing(suite: Any, slower: Slower) -> None:
    suite.write(slower(0.01))
    result = suite.run("--modbench-store=kept", "--modbench-disable")
    result.stdout.fnmatch_lines(["--modbench-store: nothing was timed*"])
    assert not list((suite.pytester.path / "kept").iterdir())


def test_a_store_that_goes_away_is_told_and_ends_in_another_code(
    suite: Any, slower: Slower, machine: list[str]
) -> None:
    assert machine
    gone = "\ndef test_last():\n    import pathlib\n    pathlib.Path('kept').rmdir()\n"
    suite.write(slower(0.01) + gone)
    result = suite.run("--modbench-store=kept")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["--modbench-store *kept: *No such file*"])
