"""The command that measures one claim again: read back by the real command line, it selects exactly that."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from modbench import api
from modbench.cli import app
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.results.run_file import StoredRun
from modbench.reports.tables.rerun_command import (
    KEPT,
    KEPT_ALONE,
    LEFT,
    LEFT_ALONE,
    Again,
    NotAgainError,
    parse_command,
    suite_of,
)

SUITE = """
name = "some"
effort = "draft"
metrics = ["flops/forward", "latency/forward", "latency/train_step"]
shape = { d_model = 64, n_layers = 4 }
grid = { seq_len = [64, 128] }
variants = [
    { model = "dense" },
    { model = "dense", match = { variant = "mod", capacity = 0.125 } },
    { model = "mod", capacity = [0.125, 0.5] },
    { model = "moe" },
]
"""
COMMANDS: Any = typer.main.get_command(app)


def test_every_option_of_run_is_known() -> None:
    """A new option must be kept or left out: otherwise pages would say that it is not known what it changes."""
    options = [each for each in COMMANDS.commands["run"].params if each.param_type_name == "option"]
    takes_value = {name: not each.is_flag for each in options for name in each.opts if name != "--help"}
    known = dict.fromkeys((*KEPT, *LEFT), True) | dict.fromkeys((*KEPT_ALONE, *LEFT_ALONE), False)
    assert takes_value == known


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("modbench", "not started by modbench run"),
        ("modbench run quick --corpus hf:x?token=***", "masked"),
        ("modbench run quick --wild", "'--wild'"),
    ],
)
def test_a_command_that_cannot_be_repeated_says_why(command: str, said: str) -> None:
    with pytest.raises(NotAgainError, match=said):
        parse_command(command.split())
    run: Any = SimpleNamespace(command=command.split())
    assert suite_of(run) == "SUITE"


def planned(words: list[str]) -> Plan:
    """What `modbench run …` would measure, parsed by the real command line."""
    taken: list[Plan] = []

    class Stopped(Exception):  # noqa: N818  # it is no error
        pass

    def make(suite: str, overrides: Any, select: str | None, **_: Any) -> Plan:
        taken.append(make_plan(override(load_suite(suite), overrides), device="cpu", select=select, text=None))
        raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "make_plan", make)
        with pytest.raises(Stopped):
            COMMANDS.main(words[1:], standalone_mode=False)
    return taken[0]


Make = Callable[..., Again]


@pytest.fixture
def run_of(tmp_path: Path) -> Make:
    """Makes a run of a suite file with some flags, as far as commands are made from it."""
    suite = tmp_path / "it's a suite.toml"
    suite.write_text(SUITE)
    (tmp_path / "jobs").mkdir()

    def made(*flags: str) -> Again:
        command = ["modbench", "run", str(suite), *flags]
        return Again(StoredRun(tmp_path, planned(command), {}, command, "", "local", [], []))

    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        "",
        "-o 'a folder' --set d_model=128 --strict --audit --json",
        "--out=x --capacity 0.25,0.5 --seq-len=32 -k 'mod or moe' --set metrics=latency/forward",
        "--dtype fp32,bf16 --batch-size 1,2 --timeout 5min --seeds 0,1",
    ],
)
def test_it_selects_exactly_that_case(flags: str, run_of: Make) -> None:
    """Cases of the plan in turn: the same suite and flags, the case and its baseline, and nothing else."""
    run = run_of(*shlex.split(flags))
    assert len(run.plan.cases) > 3
    for case in run.plan.cases[:: 3 if flags else 1]:  # every one without flags
        plan = planned(shlex.split(run.command([case])))
        (comparison,) = plan.comparisons
        assert {*plan.cases} == {case, comparison.variants[0]}
        assert plan.suite == run.plan.suite


def test_a_claim_selects_its_variants_and_its_metric(run_of: Make) -> None:
    run = run_of("--set", "metrics=latency/forward,latency/train_step")
    wanted = [case for case in run.plan.cases if case.variant in {"mod[c0.125]", "dense-f0.58"}]
    plan = planned(shlex.split(run.command(wanted, "latency/train_step")))
    assert {*plan.cases} == {*wanted, *(case for case in run.plan.cases if case.variant == "dense")}
    assert plan.suite.metrics == ("latency/train_step",)
    two_of_three = [case for case in run_of("--seq-len", "64,96,128").plan.cases if case.variant == "moe"][::2]
    for some, flags in ((wanted[:1], ()), (two_of_three, ("--seq-len", "64,96,128"))):  # by whole ids
        plan = planned(shlex.split(run_of(*flags).command(some, "latency/forward")))
        assert {*plan.cases} == {*some, *(each.variants[0] for each in plan.comparisons)}
        assert len(plan.comparisons) == len(some)
