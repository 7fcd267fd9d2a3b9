"""Options, profiles and groups: what the Slurm launcher reads and asks sbatch for, without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm_stubs import jobs_of, on_ranks, stub_plan

from modbench.harness.core.errors import UsageError
from modbench.harness.execution.launcher import read_profile
from modbench.plugins.slurm.options import Options, parse
from modbench.plugins.slurm.submitting import Group, groups, times


def test_options_are_those_of_sbatch_and_a_few_of_modbench_and_the_last_one_counts() -> None:
    words = ["--partition=gpu", "--time=4:00:00", "--partition", "night", "--exclusive", "--requeues=0"]
    words += ["--max-submit=50", "--setup=module load cuda", "--no-exclusive"]
    assert parse(words) == Options(
        {"partition": "night", "time": "4:00:00", "exclusive": True}, 0, 50, ("module load cuda",), exclusive=False
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--job-name=mine", "finds its Slurm jobs"),
        ("--array=1-5", "set by modbench"),
        ("gpu", "no option of sbatch"),
        ("--max-submit=0", "a whole number from 1"),
        ("--requeues", "a whole number from 0"),
        ("--a b; rm -rf", "no option of sbatch"),
    ],
)
def test_what_cannot_be_an_option_is_refused(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse([word])


def test_a_profile_is_lines_of_options(tmp_path: Path) -> None:
    file = tmp_path / "site.sh"
    file.write_text('#!/bin/bash\n#SBATCH --partition=gpu  # the usual one\n\n# a comment\n--setup="module load a"\n')
    assert read_profile(file) == ("--partition=gpu", "--setup=module load a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("srun hostname\n", "line 1 is no option"),
        ('--comment="open\n', "line 1: No closing quotation"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_place(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "site.sh").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_profile(tmp_path / "site.sh")


def test_timed_jobs_of_a_comparison_are_one_task_and_others_one_each() -> None:
    jobs = stub_plan().jobs
    (others, single), (timed, together) = groups(jobs, 2, Options())
    assert (others.timed, timed.timed) == (False, True)
    assert all(len(task) == 1 for task in single)
    assert all(len({job.comparison.label for job in task}) == 1 for task in together)
    assert sorted(job.name for task in (*single, *together) for job in task) == sorted(job.name for job in jobs)


@pytest.mark.parametrize(
    ("timed", "options", "exclusive"),
    [
        (True, Options(), True),
        (True, Options(sbatch={"oversubscribe": True}), None),
        (True, Options(sbatch={"exclusive": "user"}), "user"),
        (True, Options(exclusive=False), None),
        (False, Options(), None),
    ],
)
def test_a_timed_group_has_a_node_of_its_own_unless_the_user_says_otherwise(
    timed: bool, options: Options, exclusive: object
) -> None:
    asked = Group(timed=timed, threads=2).sbatch(options, 30)
    assert asked.get("exclusive") == exclusive
    assert (asked["cpus-per-task"], asked["requeue"], asked["time"], asked["ntasks"]) == ("2", True, "30", "1")


def test_what_the_user_asks_for_goes_before() -> None:
    said: dict[str, str | bool] = {"cpus-per-gpu": "8", "time": "1:00:00", "no-requeue": True}
    chosen = Group(timed=True, threads=2).sbatch(Options(sbatch=said), 30)
    assert chosen["time"] == "1:00:00"
    assert not {"cpus-per-task", "requeue"} & chosen.keys()


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("gpu:1", "gpu:4"),
        ("gpu", "gpu:4"),
        ("gpu:a100:1,gpu:v100", "gpu:a100:4,gpu:v100:4"),
        ("tmpfs", "tmpfs"),
    ],
)
def test_generic_resources_are_those_of_all_ranks_where_they_are_gpus(asked: str, given: str) -> None:
    assert times(asked, 4, only_gpus=True) == given


def test_ranks_that_share_a_job_get_what_those_of_their_node_need() -> None:
    asked = {"nodes": "2", "gres": "gpu:1", "gpus": "a100:1,v100:2", "gpus-per-node": "1", "cpus-per-task": "3"}
    options = Options(sbatch=asked)
    on_two = Group(timed=False, threads=2, ranks=8, nodes=options.nodes_for(8)).sbatch(options, 30)
    expected = {"nodes": "2", "gres": "gpu:4", "gpus": "a100:8,v100:16", "gpus-per-node": "4", "cpus-per-task": "12"}
    assert {name: on_two[name] for name in asked} == expected
    assert (on_two["ntasks"], on_two["ntasks-per-node"]) == ("2", "1")
    assert Group(timed=False, threads=2, ranks=4).sbatch(Options(), 30)["cpus-per-task"] == "8"
    single, shared = jobs_of("train")[0], on_ranks(2)
    (alone, _), (both, _) = groups([single, shared], 1, options)
    assert [(each.ranks, each.nodes) for each in (alone, both)] == [(1, 1), (2, 2)]
    assert not {"nodes", "ntasks-per-node"} & alone.sbatch(options, 30).keys()
    assert alone.sbatch(options, 30)["gres"] == "gpu:1"


@pytest.mark.parametrize("nodes", ["3", "2-4", "0"])
def test_ranks_that_cannot_be_divided_among_the_nodes_are_refused(nodes: str) -> None:
    with pytest.raises(
        UsageError, match=rf"--nodes={nodes}: train\.ranks = 2 cannot be .*What works: 1, 2\."
    ) as refused:
        groups([on_ranks(2)], 1, parse([f"--nodes={nodes}"]))
    assert refused.value.exit_code == 2
