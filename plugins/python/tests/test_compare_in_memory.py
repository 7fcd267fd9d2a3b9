"""`mb.compare` and `mb.measure`: modules in memory on a fake clock with planted effects, what is refused, and what is shown."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from moving_clock import FakeClock
from planted_processes import scatter
from present import present
from torch import Tensor, nn

import modbench as mb
from modbench.harness.call.timing.interleave import Clock
from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.core.labels import Label
from modbench.plugins.python import timing_processes
from modbench.plugins.python.callables import TimingProcess, build_order
from modbench.plugins.python.inputs import Inputs
from modbench.plugins.python.job import Job
from modbench.plugins.python.measure import measure_job
from modbench.plugins.python.threads import at_threads

X = torch.ones(2, 8)
LONG = "a model of a very long name"


class Ticks(FakeClock):
    """A clock on which time passes whenever it is read."""

    def wall_s(self) -> float:
        self.now += 0.01
        return super().wall_s()


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


def compare(times: dict[str, tuple[float, int]], **more: Any) -> mb.Comparison:
    """Compare modules that take a time and have a width."""
    clock = FakeClock()
    models = {name: Takes(clock, *each, seed=i) for i, (name, each) in enumerate(times.items())}
    return mb.compare(models, X, clock=clock, **{"rounds": 20, **more})


def quickly(models: dict[str, Any], inputs: Any = X, **more: Any) -> mb.Comparison:
    """Compare, where the times do not matter."""
    return mb.compare(models, inputs, **{"rounds": 2, "clock": Ticks(), **more})


def measured() -> mb.Measurement:
    """A module by itself, whose call takes 3 ms."""
    clock = FakeClock()
    return measure_job(Job({"mine": Takes(clock, 0.003, 16)}, Inputs.of(X), "forward", "mine", rounds=20), clock)


@pytest.fixture(scope="module")
def found() -> mb.Comparison:
    return compare({"dense": (0.010, 64), "mod": (0.008, 32), LONG: (0.010, 16)}, aa_control=True, threads=1)


# --- what is found, and where it is shown

GOLDEN = """\
forward on cpu, 1 thread; one process, 20 rounds; over dense

                       time               ratio  theory  achieved       verdict
dense               10.0 ms            baseline
mod                 8.00 ms   1.25× [1.24–1.25]   2.00×       25%      ▲ faster
a model of a… name  9.98 ms  1.00× [0.999–1.00]   4.00×        0%  ≈ equivalent
dense (again)       10.0 ms  1.00× [0.999–1.00]       –         –  ≈ equivalent

