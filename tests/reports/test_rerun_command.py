"""The command that measures one claim again: read back by the real command line, it selects exactly that."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from modbench import api
from modbench.cli import app
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.planning.select import compile_expression
from modbench.harness.results.run_file import StoredRun
from modbench.reports.tables import rerun_command


def options_of(command: str) -> dict[str, bool]:
    """Options of a command of the real command line, and whether each takes a value."""
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]  # a group
    return {
        name: not option.is_flag
        for option in found.params
        if option.param_type_name == "option"
        for name in option.opts
        if name != "--help"
    }


def test_a_model_with_options_is_quoted_for_a_shell() -> None:
    typed = ["modbench", "run", "quick", "--model", "mine.py:build(threshold=[0.5,0.7],mode='hard')", "--only"]
    words = [word for flag in rerun_command.parse_command(typed).flags for word in flag]
    assert words == typed[3:]
    assert shlex.split(shlex.join(words)) == words


def test_every_option_of_run_is_known() -> None:
    """A new option must be kept or left out: otherwise pages would say that it is not known what it changes."""
    known = dict.fromkeys((*rerun_command.KEPT, *rerun_command.LEFT), True) | dict.fromkeys(
        (*rerun_command.KEPT_ALONE, *rerun_command.LEFT_ALONE), False
    )
    assert options_of("run") == known


def planned(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, Plan]:
    """What `modbench run …` would measure, parsed by the real command line."""
    taken: list[Any] = []

    class Stopped(Exception):  # noqa: N818  # it is no error
        pass

    def make(suite: str, overrides: Any, select: str | None, **_: Any) -> Plan:
        made = override(load_suite(suite), overrides)
        taken.append((suite, make_plan(made, device="cpu", select=select, text=None)))
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(api, "make_plan", make)
        with pytest.raises(Stopped):
            typer.main.get_command(app).main(words[1:], standalone_mode=False)
    return taken[0]  # type: ignore[no-any-return]


SUITE = """
name = "some"
effort = "draft"
metrics = ["flops/forward", "latency/forward", "latency/train_step"]
[shape]
d_model = 64
n_layers = 4
[grid]
seq_len = [64, 128]
[[variants]]
model = "dense"
[[variants]]
model = "dense"
match = { variant = "mod", capacity = 0.125 }
[[variants]]
model = "mod"
capacity = [0.125, 0.5]
[[variants]]
model = "moe"
"""


def run_of(tmp_path: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch) -> rerun_command.Again:
    """A run of a suite file with these flags, as far as commands are made from it."""
    suite = tmp_path / "it's a suite.toml"
    suite.write_text(SUITE)
    command = ["modbench", "run", str(suite), *flags]
    _, plan = planned(command, monkeypatch)
    (tmp_path / "jobs").mkdir()
    return rerun_command.Again(StoredRun(tmp_path, plan, {}, command, "", "local", [], []))


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["-o", "a folder", "--set", "d_model=128", "--strict", "--audit", "--json"],
        ["--out=x", "--capacity", "0.25,0.5", "--seq-len=32", "-k", "mod or moe", "--set", "metrics=latency/forward"],
        ["--dtype", "fp32,bf16", "--batch-size", "1,2", "--timeout", "5min", "--seeds", "0,1"],
    ],
)
def test_it_selects_exactly_that_case(tmp_path: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases of the plan in turn: the same suite and flags, the case and its anchor, and nothing else."""
    run = run_of(tmp_path, flags, monkeypatch)
    assert len(run.plan.cases) > 3
    for case in run.plan.cases[:: 3 if flags else 1]:  # every one without flags
        words = shlex.split(run.command([case]))
        _, plan = planned(words, monkeypatch)
        assert [case] == [each for each in plan.cases if each != plan.comparisons[0].variants[0]] or plan.cases == [
            case
        ]
        assert len(plan.comparisons) == 1
        assert plan.suite == run.plan.suite


def test_a_claim_selects_its_variants_and_its_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path, ["--set", "metrics=latency/forward,latency/train_step"], monkeypatch)
    wanted = [case for case in run.plan.cases if case.variant in {"mod[c0.125]", "dense-f0.58"}]
    command = run.command(wanted, "latency/train_step")
    assert "mod[c0.125- or dense-f0.58[" in command or "dense-f0.58[ or mod[c0.125-" in command
    _, plan = planned(shlex.split(command), monkeypatch)
    assert set(plan.cases) == {*wanted, *(case for case in run.plan.cases if case.variant == "dense")}
    assert plan.suite.metrics == ("latency/train_step",)
    # At one place alone: by whole ids.
    _, plan = planned(shlex.split(run.command(wanted[:1], "latency/forward")), monkeypatch)
    assert {case.id for case in plan.cases} == {wanted[0].id, plan.comparisons[0].variants[0].id}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["modbench"], "not started by modbench run"),
        (["modbench", "train", "mod"], "not started by modbench run"),
        (["modbench", "run", "quick", "--corpus", "hf:x?token=***"], "masked"),
        (["modbench", "run", "quick", "--wild"], "'--wild'"),
        (["modbench", "run"], "no suite"),
    ],
)
def test_a_command_that_cannot_be_repeated_says_why(command: list[str], said: str) -> None:
    with pytest.raises(rerun_command.NotAgainError, match=said):
        rerun_command.parse_command(command)


def test_ids_that_hold_one_another_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mine:build[…]` is a part of `my mine:build[…]`, whose name holds a space."""
    run = run_of(tmp_path, [], monkeypatch)
    cases = run.plan.cases
    short, long = (
        cases[0].model_copy(update={"model": model}).with_facts(cases[0].facts)
        for model in ("mine.py:build", "not (my) mine.py:build")
    )
    comparison = run.plan.comparisons[0].model_copy(update={"variants": (cases[0], short, long)})
    made = rerun_command.Again(StoredRun(tmp_path, run.plan.model_copy(update={"comparisons": (comparison,)}), {},
                                            ["modbench", "run", "quick"], "", "local", [], []))  # fmt: skip
    for case in (short, long):
        select = shlex.split(made.command([case]))[4]
        matches = compile_expression(select)
        assert [each.id for each in comparison.variants if matches(each.id)] == [case.id]
