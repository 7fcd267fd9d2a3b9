"""The machine's certificate, and the doctor that makes it."""

from __future__ import annotations

import bisect
import json
import math
import os
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from in_process import succeeded
from present import present
from scipy import stats

from modbench.commands.doctor import aa_comparisons, checkup
from modbench.harness.call.timing.interleave import Effort, Session
from modbench.harness.core import atomic_files
from modbench.harness.core.errors import ModbenchError
from modbench.harness.core.plain_text import SCREEN
from modbench.harness.domain.case import Job
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.domain.records import Blocks, Outcome, Record
from modbench.harness.domain.suite import EFFORTS
from modbench.harness.machine import certificate
from modbench.harness.machine.certificate import Certificate
from modbench.harness.stats.effects import share_interval
from modbench.planted_runs import DriftingClock

STANDARD, _ = EFFORTS["standard"]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of machines is this test's own."""
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))


# A comparison of the doctor as it is kept.
KEPT = {
    "hit": False,
    "detectable": 0.03,
    "detectable_cpu": 0.01,
    "width": 0.05,
    "noisy": 0.1,
    "processes": 4,
    "process_sd": 0.01,
}


def checks(*hits: int, of: int = 20, **more: Any) -> Certificate:
    """A machine's certificate after checks with so many false positives each, and what else their comparisons say."""
    for number in hits:
        certificate.keep("m", [{**KEPT, **more, "hit": i < number} for i in range(of)])
    return present(certificate.pooled("m", STANDARD))


@pytest.mark.parametrize(
    ("hits", "verdict"),
    [
        ((0, 0, 0, 0), "inconclusive"),  # 80 are not enough, however good
        ((9, 9, 9, 9), "inconclusive"),  # nor however bad
        ((1, 1, 1, 1, 1), "fit"),
        ((2, 2, 2, 2, 2), "fit"),
        ((3, 3, 3, 2, 2), "inconclusive"),  # 13 of 100: above, not shown to be
        ((4, 4, 4, 4, 4), "unfit"),  # 20 of 100: 12.7 to 29.2 %
    ],
)
def test_a_verdict_needs_a_hundred_comparisons(hits: tuple[int, ...], verdict: str) -> None:
    found = checks(*hits)
    assert found.verdict == verdict
    assert (found.comparisons, found.hits, found.checks) == (20 * len(hits), sum(hits), len(hits))
    assert found.low <= found.rate <= found.high
    assert certificate.from_dict(json.loads(json.dumps(found.as_dict()))) == found  # as run files keep it
    assert f"{verdict}: {sum(hits)} of {20 * len(hits)}" in found.in_words()


# Of a machine whose processes hardly differ.
KNOWN = Certificate("m", 1, 0, 0, 0, None, None, None, 0, 1, "", processes=STANDARD, process_sd=0.01)


def verdict_at(hits: int, comparisons: int) -> str:
    """By the number of hits alone."""
    low, high = share_interval(hits, comparisons)
    return replace(KNOWN, comparisons=comparisons, hits=hits, low=low, high=high).verdict


def ever_unfit(rate: float, least: Mapping[int, int]) -> float:
    """Chance that one of the looks, each after further comparisons, says `unfit`, as it does from so many hits on."""
    still, before, total = np.ones(1), 0, 0.0
    for comparisons, hits in least.items():
        more = comparisons - before
        still = np.convolve(still, stats.binom.pmf(np.arange(more + 1), more, rate))
        total += float(still[hits:].sum())
        still[hits:], before = 0.0, comparisons
    return total


def test_the_chances_of_each_word_are_those_of_the_page_on_verdicts() -> None:
    """Exact binomial probabilities, by the verdict itself; and what calling again and again adds."""
    page = (Path(__file__).parents[2] / "docs" / "method-verdicts.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| (\d+) %[^|]*" + 5 * r"\| ([\d.]+) % " + r"\|$", page, re.MULTILINE)
    words = np.array([verdict_at(hits, 100) for hits in range(101)])

    def unfit(n: int, hits: int) -> bool:
        return verdict_at(hits, n) == "unfit"

    least = {n: bisect.bisect_left(range(n + 1), True, key=partial(unfit, n)) for n in range(100, 1001, 20)}
    made = []
    for percent in (5, 7, 10, 20):
        chances = stats.binom.pmf(np.arange(101), 100, percent / 100)
        row = [chances[words == wanted].sum() for wanted in ("fit", "inconclusive", "unfit")]
        row += [ever_unfit(percent / 100, {n: hits for n, hits in least.items() if n <= most}) for most in (200, 1000)]
        made.append((str(percent), *(f"{100 * chance:.1f}" for chance in row)))
    assert said == made
    assert least[100] == 17


