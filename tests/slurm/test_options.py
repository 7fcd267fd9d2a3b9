"""Options, profiles, squeue's lines, arrays and attempts: what the Slurm launcher reads and decides without a cluster."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from slurm_stubs import TOKEN, stub_plan, submission

from modbench.harness.core.errors import UsageError
from modbench.harness.execution.launch.slurm import SlurmLauncher
from modbench.harness.execution.launcher_profile import read_profile
from modbench.harness.execution.slurm import queue
from modbench.harness.execution.slurm.options import Options, parse
from modbench.harness.execution.slurm.submitting import Group, groups
from modbench.harness.results import attempts


def test_options_are_those_of_sbatch_and_the_last_one_counts() -> None:
    words = ["--partition=gpu", "-t", "4:00:00", "-pnight", "--gres", "gpu:1", "--exclusive", "--requeues=0"]
    found = parse(words)
    assert found.sbatch == {"partition": "night", "time": "4:00:00", "gres": "gpu:1", "exclusive": True}
    assert found.requeues == 0
    assert found.words() == ["--partition=night", "--time=4:00:00", "--gres=gpu:1", "--exclusive"]


def test_modbench_has_a_few_options_of_its_own() -> None:
    words = [
        "--array-parallelism=8",
        "--max-submit=50",
        "--signal=USR2@120",
        "--setup=module load cuda",
        "--no-exclusive",
    ]
    assert parse(words) == Options(
        array_parallelism=8, max_submit=50, signal_s=120, setup=("module load cuda",), exclusive=False
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--job-name=mine", "finds its jobs"),
        ("--array=1-5", "set by modbench"),
        ("gpu", "no option of sbatch"),
        ("-Z", "write its long name"),
        ("--signal=TERM@5", "listen to USR2"),
        ("--max-submit=0", "a whole number from 1"),
        ("--requeues", "a whole number from 0"),
        ("--a b; rm -rf", "no option of sbatch"),
    ],
)
def test_what_cannot_be_an_option_is_refused(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse([word])


def test_a_profile_is_a_file(tmp_path: Path) -> None:
    for there in (tmp_path, Path("/dev/zero")):
        with pytest.raises(UsageError, match="is not a file"):
            read_profile(there)


def test_a_profile_is_toml_or_lines_of_options(tmp_path: Path) -> None:
    toml, lines = tmp_path / "site.toml", tmp_path / "site.sh"
    toml.write_text(
        'partition = "gpu"\ncpus_per_task = 4\nexclusive = true\nrequeue = false\nsetup = ["module load a", "b"]\n'
    )
    expected = ("--partition=gpu", "--cpus-per-task=4", "--exclusive", "--setup=module load a", "--setup=b")
    assert read_profile(toml) == expected
    lines.write_text('#!/bin/bash\n#SBATCH --partition=gpu  # the usual one\n\n# a comment\n--setup="module load a"\n')
    assert read_profile(lines) == ("--partition=gpu", "--setup=module load a")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "partition = ", "not TOML"),
        ("a.toml", "[gpu]\ntime = 3\n", "gpu = {'time': 3}"),
        ("a.sh", "srun hostname\n", "line 1 is no option"),
        ("a.sh", '--comment="open\n', "line 1"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_place(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=said):
        read_profile(tmp_path / name)
    with pytest.raises(UsageError, match="cannot be read"):
        read_profile(tmp_path / "none.toml")


def test_lines_of_squeue_are_read() -> None:
    said = "12|0|PENDING|modbench-a\n12|17|RUNNING|modbench-a\n13|N/A|TIMEOUT|modbench-b\nslurm_load_jobs error\n\n"
    assert list(queue.parse(said)) == [
        ("12", 0, "PENDING", "modbench-a"),
        ("12", 17, "RUNNING", "modbench-a"),
        ("13", 0, "TIMEOUT", "modbench-b"),
    ]


def test_words_of_slurm_are_told_on_one_line() -> None:
    said = "sbatch: unrecognized option '--foo'\nTry \"sbatch --help\" for more information\n\nsbatch: x\nsbatch: x\n"
    assert queue.words_of(said) == "sbatch: unrecognized option '--foo'; sbatch: x"


def test_timed_units_of_a_comparison_are_one_task_and_others_one_each() -> None:
    units = stub_plan().units
    (others, single), (timed, together) = groups(units, 2, Options())
    assert (others.timed, timed.timed) == (False, True)
    assert all(len(task) == 1 for task in single)
    assert all(len({unit.comparison.label for unit in task}) == 1 for task in together)
    assert sorted(unit.name for task in (*single, *together) for unit in task) == sorted(unit.name for unit in units)
    assert groups(units[:1], 1, Options())[0][1] == [[units[0]]]


def test_a_timed_group_has_a_node_of_its_own_unless_the_user_says_otherwise() -> None:
    timed = Group(timed=True, threads=2)
    assert timed.sbatch(Options(), 30) == {
        "exclusive": True, "cpus-per-task": "2", "requeue": True, "time": "30", "ntasks": "1"
    }  # fmt: skip
    for said in ({"oversubscribe": True}, {"exclusive": "user"}):
        assert timed.sbatch(Options(sbatch=said), 30).get("exclusive") == said.get("exclusive")
    assert "exclusive" not in timed.sbatch(Options(exclusive=False), 30)
    assert "exclusive" not in Group(timed=False, threads=2).sbatch(Options(), 30)
    chosen = timed.sbatch(Options(sbatch={"cpus-per-gpu": "8", "time": "1:00:00", "no-requeue": True}), 30)
    assert chosen["time"] == "1:00:00"
    assert not {"cpus-per-task", "requeue"} & chosen.keys()


def test_ranks_that_share_a_unit_get_cores_and_gpus_for_all() -> None:
    shared = Group(timed=False, threads=2, ranks=4)
    for asked, given in (
        ("gpu:1", "gpu:4"),
        ("gpu:a100:2", "gpu:a100:8"),
        ("gpu:1,tmpfs:9", "gpu:4,tmpfs:9"),
        ("gpu", "gpu:4"),
        ("gpu:a100", "gpu:a100:4"),
    ):
        assert shared.sbatch(Options(sbatch={"gres": asked}), 30)["gres"] == given
    for asked, given in (("1", "4"), ("a100:1,v100:2", "a100:4,v100:8")):
        assert shared.sbatch(Options(sbatch={"gpus": asked}), 30)["gpus"] == given
    assert shared.sbatch(Options(), 30)["cpus-per-task"] == "8"
    assert shared.sbatch(Options(sbatch={"cpus-per-task": "3"}), 30)["cpus-per-task"] == "12"
    unit = next(unit for unit in stub_plan().units if unit.made_in == "train")
    assert unit.protocol.train is not None
    train = unit.protocol.train.model_copy(update={"ranks": 4})
    on_four = unit.model_copy(update={"protocol": unit.protocol.model_copy(update={"train": train})})
    assert [(group.ranks, len(tasks)) for group, tasks in groups([unit, on_four], 1, Options())] == [(1, 1), (4, 1)]


def test_ranks_on_several_nodes_ask_for_what_those_of_a_node_need() -> None:
    asked = {"nodes": "2", "gres": "gpu:1", "gpus": "1", "gpus-per-node": "1", "cpus-per-task": "3"}
    options = Options(sbatch=asked)
    on_two = Group(timed=False, threads=2, ranks=8, nodes=options.nodes_for(8)).sbatch(options, 30)
    assert {name: on_two[name] for name in asked} == {
        "nodes": "2", "gres": "gpu:4", "gpus": "8", "gpus-per-node": "4", "cpus-per-task": "12"
    }  # fmt: skip
    assert (on_two["ntasks"], on_two["ntasks-per-node"]) == ("2", "1")
    alone = Group(timed=False, threads=2, ranks=1, nodes=options.nodes_for(1)).sbatch(options, 30)
    assert not {"nodes", "ntasks-per-node"} & alone.keys()
    assert (alone["ntasks"], alone["gres"]) == ("1", "gpu:1")
    assert queue.most_tasks(1) > queue.most_tasks(8) > 1


def test_an_attempt_without_an_end_is_explained_by_what_came_after(tmp_path: Path) -> None:
    made = submission(tmp_path)
    for restart in (0, 1):
        line = {"event": "start", "unit": "a", "job": "7_0", "restart": restart, "host": "n1"}
        attempts.note(tmp_path, TOKEN, 0, line)
    with (attempts.place(tmp_path, TOKEN) / "0.jsonl").open("a") as file:
        file.write('{"event": "end", "un')  # a node died while it wrote
    assert [each.how for each in attempts.attempts_of(tmp_path, made, 0)] == ["requeued", None]
    attempts.note(tmp_path, TOKEN, 0, {"state": "NODE_FAIL"}, seen=True)
    found = attempts.all_attempts(tmp_path)
    assert [each.how for each in found["a"]] == ["requeued", "node failed"]
    assert re.fullmatch(r"1 unit .*\(preempted or requeued 1\)", str(attempts.in_words(found.values())))


def test_submissions_are_spread_and_those_of_former_versions_stay_where_they_are(tmp_path: Path) -> None:
    made = submission(tmp_path)
    former = made.model_copy(update={"token": "f" * 12, "submitted": "2025-01-01T00:00:00+00:00"})
    (tmp_path / "jobs" / former.token).mkdir()
    (tmp_path / "jobs" / f"{former.token}.json").write_text(former.model_dump_json())
    line = {"event": "start", "unit": "a", "job": "7_0", "restart": 0, "host": "n1"}
    for each in (former, made):
        attempts.note(tmp_path, each.token, 0, line)
    assert (tmp_path / "jobs" / former.token / "0.jsonl").exists()
    assert (tmp_path / "jobs" / "01" / made.token / "0.jsonl").exists()
    assert attempts.submissions(tmp_path) == [former, made]
    assert len(attempts.all_attempts(tmp_path)["a"]) == 2
    attempts.submit(tmp_path, former.model_copy(update={"job": "8"}))
    assert [each.job for each in attempts.submissions(tmp_path)] == ["8", "7"]
    for number in range(300):
        attempts.submit(tmp_path, made.model_copy(update={"token": f"{number % 256:02x}{number:010x}"}))
    assert max(len(list(place.iterdir())) for place in (tmp_path / "jobs").iterdir() if place.is_dir()) <= 6
    assert len(list((tmp_path / "jobs").iterdir())) == 256 + 2


def test_a_strangers_jobs_folder_is_data(tmp_path: Path) -> None:
    submission(tmp_path)
    line = {"event": "start", "unit": "../../etc/passwd", "job": "7_0", "restart": 0, "host": "n1"}
    attempts.note(tmp_path, TOKEN, 0, line)
    assert attempts.all_attempts(tmp_path) == {}  # a unit that the task does not have
    file = tmp_path / "jobs" / TOKEN[:2] / f"{TOKEN}.json"
    file.write_text(file.read_text().replace('"7"', '"7; rm -rf /"'))
    with pytest.raises(UsageError, match=r"0123456789ab\.json: damaged: job"):
        attempts.submissions(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("")
    (attempts.place(tmp_path, TOKEN) / "1.jsonl").symlink_to(victim)
    with pytest.raises(OSError, match=r"symbolic|loop"):
        attempts.note(tmp_path, TOKEN, 1, {})
    assert victim.read_text() == ""


def test_without_slurm_the_refusal_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(UsageError, match="sbatch, squeue, scancel, scontrol, srun") as refused:
        SlurmLauncher(cold=True, threads=1)
    assert refused.value.exit_code == 2
    assert "--launcher local" in str(refused.value)
