"""`mb.compare` and `mb.measure`: modules in memory on a fake clock with planted effects, and what is shown of them."""

from __future__ import annotations

import itertools
import json
import math
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from moving_clock import FakeClock
from present import present
from test_parent_death import alive, wait_until_gone
from torch import Tensor, nn

import modbench as mb
from modbench.harness.call.timing.interleave import Clock
from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.core.labels import Label
from modbench.plugins.python import callables, timing_processes
from modbench.plugins.python.callable_contrasts import CORES
from modbench.plugins.python.callables import TimingProcess
from modbench.plugins.python.inputs import Inputs
from modbench.plugins.python.job import Job, on_device
from modbench.plugins.python.measure import measure_job
from modbench.plugins.python.threads import at_threads

X = torch.ones(2, 8)
LONG = "a model of a very long name"


class Takes(nn.Module):
    """Two layers of a width, whose call takes a time on a fake clock."""

    def __init__(self, clock: FakeClock, seconds: float, width: int, seed: int = 0) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, width), nn.Linear(width, 8)
        self.clock, self.seconds, self.rng = [clock], seconds, random.Random(seed)

    def __deepcopy__(self, _memo: object) -> Takes:
        return Takes(self.clock[0], self.seconds, self.up.out_features)

    def forward(self, x: Tensor) -> Tensor:
        self.clock[0].now += self.seconds * math.exp(self.rng.gauss(0, 0.004))
        made: Tensor = self.down(self.up(x))
        return made


def compare(times: dict[str, tuple[float, int]], inputs: Any = X, **more: Any) -> mb.Comparison:
    """Compare modules that take a time and have a width."""
    clock = FakeClock()
    models = {name: Takes(clock, *each, seed=i) for i, (name, each) in enumerate(times.items())}
    return mb.compare(models, inputs, clock=clock, **{"rounds": 20, **more})


@pytest.fixture(scope="module")
def found() -> mb.Comparison:
    return compare({"dense": (0.010, 64), "mod": (0.008, 32), LONG: (0.010, 16)}, aa_control=True, threads=1)


def test_a_planted_effect_is_found_and_held_against_its_flops(found: mb.Comparison) -> None:
    assert found.verdict("mod") == "better"
    assert found.ratio("mod") == pytest.approx(1.25, rel=0.01)
    row = found["mod"]
    assert row.flops == 2 * 2 * 2 * 8 * 32
    assert row.theoretical == 2.0
    assert row.achieved_share == pytest.approx(0.25, rel=0.05)
    assert row.time_s == pytest.approx(0.008, rel=0.01)
    assert row.labels == ("one process",)
    assert found.verdict(LONG) == "equivalent"
    assert found.verdict("dense (again)") == "equivalent"
    assert (found.verdict("dense"), found.ratio("dense")) == (None, 1.0)
    with pytest.raises(UsageError, match=r"'mode'.* 'mod'"):
        found.verdict("mode")


GOLDEN = """\
forward on cpu, 1 thread; one process, 20 rounds; over dense

                       time               ratio  theory  achieved       verdict
dense               10.0 ms            baseline
mod                 8.00 ms   1.25× [1.24–1.25]   2.00×       25%      ▲ faster
a model of a… name  9.98 ms  1.00× [0.999–1.00]   4.00×        0%  ≈ equivalent
dense (again)       10.0 ms  1.00× [0.999–1.00]       –         –  ≈ equivalent

Ratio: time of dense over the row's, above 1× it is faster; 95 % interval.
One process: intervals lack what differs between processes. processes=5 has it."""


def test_text_fits_80_columns_and_says_what_it_stands_on(found: mb.Comparison) -> None:
    said = str(found)
    assert max(map(len, said.splitlines())) <= 80
    assert said == GOLDEN
    assert repr(found).startswith("<modbench comparison ")
    assert " dense: mod 1.25× better, " in repr(found)


