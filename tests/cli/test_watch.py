"""`modbench watch`: a run as its folder shows it, from planned units to failures; nothing is measured here."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from modbench.cli import main
from modbench.commands.watch import _live, run_snapshot, snapshot_text
from modbench.commands.watch.watcher import SPEED, START_S, Watcher
from modbench.harness.core import catalogue
from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.errors import UsageError
from modbench.harness.core.files import now
from modbench.harness.core.printable import SCREEN
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.planning.suite import parse_suite
from modbench.harness.results import layout, lock, predicted
from modbench.harness.results.launches import Decision
from modbench.harness.results.outcomes import measured, missing
from modbench.harness.results.records import Gap, Record
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.results.workspace import Workspace


def plan_of(effort: str = "draft", **changes: Any) -> Plan:
    suite = {
        "name": "small",
        "effort": effort,
        "metrics": ["latency/forward", "memory/peak_allocated"],
        "shape": {"d_model": 32, "n_layers": 2, "vocab_size": 64},
        "grid": {"seq_len": [16]},
        "arms": [{"model": "dense"}, {"model": "mod"}],
        **changes,
    }
    return make_plan(parse_suite(suite, "small"), device="cpu")


def begun(
    path: Path, plan: Plan, command: tuple[str, ...] = ("modbench", "run", "small"), launcher: str = "local"
) -> RunFolder:
    path.mkdir()
    folder = RunFolder(path)
    folder.write_run(plan, {"cpu": "a processor", "machine": "fingerprint"}, list(command), now(), launcher)
    return folder


def keep(folder: RunFolder, unit: UnitOfWork, gap: Gap | None = None, wall_s: float = 2.0) -> None:
    """Write a record: one outcome for each case, the last of which failed if there is a gap."""
    metrics = [metric for metric in catalogue.metrics().values() if unit.makes(metric)][
        :1
    ]  # none of what is about the machine
    outcomes = []
    for metric in metrics:
        *others, last = unit.comparison.arms
        outcomes += [measured(case, metric, {"value": [1.0]}) for case in others]
        outcomes.append(missing(last, metric, gap) if gap else measured(last, metric, {"value": [1.0]}))
    record = Record(unit=unit, started=now(), wall_s=wall_s, outcomes=tuple(outcomes))
    folder.write_record(record)


def by_name(seen: run_snapshot.RunSnapshot) -> dict[str, run_snapshot.Group]:
    return {group.name: group for group in seen.groups}


def test_units_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    plan = plan_of()
    folder = begun(tmp_path / "run", plan)
    count, *_ = plan.units
    timed = [unit for unit in plan.units if unit.made_in == "time"]
    keep(folder, count)
    keep(folder, timed[0])
    keep(folder, timed[1], Gap(status="failed", kind="error", reason="ValueError: no"))
    folder.log(timed[1]).write_text("Traceback")
    Workspace(folder.path, timed[2].name).say("timing 3 models")
    with lock.hold(folder.path):
        seen = Watcher(str(folder.path)).snapshot()
    assert by_name(seen)["count"] == run_snapshot.Group("count", 1, 0, 0, 0)
    assert by_name(seen)["time"] == run_snapshot.Group("time", 1, 1, 1, len(timed) - 3)
    assert by_name(seen)["memory"].waiting == 1
    assert [(each.unit, each.said) for each in seen.running] == [(timed[2].name, "timing 3 models")]
    (failure,) = seen.failures
    assert failure.log == f"logs/{timed[1].name}.log"
    assert failure.reason == "ValueError: no"
    assert seen.state == "running"
    assert str(os.getpid()) in seen.runner
    text = "\n".join(snapshot_text.as_lines(seen))
    assert f"  {failure.case}: ValueError: no ({failure.metrics[0]})\n    see {failure.log}\n" in f"{text}\n"
    assert json.loads(json.dumps(snapshot_text.as_json(seen)))["groups"][0]["done"] == 1


def test_a_run_is_finished_when_all_have_records_and_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of()
    folder = begun(tmp_path / "run", plan)
    for unit in plan.units:
        keep(folder, unit)
    os.utime(folder.path / "run.json", (0, 0))
    assert Watcher(str(folder.path)).snapshot().state == "stopped"
    folder.write_finished({"ended": now(), "wall_s": 61.0, "timed_wall_s": 1.0, "parent_cpu_s": 0.0})
    assert watching(str(folder.path)) == 0
    assert "finished in 1 min 01 s" in capsys.readouterr().out


def watching(*arguments: str) -> int:
    """Exit code of the command in this process."""
    before, sys.argv = sys.argv, ["modbench", "watch", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def test_a_dead_runner_is_named_with_what_continues_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = begun(tmp_path / "run", plan_of())
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    holder = lock._take(folder.path, steal=False).model_copy(update={"pid": process.pid, "began": "1"})
    (folder.path / lock.NAME).write_text(holder.model_dump_json())
    assert watching("--once", str(folder.path)) == 4
    out = capsys.readouterr().out
    assert "dead" in out
    assert f"modbench resume {folder.path}" in out
    far = holder.model_copy(update={"host": "elsewhere"})
    (folder.path / lock.NAME).write_text(far.model_dump_json())
    assert Watcher(str(folder.path)).snapshot().state == "running"  # its heartbeat is fresh
    for name in (lock.NAME, "run.json"):
        os.utime(folder.path / name, (time.time() - 1e4, time.time() - 1e4))
    assert (Watcher(str(folder.path)).snapshot().next_step or "").endswith("--steal")


def test_a_run_of_train_is_continued_by_its_own_command(tmp_path: Path) -> None:
    """It holds no lease: that it trains shows in its progress."""
    folder = begun(tmp_path / "run", plan_of(), ("modbench", "train", "mod"))
    unit = folder_unit(folder)
    Workspace(folder.path, unit).say("step 3/40, loss 2.314, 9.2k tokens/s, 1 min 05 s left")
    seen = Watcher(str(folder.path)).snapshot()
    assert seen.state == "running"
    assert seen.running[0].said.startswith("step 3/40")
    long_ago = time.time() - 1e4
    os.utime(folder.logs / f"{unit}.progress", (long_ago, long_ago))
    assert Watcher(str(folder.path)).snapshot().state == "running"  # it has just begun
    os.utime(folder.path / "run.json", (long_ago, long_ago))
    seen = Watcher(str(folder.path)).snapshot()
    assert seen.state == "stopped"
    assert seen.next_step is not None
    assert seen.next_step.endswith(f"command with -o {folder.path}")


def folder_unit(folder: RunFolder) -> str:
    body = json.loads((folder.path / "run.json").read_text())
    return str(body["plan"]["units"][0]["name"])


def test_launches_that_no_pilot_asked_for_are_not_waited_for(tmp_path: Path) -> None:
    plan = plan_of("standard")
    folder = begun(tmp_path / "run", plan)
    watch = Watcher(str(folder.path))
    pilot, _ = plan.suite.protocol_size
    before = watch.snapshot()
    assert by_name(before)["time"].units == pilot
    assert before.more
    later = sum(START_S + unit.flops / SPEED for unit in plan.units if plan.after_pilot(unit))
    assert before.most_s is not None
    assert before.left_s == pytest.approx(before.most_s - later)
    assert re.search(r" to \d+ s left$", snapshot_text.as_lines(before)[0])
    (series,) = {unit.series for unit in plan.units if unit.series}
    made = pilot + 2
    decision = Decision(
        series=series, pilot=pilot, used=pilot, arms=1, sd=0.01, mde=0.01, asked=99, most=made, made=made
    )
    folder.write_decision(decision)
    after = watch.snapshot()
    assert by_name(after)["time"].units == made
    assert not after.more
    assert after.most_s == after.left_s
    assert re.search(r", about \d+ s left$", snapshot_text.as_lines(after)[0])
    assert after.decisions == (f"{series}: {made} launches of 99 asked for",)


def test_of_a_confirmation_as_many_cases_may_run_as_it_has_roles() -> None:
    fresh = {
        f"confirm-{case}-seed{seed}": run_snapshot.Unit("confirm", "", 0, 1.0, "best")
        for case in "abc"
        for seed in range(4)
    }
    cell = {"time-a-launch0": run_snapshot.Unit("time", "time-a", 0, 1.0, "row")}
    begun = {"confirm-a-seed0", "confirm-b-seed0"}
    may = {*fresh, *cell} - begun
    found = run_snapshot.optional_shares(fresh | cell, may, roles=2)
    assert found == {name: 1.0 if name in cell else pytest.approx((2 * 4 - 2) / 10) for name in may}
    assert set(run_snapshot.optional_shares(fresh, may - {*cell}, roles=9).values()) == {1.0}


def test_the_time_left_is_the_prediction_scaled_by_what_units_took(tmp_path: Path) -> None:
    plan = plan_of()
    folder = begun(tmp_path / "run", plan)
    timed = [unit for unit in plan.units if unit.made_in == "time"]
    rest = [unit for unit in plan.units if unit.made_in != "time"]
    watch = Watcher(str(folder.path))
    assumed = sum(START_S + unit.flops / 60e9 for unit in plan.units)
    assert watch.snapshot().left_s == pytest.approx(assumed)
    predicted.write(folder.path, {unit.name: 10.0 for unit in plan.units}, {unit.name: 2 for unit in plan.units})
    assert watch.snapshot().left_s == pytest.approx(10 * len(plan.units))
    keep(
        folder, timed[0], wall_s=60.0
    )  # of two side by side: 30 s, three times the prediction; the only one to learn from
    assert watch.snapshot().left_s == pytest.approx(30 * (len(plan.units) - 1))
    keep(folder, rest[0], wall_s=10.0)
    left = watch.snapshot().left_s
    same = [unit for unit in rest[1:] if unit.made_in == rest[0].made_in]
    others = len(rest) - 1 - len(same)
    assert left == pytest.approx(30 * (len(timed) - 1) + 5 * len(same) + 10 * (30 + 5) / 20 * others)


def test_on_a_cluster_units_that_run_at_once_share_the_time_left(tmp_path: Path) -> None:
    plan = plan_of(grid={"seq_len": [16, 32, 64]})
    folder = begun(tmp_path / "run", plan, launcher="slurm")
    # On this machine two would run side by side: alone each takes 20 s.
    predicted.write(folder.path, {unit.name: 10.0 for unit in plan.units}, {unit.name: 2 for unit in plan.units})
    watch, whole = Watcher(str(folder.path)), 20 * len(plan.units)
    assert watch.snapshot().left_s == pytest.approx(whole)  # all wait: nobody knows how many will run at once
    first = {unit.series: unit for unit in reversed(plan.units) if unit.series}.values()
    for unit in first:
        Workspace(folder.path, unit.name).say("timing 3 models")
    assert len(first) == 3
    assert watch.snapshot().left_s == pytest.approx(whole / 3)
    for unit in plan.units:
        if unit.series != plan.units[-1].series:
            keep(folder, unit, wall_s=40.0)
    launches = sum(unit.series == plan.units[-1].series for unit in plan.units)
    assert watch.snapshot().left_s == pytest.approx(40 * launches)  # one after the other, whatever else ran


def test_predictions_are_extended_and_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    predicted.write(tmp_path, {"a": 1.0}, {"a": 1})
    predicted.write(tmp_path, {"b": 2.0}, {"b": 2})
    assert predicted.read(tmp_path) == {"a": (1.0, 1), "b": (2.0, 2)}
    for text in ("[", "[]", '{"a": 1}', '{"a": ["x", 1]}', '{"a": [NaN, 1]}', '{"a": [1, 0]}'):
        (tmp_path / predicted.NAME).write_text(text)
        assert predicted.read(tmp_path) == {}
    predicted.write(tmp_path / "gone", {"a": 1.0}, {"a": 1})


def test_the_files_of_a_large_run_are_found_in_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MOST_TOGETHER", 3)
    plan = plan_of()
    folder = begun(tmp_path / "run", plan)
    first, second, *_ = [unit for unit in plan.units if unit.made_in == "time"]
    keep(folder, first, Gap(status="failed", kind="error", reason="ValueError: no"))
    folder.log(first).write_text("Traceback")
    Workspace(folder.path, second.name).say("timing 3 models")
    seen = Watcher(str(folder.path)).snapshot()
    assert by_name(seen)["time"].units == sum(unit.made_in == "time" for unit in plan.units)
    assert [failure.log for failure in seen.failures] == [str(folder.log(first).relative_to(folder.path))]
    assert [each.said for each in seen.running if each.unit == second.name] == ["timing 3 models"]
    assert folder.log(first).parent.parent.name == "logs"


def test_only_new_records_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modbench.commands.watch import watcher

    plan = plan_of()
    folder, read = begun(tmp_path / "run", plan), []
    for unit in plan.units[:5]:
        keep(folder, unit)
    unit_result = run_snapshot.unit_result

    def counted(record: bytes, inode: int) -> Any:
        read.append(inode)
        return unit_result(record, inode)

    monkeypatch.setattr(watcher, "unit_result", counted)
    watch = Watcher(str(folder.path))
    for _ in range(3):
        watch.snapshot()
    assert len(read) == 5
    keep(folder, plan.units[0], Gap(status="failed", kind="error", reason="again"))  # replaced by a resumed run
    folder.record(plan.units[1]).unlink()
    seen = watch.snapshot()
    assert len(read) == 6
    assert [failure.reason for failure in seen.failures] == ["again"]
    assert sum(group.done for group in seen.groups) == 3


def test_a_strangers_folder_is_data(tmp_path: Path) -> None:
    """Damage is told, links are refused, and no control character reaches the terminal."""
    plan = plan_of()
    folder = begun(tmp_path / "run", plan)
    keep(folder, plan.units[0], Gap(status="failed", kind="error", reason="\x1b[2Jgone\nnext"))
    folder.record(plan.units[1]).write_text('{"status":"failed"')
    (folder.units / "..json").write_text("{}")
    (tmp_path / "secret").write_text('"status":"failed"')
    for link, target in ((folder.record(plan.units[2]), "secret"), (folder.path / "artifacts", "elsewhere")):
        link.symlink_to(tmp_path / target)
        with pytest.raises(UsageError, match="symbolic link out of"):
            Watcher(str(folder.path))
        link.unlink()
    seen = Watcher(str(folder.path)).snapshot()
    assert [failure.unit for failure in seen.failures] == [plan.units[0].name, plan.units[1].name]
    assert "its record is damaged" in seen.failures[1].reason
    assert all(line.isprintable() for line in snapshot_text.as_lines(seen))
    for text in ("[]", "{", '{"plan": {}}', '{"plan": {"suite": {}, "units": [1]}}'):
        (folder.path / "run.json").write_text(text)
        with pytest.raises(UsageError, match=r"run\.json"):
            Watcher(str(folder.path))


def test_what_is_no_run_or_is_gone_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert watching(str(tmp_path)) == 2
    assert watching(str(tmp_path / "nowhere")) == 2
    assert capsys.readouterr().err.count("not a run folder") == 2
    folder = begun(tmp_path / "run", plan_of())
    watch = Watcher(str(folder.path))
    shutil.rmtree(folder.path)
    with pytest.raises(UsageError, match="is gone"):
        watch.snapshot()


def test_chosen_texts_are_masked_before_lines_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of()
    folder = begun(tmp_path / "run", plan)
    keep(folder, plan.units[0], Gap(status="failed", kind="error", reason="x " * 30 + "said hush hush " + "y " * 30))
    monkeypatch.setenv("MODBENCH_MASK", "hush hush")
    watching(str(tmp_path / "run"), "--once")
    watching(str(tmp_path / "run"), "--json")
    shown = capsys.readouterr().out
    assert "said ***" in " ".join(shown.split())
    assert "hush" not in shown


def test_the_picture_fits_the_terminal(tmp_path: Path) -> None:
    plan = plan_of(grid={"seq_len": [16, 32, 64]})
    folder = begun(tmp_path / "run", plan)
    for unit in plan.units:
        keep(folder, unit, Gap(status="failed", kind="error", reason="a long reason " * 20))
    seen = Watcher(str(folder.path)).snapshot()
    assert len(seen.failures) > 20
    for width, height in ((80, 24), (40, 12), (200, 50)):
        lines = snapshot_text.as_lines(seen, width, height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
    assert any(" more" in line for line in snapshot_text.as_lines(seen, 80, 24))
    assert sum("a long reason" in line for line in snapshot_text.as_lines(seen, verbose=True)) == len(seen.failures)


def test_failures_for_one_reason_are_one_entry_with_their_number(tmp_path: Path) -> None:
    plan = plan_of(grid={"seq_len": [16, 32, 64]})
    folder = begun(tmp_path / "run", plan)
    for at, unit in enumerate(plan.units):
        keep(folder, unit, Gap(status="failed", kind="error", reason="first" if at else "second"))
    seen = Watcher(str(folder.path)).snapshot()
    lines = snapshot_text.as_lines(seen)
    assert sum(": first" in line for line in lines) == sum(": second" in line for line in lines) == 1
    assert f" and {len(seen.failures) - 2} more: first" in "\n".join(lines)


def test_a_screen_holds_the_answer_however_much_there_is(tmp_path: Path) -> None:
    plan = plan_of(grid={"seq_len": [2**n for n in range(4, 10)]})
    folder = begun(tmp_path / "run", plan)
    for at, unit in enumerate(plan.units):
        keep(folder, unit, Gap(status="failed", kind="error", reason=f"reason {at}"))
        folder.log(unit).write_text("Traceback")
    seen = dataclasses.replace(
        Watcher(str(folder.path)).snapshot(),
        running=tuple(run_snapshot.Running(unit.name, "timing", 0.0) for unit in plan.units),
        decisions=tuple(unit.name for unit in plan.units),
    )
    assert len(snapshot_text.as_lines(seen)) <= SCREEN
    assert len(snapshot_text.as_lines(seen, verbose=True)) > 4 * len(plan.units)


def test_the_live_picture_ends_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of()
    folder = begun(tmp_path / "run", plan)
    watch = Watcher(str(folder.path))
    with lock.hold(folder.path) as held:

        def ends(_seconds: float) -> None:
            for unit in plan.units:
                keep(folder, unit)
            folder.write_finished({"ended": now(), "wall_s": 61.0, "timed_wall_s": 1.0, "parent_cpu_s": 0.0})
            held.release()

        monkeypatch.setattr(time, "sleep", ends)
        assert _live(watch).complete
    assert "finished in 1 min 01 s" in capsys.readouterr().out


@pytest.mark.slow
def test_watching_loads_no_torch(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", plan_of())
    code = (
        "import sys; sys.argv = ['modbench', 'watch', '--once', sys.argv[1]]\n"
        "from modbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code)\n"
        "print([name for name in ('torch', 'numpy', 'pandas', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["4", "[]"]
