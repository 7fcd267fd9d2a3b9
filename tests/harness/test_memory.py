"""The storage tracker against arithmetic and against torch's own tracker; the search for the largest that fits."""

from __future__ import annotations

import signal
import subprocess

import pytest
import torch
from cases import case_of
from hypothesis import given
from hypothesis import strategies as st
from present import present
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker

from modbench.harness.core.measure_plans import FIT_RESOLUTION
from modbench.harness.domain.case import Case, Comparison
from modbench.harness.domain.notes import FitNotes
from modbench.harness.memory.step_peak import StorageTracker, of_training
from modbench.harness.passes import fit
from modbench.harness.passes.fit import _try, bracket, forecast
from modbench.harness.planning.jobs import planned_jobs
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.registry import catalogue
from modbench.harness.subject.subject import Subject


def case(model: str = "dense") -> Case:
    options = dict(catalogue.model_options(model))
    return case_of(model, {"d_model": 64, "n_layers": 2, "max_seq_len": 64, **options}, seq_len=64)


def test_live_and_peak_bytes_by_hand() -> None:
    with StorageTracker() as tracker:
        a = torch.zeros(1000)
        assert tracker.live == 4000
        b = a + 1
        view = b[:10]  # a view owns nothing
        assert tracker.live == 8000
        del b
        assert tracker.live == 8000
        del view
        assert tracker.live == 4000
        del a
        assert tracker.live == 0
    assert tracker.peak == 8000


def test_watched_tensors_count_once() -> None:
    weight = nn.Parameter(torch.zeros(100))
    tracker = StorageTracker()
    tracker.watch([weight, weight, weight.view(10, 10), None])
    assert tracker.live == 400


@pytest.mark.parametrize("model", ["dense", "mod", "moe"])
def test_peak_of_a_train_step_equals_torchs_tracker(model: str) -> None:
    """MemTracker of torch.distributed, an independent implementation, to the byte."""
    ours = of_training(Subject(case(model), 0)).peak
    theirs = Subject(case(model), 0)
    tokens_BT = theirs.inputs(0, 1)[0]
    theirs.train_step(tokens_BT)
    theirs.optimizer.zero_grad(set_to_none=True)
    tracker = MemTracker()
    tracker.track_external(theirs.module, theirs.optimizer, tokens_BT)
    with tracker:
        theirs.train_step(tokens_BT)
    assert ours == sum(snapshot["Total"] for snapshot in tracker.get_tracker_snapshot("peak").values())


@given(limit=st.integers(0, 50_000), start=st.integers(1, 50_000), most=st.integers(1, 50_000))
def test_the_search_finds_the_limit_wherever_it_starts(limit: int, start: int, most: int) -> None:
    tried: list[int] = []

    def fits(value: int) -> bool:
        assert 1 <= value <= most
        tried.append(value)
        return value <= limit

    low, high = bracket(fits, start, most)
    if limit >= most:
        assert (low, high) == (most, None)
    elif limit == 0:
        assert (low, high) == (0, 1)
    else:
        assert high is not None
        assert low <= limit < high
        assert high - low <= max(1, FIT_RESOLUTION * low)
    assert len(tried) <= 30


def test_a_good_forecast_makes_a_short_search() -> None:
    tried: list[int] = []

    def fits(value: int) -> bool:
        tried.append(value)
        return value <= 1000

    assert bracket(fits, 1003, 10**6) == (998, 1003)
    assert tried == [1003, 993, 998]


def test_the_forecast_is_the_last_that_fits_its_closed_form() -> None:
    made = case()
    budget = 30_000_000
    longest = present(forecast(made, budget, "seq_len", 10**6))
    cost = catalogue.load("models", "dense").cost
    config = made.config.model_copy(update={"max_seq_len": longest + 1})
    assert cost(config.model_copy(update={"max_seq_len": longest}), longest, 2).memory_train(4) <= budget
    assert cost(config, longest + 1, 2).memory_train(4) > budget
    assert forecast(made, budget, "seq_len", 17) == 17


def test_all_variants_seek_within_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free is asked once: a second answer would make a ratio of two budgets."""
    answers = iter([1_000_000_000, 7])
    monkeypatch.setattr(fit, "_free", lambda _device: next(answers))
    monkeypatch.setattr(
        fit, "_try", lambda case, _budget, _axis, _limit_s, value: value <= 100 + 100 * (case.model == "mod")
    )
    comparison = Comparison(variants=(case(), case("mod")), metrics=("memory/largest_seq_len",))
    suite = parse_suite({"name": "s", "metrics": list(comparison.metrics), "variants": [{"model": "dense"}]}, "s")
    (job,) = [job for job in planned_jobs(suite, [comparison], None) if job.made_in == "fit"]
    outcomes = list(fit.run(job, [catalogue.metrics()["memory/largest_seq_len"]]))
    assert [outcome.noted(FitNotes).memory_limit_bytes for outcome in outcomes] == [1_000_000_000] * 2
    assert [outcome.samples["value"][0] for outcome in outcomes] == pytest.approx([100, 200], rel=0.01)


@pytest.mark.parametrize(("signal_number", "answer"), [(signal.SIGKILL, "does not fit"), (signal.SIGSEGV, "an error")])
def test_a_killed_try_did_not_fit_and_a_crashed_one_says_nothing(
    monkeypatch: pytest.MonkeyPatch, signal_number: int, answer: str
) -> None:
    done = subprocess.CompletedProcess([], -signal_number, b"", b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    if answer == "does not fit":
        assert not _try(case(), 10**9, "seq_len", 1.0, 64)
    else:
        with pytest.raises(RuntimeError):
            _try(case(), 10**9, "seq_len", 1.0, 64)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "answer"), [pytest.param(0.6, True, marks=pytest.mark.proof), (1.6, False)])
def test_a_try_is_a_process_that_may_run_out_of_memory(share: float, *, answer: bool) -> None:
    """Well under what the forecast says fits, and well above it."""
    budget = 40_000_000
    longest = present(forecast(case(), budget, "seq_len", 10**6))
    assert _try(case(), budget, "seq_len", 200.0, int(share * longest)) is answer


def test_a_try_that_takes_too_long_says_so() -> None:
    with pytest.raises(TimeoutError, match=r"raise fit\.trial_s"):
        _try(case(), 10**9, "seq_len", 0.01, 64)