@pytest.mark.parametrize(
    ("more", "verdict", "words"),
    [
        ({"process_sd": 0.01}, "fit", "smallest effect"),
        (
            {"process_sd": 0.3},
            "inconclusive",
            "smallest effect",
        ),  # processes that differ by 30 % hide what an A/A control would show
        ({"process_sd": None}, "inconclusive", "not known"),
    ],
)
def test_a_machine_whose_processes_differ_is_not_fit(more: dict[str, Any], verdict: str, words: str) -> None:
    """Equal A/A controls are no evidence where nothing could be told apart: the smallest effect at standard effort is at most
    3 %.
    """
    found = checks(1, 1, 1, 1, 1, **more)
    assert found.verdict == verdict
    assert words in found.in_words()
    if found.standard_detectable is not None:
        assert (found.standard_detectable <= 0.03) == (verdict == "fit")
        assert f"{100 * found.standard_detectable:.1f} % at {STANDARD} processes" in found.in_words()


def test_the_error_inside_processes_is_taken_out_of_the_pool() -> None:
    """Processes that do not differ: of single comparisons half lie above their error, and would seem to differ."""
    draw, error = random.Random(0), 1.2533 * 0.02 / math.sqrt(6)
    rows = [
        {**KEPT, "blocks": 6, "block_sd": 0.02, "start_s": 0.3, "round_s": 0.01, "process_sd": sd}
        for sd in (error * math.sqrt(sum(draw.gauss(0, 1) ** 2 for _ in range(3)) / 3) for _ in range(400))
    ]
    certificate.keep("m", rows)
    found = present(certificate.pooled("m", STANDARD))
    assert found.process_sd == pytest.approx(error, rel=0.05)
    assert present(found.between_sd) < 0.35 * error
    assert found.time_to_decide is not None


def test_spreads_are_pooled_by_their_degrees_of_freedom() -> None:
    certificate.keep("m", [{**KEPT, "process_sd": 0.02}, {**KEPT, "processes": 10}])
    found = present(certificate.pooled("m", STANDARD))
    assert found.process_sd == pytest.approx(math.sqrt((3 * 0.02**2 + 9 * 0.01**2) / 12))


def test_checks_of_one_machine_are_pooled_and_others_are_not() -> None:
    checks(1, 2)
    certificate.keep("other", [{**KEPT, "hit": True, "detectable": None, "detectable_cpu": None, "width": None}])
    assert certificate.pooled("m", STANDARD) == checks()
    other = present(certificate.pooled("other"))
    assert (other.comparisons, other.detectable) == (1, None)
    assert certificate.forget("m") == 2
    assert certificate.pooled("m") is None


def test_certificates_are_where_users_look_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODBENCH_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert atomic_files.state_folder() == Path("/somewhere/modbench")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert atomic_files.state_folder() == Path.home() / ".local" / "state" / "modbench"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what Python does where there is no home
    with pytest.raises(RuntimeError, match="home"):
        atomic_files.state_folder()


def test_a_damaged_check_was_no_check() -> None:
    before = checks(1)
    for number, text in enumerate(["{", "[]", "{}", '{"comparisons": 3}', '{"comparisons": [{}], "made": ""}']):
        (atomic_files.state_folder() / "machines" / "m" / f"broken{number}.json").write_text(text)
    assert certificate.pooled("m", STANDARD) == before


def test_the_fingerprint_is_the_machines_and_its_use() -> None:
    where: dict[str, Any] = {"cpu": "c", "cores": 2, "memory_bytes": 1, "gpu": {"devices": []}}
    one = certificate.fingerprint(where, "cpu", 1)
    assert one == certificate.fingerprint(dict(where), "cpu", 1)
    assert one != certificate.fingerprint(where, "cpu", 2)
    assert one != certificate.fingerprint({**where, "cores": 4}, "cpu", 1)
    assert one != certificate.fingerprint({**where, "gpu": {"devices": [{"uuid": "G"}]}}, "cuda", 1)