Ratio: time of dense over the row's, above 1× it is faster; 95 % interval.
One process: intervals lack what differs between processes. processes=5 has it."""


def test_a_planted_effect_is_found_and_held_against_its_flops(found: mb.Comparison) -> None:
    row = found["mod"]
    assert str(found) == GOLDEN
    assert GOLDEN in (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert (found.verdict("mod"), row.flops, row.theoretical, row.labels) == ("better", 1024 * 2, 2.0, ("one process",))
    assert found.ratio("mod") == pytest.approx(1.25, rel=0.01)
    assert row.achieved_share == pytest.approx(0.25, rel=0.05)
    assert (found.verdict("dense"), found.ratio("dense")) == (None, 1.0)
    with pytest.raises(UsageError, match=r"'mode'.* 'mod'"):
        found.verdict("mode")


def test_it_is_a_table_and_a_file_of_each_kind(found: mb.Comparison, tmp_path: Path) -> None:
    assert found.table.set_index("name").labels["mod"] == "one process"
    saved = json.loads(found.save(tmp_path / "a.json").read_text())
    assert len(saved["processes"][0]["samples"]["mod"]["wall_s"]) == 40
    assert pd.read_csv(found.save(tmp_path / "a.csv")).ratio.notna().sum() == 3
    assert found.save(tmp_path / "a.txt").read_text() == str(found)
    assert found.save(tmp_path / "a.html").read_text() == found._repr_html_()
    with pytest.raises(UsageError, match="ends in none of"):
        found.save(tmp_path / "a.png")


@pytest.mark.slow
def test_one_callable_by_itself() -> None:
    found = measured()
    assert found.median_s == pytest.approx(0.003, rel=0.01)
    assert present(found.low_s) <= found.median_s <= present(found.high_s)
    assert 0.001 < found.spread < 0.01
    assert (found.n, len(found.samples_s), found.noisy) == (40, 40, 0)
    assert re.match(r"mine: 3\.00 ms \[\d\.\d\d–\d\.\d\d\]\n", str(found))
    assert found._repr_html_().count("<tr>") == 2
    function = mb.measure(sorted, [3, 1, 2], key=abs, rounds=6)
    assert (function.name, function.n, function.device) == ("sorted", 12, "cpu")


# --- a busy machine


@pytest.fixture
def disturb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, dict[str, list[float]]], None]], None]:
    """Change the samples of every callable, as a busy machine would."""
    measure = Job.measure

    def disturb(change: Callable[[str, dict[str, list[float]]], None]) -> None:
        def disturbed(self: Job, clock: Clock | None = None) -> TimingProcess:
            made = measure(self, clock)
            for name, columns in made.samples.items():
                change(name, columns)
            return made

        monkeypatch.setattr(Job, "measure", disturbed)

    return disturb


def waits(share: float) -> Callable[[str, dict[str, list[float]]], None]:
    """Samples wait for a core, in this share of them."""

    def change(_name: str, columns: dict[str, list[float]]) -> None:
        n = len(columns["wall_s"])
        columns["wait_s"] = [0.01 if i < share * n else 0.0 for i in range(n)]

    return change


def test_a_time_that_is_mostly_the_machines_claims_nothing_and_names_what_helps(disturb: Any) -> None:
    disturb(waits(1.0))
    with at_threads(2):
        found = measured()
    said = " ".join(str(found).splitlines())
    assert said.startswith("⚠ noisy in 100 % of the rounds: another program used the cores")
    assert present(found.remedy).startswith("2 threads on ")
    assert present(found.remedy) in said
    assert "mine: 3.00 ms standard deviation" in said, "it has no interval"
    assert found._repr_html_().startswith("<div><div>⚠ noisy in 100 %")
    with at_threads(1):
        alone = measured()
    assert (alone.remedy, len(alone.warnings)) == (None, 1)
    disturb(waits(0.3))
    seldom = measured()
    assert (0 < seldom.noisy < 0.5, seldom.warnings) == (True, ())


def test_the_ratio_is_of_the_clock_that_decided(disturb: Any) -> None:
    disturb(lambda name, columns: scatter(columns, *((1.1, 5) if name == "b" else (1.0, 0))))
    found = compare({"a": (0.01, 64), "b": (0.01, 32)}, threads=1)
    row = found["b"]
    assert (row.verdict, Label.BY_CPU in row.labels) == ("worse", True)
    assert found.ratio("b") == row.cpu_ratio == pytest.approx(1 / 1.1, rel=0.01)
    assert row.ratio != pytest.approx(1 / 1.1, rel=0.01)


# --- what is called, and how


def test_modules_are_evaluated_and_are_afterwards_as_they_were() -> None:
    modes = set[tuple[bool, bool]]()

    class Noting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            modes.add((self.training, torch.is_grad_enabled()))
            return super().forward(x)

    model = nn.Sequential(nn.Dropout(), Noting(8, 8))
    model[0].eval()  # a part that is frozen stays so
    quickly({"a": model, "b": lambda x: x})
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
    assert found["half"].labels == ("one process",), "what the optimizer computes is no FLOP of the model"


class Compiled(nn.Module):
    """As torch wraps a module: the counter sees nothing of what runs."""

    def __init__(self) -> None:
        super().__init__()
        self._orig_mod = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("model", "flops", "said", "label"),
    [
        (Compiled(), 256, None, Label.UNCHECKED),
        (lambda x: 1.5 * x, None, "no FLOPs", None),
        (lambda x: torch.from_numpy((x @ X.T).numpy() @ X.numpy()), 64, "given to numpy", Label.LOWER_BOUND),
    ],
    ids=["compiled", "not torch's", "half in numpy"],
)
def test_what_the_counter_does_not_see(model: Any, flops: int | None, said: str | None, label: str | None) -> None:
    row = quickly({"a": nn.Linear(8, 8), "b": model})["b"]
    assert row.flops == flops
    assert label is None or label in row.labels
    if said:
        assert said in present(row.reason)
        assert (row.theoretical, row.achieved_share) == (None, None)


def test_outputs_are_compared_where_that_is_asked() -> None:
    found = quickly({"a": lambda x: x, "b": lambda x: (1.5 * x,), "c": lambda x: f"{x}"}, {"x": X}, outputs=True)
    assert [row.output_difference for row in found.rows] == [None, 0.5, None]
    assert re.search(r"output\s+differs .*\b0\.5\b", str(found))


BUILT = list[str]()


class Says(nn.Linear):
    """Says that it is copied for training."""

    def __init__(self, name: str) -> None:
        super().__init__(8, 8)
        self.name = name

    def __deepcopy__(self, _memo: object) -> Says:
        BUILT.append(self.name)
        return Says(self.name)


@pytest.mark.parametrize("number", range(3))
def test_models_are_unpickled_built_and_first_called_in_an_order_that_each_process_draws(number: int) -> None:
    """Where a module lies in memory moves its time: in one order for all processes, equal code differs."""
    job = Job({name: Says(name) for name in "abc"}, Inputs.of(X), "train_step", "a", rounds=2, aa_control=True)
    order, sent = build_order("abc", number), job.for_process(number)
    assert tuple(sent.models) == order, "and so they are unpickled"
    for own in (replace(job, seed=number), sent):
        BUILT.clear()
        assert own.measure(Ticks()).order == (*order, "a (again)")
        assert tuple(BUILT) == order
    found = quickly(dict(job.models), aa_control=True)
    assert [row.name for row in found.rows] == ["a", "b", "c", "a (again)"]


# --- processes of their own


@pytest.mark.slow
def test_processes_are_processes_of_their_own() -> None:
    models = {"dense": nn.Linear(64, 64), "other": nn.Linear(64, 64)}
    found = mb.compare(models, torch.ones(4, 64), processes=2, rounds=6)
    assert len(found.processes) == 2
    assert found["other"].ratio_ci_low is None, "of two processes; rounds of one would have given an interval"
    assert "one process" not in found["other"].labels
    assert len({tuple(process.samples["dense"]["position"]) for process in found.processes}) > 1
    assert "2 processes, 6 rounds" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "limit_s", "said"), [(9, 600, "RuntimeError: .*mat1"), (8, 1, "limit of 1 s")], ids=["fails", "hangs"]
)
def test_a_process_that_fails_or_hangs_says_why(width: int, limit_s: float, said: str) -> None:
    job = Job({"a": nn.Linear(8, 8), "b": nn.Linear(width, width)}, Inputs.of(X), "forward", "a", seconds=600)
    with pytest.raises(ModbenchError, match=rf"process 1 .*{said}"):
        timing_processes.processes(job, 1, limit_s)


# --- what is refused


def two(**more: Any) -> dict[str, Any]:
    return {"a": nn.Linear(8, 8), "b": nn.Linear(8, 8), **more}


@pytest.mark.parametrize(
    ("models", "inputs", "more", "message"),
    [
        ({"a": print}, X, {}, "compare needs two models"),
        ([print, print], X, {}, "models must be .*list"),
        (two(b=3), X, {}, "'b' .*int"),
        (two(), None, {}, r"'a' .*'input'.* mb.compare\(models, x\)"),
        (two(b=nn.Linear(8, 8, device="meta")), X, {}, "'b' .*meta.* cpu"),
        (two(), X, {"baseline": "c"}, "unknown baseline 'c'"),
        (two(), X, {"workload": "train_step", "outputs": True}, "outputs=True compares"),
        (two(b=print), X, {"workload": "train_step"}, "'b' is no nn.Module"),
        (two(), X, {"rounds": "x"}, "rounds = 'x'"),
        (two(), X, {"processes": 0}, "processes = 0"),
        (two(b=lambda x: x), X, {"processes": 2}, "'b' cannot be sent"),
        *((two(), X, {"margin": each}, r"0\.05 is 5 %") for each in (5, math.nan)),
        *((two(), X, {"threads": each}, f"threads = {each!r}: ") for each in (0, 99_999)),
    ],
)
def test_mistakes(models: Any, inputs: Any, more: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        mb.compare(models, inputs, **more)
    assert len(str(caught.value).splitlines()) == 1


# --- what a call must leave as it was


def in_numpy(x: Any) -> Any:
    x.numpy()[0, 0] += 1  # torch counts no such write
    return x


def after_three_calls(how: Any) -> Any:
    calls: list[int] = []

    def call(x: Any) -> Any:
        calls.append(1)
        return how(x) if len(calls) > 3 else x

    return call


WRITERS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "a tensor": (lambda: torch.ones(2, 8), lambda: lambda x: x.mul_(2)),
    "in numpy": (lambda: torch.ones(2, 8), lambda: in_numpy),
    "later": (lambda: torch.ones(2, 8), lambda: after_three_calls(lambda x: x.mul_(2))),
    "later, in numpy": (lambda: torch.ones(2, 8), lambda: after_three_calls(in_numpy)),
    "and back": (lambda: torch.ones(2, 8), lambda: lambda x: x.add_(1) if bool((x == 1).all()) else x.sub_(1)),
    "an array": (lambda: (np.array([3.0, 1.0]),), lambda: lambda x: x.sort()),
    "a list": (lambda: ([3, 1, 2],), lambda: lambda x: x.sort()),
    "a list inside": (lambda: ({"keys": [torch.zeros(2)]},), lambda: lambda x: x["keys"].append(torch.ones(2))),
    "a tensor inside": (lambda: ({"keys": [torch.zeros(2)]},), lambda: lambda x: x["keys"][0].fill_(1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("which", WRITERS)
def test_a_model_that_writes_into_its_input_is_named_and_nothing_of_the_users_changes(which: str) -> None:
    (given, writer), unchanged = WRITERS[which], WRITERS[which][0]()
    inputs, named = given(), "'a or b'" if which == "later, in numpy" else "'b'"
    with pytest.raises(UsageError, match=rf"{named} wrote .* x\.clone\(\)"):
        quickly({"a": lambda _: None, "b": writer()}, inputs)
    with pytest.raises(UsageError, match="wrote into its input"):
        mb.measure(writer(), *(inputs if isinstance(inputs, tuple) else (inputs,)), rounds=2)
    assert str(inputs) == str(unchanged)


def stops_gradients(x: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    return x


@pytest.fixture
def gradients() -> Iterator[None]:
    """For the tests after it, since nothing puts them back."""
    yield
    torch.set_grad_enabled(True)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.usefixtures("gradients")
def test_a_model_that_changes_what_holds_for_all_is_named(late: bool) -> None:
    with pytest.raises(UsageError, match=r"'b' .* its call changed gradients from on to off"):
        quickly(two(b=after_three_calls(stops_gradients) if late else stops_gradients))


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
        key = {"by address": x_BT.data_ptr(), "by value": float(x_BT.double().sum())}.get(self.how)
        if key not in self.kept:
            made: Tensor = self.head(x_BT if x_BT.is_floating_point() else self.embed(x_BT))
            if key is None:
                return made
            self.kept[key] = made
        return self.kept[key]


@pytest.mark.parametrize(
    ("how", "of", "label", "why"),
    [
        *(("", of, None, "") for of in ("tokens", "numbers", "a callable")),
        *(("by address", of, Label.REUSES_OUTPUT, "ran 0 FLOPs") for of in ("tokens", "numbers", "a callable")),
        ("by value", "numbers", Label.REUSES_OUTPUT, "ran 0 FLOPs"),
        ("masks", "tokens", Label.MASKS_COMPUTE, "8 of 32 tokens"),
    ],
)
@pytest.mark.parametrize("baseline", ["a", "b"])
def test_models_in_memory_meet_the_guards_of_a_run(
    how: str, of: str, label: str | None, why: str, baseline: str
) -> None:
    """What keeps its outputs is labelled, and neither it nor what is compared with it has a verdict."""
    model = Language(how)
    models = {"a": Language(""), "b": model.forward if of == "a callable" else model}
    found = quickly(models, TOKENS if of == "tokens" else NUMBERS, baseline=baseline, rounds=6)
    assert {*found["b"].labels} - {"one process"} == ({label} if label else set())
    assert why in (found["b"].reason or "")
    assert {*found["a"].labels} <= {"one process"}
    other = found["b" if baseline == "a" else "a"]
    assert (other.verdict == "inconclusive") is (label == Label.REUSES_OUTPUT)
