"""The machine's certificate, and the doctor that makes it."""

from __future__ import annotations

import bisect
import json
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from in_process import succeeded
from present import present
from scipy import stats

from modbench.commands.doctor import aa_comparisons, checkup
from modbench.harness.core import atomic_files
from modbench.harness.core.errors import ModbenchError
from modbench.harness.core.plain_text import SCREEN
from modbench.harness.domain.case import Job
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.domain.records import Blocks, Record
from modbench.harness.domain.suite import EFFORTS
from modbench.harness.machine import certificate
from modbench.harness.machine.certificate import Certificate
from modbench.harness.stats.effects import share_interval
from modbench.planted_runs import PlantedTrouble, planted_record

STANDARD, _ = EFFORTS["standard"]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of machines is this test's own."""
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))


# A comparison of the doctor as it is kept.
KEPT: dict[str, Any] = {"hit": False, "detectable": 0.03, "detectable_cpu": 0.01, "width": 0.05, "noisy": 0.1}
KEPT |= {"processes": 4, "process_sd": 0.01}


def checks(*hits: int, of: int = 20, **more: Any) -> Certificate:
    """A machine's certificate after checks with so many false positives each, and what else their comparisons say."""
    for number in hits:
        certificate.keep("m", [{**KEPT, **more, "hit": i < number} for i in range(of)])
    return present(certificate.pooled("m", STANDARD))


# --- the verdict


@pytest.mark.parametrize(
    ("hits", "process_sd", "verdict"),
    [
        ((0, 0, 0, 0), 0.01, "inconclusive"),  # 80 are not enough, however good
        ((9, 9, 9, 9), 0.01, "inconclusive"),  # nor however bad
        ((2, 2, 2, 2, 2), 0.01, "fit"),
        ((3, 3, 3, 2, 2), 0.01, "inconclusive"),  # 13 of 100: above, not shown to be
        ((4, 4, 4, 4, 4), 0.01, "unfit"),  # 20 of 100: 12.7 to 29.2 %
        ((1, 1, 1, 1, 1), 0.3, "inconclusive"),  # equal A/A controls are no evidence where nothing could be told apart
        ((1, 1, 1, 1, 1), None, "inconclusive"),
    ],
)
def test_a_verdict_needs_a_hundred_comparisons_of_processes_that_differ_little(
    hits: tuple[int, ...], process_sd: float | None, verdict: str
) -> None:
    found = checks(*hits, process_sd=process_sd)
    assert found.verdict == verdict
    assert (found.comparisons, found.hits, found.checks) == (20 * len(hits), sum(hits), len(hits))
    assert (found.low, found.high) == share_interval(found.hits, found.comparisons)
    assert certificate.from_dict(json.loads(json.dumps(found.as_dict()))) == found  # as run files keep it
    assert f"{verdict}: {sum(hits)} of {20 * len(hits)}" in found.in_words()
    if process_sd is None:
        assert "at standard effort not known" in found.in_words()
    else:
        assert (present(found.standard_detectable) <= 0.03) == (process_sd == 0.01)
        assert f"{100 * present(found.standard_detectable):.1f} % at {STANDARD} processes" in found.in_words()


# Of a machine whose processes hardly differ.
KNOWN = Certificate("m", 1, 0, 0, 0, None, None, None, 0, 1, "", processes=STANDARD, process_sd=0.01)


def verdict_at(comparisons: int, hits: int) -> str:
    """By the number of hits alone."""
    low, high = share_interval(hits, comparisons)
    return replace(KNOWN, comparisons=comparisons, hits=hits, low=low, high=high).verdict


def fewest_unfit(comparisons: int) -> int:
    return bisect.bisect_left(range(comparisons + 1), True, key=lambda hits: verdict_at(comparisons, hits) == "unfit")


def ever_unfit(rate: float, least: Mapping[int, int]) -> float:
    """Chance that one of the looks, each after further comparisons, says `unfit`, as it does from so many hits on."""
    still, before, total = np.ones(1), 0, 0.0
    for comparisons, hits in least.items():
        more = comparisons - before
        still = np.convolve(still, stats.binom.pmf(np.arange(more + 1), more, rate))
        total += float(still[hits:].sum())
        still[hits:], before = 0.0, comparisons
    return total