@pytest.mark.slow
def test_html_is_a_table_and_a_figure_of_less_than_20_kb(found: mb.Comparison) -> None:
    html = found._repr_html_()
    assert len(html.encode()) < 20_000
    assert html.count("<tr>") == 5
    assert html.count("<svg ") == 1
    assert "var(--" not in html  # it stands without the page's styles
    ids = [
        set(re.findall(r'id="([^"]+)"', each))
        for each in (html, compare({"a": (0.01, 8), "b": (0.02, 8)})._repr_html_())
    ]
    assert ids[0]
    assert not ids[0] & ids[1]  # one notebook holds both
    many = compare({f"<b>{i}</b>": (0.01, 16) for i in range(30)}, rounds=6)._repr_html_()
    assert "<b>" not in many
    assert many.count("<svg ") == 1
    assert many.partition("<svg")[2].count("M ") < 200  # of many the first
    assert len(many.partition("<svg")[2].partition("</svg>")[0].encode()) < 20_000
    assert len(many.encode()) < 30_000


def test_the_table_and_files(found: mb.Comparison, tmp_path: Path) -> None:
    assert found.table.name.tolist() == [row.name for row in found.rows]
    assert found.table.set_index("name").labels["mod"] == "one process"
    saved = json.loads(found.save(tmp_path / "a.json").read_text())
    assert len(saved["processes"][0]["samples"]["mod"]["wall_s"]) == 40
    assert pd.read_csv(found.save(tmp_path / "a.csv")).ratio.notna().sum() == 3
    assert found.save(tmp_path / "a.txt").read_text() == str(found)
    assert found.save(tmp_path / "a.html").read_text().startswith("<div>")
    with pytest.raises(UsageError, match="ends in none of"):
        found.save(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nodir/x.json", "No such file or directory"),
        ("file/x.csv", "Not a directory"),
        ("folder.txt", "no plain file"),
        (f"{'x' * 300}.html", "File name too long"),
        (3, "takes a path.* got 3"),
    ],
)
def test_a_path_that_cannot_be_written_is_one_line(
    path: Any, said: str, found: mb.Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("kept")
    Path("folder.txt").mkdir()
    with pytest.raises(UsageError, match=said) as caught:
        found.save(path)
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.txt"]


def test_modules_are_evaluated_and_are_afterwards_as_they_were() -> None:
    modes = set[tuple[bool, bool]]()

    class Noting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            modes.add((self.training, torch.is_grad_enabled()))
            return super().forward(x)

    model = nn.Sequential(nn.Dropout(), Noting(8, 8))
    model[0].eval()  # a part that is frozen stays so
    mb.compare({"a": model, "b": lambda x: x}, X, rounds=1)
    assert modes == {(False, False)}
    assert [part.training for part in model.modules()] == [True, False, True]


def test_a_training_step_is_that_of_a_copy_and_counts_three_times_the_forward_pass() -> None:
    clock = FakeClock()
    models = {"dense": Takes(clock, 0.01, 64), "half": Takes(clock, 0.005, 32)}
    before = [weight.clone() for weight in models["dense"].parameters()]
    found = mb.compare(models, X, workload="train_step", rounds=8, clock=clock)
    assert all(torch.equal(*both) for both in zip(before, models["dense"].parameters(), strict=True))
    assert found.ratio("half") == pytest.approx(2, rel=0.02)
    # The input needs no gradient: the first layer's backward pass is half of its usual one.
    assert found["half"].flops == 2 * 2 * 8 * 32 * (2 + 3)
    assert not set(found["half"].labels) - {"one process"}  # what the optimizer computes is no FLOP of the model


def test_of_a_compiled_module_what_was_compiled_is_counted() -> None:
    class Compiled(nn.Module):
        """As torch wraps it: the counter sees nothing of what runs."""

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self._orig_mod = model

        def forward(self, x: Tensor) -> Tensor:
            return x

    models = {"plain": nn.Linear(8, 8), "compiled": Compiled(nn.Linear(8, 8))}
    assert [row.flops for row in mb.compare(models, X, rounds=1).rows] == [2 * 2 * 8 * 8] * 2


@pytest.mark.slow
def test_inputs_are_a_tensor_arguments_or_keywords() -> None:
    def seen(*args: object, **kwargs: object) -> list[object]:
        given.append((len(args), sorted(kwargs)))
        return []

    given: list[object] = []
    cases: list[tuple[Any, int, list[str]]] = [
        (X, 1, []),
        ((X, 2), 2, []),
        ([X, 2, 3], 3, []),
        ({"x": X, "mask": None}, 0, ["mask", "x"]),
        ({}, 0, []),
        (None, 0, []),
    ]
    for inputs, positional, keywords in cases:
        given.clear()
        mb.compare({"a": seen, "b": seen}, inputs, rounds=1)
        assert given[0] == (positional, keywords)


def test_outputs_are_compared_where_that_is_asked() -> None:
    found = mb.compare({"a": lambda x: x, "b": lambda x: (1.5 * x,), "c": lambda _: "text"}, X, outputs=True, rounds=1)
    assert [row.output_difference for row in found.rows] == [None, 0.5, None]
    assert re.search(r"output\s+differs .*\b0\.5\b", str(found))
    assert found["b"].flops is None
    assert "no FLOPs" in (found["b"].reason or "")


def two(**more: Any) -> dict[str, Any]:
    return {"a": nn.Linear(8, 8), "b": nn.Linear(8, 8), **more}


@pytest.mark.parametrize(
    ("models", "inputs", "more", "message"),
    [
        ({"a": print}, X, {}, "compare needs two models"),
        ([print, print], X, {}, "models must be .*list"),
        (print, X, {}, "models must be .*builtin_function_or_method"),
        ({1: print, 2: print}, X, {}, "models must be .*names"),
        (two(), None, {}, r"'a' .*'input'.* mb.compare\(models, x\)"),
        (two(), (X, X), {}, "'a' .*too many positional"),
        (two(), X, {"rounds": "x"}, "rounds = 'x'"),
        (two(), X, {"seconds": "x"}, "seconds = 'x'"),
        *((two(), X, {"margin": each}, r"0\.05 is 5 %") for each in (-1, 5, math.nan, 0, True, [0.05])),
        (two(), X, {"threads": 0}, "threads = 0"),
        (two(), X, {"threads": 99_999}, "threads = 99999"),
        (two(), X, {"seed": "x"}, "'x' is not a seed"),
        (two(), X, {"loss": 3}, "loss must be"),
        (two(), X, {"processes": "2"}, "processes = '2'"),
        (two(), X, {"baseline": ["a"]}, "unknown baseline"),
        (two(b=3), X, {}, "'b' .*int"),
        (two(), X, {"baseline": "c"}, "unknown baseline 'c'"),
        (two(), X, {"workload": "back"}, "unknown workload 'back'"),
        (two(), X, {"processes": 0}, "processes = 0"),
        (two(), X, {"workload": "train_step", "outputs": True}, "outputs=True compares"),
        (two(b=print), X, {"workload": "train_step"}, "'b' is no nn.Module"),
        (two(b=nn.ReLU()), X, {"workload": "train_step"}, "'b' has no parameter"),
        (two(b=nn.Linear(8, 8, device="meta")), X, {}, "'b' .*meta.* cpu"),
        (two(), X.to("meta"), {}, "inputs lie on meta"),
        (two(), (X, X.to("meta")), {}, "inputs lie on cpu"),
        (two(b=lambda x: x), X, {"processes": 2}, "'b' cannot be sent"),
    ],
)
def test_mistakes(models: Any, inputs: Any, more: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        mb.compare(models, inputs, **more)
    assert len(str(caught.value).splitlines()) == 1


def test_a_gpu_is_the_current_one_while_its_models_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(torch.cuda, "init", lambda: asked.append("init"))
    monkeypatch.setattr(torch.cuda, "device", asked.append)
    on_device(torch.device("cuda:1"))
    assert asked == ["init", torch.device("cuda:1")]


@pytest.mark.slow
def test_processes_are_processes_of_their_own() -> None:
    models = {"dense": nn.Linear(64, 64), "aa_control": nn.Linear(64, 64)}
    found = mb.compare(models, torch.ones(4, 64), processes=2, rounds=6)
    assert len(found.processes) == 2
    assert found["aa_control"].ratio_ci_low is None  # of two processes; this one's rounds would have given an interval
    assert "one process" not in found["aa_control"].labels
    orders = [tuple(process.samples["dense"]["position"]) for process in found.processes]
    assert len(set(orders)) > 1
    assert "2 processes, 6 rounds" in str(found)


def test_what_is_defined_in_the_script_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    import __main__

    class Mine(nn.Linear):
        pass

    Mine.__module__, Mine.__qualname__ = "__main__", "Mine"
    monkeypatch.setattr(__main__, "Mine", Mine, raising=False)
    with pytest.raises(UsageError, match="'b' is defined in"):
        mb.compare(two(b=Mine(8, 8)), X, processes=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "limit_s", "said"), [(9, 600, "RuntimeError: .*mat1"), (8, 1, "limit of 1 s")], ids=["fails", "hangs"]
)
def test_a_process_that_fails_or_hangs_says_why(width: int, limit_s: float, said: str) -> None:
    job = Job({"a": nn.Linear(8, 8), "b": nn.Linear(width, width)}, Inputs.of(X), "forward", "a", seconds=600)
    with pytest.raises(ModbenchError, match=rf"process 1 .*{said}"):
        timing_processes.processes(job, 1, limit_s)


HANGING = """
import os, signal, subprocess, sys
from torch import nn
class Hangs(nn.Linear):
    def forward(self, x):
        if os.environ["MODBENCH_SCRIPT"] != str(os.getpid()):  # in a process
            child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
            with open("pids.part", "w") as out:
                out.write(f"{os.getpid()} {child.pid}")
            os.rename("pids.part", "pids")
            while True:
                signal.pause()
        return super().forward(x)
"""
COMPARES = """
import os, hangs, torch
import modbench as mb
os.environ["MODBENCH_SCRIPT"] = str(os.getpid())
if __name__ == "__main__":
    mb.compare({"a": torch.nn.Linear(8, 8), "b": hangs.Hangs(8, 8)}, torch.ones(2, 8), processes=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_with_the_script_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGING)
    (tmp_path / "script.py").write_text(COMPARES)
    (tmp_path / "tmp").mkdir()
    script = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env=os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    )
    pids = list[int]()
    try:
        while not (tmp_path / "pids").exists() and script.poll() is None:
            time.sleep(0.02)
        pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
        assert all(map(alive, pids))
        script.kill()
        script.wait()
        wait_until_gone(pids)
    finally:
        script.kill()
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)


def measured(seconds: float = 0.003) -> mb.Measurement:
    """A module by itself, whose call takes a time."""
    clock = FakeClock()
    return measure_job(Job({"mine": Takes(clock, seconds, 16)}, Inputs.of(X), "forward", "mine", rounds=20), clock)


def disturb(patch: pytest.MonkeyPatch, change: Callable[[str, dict[str, list[float]]], None]) -> None:
    """Change the samples of every callable, as a busy machine would."""
    measure = Job.measure

    def disturbed(self: Job, clock: Clock | None = None) -> TimingProcess:
        made = measure(self, clock)
        for name, columns in made.samples.items():
            change(name, columns)
        return made

    patch.setattr(Job, "measure", disturbed)


def waits(share: float, wait_s: float = 0.001) -> Callable[[str, dict[str, list[float]]], None]:
    """Samples wait for a core, in this share of them."""

    def change(_name: str, columns: dict[str, list[float]]) -> None:
        n = len(columns["wall_s"])
        columns["wait_s"] = [wait_s if i < share * n else 0.0 for i in range(n)]

    return change


def test_one_callable_by_itself() -> None:
    found = measured()
    assert found.median_s == pytest.approx(0.003, rel=0.01)
    assert present(found.low_s) <= found.median_s <= present(found.high_s)
    assert 0.001 < found.spread < 0.01
    assert (found.n, len(found.samples_s), found.noisy) == (40, 40, 0)
    assert re.fullmatch(r"mine: 3\.00 ms \[\d\.\d\d–\d\.\d\d\]", str(found).splitlines()[0])
    assert max(map(len, str(found).splitlines())) <= 80
    assert len(repr(found)) < 500
    assert found._repr_html_().count("<tr>") == 2


def test_a_time_that_is_mostly_the_machines_claims_nothing_and_names_what_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disturb(monkeypatch, waits(1.0))
    with at_threads(2):
        found = measured()
    first, *rest = str(found).splitlines()
    assert first.startswith("⚠ noisy in 100 %")
    assert CORES in first
    said = " ".join(rest)
    assert found.remedy is not None
    assert found.remedy in said
    assert found.remedy.startswith("2 threads on ")
    assert "threads=1" in found.remedy
    assert "mine: 3.00 ms standard deviation" in said  # no interval
    assert max(map(len, str(found).splitlines())) <= 80
    html = found._repr_html_()
    assert html.startswith("<div><div>⚠ noisy in 100 %")
    assert '<td style="text-align:right">–</td>' in html
    with at_threads(1):
        alone = measured()
    assert (alone.remedy, len(alone.warnings)) == (None, 1)


def test_a_time_that_is_seldom_noisy_keeps_its_interval_and_its_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    disturb(monkeypatch, waits(0.3))
    found = measured()
    assert 0 < found.noisy < 0.5
    assert re.fullmatch(r"mine: 3\.00 ms \[\d\.\d\d–\d\.\d\d\]", str(found).splitlines()[0])
    assert found._repr_html_().startswith("<div><table>")


def test_an_undecided_comparison_on_a_busy_machine_names_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "⚠" not in str(compare({"a": (0.01, 8), "b": (0.02, 8)}, threads=2))
    disturb(monkeypatch, waits(1.0, 0.01))
    found = compare({"a": (0.01, 8), "b": (0.02, 8)}, threads=2)
    assert (found.verdict("b"), "noisy" in found["b"].labels) == ("inconclusive", True)
    assert "⚠ 2 threads on " in str(found)
    assert "⚠ 2 threads on " in found._repr_html_()
    assert compare({"a": (0.01, 8), "b": (0.0102, 8)}, threads=1).remedy is None


def test_the_ratio_is_of_the_clock_that_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(name: str, columns: dict[str, list[float]]) -> None:
        """Wall time scatters too much to tell anything; CPU time says that b takes 10 % more."""
        cpu = [0.01 * (1.1 if name == "b" else 1) * (1 + i * 7 % 5 / 1000) for i in range(len(columns["wall_s"]))]
        wall = [each * (1 + (i * 7919 + (name == "b") * 5) % 13) for i, each in enumerate(cpu)]
        columns.update(wall_s=wall, cpu_s=cpu, wait_s=[0.9 * each for each in wall])
        columns.update(others_s=[0.0] * len(cpu), blocked_s=[0.0] * len(cpu))

    disturb(monkeypatch, busy)
    found = compare({"a": (0.01, 64), "b": (0.01, 32)}, threads=1)
    row = found["b"]
    assert (row.verdict, Label.BY_CPU in row.labels) == ("worse", True)
    assert found.ratio("b") == row.cpu_ratio == pytest.approx(1 / 1.1, rel=0.01)
    assert row.ratio != pytest.approx(1 / 1.1, rel=0.01)


def test_threads_are_set_for_the_timing_and_put_back() -> None:
    before, seen = torch.get_num_threads(), set[int]()

    def notes(_x: Tensor) -> None:
        seen.add(torch.get_num_threads())

    found = mb.compare({"a": notes, "b": notes}, X, rounds=1, threads=before + 1)
    assert (seen, found.threads) == ({before + 1}, before + 1)
    assert mb.measure(notes, X, rounds=1, threads=before + 2).threads == before + 2
    assert seen == {before + 1, before + 2}
    assert torch.get_num_threads() == before


def test_a_module_without_inputs_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match=r"'Linear' .*'input'.* mb.measure\(f, x\)"):
        mb.measure(nn.Linear(8, 8))
    with pytest.raises(TypeError, match="its own"):
        mb.measure(raises_its_own, X)


def raises_its_own(_x: Tensor) -> None:
    raise TypeError("its own")


def test_any_function_can_be_measured() -> None:
    found = mb.measure(sorted, [3, 1, 2], key=abs, rounds=6)
    assert (found.name, found.n, found.device) == ("sorted", 12, "cpu")
    assert found.median_s > 0
    with pytest.raises(UsageError, match="got int"):
        mb.measure(3)  # type: ignore[arg-type]


# --- the guards of a run


class Ticks(FakeClock):
    """A clock on which time passes whenever it is read."""

    def wall_s(self) -> float:
        self.now += 0.01
        return super().wall_s()


class Adds(nn.Linear):
    """Adds a constant to its input, in place."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.add_(1))


def in_numpy(x: Any) -> Any:
    x.numpy()[0, 0] += 1  # torch counts no such write
    return x


def after_three_calls(how: Any) -> Any:
    calls: list[int] = []

    def call(x: Any) -> Any:
        calls.append(1)
        return how(x) if len(calls) > 3 else x

    return call


WRITERS: dict[str, Any] = {
    "a module": lambda: Adds(8, 8),
    "a function": lambda: lambda x: x.mul_(2),
    "in numpy": lambda: in_numpy,
    "later": lambda: after_three_calls(lambda x: x.mul_(2)),
    "later, in numpy": lambda: after_three_calls(in_numpy),
    "after a look": lambda: lambda x: x.add_(1) if bool((x == 1).all()) else x.sub_(1),
}


@pytest.mark.parametrize("which", WRITERS)
def test_a_model_that_writes_into_its_input_is_named_and_nothing_of_the_users_changes(which: str) -> None:
    x, writer = torch.ones(2, 8), WRITERS[which]()
    with pytest.raises(UsageError, match=r"b'? wrote .* x\.clone\(\)") as caught:
        mb.compare({"a": nn.Linear(8, 8), "b": writer}, x, rounds=2, clock=Ticks())
    assert len(str(caught.value).splitlines()) == 1
    assert torch.equal(x, torch.ones(2, 8))
    with pytest.raises(UsageError, match="wrote into its input"):
        mb.measure(WRITERS[which](), x, rounds=2)
    assert torch.equal(x, torch.ones(2, 8))


def test_a_baseline_that_writes_into_its_input_is_named_in_training_too() -> None:
    x = torch.ones(2, 8)
    models = {"a": nn.Sequential(Adds(8, 8)), "b": nn.Linear(8, 8)}
    with pytest.raises(UsageError, match="'a' wrote into"):
        mb.compare(models, x, workload="train_step", rounds=2, clock=Ticks())
    assert torch.equal(x, torch.ones(2, 8))


def test_arrays_lists_and_nested_arguments_are_looked_at_and_stay() -> None:
    array, words = np.array([3.0, 1.0]), [3, 1, 2]
    nested = {"cache": {"keys": [torch.zeros(2)]}}
    for given, writes in (
        ((array,), lambda x: x.sort()),
        ((words,), lambda x: x.sort()),
        (nested, lambda cache: cache["keys"].append(torch.ones(2))),
        (nested, lambda cache: cache["keys"][0].fill_(1)),
    ):
        with pytest.raises(UsageError, match="'b' wrote into"):
            mb.compare({"a": lambda *_, **__: None, "b": writes}, given, rounds=2, clock=Ticks())
    assert (array.tolist(), words) == ([3.0, 1.0], [3, 1, 2])
    assert [each.tolist() for each in nested["cache"]["keys"]] == [[0.0, 0.0]]


def test_inputs_of_odd_kinds_are_no_writes() -> None:
    """Not a number, strides, no elements, one tensor in two places, gradients, and writes that are undone."""
    same = torch.ones(2, 2)
    with torch.inference_mode():
        inferred = torch.ones(2)
    odd = (
        torch.tensor([torch.nan, 1.0]),
        torch.ones(1, 3).expand(4, 3).t(),
        torch.ones(0, 3),
        torch.tensor(True),
        torch.ones(3, dtype=torch.bfloat16),
        torch.ones(2, requires_grad=True),
        torch.eye(3).to_sparse(),
        torch.ones(2, dtype=torch.complex64).conj(),
        inferred,
        np.array([np.nan]),
        None,
        "text",
    )

    def undone(*given: Any) -> None:
        given[0].add_(1).sub_(1)

    def pairs(*given: Any) -> None:
        assert given[-1] is given[-2]
        assert given[5].requires_grad

    found = mb.compare({"a": undone, "b": pairs}, (*odd, same, same), rounds=2, clock=Ticks())
    assert found.verdict("b") is not None


def takes_threads(x: Tensor) -> Tensor:
    torch.set_num_threads(torch.get_num_threads() + 1)
    return x


def takes_no_chances(x: Tensor) -> Tensor:
    torch.use_deterministic_algorithms(True)
    return x


def stops_gradients(x: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    return x


@pytest.fixture
def own_settings() -> Iterator[None]:
    """Nothing is put back: for the tests after it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (takes_threads, "the number of threads from "),
        (stops_gradients, "gradients from on to off"),
        (takes_no_chances, "deterministic algorithms from off to on"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.usefixtures("own_settings")
def test_a_model_that_changes_what_holds_for_all_is_named(changes: Any, what: str, late: bool) -> None:
    with pytest.raises(UsageError, match=f"'b' .* its call changed {what}"):
        mb.compare(two(b=after_three_calls(changes) if late else changes), X, rounds=2, clock=Ticks())


def test_settings_of_the_user_are_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was set before, a frozen clock too, stays so while it is timed and afterwards."""
    frozen = lambda: 0.0  # noqa: E731
    monkeypatch.setattr(time, "time", frozen)
    torch.set_default_dtype(torch.float64)
    try:
        found = compare({"a": (0.01, 8), "b": (0.02, 8)}, X.double())
        assert (found.verdict("b"), torch.get_default_dtype(), time.time) == ("worse", torch.float64, frozen)
    finally:
        torch.set_default_dtype(torch.float32)


def test_work_that_no_counter_sees_makes_flops_a_lower_bound() -> None:
    def half_in_numpy(x: Tensor) -> Tensor:
        return torch.from_numpy((x @ X.T).numpy() @ X.numpy())

    found = mb.compare({"a": lambda x: x @ X.T @ X, "b": half_in_numpy}, X, rounds=2, clock=Ticks())
    row = found["b"]
    assert Label.LOWER_BOUND in row.labels
    assert (row.theoretical, row.achieved_share) == (None, None)
    assert "given to numpy" in (row.reason or "")


TOKENS, NUMBERS = torch.arange(32).reshape(2, 16), torch.arange(32.0).reshape(2, 16)


class Language(nn.Module):
    """A model that keeps, or masks, what it should compute: of tokens, or of numbers."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.kept = how, dict[Any, Tensor]()
        self.embed, self.head = nn.Embedding(64, 16), nn.Linear(16, 64)
        if how == "masks":
            self.head.capacity, self.head.executed_tokens = 0.25, 8  # type: ignore[assignment]  # a setting, no part

    def forward(self, x_BT: Tensor) -> Tensor:
        address, value = x_BT.data_ptr(), float(x_BT.double().sum())
        key = {"by address": address, "by value": value}.get(self.how)
        if key is None:
            return self.part(x_BT)
        if key not in self.kept:
            self.kept[key] = self.part(x_BT)
        return self.kept[key]

    def part(self, x_BT: Tensor) -> Tensor:
        made: Tensor = self.head(x_BT if x_BT.is_floating_point() else self.embed(x_BT))
        return made


@pytest.mark.parametrize(
    ("how", "label", "why"),
    [
        ("by address", Label.REUSES_OUTPUT, "ran 0 FLOPs"),
        ("by value", Label.REUSES_OUTPUT, "ran 0 FLOPs"),
        ("masks", Label.MASKS_COMPUTE, "8 of 32 tokens"),
        ("", None, ""),
    ],
)
@pytest.mark.parametrize("of", ["tokens", "numbers", "a callable"])
def test_models_in_memory_meet_the_guards_of_a_run(how: str, label: str | None, why: str, of: str) -> None:
    """What keeps its outputs is labelled, and neither it nor what is compared with it has a verdict."""
    if how == "masks" and of != "tokens":
        return  # tokens that are skipped are counted of language models
    inputs = TOKENS if of == "tokens" else NUMBERS
    for baseline in ("a", "b"):
        model = Language(how)
        timed = model.forward if of == "a callable" else model
        found = mb.compare({"a": Language(""), "b": timed}, inputs, baseline=baseline, rounds=6, clock=Ticks())
        assert set(found["b"].labels) - {"one process", label} == set()
        assert (label is None) or (label in found["b"].labels and why in (found["b"].reason or ""))
        assert set(found["a"].labels) <= {"one process"}
        other = found["b" if baseline == "a" else "a"]
        assert (other.verdict == "inconclusive") is (label == Label.REUSES_OUTPUT)


def test_models_are_built_and_first_called_in_an_order_that_each_process_draws() -> None:
    """Where a module lies in memory moves its time: in one order for all processes, equal code differs."""
    orders = {callables.build_order(("b", "a", "c"), seed) for seed in range(40)}
    assert orders == set(itertools.permutations("abc"))
    assert {callables.build_order(("a", "b"), seed) for seed in range(3)} == {("a", "b"), ("b", "a")}
    assert callables.build_order(("c", "b", "a"), 7) == callables.build_order(("a", "b", "c"), 7)
    built, called = list[str](), list[str]()

    class Says(nn.Linear):
        def __init__(self, name: str) -> None:
            super().__init__(8, 8)
            self.name = name

        def __deepcopy__(self, _memo: object) -> Says:
            built.append(self.name)
            return Says(self.name)

        def __reduce__(self) -> tuple[Any, ...]:
            return _unpickled, (self.name,)

        def forward(self, x: Tensor) -> Tensor:
            called.append(self.name)
            return super().forward(x)

    job = Job({name: Says(name) for name in "abc"}, Inputs.of(X), "train_step", "a", rounds=2, aa_control=True)
    for number in range(4):
        order, sent = callables.build_order(("a", "b", "c"), number), job.for_process(number)
        for own in (replace(job, seed=number), sent):
            built.clear()
            called.clear()
            assert own.measure(Ticks()).order == (*order, "a (again)")
            assert tuple(built) == order == tuple(dict.fromkeys(called))
        UNPICKLED.clear()
        pickle.loads(pickle.dumps(sent))  # noqa: S301  # our own
        assert tuple(UNPICKLED) == order
    found = mb.compare(dict(job.models), X, rounds=2, clock=Ticks(), aa_control=True)
    assert [row.name for row in found.rows] == ["a", "b", "c", "a (again)"]
    assert json.loads(found._json())["processes"][0]["order"] == [*callables.build_order("abc", 0), "a (again)"]


UNPICKLED: list[str] = []


def _unpickled(name: str) -> str:
    UNPICKLED.append(name)
    return name
