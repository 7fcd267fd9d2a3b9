"""Every mistake of a user's: one or two lines, exit code 2, no traceback, nothing written, nothing lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from in_process import command_line

from modbench.harness.core.atomic_files import write_atomically
from modbench.harness.core.errors import UsageError
from modbench.harness.machine import environment


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(arguments: str | list[str]) -> str:
    """Run a command that must be refused; its message."""
    done = command_line(*(arguments.split() if isinstance(arguments, str) else arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert len(done.stderr) < 600
    return done.stderr


@pytest.mark.parametrize("arguments", [["list", "models", "x" * 5000], ["x" * 5000], ["gate", "--" + "x" * 5000]])
def test_a_long_argument_is_shortened(arguments: list[str]) -> None:
    done = command_line(*arguments)
    assert done.returncode == 2
    assert len(done.stderr) < 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run quik", ["unknown suite 'quik'", "Did you mean 'quick'?"]),
        ("plan nowhere.toml", ["no suite file 'nowhere.toml'", "modbench list suites"]),
        ("run quick --model moed", ["unknown model 'moed'", "Did you mean 'moe'?", "mode_staged"]),
        ("run quick --capacity 1.5", ["capacity 1.5 is outside (0, 1]", "share of tokens"]),
        (["run", "quick", "--set", f"capacity={10**400}"], ["capacity 1000", "is outside (0, 1]"]),
        ("run quick --capacity 0", ["capacity 0.0 is outside (0, 1]"]),
        ("run quick --capacity=-0.1", ["capacity -0.1 is outside (0, 1]"]),
        ("run quick --capacity many", ["--capacity takes shares", "'many'"]),
        ("run quick --capacity nan", ["outside (0, 1]"]),
        ("run quick --capacity ,", ["--capacity needs"]),
        ("compare --by capacity --force", ["--force needs --html"]),
        ("run quick --seq-len 0", ["grid.seq_len", "at least 1"]),
        ("run quick --seq-len 12.5", ["--seq-len takes whole numbers"]),
        ("run quick --batch-size -1", ["grid.batch_size", "at least 1"]),
        ("run quick --dtype fp8", ["dtype", "'fp32', 'bf16' or 'fp16'", "fp8"]),
        ("run quick --device tpu", ["unknown device 'tpu'", "cpu, cuda"]),
        ("run quick --effort drafty", ["unknown effort 'drafty'", "Did you mean 'draft'?"]),
        ("run quick --set d_modle=64", ["unknown key 'd_modle'", "Did you mean 'd_model'?"]),
        ("run quick --set d_model", ["lacks a value", "--set KEY=VALUE"]),
        ("run quick --seq-len 16 --set metrics=flops/forward d_model=64", ["takes no options", "--set d_model=64?"]),
        ("run quick --seq-len 16 --set metrics=flops/forward 64", ["got '64'. Leave them out."]),
        ("run quick --set n_heads=5", ["d_model 256 over n_heads 5"]),
        ("run quick --set d_model=large", ["d_model", "whole number", "large"]),
        ("run quick --set router=lerned", ["unknown router 'lerned'", "Did you mean 'learned'?"]),
        ("run quick --set first_routed=9", ["first_routed 9", "4 layers"]),
        ("run quick --set max_seq_len=100", ["seq_len 512", "max_seq_len 100"]),
        ("run quick --set experts_top_k=9", ["experts_top_k 9", "n_experts 4"]),
        ("run quick --set train.tokens=x", ["train.tokens", "whole number"]),
        ("run quick --corpus nothing.txt", ["corpus 'nothing.txt'"]),
        ("run quick --model mine.py:build", ["no file 'mine.py'"]),
        ("run quick --model mine.py", ["names no function", "FILE.py:build"]),
        ("run quick --model no.such.package:build", ["no module 'no.such.package'"]),
        ("gate base", ["`modbench gate BASE NEW`"]),
        ("gate a b --fail-on slower:2%", ["slower:2%", "ab revisions"]),
        ("ab revisions a b quick", ["--model FILE.py:build", "--self"]),
        ("ab revisions a b quick --model mine.py:build", ["no file 'mine.py'"]),
        ("ab builds a.py:build a.py:build quick", ["named twice"]),
        (["run", "quick", "-k", "mod and"], ["expected a name"]),
        (["run", "quick", "-k", "(mod"], ["parenthesis is not closed"]),
        (["run", "quick", "-k", "mod dense"], ["'and' or 'or'", "before 'dense'"]),
        (["run", "quick", "-k", "transformer"], ["'transformer'", "Their ids look like"]),
        (["run", "quick", "--corpus", "bad\udcff"], ["not printable UTF-8"]),
        ("run quick --model dense --capacity 0.5", ["reads 'capacity'"]),
        ("run quick --seeds=-1", ["-1 is not a seed"]),
        ("run quick --set train.batch_size=0", ["train.batch_size", "equal to 1"]),
        ("run quick --set train.seq_len=[128,-1]", ["train.seq_len.1", "equal to 1"]),
        ("run quick --set max_seq_len=abc", ["max_seq_len", "whole number"]),
        (["run", "quick", "--corpus", "x" * 300], ["File name too long"]),
        (["run", "quick", "-k", "(" * 5000 + "mod"], ["nested too deeply"]),
        (["run", "quick", "--seeds", "9" * 30], ["is not a seed"]),
        (f"plan quick --set n_layers={10**20}", ["1e+20 layers", "at most 1,000", "modbench cost"]),
        ("plan quick --set n_layers=5000", ["5,000 layers", "at most 1,000"]),
        (f"cost dense --set n_layers={10**20}", ["n_layers", "equal to 10000"]),
        (f"plan quick --set d_model={10**12}", ["d_model", "less than"]),
        (f"plan quick --set n_heads={10**12}", ["n_heads", "less than"]),
        (f"plan quick --set d_ff={10**15}", ["d_ff", "less than"]),
        ("plan quick --set d_model=1048576 --set n_layers=90", ["any machine", "modbench cost"]),
        (f"plan quick --seq-len {10**11}", ["grid.seq_len", "1,073,741,824"]),
        (f"plan quick --batch-size {10**14}", ["grid.batch_size", "1,073,741,824"]),
        (["plan", "quick", "--seq-len", ",".join(map(str, range(1, 5000)))], ["cases", "at most 20,000"]),
        (["plan", "quick", "--capacity", ",".join(f"0.{i}" for i in range(1000, 2000))], ["variants", "at most 500"]),
        (["plan", "quick", "--seeds", ",".join(map(str, range(2000)))], ["seeds", "at most 1000"]),
        ("plan quick --set rounds=1000000", ["rounds", "100000"]),
        (f"plan quick --set train.tokens={10**20}", ["train.tokens", "less than"]),
        (f"plan quick --set train.steps={10**20}", ["train.steps", "less than"]),
        (f"plan quick --set decode.tokens={10**9}", ["decode.tokens", "less than"]),
        ("plan quick --set threads=1000000", ["threads", "4096"]),
        ("plan quick --set train.clip=inf", ["train.clip", "less than"]),
        (["plan", "quick", "--model", "x" * 100_000], ["unknown model"]),
        ("list model", ["unknown list 'model'", "Did you mean 'models'?"]),
        ("report nowhere", ["'nowhere'", "modbench run"]),
    ],
)
@pytest.mark.plugin("ab")
def test_a_mistake_is_answered_in_words(arguments: str | list[str], said: list[str], here: Path) -> None:
    message = refused(arguments)
    for words in said:
        assert words in message
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run quick --metrics x", " --set metrics=…?"),
        ("plan quick --d-model 64", " --set d_model=…?"),
        ("run quick --train.steps 2", " --set train.steps=…?"),
        ("run quick --ony", "--ony (Possible options: --"),
        ("list models --metrics x", "No such option: --metrics"),
    ],
)
def test_a_key_that_was_typed_as_an_option_leads_to_set(arguments: str, said: str) -> None:
    done = command_line(*arguments.split())
    assert done.returncode == 2
    assert said in done.stderr
    assert ("--set" in done.stderr) is ("--set" in said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('metrics = ["flops/forward"]\ngrid = = 3\n', ["not TOML", "line 2"]),
        (
            'metricz = ["flops/forward"]\n[[variants]]\nmodel = "dense"\n',
            ["unknown key 'metricz'", "Did you mean 'metrics'?"],
        ),
        (
            'metrics = ["flops/foward"]\n[[variants]]\nmodel = "dense"\n',
            ["unknown metric 'flops/foward'", "'flops/forward'?"],
        ),
        ('metrics = ["flops/forward"]\n[[variants]]\nmodel = "mud"\n', ["unknown model 'mud'", "Did you mean 'mod'?"]),
        (
            'metrics = ["flops/forward"]\n[[variants]]\nmodel = "mod"\ncapasity = 0.5\n',
            ["unknown key 'capasity'", "'capacity'?"],
        ),
        ('metrics = ["flops/forward"]\n[[variants]]\nmodel = "dense"\ncapacity = 0.5\n', ["not read 'capacity'"]),
        ('metrics = ["flops/forward"]\n[grid]\nseqlen = 5\n[[variants]]\nmodel = "dense"\n', ["[grid]", "'seq_len'?"]),
        (
            'metrics = ["flops/forward"]\n[train]\nstep = 5\n[[variants]]\nmodel = "dense"\n',
            ["[train]", "unknown key 'step'"],
        ),
        (
            'metrics = ["flops/forward"]\n[shape]\ncapacity = 0.5\n[[variants]]\nmodel = "mod"\n',
            ["belongs to a variant"],
        ),
        ('metrics = ["loss/val"]\n[[variants]]\nmodel = "dense"\n', ["'loss/val'", "[train]"]),
        ('metrics = ["flops/forward"]\n', ["variants", "is missing"]),
        (
            'name = "../evil"\nmetrics = ["flops/forward"]\n[[variants]]\nmodel = "dense"\n',
            ["'../evil'", "folder name"],
        ),
        ('metrics = ["flops/forward"]\nvariants = ["dense"]\n', ["must be a table"]),
        ('metrics = ["flops/forward"]\n[[variants]]\nmodel = "dense"\nmatch = "mod"\n', ["must be a table"]),
        (
            'metrics = ["flops/forward"]\n[grid]\nseq_len = [[16]]\n[[variants]]\nmodel = "dense"\n',
            ["grid.seq_len", "whole number"],
        ),
        (
            'metrics = ["flops/forward"]\n[[variants]]\nmodel = "mod"\ncapacity = []\n',
            ["capacity = [] leaves no variant"],
        ),
        ('metrics = []\n[[variants]]\nmodel = "dense"\n', ["metrics", "at least 1 item"]),
        ('metrics = ["flops/forward"]\nprocesses = 0\n[[variants]]\nmodel = "dense"\n', ["processes", "(got 0)"]),
        (
            'metrics = ["flops/forward"]\n[[variants]]\nmodel = "mod"\ncapacity = "half"\n',
            ["capacity 'half' is outside (0, 1]"],
        ),
        ('metrics = ["flops/forward"]\ngrid = 3\n[[variants]]\nmodel = "dense"\n', ["grid"]),
        (
            (
                'metrics = ["flops/forward"]\n[[variants]]\nmodel = "dense"\nbaseline = true\n'
                '[[variants]]\nmodel = "mod"\nbaseline = true\n'
            ),
            ["more than one"],
        ),
        (
            (
                'metrics = ["flops/forward"]\n[[variants]]\nmodel = "dense"\n[[variants]]\nmodel = "dense"\n'
                'match = { variant = "mdo" }\n'
            ),
            ["unknown variant 'mdo'"],
        ),
    ],
)
def test_a_suite_file_with_a_mistake(toml: str, said: list[str], here: Path) -> None:
    (here / "mine.toml").write_text(toml)
    message = refused("plan mine.toml")
    for words in said:
        assert words in message
    assert [path.name for path in here.iterdir()] == ["mine.toml"]


def test_a_matched_that_cannot_exist(here: Path) -> None:
    (here / "mine.toml").write_text(
        'metrics = ["flops/forward"]\n[shape]\nd_model = 64\nn_layers = 8\n[[variants]]\nmodel = "dense"\n'
        '[[variants]]\nmodel = "dense"\nmatch = { variant = "mod", capacity = 0.01, every = 1, first_routed = 0 }\n'
    )
    message = refused("plan mine.toml --seq-len 4096")
    assert "at most 8 layers" in message


@pytest.mark.parametrize("found", ["run.json", "notes.txt"])
def test_a_folder_that_holds_something_is_left_alone(found: str, here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / found).write_text("precious")
    message = refused("run quick --device cpu -o out")
    assert ("another run" if found == "run.json" else "other files") in message
    assert "never overwritten" in message
    assert (here / "out" / found).read_text() == "precious"
    assert [path.name for path in (here / "out").iterdir()] == [found]


def test_an_out_without_a_name(here: Path) -> None:
    assert "names no folder" in refused(["run", "quick", "--device", "cpu", "-o", ""])
    assert not list(here.iterdir())


def test_an_out_that_cannot_be_written(here: Path) -> None:
    (here / "file").write_text("")
    message = refused("run quick --device cpu -o file/run")
    assert "cannot be written" in message
    message = refused("run quick --device cpu -o /proc/run")
    assert "cannot be written" in message


def test_cuda_that_is_not_there(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = refused("run quick --device cuda")
    assert "sees no CUDA device" in message
    assert "--device cpu" in message
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 15}'])
def test_a_damaged_run_folder(content: str, here: Path) -> None:
    (here / "run.json").write_text(content)
    message = refused("report .")
    assert "run.json" in message


def test_a_bug_of_ours_is_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3, with the traceback that a bug report needs."""

    def broken(_name: str) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("modbench.api.load_suite", broken)
    done = command_line("plan", "quick")
    assert (done.returncode, "bug in modbench" in done.stderr) == (3, True)


def test_environment_says_why_there_is_no_commit(tmp_path: Path) -> None:
    state = environment.git_state(tmp_path)
    assert state["commit"] is None
    assert state["reason"]


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX's")
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """As root `--html /dev/null --force` would take the null device away from everybody."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no plain file"):
        write_atomically(tmp_path / "pipe", "text")
    assert [(path.name, path.is_fifo()) for path in tmp_path.iterdir()] == [("pipe", True)]