def test_the_chances_of_each_word_are_those_that_the_documentation_names() -> None:
    """Exact binomial probabilities, by the verdict itself; and what calling again and again adds."""
    table = (Path(__file__).parents[2] / "benchmarks" / "data" / "doctor_words.csv").read_text(encoding="utf-8")
    said = [tuple(line.split(",")) for line in table.splitlines()[1:]]
    words = np.array([verdict_at(100, hits) for hits in range(101)])
    least = {n: fewest_unfit(n) for n in range(100, 1001, 20)}
    made = []
    for percent in (5, 7, 10, 20):
        chances = stats.binom.pmf(np.arange(101), 100, percent / 100)
        row = [chances[words == wanted].sum() for wanted in ("fit", "inconclusive", "unfit")]
        row += [ever_unfit(percent / 100, {n: hits for n, hits in least.items() if n <= most}) for most in (200, 1000)]
        made.append((str(percent), *(f"{100 * chance:.1f}" for chance in row)))
    assert said == made
    assert least[100] == 17


# --- what checks are kept, and how they are pooled


def test_the_error_inside_processes_is_taken_out_of_the_pool() -> None:
    """Processes that do not differ: of single comparisons half lie above their error, and would seem to differ."""
    draw, error = random.Random(0), 1.2533 * 0.02 / math.sqrt(6)
    spreads = [error * math.sqrt(sum(draw.gauss(0, 1) ** 2 for _ in range(3)) / 3) for _ in range(400)]
    inside = {"blocks": 6, "block_sd": 0.02, "start_s": 0.3, "round_s": 0.01}
    certificate.keep("m", [{**KEPT, **inside, "process_sd": sd} for sd in spreads])
    found = present(certificate.pooled("m", STANDARD))
    assert found.process_sd == pytest.approx(error, rel=0.05)
    assert present(found.between_sd) < 0.35 * error
    assert found.time_to_decide is not None


def test_readable_checks_of_one_machine_are_pooled_until_they_are_forgotten() -> None:
    """Spreads by their degrees of freedom; a damaged check was none, and another machine's is another's."""
    certificate.keep("m", [{**KEPT, "process_sd": 0.02}, {**KEPT, "processes": 10}])
    before = present(certificate.pooled("m", STANDARD))
    assert before.process_sd == pytest.approx(math.sqrt((3 * 0.02**2 + 9 * 0.01**2) / 12))
    certificate.keep("other", [{**KEPT, "hit": True, "detectable": None, "detectable_cpu": None, "width": None}])
    for number, text in enumerate(["{", "[]", "{}", '{"comparisons": 3}', '{"comparisons": [{}], "made": ""}']):
        (atomic_files.state_folder() / "machines" / "m" / f"broken{number}.json").write_text(text)
    assert certificate.pooled("m", STANDARD) == before
    other = present(certificate.pooled("other"))
    assert (other.comparisons, other.detectable) == (1, None)
    assert certificate.forget("m") == 6
    assert certificate.pooled("m") is None


@pytest.mark.parametrize(
    ("device", "change", "threads"),
    [("cpu", {}, 2), ("cpu", {"cores": 4}, 1), ("cuda", {"gpu": {"devices": [{"uuid": "G"}]}}, 1)],
)
def test_the_fingerprint_is_the_machines_and_its_use(device: str, change: dict[str, Any], threads: int) -> None:
    where: dict[str, Any] = {"cpu": "c", "cores": 2, "memory_bytes": 1, "gpu": {"devices": []}}
    one = certificate.fingerprint(where, device, 1)
    assert one == certificate.fingerprint(dict(where), device, 1)
    assert one != certificate.fingerprint({**where, **change}, device, threads)


# --- A/A comparisons


def test_no_two_comparisons_share_a_process_and_those_of_one_lie_a_whole_pass_apart() -> None:
    made = aa_comparisons.jobs(20, "cpu", 1)
    assert len({job.name for job in made}) == len(made) == 20 * aa_comparisons.PROCESSES
    assert [job.protocol.seed for job in made] == [*range(20)] * aa_comparisons.PROCESSES


ROUND_S = 0.08


def fake_process(job: Job, aa_control_takes: float = 1.0) -> Record:
    """On a drifting clock, with process effects of 1 %."""
    effect = 1 + random.Random(job.name).gauss(0, 0.01)
    trouble = PlantedTrouble(slower={job.comparison.variants[1].variant: aa_control_takes * effect})
    rounds = range(job.protocol.rounds)
    blocks = Blocks(group="forward", columns={"block": [*map(float, rounds)], "wall_s": [ROUND_S for _ in rounds]})
    return planted_record(job, trouble).model_copy(update={"blocks": (blocks,), "wall_s": 0.0})


