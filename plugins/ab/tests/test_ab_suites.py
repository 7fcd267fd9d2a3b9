"""Two sides of a suite in blocks of four processes: the words that prepare a side, what a block leaves, and what is refused."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from present import present
from test_ab_sides import models, repository

from modbench.extend import planted_plan, planted_run
from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.machine.process import exit_codes
from modbench.harness.planning.plan import Plan
from modbench.harness.results import run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.plugins.ab import folder as ab_folder
from modbench.plugins.ab import suites, turn_taking
from modbench.plugins.ab.compared import Asked, SideFailsError
from modbench.plugins.ab.flags import SuiteFlags
from modbench.plugins.ab.question import NAMES, Effects
from modbench.plugins.ab.sides import Side
from modbench.plugins.ab.suites import Suites
from modbench.plugins.ab.turn_taking import Start
from modbench.reports.markup.number_format import plain

__all__ = ["models", "repository"]
TIME = "latency/forward"
PLAN = {"metrics": [TIME], "train": None, "processes": 1, "rounds": 4, "grid": {"seq_len": [64]}}


def compared(folder: Path, flags: SuiteFlags | None = None, models: Sequence[str] = ()) -> Suites:
    base = Side("one", sys.executable, models=tuple(models))
    both = base, replace(base, label="two", new=True)
    return Suites("quick", [TIME], flags or SuiteFlags(), Asked(0.02), both, folder, builds=False)


def test_the_words_that_prepare_a_side(tmp_path: Path) -> None:
    flags = SuiteFlags(seq_len=["512"], select="mine and T512", option=["threshold=0.5,0.7"], timeout="1h")
    made = compared(tmp_path, flags, ["/a/mine.py:build"])
    words = made.command(made.both[0], tmp_path / "out")
    assert words[:6] == [sys.executable, "-P", "-m", "modbench", "run", "quick"]
    for flag, value in (
        ("--model", "/a/mine.py:build"),
        ("--match", "none"),  # two revisions would be held against two matched baselines
        ("-k", "mine and T512"),
        ("--seq-len", "512"),
        ("--option", "threshold=0.5,0.7"),
        ("--timeout", "1h"),
    ):
        assert words[words.index(flag) + 1] == value
    assert "--only" in words
    assert {f'metrics=["{TIME}"]', "processes=1", "aa_control=false"} <= {*words}
    own = compared(tmp_path)
    assert not {"--only", "--match", "--model"} & {*own.command(own.both[0], tmp_path / "out")}


MODEL = "def build(config, threshold=1): ...\n"
OWN = """
name = "own"
effort = "draft"
metrics = ["latency/forward"]
grid.seq_len = [16]
variants = [{model = "dense"}, {model = "old.py:build"}]
"""
OLD, NEW = "old.py:build", "new.py:build"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite that names a model itself, and two files of models."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"own.toml": OWN, "old.py": MODEL, "new.py": MODEL}.items():
        Path(name).write_text(text)


@pytest.mark.usefixtures("files")
def test_two_revisions_are_compared_by_copies_of_their_files(models: tuple[str]) -> None:
    with suites.revisions(("one", "HEAD"), "quick", models, SuiteFlags(), own=False) as found:
        assert [(side.label.partition(" ")[0], side.new) for side in found.both] == [("one", False), ("HEAD", True)]
        copies = [Path(side.models[0].removesuffix(":build")) for side in found.both]
        assert [file.read_text().startswith("# two") for file in copies] == [False, True]
    assert not any(file.exists() for file in copies)


def builds(*models: str, suite: str = "quick", **flags: Any) -> AbstractContextManager[Suites]:
    base, new = models
    return suites.builds((base, new), suite, SuiteFlags(**flags))


def revisions(suite: str, *models: str) -> AbstractContextManager[Suites]:
    return suites.revisions(("a", "b"), suite, models, SuiteFlags(), own=True)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: builds(OLD, OLD), "named twice"),
        (lambda: builds(OLD, NEW, option=["threshold=0.5,0.7"]), r"threshold0\.5.*one value"),
        # The same for all blocks.
        (lambda: builds(OLD, NEW, settings=["processes=2"]), "processes: ab sets"),
        (lambda: builds(OLD, NEW, settings=['metrics=["flops/forward"]']), "times nothing"),
        # Else the revisions would be those of modbench's own checkout, and both sides run the same file.
        (lambda: revisions("own.toml"), "--model old.py:build"),
        (lambda: revisions("quick", OLD), "leave out --model or --self"),
    ],
)
def test_what_is_refused(asked: Callable[[], AbstractContextManager[Suites]], said: str) -> None:
    with pytest.raises(UsageError, match=said), asked():
        pass


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suites:
    """Two sides that are prepared; each process of a block leaves a planted record, unless a test says otherwise."""
    made = compared(tmp_path)
    made.both = replace(made.both[0], folder=Path("base")), replace(made.both[1], folder=Path("new"))
    plan = planted_plan("draft", **PLAN)

    def run(_: Suites, _side: Side, out: Path) -> None:
        assert out.is_absolute()  # a side runs in a folder of its own
        if not out.exists():
            planted_run(tmp_path / "records", plan).rename(out)

    def take_turns(starts: Sequence[Start]) -> list[int | None]:
        for start in starts:
            out, name = Path(start.words[-2]), start.words[-1]
            assert out.name.startswith(str(start.folder))  # each runs in the files of its side
            job = next(each for each in plan.jobs if each.name == name)
            number = NAMES.index(out.name)
            shutil.copy(RunFolder(records(plan, tmp_path, number)).record(job), RunFolder(out).record(job))
        return [0 for _ in starts]

    monkeypatch.setattr(Suites, "_run", run)
    monkeypatch.setattr(turn_taking, "run", take_turns)
    made.prepare()
    return made


def records(plan: Plan, folder: Path, number: int) -> Path:
    """A planted run of the process of a block; the new side's is slower in one variant."""
    made = folder / f"records{number}"
    if not made.exists():
        slower = {"mod[c0.125]": 1.2 if number > 1 else 1.0}
        planted_run(folder / "records", plan, seed=number, slower=slower).rename(made)
    return made


