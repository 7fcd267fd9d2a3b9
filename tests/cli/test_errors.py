"""Every mistake of a user's: one or two lines that name it, exit code 2, no traceback, nothing written, nothing lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest
import torch
from in_process import command_line
from planted_compare import compared_run

from modbench.commands.init.suite_file import suite_schema, toml
from modbench.harness.core.atomic_files import write_atomically
from modbench.harness.core.errors import UsageError
from modbench.harness.core.plain_text import is_printable
from modbench.harness.machine import accelerators

NEWEST = "runs/new-20261129-1"
SCALED = f"{Path(__file__).parents[2] / 'examples' / 'routers' / 'scaled_norm.py'}:ROUTER"
MINE = "import torch\ndef build(config):\n    return torch.nn.Embedding(config.vocab_size, config.vocab_size)\n"
FILES = {
    "own.toml": 'metrics = ["flops/forward"]\n[[variants]]\nmodel = "dense"\n',
    "mine.py": MINE,
    "novels.txt": "a text\n",
    "times.json": "{}",
    "my_llama/config.json": '{"model_type": "llama"}',
    "other/suite.schema.json": "{}",
    "damaged/run.json": "{",
    "version/run.json": '{"schema_version": 15}',
    "begun/run.json": "precious",
    "notes/notes.txt": "precious",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, with two runs: nothing in it may change."""
    folder = tmp_path_factory.mktemp("here")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for name in (NEWEST, "runs/old-20261129-1"):
        compared_run(folder / name, suite={"grid": {"seq_len": [64]}, "processes": 3})
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def refused(arguments: str | list[str]) -> str:
    """Run a command that must be refused; its message."""
    before = {path: path.stat().st_mtime_ns for path in Path.cwd().rglob("*")}
    done = command_line(*(arguments.split() if isinstance(arguments, str) else arguments))
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) <= (4 if lines[0].startswith("Usage:") else 2)
    assert len(done.stderr) < 600
    assert is_printable(done.stderr.replace("\n", ""))
    assert {path: path.stat().st_mtime_ns for path in Path.cwd().rglob("*")} == before
    return done.stderr