@pytest.mark.slow
@pytest.mark.parametrize(("aa_control_takes", "low", "high"), [(1.0, 0, 12), (1.5, 95, 100)])
def test_identical_models_are_called_different_at_the_nominal_rate(
    aa_control_takes: float, low: int, high: int
) -> None:
    """Of 100 comparisons; A/A controls that are none are found out."""
    made = aa_comparisons.jobs(100, "cpu", 1)
    aa_controls = list(aa_comparisons.judge([fake_process(job, aa_control_takes) for job in made]))
    assert len(aa_controls) == 100
    assert low <= sum(aa_control.hit for aa_control in aa_controls) <= high
    kept = [aa_control.as_dict() for aa_control in aa_controls]
    assert kept[0]["ratio"] == pytest.approx(1 / aa_control_takes, rel=0.05)
    assert 0 < kept[0]["detectable"] < 0.2
    assert kept[0]["processes"] == aa_comparisons.PROCESSES
    certificate.keep("planted", kept)
    # 1 % was planted between processes; inside them samples differ by 0.5 %, four of which make a block.
    assert present(certificate.pooled("planted", STANDARD)).between_sd == pytest.approx(0.01, rel=0.15)
    spreads = [present(aa_control.spread) for aa_control in aa_controls]
    assert math.sqrt(fmean(each.between_sd**2 for each in spreads)) == pytest.approx(0.01, rel=0.15)
    assert fmean(each.block_sd for each in spreads) == pytest.approx(0.005, rel=0.15)


def test_a_process_costs_what_it_took_with_the_start_of_its_process() -> None:
    jobs = aa_comparisons.jobs(1, "cpu", 1)
    took_s = {job.name: 0.7 + aa_comparisons.ROUNDS * ROUND_S for job in jobs}
    (aa_control,) = aa_comparisons.judge([fake_process(job) for job in jobs], took_s)
    spread = present(aa_control.spread)
    assert (spread.start_s, spread.round_s) == pytest.approx((0.7, ROUND_S))


def test_what_failed_ends_the_check_and_what_drifted_is_left_out() -> None:
    """A report would print no number for a comparison that drifts, so it speaks neither for the machine nor against it."""
    records = [fake_process(job) for job in aa_comparisons.jobs(3, "cpu", 1)]

    def changed(record: Record, **change: Any) -> Record:
        anchor, aa_control = record.outcomes
        return record.model_copy(update={"outcomes": (anchor, aa_control.model_copy(update=change))})

    def drifting(seeds: set[int]) -> list[Record]:
        notes = TimeNotes(unsteady="+9%")
        return [changed(each, notes=notes) if each.job.protocol.seed in seeds else each for each in records]

    assert [len(list(aa_comparisons.judge(drifting(seeds)))) for seeds in (set[int](), {1})] == [3, 2]
    with pytest.raises(ModbenchError, match="still drifted"):
        list(aa_comparisons.judge(drifting({0, 1, 2})))
    with pytest.raises(ModbenchError, match="aa0-process0: no room"):
        list(aa_comparisons.judge([changed(records[0], status="failed", kind="oom", reason="no room", samples={})]))


# --- the command


@pytest.mark.slow
def test_the_command_checks_keeps_and_pools(modbench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One comparison now and one later are two; an unfit machine ends with 5. The later ones find what the first has measured."""
    examine, found, peaks = aa_comparisons.examine, list[Any](), list[int]()

    def once(*given: Any) -> Any:
        found.extend([] if found else [examine(*given)])
        return found[0]

    monkeypatch.setattr(aa_comparisons, "examine", once)
    monkeypatch.setattr(checkup, "keep_peaks", lambda threads, _: peaks.append(threads))
    told = json.loads(succeeded(modbench("doctor", "-n", 1, "--device", "cpu", "--json")).stdout)
    assert (told["certificate"]["comparisons"], told["certificate"]["verdict"]) == (1, "inconclusive")
    assert told["certificate"]["processes"] == STANDARD
    assert {"process_sd", "between_sd", "block_sd", "round_s"} <= told["comparisons"][0].keys()
    assert told["comparisons"][0]["start_s"] > 0  # of real processes
    assert peaks == [1]
    (folder,) = (atomic_files.state_folder() / "machines").iterdir()
    certificate.keep(folder.name, [told["comparisons"][0] | {"hit": i < 40} for i in range(100)])
    second = modbench("doctor", "-n", 1, "--device", "cpu")
    assert second.returncode == 5, second.stderr
    assert second.stdout.startswith("unfit: ")
    assert len(second.stdout.splitlines()) <= SCREEN
    for words in ("of 102 called different", "standard effort  smallest effect", "time to decide   "):
        assert words in second.stdout
    assert second.stderr.startswith("modbench: this machine")
    fresh = modbench("doctor", "-n", 1, "--device", "cpu", "--fresh", "--json")
    assert json.loads(fresh.stdout)["certificate"]["comparisons"] == 1