def test_no_two_comparisons_share_a_process() -> None:
    made = aa_comparisons.jobs(20, "cpu", 1)
    assert len({job.name for job in made}) == len(made) == 20 * aa_comparisons.PROCESSES
    assert {job.protocol.seed for job in made} == set(range(20))
    # Those of one comparison lie a whole pass apart.
    grid_points = [i for i, job in enumerate(made) if job.protocol.seed == 7]
    assert grid_points == [7 + 20 * process for process in range(aa_comparisons.PROCESSES)]


def fake_process(job: Job, aa_control_takes: float) -> Record:
    clock = DriftingClock(job.name)
    draw = random.Random(job.name).gauss(0, 0.01)
    one, aa_control = (case.id for case in job.comparison.variants)
    session = Session(
        {
            one: lambda _: clock.pass_time(0.01),
            aa_control: lambda _: clock.pass_time(0.01 * (1 + draw) * aa_control_takes),
        },
        one,
        rng=random.Random(0),
        clock=clock,
        on_error=lambda variant, error: pytest.fail(f"{variant}: {error}"),
    )
    found = session.measure(Effort(job.protocol.rounds))
    outcomes = tuple(
        Outcome(case=variant, metric=aa_comparisons.METRIC, unit="s", status="ok", samples=found.samples[variant])
        for variant in (one, aa_control)
    )
    blocks = (Blocks(group="forward", columns=found.blocks),)
    return Record(job=job, started="", wall_s=0.0, outcomes=outcomes, blocks=blocks)


@pytest.mark.slow
@pytest.mark.parametrize(("aa_control_takes", "low", "high"), [(1.0, 0, 12), (1.5, 95, 100)])
def test_identical_models_are_called_different_at_the_nominal_rate(
    aa_control_takes: float, low: int, high: int
) -> None:
    """100 comparisons on a drifting clock with process effects of 1 %; A/A controls that are none are found out."""
    aa_controls = list(
        aa_comparisons.judge([fake_process(job, aa_control_takes) for job in aa_comparisons.jobs(100, "cpu", 1)])
    )
    assert len(aa_controls) == 100
    assert low <= sum(aa_control.hit for aa_control in aa_controls) <= high
    kept = aa_controls[0].as_dict()
    assert kept["ratio"] == pytest.approx(1 / aa_control_takes, rel=0.05)
    assert 0 < kept["detectable"] < 0.2
    assert kept["processes"] == aa_comparisons.PROCESSES
    assert 0 <= kept["between_sd"] <= kept["process_sd"]
    spreads = [aa_control.spread for aa_control in aa_controls if aa_control.spread is not None]
    assert len(spreads) == 100
    certificate.keep("planted", [aa_control.as_dict() for aa_control in aa_controls])
    pooled = present(certificate.pooled("planted", STANDARD))
    assert pooled.between_sd == pytest.approx(0.01, rel=0.15)
    # 1 % was planted between processes; inside them samples differ by 0.5 %, four of which make a block.
    assert math.sqrt(fmean(each.between_sd**2 for each in spreads)) == pytest.approx(0.01, rel=0.15)
    assert fmean(each.block_sd for each in spreads) == pytest.approx(0.005, rel=0.15)
    assert all(each.start_s == 0.0 < each.round_s for each in spreads)  # a fake clock: the processes took no time


def test_a_process_costs_what_it_took_with_the_start_of_its_process() -> None:
    jobs = aa_comparisons.jobs(1, "cpu", 1)
    records = [fake_process(job, 1.0) for job in jobs]
    rounds_s = [sum(record.blocks[0].columns["wall_s"]) for record in records]
    took_s = {job.name: 0.7 + wall_s for job, wall_s in zip(jobs, rounds_s, strict=True)}
    (aa_control,) = aa_comparisons.judge(records, took_s)
    assert aa_control.spread is not None
    assert aa_control.spread.start_s == pytest.approx(0.7)
    assert aa_control.spread.round_s == pytest.approx(fmean(rounds_s) / aa_comparisons.ROUNDS)


def test_a_process_that_failed_is_no_comparison() -> None:
    job = aa_comparisons.jobs(1, "cpu", 1)[0]
    outcomes = tuple(
        Outcome(case=case.id, metric=aa_comparisons.METRIC, unit="s", status="failed", kind="oom", reason="no room")
        for case in job.comparison.variants
    )
    record = Record(job=job, started="", wall_s=0.0, outcomes=outcomes)
    with pytest.raises(ModbenchError, match="no room"):
        list(aa_comparisons.judge([record]))