# A margin is a share above 0 and below 1: 5 for 5 % would let five times slower code pass.
SHARE, NO_SHARES = "0.05 is 5 %", ("1", "5", "inf", "nan", "-0.1", "0", "100%")
# What is asked, and words of the message.
MISTAKES: list[tuple[str | list[str], *tuple[str, ...]]] = [
    ("run quik", "unknown suite 'quik'", "Did you mean 'quick'?"),
    ("run nowhere.toml", "no suite file 'nowhere.toml'", "modbench list suites"),
    ("run own.tml", "Did you mean 'own.toml'"),
    ("quick", "'quick' is a suite: modbench run quick\n"),
    ("quick --model mine.py:build(a=1)", "modbench run quick --model 'mine.py:build(a=1)'\n"),
    # models, routers, and where they are found
    ("run quick --model moed", "unknown model 'moed'", "Did you mean 'moe'?", "mode_staged"),
    ("run quick --model min.py:build", "no file 'min.py'", "Did you mean 'mine.py'"),
    ("run quick --model mine.py", "names no function", "FILE.py:build"),
    ("run quick --model no.such.package:build", "no module 'no.such.package'"),
    ("plan quick --router nrom", "Did you mean 'norm'"),
    ("run quick --plugin run", "runs'"),
    ("run quick --corpus nothing.txt", "corpus 'nothing.txt'"),
    (["run", "quick", "--corpus", "bad\udcff"], "not printable UTF-8"),
    # numbers
    ("run quick --capacity 1.5", "capacity 1.5 is outside (0, 1]", "share of tokens"),
    ("run quick --capacity 12.5", "Did you mean 0.125"),
    ("run quick --capacity many", "--capacity takes shares", "'many'"),
    ("run quick --model dense --capacity 0.5", "reads 'capacity'"),
    ("run quick --seq-len 0", "grid.seq_len", "at least 1"),
    ("run quick --dtype fp8", "dtype", "'fp32', 'bf16' or 'fp16'", "fp8"),
    ("run quick --effort drafty", "unknown effort 'drafty'", "Did you mean 'draft'?"),
    ("run quick --seeds=-1", "-1 is not a seed"),
    *((f"{each} BASE NEW --margin {share}", SHARE) for each in ("gate", "compare") for share in NO_SHARES),
    *((f"plan quick --set margin={share}", SHARE) for share in ("1", "nan", "500%")),
    # keys
    ("run quick --set d_modle=64", "unknown key 'd_modle'", "Did you mean 'd_model'?"),
    ("run quick --set d_model", "lacks a value", "--set KEY=VALUE"),
    ("run quick --seq-len 16 --set metrics=flops/forward d_model=64", "takes no options", "--set d_model=64?"),
    ("run quick --set d_model=large", "d_model", "whole number", "large"),
    ("run quick --set n_heads=5", "d_model 256 over n_heads 5"),
    ("run quick --set first_routed=9", "first_routed 9", "4 layers"),
    ("run quick --set max_seq_len=100", "seq_len 512", "max_seq_len 100"),
    ("run quick --metrics x", " --set metrics=…?"),
    # sizes that no machine has
    ("plan quick --set n_layers=5000", "5,000 layers", "at most 1,000"),
    ("plan quick --set d_model=1048576 --set n_layers=90", "any machine", "modbench cost"),
    (f"plan quick --seq-len {10**11}", "grid.seq_len", "1,073,741,824"),
    (["plan", "quick", "--seq-len", ",".join(map(str, range(1, 5000)))], "cases", "at most 20,000"),
    (["plan", "quick", "--capacity", ",".join(f"0.{i}" for i in range(1000, 2000))], "variants", "at most 500"),
    (["plan", "quick", "--seeds", ",".join(map(str, range(2000)))], "seeds", "at most 1000"),
    ("plan quick --set rounds=1000000", "rounds", "100000"),
    # selections
    (["run", "quick", "-k", "mod and"], "expected a name"),
    (["run", "quick", "-k", "transformer"], "'transformer'", "Their ids look like"),
    (["run", "quick", "-k", "(" * 5000 + "mod"], "nested too deeply"),
    # devices
    ("run quick --device tpu", "unknown device 'tpu'", "cpu, cuda"),
    ("run quick --device mps", "Apple's GPU", "energy"),
    ("run quick --device cuda:1", "CUDA_VISIBLE_DEVICES=1"),
    # cost
    ("cost dense --capacity 0.5", "capacity"),
    ("cost dense --seq-len 0", "sequence lengths"),
    (f"cost mod --set router={SCALED}", "closed forms know the routers"),
    # where a run goes
    (["run", "quick", "--device", "cpu", "-o", ""], "names no folder"),
    ("run quick --device cpu -o own.toml/run", "cannot be written"),
    # runs
    ("report nowhere", "'nowhere'", "modbench run"),
    ("report damaged", "run.json"),
    ("report version", "run.json"),
    ("report runs/nw-20261129-1", f"Did you mean '{NEWEST}'?"),
    (f"compare {NEWEST} runs/od-20261129-1", "Did you mean 'runs/old-20261129-1'?"),
    ("compare --by capacity --force", "--force needs --html"),
    ("gate base", "`modbench gate BASE NEW`"),
    ("list model", "unknown list 'model'", "Did you mean 'models'?"),
    # init
    ("init new.toml --from quik", "Did you mean 'quick'"),
    ("init suite.json", "must end in .toml"),
    ("init model", "`modbench init` alone lists them"),
    ("init mine.py", "never overwritten"),
    ("init gate.yml", "--model FILE.py:build"),
    ("init other/new.toml", "suite.schema.json"),
]
OF_PLUGINS: dict[str, list[tuple[str | list[str], *tuple[str, ...]]]] = {
    "ab": [
        ("gate a b --fail-on slower:2%", "slower:2%", "ab revisions"),
        ("ab revisions a b quick", "--model FILE.py:build", "--self"),
        ("ab builds a.py:build a.py:build quick", "named twice"),
    ],
    "huggingface": [
        ("run quick --model hf:lama", "Did you mean 'hf:my_llama'"),
        (f"convert time.json --into {NEWEST}", "Did you mean 'times.json'"),
        ("init hf:my_llama", "holds no weights"),
    ],
    "paper": [("figure", "RUN"), ("figure runs/new map", f"Did you mean '{NEWEST}'?")],
    "recommend": [("recommend runs/new", f"Did you mean '{NEWEST}'?")],
    "slurm": [("run quick --launcher slurm --launcher-profile own.tml", "Did you mean 'own.toml'?")],
    "tasks": [
        ("run tasks --set isoflop.train_flops=[1e9]", "it has no [isoflop]"),
        ("run tasks-confirm --variants-from runs/new", f"Did you mean '{NEWEST}'?"),
        (["plan", "tasks", "--set", 'metrics=["task/nli_pairs"]'], "--set tasks.paths.nli_pairs=PATH"),
        ("plan tasks --set tasks.paths.copy=x", "makes its own questions"),
    ],
    "training": [
        ("train dense --device mps", "Apple's GPU"),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *((arguments, said) for arguments, *said in MISTAKES),
        *(
            pytest.param(arguments, said, marks=pytest.mark.plugin(name))
            for name, rows in OF_PLUGINS.items()
            for arguments, *said in rows
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_mistake_is_answered_in_words(arguments: str | list[str], said: list[str]) -> None:
    message = refused(arguments)
    for words in said:
        assert words in message


@pytest.mark.parametrize(("name", "said"), [("begun", "another run"), ("notes", "other files")])
@pytest.mark.usefixtures("here", "unmeasured", "jobs_here", "undrawn")
def test_a_folder_that_holds_something_is_left_alone(name: str, said: str) -> None:
    message = refused(f"run quick --effort smoke --set metrics=flops/forward --seq-len 16 --device cpu -o {name}")
    assert said in message
    assert "never overwritten" in message


# --- suite files

GOOD = {"metrics": ["flops/forward"], "variants": [{"model": "dense"}]}
DENSE, LONG = {"model": "dense"}, "x" * 1_000_000
# Changes to a suite, and words of the message. An editor with the schema sees these too, …
WRONG: list[tuple[dict[str, Any], *tuple[str, ...]]] = [
    ({"metricz": []}, "unknown key 'metricz'", "Did you mean 'metrics'?"),
    ({"metrics": ["flops/foward"]}, "unknown metric 'flops/foward'", "'flops/forward'?"),
    ({"effort": "fast"}, "effort"),
    ({"shape": {"d_mode": 64}}, "'d_model'?"),
    ({"shape": {"capacity": 0.5}}, "belongs to a variant"),
    ({"grid": {"seq_len": [[16]]}}, "grid.seq_len", "whole number"),
    ({"variants": ["dense"]}, "must be a table"),
    ({"variants": [{"model": "mud"}]}, "unknown model 'mud'", "Did you mean 'mod'?"),
    ({"variants": [{"model": "mod", "capasity": 0.5}]}, "unknown key 'capasity'", "'capacity'?"),
    ({"variants": [{"model": "mod", "capacity": [0.5, 0]}]}, "outside (0, 1]"),
    ({"variants": [DENSE | {"match": {"variant": "mod", "quantity": "flops"}}]}, "quantity"),
]
# … and those it does not.
TOGETHER: list[tuple[dict[str, Any], *tuple[str, ...]]] = [
    ({"name": "../evil"}, "'../evil'", "folder name"),
    ({"metrics": ["loss/val"]}, "'loss/val'", "[train]"),
    ({"variants": [DENSE | {"capacity": 0.5}]}, "not read 'capacity'"),
    ({"variants": [{"model": "mod", "capacity": []}]}, "capacity = [] leaves no variant"),
    ({"variants": [DENSE | {"baseline": True}, {"model": "mod", "baseline": True}]}, "more than one"),
    ({"variants": [DENSE, DENSE | {"match": {"variant": "mdo"}}]}, "unknown variant 'mdo'"),
    (
        {
            "shape": {"d_model": 64, "n_layers": 8},
            "grid": {"seq_len": 4096},
            "variants": [DENSE, DENSE | {"match": {"variant": "mod", "capacity": 0.01, "every": 1, "first_routed": 0}}],
        },
        "at most 8 layers",
    ),
    ({"plugins": ["."]}, "mine.toml: plugins", "plugin.toml"),
]
# The name of each is cut, and steers no terminal.
LONG_OR_ODD: list[dict[str, Any]] = [
    {"metrics": ["a\x1b[2Jb"]},
    *({"name": LONG}, {"metrics": [LONG]}, {LONG: 1}, {"variants": [{"model": LONG}]}),
]


def write_suite(change: dict[str, Any]) -> None:
    Path("mine.toml").write_text("".join(f"{key} = {toml(value)}\n" for key, value in (GOOD | change).items()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [*((change, said) for change, *said in [*WRONG, *TOGETHER]), *((change, []) for change in LONG_OR_ODD)],
)
def test_a_suite_file_with_a_mistake(
    change: dict[str, Any], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_suite(change)
    message = refused("plan mine.toml")
    assert 20 < len(message) <= 500
    for words in said:
        assert words in message


def test_a_suite_file_that_is_no_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('metrics = ["flops/forward"]\ngrid = = 3\n')
    message = refused("plan mine.toml")
    assert "not TOML" in message
    assert "line 2" in message


@pytest.mark.parametrize("change", [change for change, *_ in WRONG], ids=json.dumps)
def test_the_schema_refuses_it_too(change: dict[str, Any]) -> None:
    assert not jsonschema.Draft202012Validator(suite_schema()).is_valid(GOOD | change)


# --- others


def test_cuda_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = refused("run quick --device cuda")
    assert "sees no CUDA device" in message
    assert "--device cpu" in message


@pytest.mark.parametrize(
    ("hip", "cuda", "said"),
    [(None, None, "a CPU build"), (None, "13.0", "a CUDA 13.0 build"), ("6.4", None, "a ROCm 6.4 build")],
)
def test_a_build_of_torch_is_named_for_what_it_is(
    hip: str | None, cuda: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only NVIDIA's driver tells is not measured on AMD's cards."""
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert accelerators.build() == said
    assert accelerators.not_measured("cpu") is None
    gap = accelerators.not_measured("cuda")
    assert (gap is None) is (hip is None)
    assert gap is None or ("AMD" in gap and accelerators.FROM_NVML in gap)


def test_a_bug_of_ours_is_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3, with the traceback that a bug report needs."""

    def broken(_name: str) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("modbench.api.load_suite", broken)
    done = command_line("plan", "quick")
    assert (done.returncode, "bug in modbench" in done.stderr) == (3, True)


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX's")
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """As root `--html /dev/null --force` would take the null device away from everybody."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no plain file"):
        write_atomically(tmp_path / "pipe", "text")
    assert [(path.name, path.is_fifo()) for path in tmp_path.iterdir()] == [("pipe", True)]
