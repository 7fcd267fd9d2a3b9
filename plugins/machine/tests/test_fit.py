"""The search for the largest input that fits, its trials, and the budget on a card."""

from __future__ import annotations

import signal
import subprocess
import sys
import types

import pytest
import torch
from cases import case_of
from fake_nvml import fake_pynvml, refuse
from hypothesis import given
from hypothesis import strategies as st
from present import present

from modbench.harness.domain.case import Case, Comparison
from modbench.harness.domain.notes import FitNotes
from modbench.harness.machine import cuda_driver
from modbench.harness.planning.jobs import planned_jobs
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.registry import catalogue
from modbench.plugins.machine.fit import measurement as fit
from modbench.plugins.machine.fit import trial
from modbench.plugins.machine.fit.measurement import _try, bracket, forecast
from modbench.plugins.machine.fit.table import FIT_RESOLUTION


def case(model: str = "dense") -> Case:
    options = dict(catalogue.model_options(model))
    return case_of(model, {"d_model": 64, "n_layers": 2, "max_seq_len": 64, **options}, seq_len=64)


def searched(limit: int, start: int, most: int) -> tuple[tuple[int, int | None], list[int]]:
    """Where the search ends, and what it tried."""
    tried: list[int] = []

    def fits(value: int) -> bool:
        tried.append(value)
        return value <= limit

    return bracket(fits, start, most), tried


@given(limit=st.integers(0, 50_000), start=st.integers(1, 50_000), most=st.integers(1, 50_000))
def test_the_search_finds_the_limit_wherever_it_starts(limit: int, start: int, most: int) -> None:
    (low, high), tried = searched(limit, start, most)
    if limit >= most:
        assert (low, high) == (most, None)
    elif limit == 0:
        assert (low, high) == (0, 1)
    else:
        assert high is not None
        assert low <= limit < high
        assert high - low <= max(1, FIT_RESOLUTION * low)
    assert 1 <= min(tried) <= max(tried) <= most
    assert len(tried) <= 30


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
    monkeypatch.setattr(fit, "_try", lambda case, *given: given[-1] <= (200 if case.model == "mod" else 100))
    comparison = Comparison(variants=(case(), case("mod")), metrics=("memory/largest_seq_len",))
    suite = parse_suite({"name": "s", "metrics": list(comparison.metrics), "variants": [{"model": "dense"}]}, "s")
    (job,) = [job for job in planned_jobs(suite, [comparison], None) if job.made_in == "fit"]
    outcomes = list(fit.run(job, [catalogue.metrics()["memory/largest_seq_len"]]))
    assert job.facts.besides_s > 0
    assert [outcome.noted(FitNotes).memory_limit_bytes for outcome in outcomes] == [1_000_000_000] * 2
    assert [outcome.samples["value"][0] for outcome in outcomes] == pytest.approx([100, 200], rel=0.01)


def test_a_killed_try_did_not_fit_and_a_crashed_or_slow_one_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TimeoutError, match=r"raise fit\.trial_s"):
        _try(case(), 10**9, "seq_len", 0.01, 64)
    done = subprocess.CompletedProcess([], -signal.SIGKILL, b"", b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert not _try(case(), 10**9, "seq_len", 1.0, 64)
    done.returncode = -signal.SIGSEGV
    with pytest.raises(RuntimeError):
        _try(case(), 10**9, "seq_len", 1.0, 64)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "answer"), [pytest.param(0.6, True, marks=pytest.mark.proof), (1.6, False)])
def test_a_try_is_a_process_that_may_run_out_of_memory(share: float, *, answer: bool) -> None:
    """Well under what the forecast says fits, and well above it."""
    budget = 40_000_000
    longest = present(forecast(case(), budget, "seq_len", 10**6))
    assert _try(case(), budget, "seq_len", 200.0, int(share * longest)) is answer


@pytest.mark.usefixtures("cuda")
def test_a_budget_on_a_card_comes_beside_what_libraries_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 2**30)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    trial.limit("cuda", 39 * 2**30)
    assert shares == [0.5]
    with pytest.raises(ValueError, match="than this GPU"):
        trial.limit("cuda", 80 * 2**30)


def test_a_budget_is_read_without_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    def context() -> None:
        raise AssertionError("this makes a context, which stays during all trials")

    monkeypatch.setattr(torch.cuda, "mem_get_info", context)
    monkeypatch.setattr(cuda_driver, "uuid_in_use", lambda: "1")
    free = types.SimpleNamespace(free=1000)
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(nvmlDeviceGetMemoryInfo=lambda _: free))
    assert fit._free("cuda") == 900
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(nvmlDeviceGetMemoryInfo=refuse))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (500, 1000))
    assert fit._free("cuda") == 450  # a driver that does not say, as on an AMD card: torch does
