"""How long a job may take: from its prediction and how the machine does, or as the user says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from small_runs import small_plan

from modbench import api
from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import human_duration, parse_duration
from modbench.harness.domain.records import Death
from modbench.harness.execution import limits
from modbench.harness.execution.limits import Limits, allowance, in_words
from modbench.harness.registry import catalogue
from modbench.harness.results import run_folder
from modbench.planted_runs import PlantedTrouble, planted_record

WEIGHED = ["memory/peak_allocated"]


@pytest.fixture(autouse=True)
def _no_peaks(here: Path, unmeasured: None) -> None:
    """In a folder with a user's models."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10min", 600), ("2h", 7200), ("1.5 h", 5400), (" 30 sec ", 30), ("1d", 86_400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "--timeout") == seconds


@pytest.mark.parametrize(
    "text", ["90", "", "-5s", "0s", "0.0h", "ten minutes", "10 parsecs", "1e9h", "9" * 400 + "h", "5m5s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--timeout .* 10min or 2h") as error:
        parse_duration(text, "--timeout")
    assert len(str(error.value)) < 160


def test_a_small_job_has_minutes_and_a_large_one_twenty_times_its_prediction() -> None:
    made = small_plan(WEIGHED, "dense")
    job = made.jobs[-1]
    known = Limits(made)
    assert set(known) == {each.name for each in made.jobs}
    assert 300 < known[job.name] < 400
    large = job.model_copy(update={"flops": 60e9 * 1000})
    assert known.limit(large.model_copy(update={"name": "large"})) == pytest.approx(20 * 1000 + 300, rel=0.01)


def test_training_on_a_card_may_be_bound_by_the_host() -> None:
    made = small_plan(["flops/forward"], "dense")
    (job,) = made.jobs
    (case,) = job.comparison.variants
    case = case.model_copy(update={"grid_point": case.grid_point.model_copy(update={"device": "cuda"})})
    comparison = job.comparison.model_copy(update={"variants": (case,)})
    facts = catalogue.facts_of_job("train", job.workload, comparison.metrics)
    large = job.model_copy(update={"flops": 1e17, "made_in": "train", "comparison": comparison, "facts": facts})
    on_card = made.model_copy(update={"device": "cuda", "jobs": (large,)})
    assert Limits(on_card).expected(large) == pytest.approx(1e17 / 2e13)
    assert allowance(large) == 300 + 300 + 600


FIT = {"metrics": ["memory/largest_batch", "memory/largest_seq_len"], "fit": {"memory_limit": 2**30, "trial_s": 60.0}}


@pytest.mark.parametrize(
    ("models", "changes", "seconds"),
    [
        (["dense"], {}, 300),
        (["dense"], {"compile": True}, 900),
        (["dense", "own.py:good"], {}, 2100),
        pytest.param(
            ["dense"], FIT, 300 + 2 * 25 * 60, marks=pytest.mark.plugin("machine"), id="all trials of a search"
        ),
    ],
)
def test_what_no_prediction_covers_has_time_of_its_own(
    models: list[str], changes: dict[str, Any], seconds: float
) -> None:
    changes = {"metrics": WEIGHED, **changes}
    assert allowance(small_plan(changes.pop("metrics"), *models, **changes).jobs[-1]) == seconds


def test_a_machine_that_is_slow_in_this_run_gets_more_and_a_fast_one_not_less() -> None:
    """As records say that their work took: not a job's time in a queue, and not jobs that hung or died."""
    made = small_plan(WEIGHED, "dense")
    known = Limits(made)
    first, second = made.jobs
    before = known[second.name]

    def ends(wall_s: float, died: Death | None = None) -> None:
        known.learn(first, planted_record(first, PlantedTrouble()).model_copy(update={"wall_s": wall_s, "died": died}))

    ends(1.0)
    assert known[second.name] == before
    ends(1e6, Death(kind="timeout", reason="it hung"))
    assert known[second.name] == before
    ends(999.0)
    assert known.slowness == pytest.approx(1000 / known.expected_s)
    said = in_words(known, second.name)
    assert human_duration(before) in said
    assert "as slow as" not in said
    assert known[second.name] - allowance(second) == pytest.approx(known.slowness * (before - allowance(second)))
    assert f"{known.slowness:.1f} times as slow" in in_words(known, second.name)
    ends(1e6)
    assert known.slowness == limits.MOST_SLOWNESS


def test_a_flag_is_checked_first_and_sets_the_limit(
    modbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    done = modbench("run", "quick", "--timeout", "soon")
    assert (done.returncode, "--timeout 'soon'" in done.stderr) == (2, True)
    given = mock.Mock(side_effect=SystemExit(4))
    monkeypatch.setattr(api, "run", given)
    monkeypatch.setattr(api, "new_folder", lambda *_: run_folder.RunFolder(here))
    modbench("run", "quick", "--timeout", "10min")
    assert given.call_args.kwargs["timeout_s"] == 600


@pytest.mark.parametrize("facts", [{"most": 1e300}, {"besides_s": 1e300}])
def test_no_limit_is_longer_than_a_timer_takes(facts: dict[str, float]) -> None:
    """A stranger's plan may say so: a worker that cannot set its timer dies."""
    made = small_plan(WEIGHED, "dense")
    job = made.jobs[0].model_copy(update={"facts": made.jobs[0].facts.model_copy(update=facts)})
    assert Limits(made).limit(job) == limits.LONGEST_S
    assert Limits(made).limit(made.jobs[0]) < limits.LONGEST_S