def test_a_block_has_four_processes_in_their_order_and_its_name_once_it_is_whole(
    planted: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, real = list[str](), turn_taking.run

    def noted(starts: Sequence[Start]) -> list[int | None]:
        started.extend(Path(each.words[-2]).name for each in starts)
        assert ab_folder.blocks(planted.folder) == len(started) // 4 - 1
        return real(starts)

    monkeypatch.setattr(turn_taking, "run", noted)
    for number, order in enumerate(("ABBA", "BAAB")):
        planted.measure(number, order)
    assert started == ["base1", "new1", "new2", "base2", "new1", "base1", "base2", "new2"]
    assert ab_folder.blocks(planted.folder) == 2
    assert sorted(each.name for each in (planted.folder / "block1").iterdir()) == sorted(NAMES)
    rows = {row.what.variant: row for row in planted.rows() if not isinstance(row.what, str)}
    effects = {variant: row.blocks.wall for variant, row in rows.items() if isinstance(row.blocks, Effects)}
    assert [*effects["mod[c0.125]"]] == [0, 1]
    assert effects["mod[c0.125]"][0] < effects["dense"][0] - 0.1
    assert planted.folder.joinpath("base").exists()


@pytest.mark.parametrize(
    ("said", "code", "why", "errors"),
    [
        ("modbench: it broke", 1, "it broke", (UsageError, SideFailsError)),
        ("Killed", 1, "exit code 1: Killed", (UsageError, SideFailsError)),
        ("modbench: No space left", 3, "No space left", (ModbenchError, ModbenchError)),  # no fault of the side
    ],
)
def test_a_new_side_that_does_not_run_is_a_finding_and_a_base_a_mistake(
    said: str, code: int, why: str, errors: Sequence[type[ModbenchError]], tmp_path: Path
) -> None:
    """Whatever stops `modbench run` of a side: that nothing could be measured, or that the side refuses the suite."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {code}\n")
    python.chmod(0o755)
    made = compared(tmp_path)
    for side, error in zip(made.both, errors, strict=True):
        made.both = (replace(side, python=str(python)), side)
        with pytest.raises(error, match=rf"{side.label}.*: {why}$") as met:
            made.prepare()
        assert type(met.value) is error


@pytest.mark.parametrize(("hung", "tries"), [(False, 2), (True, 1)])
def test_what_dies_is_tried_once_more_and_then_measured_no_more(
    hung: bool, tries: int, planted: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[str]()

    def dies(starts: Sequence[Start]) -> list[int | None]:
        started.extend(start.words[-1] for start in starts)
        return [None if hung else 9 for _ in starts]

    monkeypatch.setattr(turn_taking, "run", dies)
    planted.flags = SuiteFlags(timeout="1h")
    planted.prepare()
    planted.measure(0, "ABBA")
    assert len(started) == 4 * tries
    planted.measure(1, "ABBA")
    assert len(started) == 4 * tries
    again = compared(planted.folder)  # the same command again knows it from the blocks
    again.prepare()
    again.measure(2, "ABBA")
    assert len(started) == 4 * tries
    (why, *_) = [plain(row.why) for row in again.rows()]
    assert why.startswith("failed: timeout: " if hung else "failed: crash: ")
    assert ("60 min 00 s (as --timeout" if hung else "exit code 9") in why


@pytest.mark.parametrize("where", ["copyfile", "copytree", "killed", "interrupted"])
def test_a_block_that_does_not_end_leaves_nothing_and_the_others_are_kept(
    where: str, planted: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.measure(0, "ABBA")
    part = planted.folder / "block.part"

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def interrupted(_starts: object) -> None:
        assert part.exists()
        raise KeyboardInterrupt

    if where == "killed":
        shutil.copytree(planted.folder / "block0", part)
        planted.measure(1, "ABBA")
    elif where == "interrupted":
        monkeypatch.setattr(turn_taking, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            planted.measure(1, "ABBA")
    else:
        monkeypatch.setattr(shutil, where, full)
        with pytest.raises(ModbenchError, match="Finished blocks are kept") as met:
            planted.measure(1, "ABBA")
        line, code = exit_codes.message_and_code(met.value)
        assert (code, line.count("\n"), os.strerror(errno.ENOSPC) in line) == (3, 0, True)
    assert ab_folder.blocks(planted.folder) == (2 if where == "killed" else 1)
    assert not part.exists()


@pytest.mark.slow
def test_a_real_block_times_again_and_copies_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of a tiny model: new records of what is timed, the prepared ones of what is counted, and no old view."""
    variants: list[dict[str, object]] = [{"model": "dense"}, {"model": "mod", "capacity": 0.5}]
    shape = {"d_model": 32, "n_layers": 2, "n_heads": 2}
    small = {"grid": {"seq_len": [16]}, "metrics": ["flops/forward", TIME], "rounds": 3}
    plan = planted_plan("smoke", **(PLAN | small), shape=shape, variants=variants)

    def run(self: Suites, _side: Side, out: Path) -> None:
        planted_run(self.folder / "part", plan).rename(out)
        (out / "report.html").write_text("old")

    monkeypatch.setattr(Suites, "_run", run)
    made = compared(tmp_path)
    made.prepare()
    made.measure(0, "BAAB")
    pids = set[int]()
    for name in NAMES:
        prepared, out = tmp_path / ("new" if name.startswith("new") else "base"), tmp_path / "block0" / name
        found = {record.job.name: record for record in run_folder.read(str(out)).records}
        assert found.keys() == {job.name for job in plan.jobs}
        for record in found.values():
            old = RunFolder(prepared).record(record.job).read_text()
            assert (RunFolder(out).record(record.job).read_text() == old) != record.job.facts.times
            if record.job.facts.times:
                pids.add(present(record.environment).pid)
                assert all(sorted(set(each.samples["round"])) == [0, 1, 2] for each in record.outcomes)
        assert not (out / "report.html").exists()
    assert len(pids - {os.getpid()}) == 4
    assert ab_folder.blocks(made.folder) == 1