def test_a_comparison_that_drifts_is_none_and_a_machine_with_no_other_has_no_check() -> None:
    """A report would print no number for it, so it speaks neither for the machine nor against it."""
    records = [fake_process(job, 1.0) for job in aa_comparisons.jobs(3, "cpu", 1)]
    assert len(list(aa_comparisons.judge(records))) == 3

    def drift(record: Record) -> Record:
        anchor, aa_control = record.outcomes
        return record.model_copy(
            update={"outcomes": (anchor, aa_control.model_copy(update={"notes": TimeNotes(unsteady="+9%")}))}
        )

    one = [drift(record) if record.job.protocol.seed == 1 and record.job.process == 0 else record for record in records]
    assert len(list(aa_comparisons.judge(one))) == 2
    with pytest.raises(ModbenchError, match="still drifted"):
        list(aa_comparisons.judge([drift(record) for record in records]))


STEADY = {"scaling_governor": "performance\n", "boost": "0\n", "active": "0\n", "cpu.max": "max 100000\n"}
QUIET = {"usable_cores": 2, "load_average": 0.1, "gpu": {"devices": []}}


@pytest.mark.parametrize(
    ("environment", "threads", "files", "word"),
    [
        ({**QUIET, "load_average": 2.0}, 1, {}, "load 2.00"),
        (QUIET, 2, {}, "none for the system"),
        (QUIET, 1, {}, "frequency is not exposed"),
        (QUIET, 1, {"cpufreq/scaling_governor": "powersave\n"}, "'powersave'"),
        (QUIET, 1, {"cpufreq/boost": "1\n"}, "boost is on"),
        (QUIET, 1, {"smt/active": "1\n"}, "SMT"),
        (QUIET, 1, {"current_clocksource": "hpet\n"}, "'hpet'"),
        (QUIET, 1, {"cpu.max": "150000 100000\n"}, "1.50 cores"),
        ({**QUIET, "gpu": {"devices": [{"name": "Card", "persistence_mode": 0}]}}, 1, {}, "persistence mode is off"),
        (QUIET, 1, STEADY, None),
    ],
)
def test_advice(environment: dict[str, Any], threads: int, files: dict[str, str], word: str | None) -> None:
    def read(path: str) -> str | None:
        return next((text for end, text in files.items() if path.endswith(end)), None)

    said = aa_comparisons.advice(environment, threads, read)
    assert said == [] if word is None else any(word in line for line in said)


@pytest.mark.slow
def test_the_command_checks_keeps_and_pools(modbench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One comparison now and one later are two; an unfit machine ends with 5. The later ones find what the first has measured."""
    examine, found = aa_comparisons.examine, list[Any]()

    def examined(*given: Any) -> Any:
        found.append(examine(*given))
        return found[0]

    monkeypatch.setattr(aa_comparisons, "examine", examined)
    peaks = list[int]()
    monkeypatch.setattr(checkup, "keep_peaks", lambda threads, _: peaks.append(threads))
    first = succeeded(modbench("doctor", "-n", 1, "--device", "cpu", "--json"))
    told = json.loads(first.stdout)
    assert told["certificate"]["comparisons"] == 1
    assert told["certificate"]["verdict"] == "inconclusive"
    assert told["comparisons"][0]["detectable"] > 0
    assert {"process_sd", "between_sd", "block_sd", "round_s"} <= told["comparisons"][0].keys()
    assert told["comparisons"][0]["start_s"] > 0  # of real processes
    assert told["certificate"]["processes"] == STANDARD
    assert peaks == [1]
    (folder,) = (atomic_files.state_folder() / "machines").iterdir()
    certificate.keep(folder.name, [told["comparisons"][0] | {"hit": i < 40} for i in range(100)])
    monkeypatch.setattr(aa_comparisons, "examine", lambda *_: found[0])
    second = modbench("doctor", "-n", 1, "--device", "cpu")
    assert second.returncode == 5, second.stderr
    assert second.stdout.startswith("unfit: ")
    assert len(second.stdout.splitlines()) <= SCREEN
    assert "of 102 called different" in second.stdout
    assert "standard effort  smallest effect" in second.stdout
    assert "time to decide   " in second.stdout
    assert second.stderr.startswith("modbench: this machine")
    assert "unfit" in second.stderr
    fresh = modbench("doctor", "-n", 1, "--device", "cpu", "--fresh", "--json")
    assert json.loads(fresh.stdout)["certificate"]["comparisons"] == 1


def test_a_doctor_of_nothing_is_refused(modbench: Any) -> None:
    done = modbench("doctor", "-n", 0)
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 2
