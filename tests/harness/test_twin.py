"""The twin of the anchor: planned and timed, in both CSV files, the page and the terminal, and never a contender."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted import planted_suite, stored
from present import present

from modbench.commands.plan.forecast import as_text, forecast
from modbench.harness.core.labels import Label
from modbench.harness.stats import contrast
from modbench.reports.page import render
from modbench.reports.questions.gate import gate
from modbench.reports.questions.machine import machine_check, twin_check, warnings
from modbench.reports.tables import pair_verdicts
from modbench.reports.tables.load import Loaded, default_arm, load
from modbench.reports.tables.pair_verdicts import SILENT, UNCHECKED
from modbench.reports.terminal import summary
from modbench.reports.writers.number_format import plain

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

TWIN = "dense-twin[T64-B1-fp32-cpu1]"


def run(folder: Path, **more: Any) -> Loaded:
    """A planted run of a machine that was never checked; its CSV files are written."""
    suite = {"twin": True, "train": None, "metrics": ["flops/forward", "latency/forward"], **more.pop("suite", {})}
    stored(folder, planted_suite(more.pop("effort", "draft"), **suite), **{"certificate": None, **more})
    return load(folder / "run")


def terminal(loaded: Loaded) -> str:
    return " ".join(summary.closing(loaded, loaded.path / "report.html", None).split())


def page(loaded: Loaded) -> str:
    return render.html(loaded)


def checked(loaded: Loaded) -> tuple[str, str]:
    """The verdict on the machine, and what is said of it."""
    status, said = machine_check(loaded)
    return status, plain(said)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return run(tmp_path_factory.mktemp("calm"))


@pytest.fixture(scope="module")
def unchecked(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return run(tmp_path_factory.mktemp("unchecked"), suite={"twin": False})


def test_a_twin_is_the_anchor_under_another_name() -> None:
    for comparison in planted_suite("draft", twin=True, train=None, metrics=["latency/forward"]).comparisons:
        anchor, twin = comparison.arms[0], comparison.timed.arms[-1]
        assert (twin.model, twin.config, twin.place) == (anchor.model, anchor.config, anchor.place)
        assert (twin.arm, twin.id) == ("dense-twin", anchor.id.replace("dense[", "dense-twin["))
        assert twin.twin
        assert not anchor.twin
        assert twin.original == anchor
        assert comparison.timed.timed == comparison.timed  # one twin, not two
        ids = [case.id for case in comparison.timed.arms]
        assert len(ids) == len(set(ids))


def test_the_name_of_a_twin_keeps_what_distinguishes_the_anchor() -> None:
    arms = [{"model": "mod", "capacity": [0.5, 0.25]}, {"model": "dense"}]
    (first, *_) = planted_suite("draft", twin=True, train=None, metrics=["latency/forward"], arms=arms).comparisons
    twin = first.timed.arms[-1]
    assert (twin.arm, twin.id) == ("mod-twin[c0.5]", "mod-twin[c0.5-T64-B1-fp32-cpu1]")


@pytest.mark.usefixtures("unmeasured")
def test_only_timed_units_hold_the_twin() -> None:
    """It is neither counted, weighed nor trained, and is none of the plan's cases."""
    made = planted_suite("draft", twin=True)
    twins = {unit.made_in: sum(case.twin for case in unit.comparison.arms) for unit in made.units}
    assert twins == {"count": 0, "roofline": 0, "time": 1, "memory": 0, "train": 0}
    assert not any(case.twin for case in made.cases)
    said = " ".join(as_text(forecast(made)).split())
    assert f"{TWIN} and 1 more" in said
    share = forecast(made)["twin_share"]
    assert 0.05 < share < 0.3


@pytest.mark.parametrize(
    ("effort", "changes"),
    [
        ("smoke", {}),  # claims nothing
        ("draft", {"twin": False}),
        ("draft", {"metrics": ["flops/forward", "memory/peak_allocated"]}),  # no times
        ("draft", {"arms": [{"model": "dense"}]}),  # nothing is compared
    ],
)
def test_where_there_is_no_claim_on_times_there_is_no_twin(effort: str, changes: dict[str, Any]) -> None:
    made = planted_suite(effort, **{"twin": True, "train": None, "metrics": ["latency/forward"], **changes})
    assert not any(case.twin for unit in made.units for case in unit.comparison.arms)
    assert forecast(made)["twins"] == []
    assert "twin" not in as_text(forecast(made))


def test_a_twin_is_no_contender(calm: Loaded, unchecked: Loaded) -> None:
    assert [case.arm for case in calm.arms] == [case.arm for case in unchecked.arms]
    assert default_arm(calm) == default_arm(unchecked)
    assert len(calm.comparisons) == len(unchecked.comparisons)
    assert not calm.comparisons.arm.str.contains("twin").any()
    assert calm.run.plan.ladder == unchecked.run.plan.ladder
    told, _, check = summary.closing(calm, Path("page"), None).partition("\nsure  ")
    assert "than dense" in told
    assert "twin" not in told
    assert "A/A control: 0 of 2 differ" in " ".join(check.split())
    assert not any("twin" in finding.what for finding in gate.gate(calm, calm, 0.02).findings)


def test_a_twin_is_no_baseline_and_stays_with_the_anchor(calm: Loaded) -> None:
    with pytest.raises(Exception, match="dense-twin"):
        load(calm.path, "dense-twin")
    other = load(calm.path, "moe")
    assert set(other.twins.baseline_arm) == {"dense"}
    assert machine_check(other) == machine_check(calm)


def test_a_twin_does_not_enlarge_the_family(calm: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holm over arms and twins together would let a machine's check cost the arms their verdicts."""
    sizes, judge = list[int](), contrast.together

    def counted(contrasts: Sequence[contrast.Contrast]) -> list[contrast.Contrast]:
        sizes.append(len(contrasts))
        return judge(contrasts)

    monkeypatch.setattr(pair_verdicts, "together", counted)
    load(calm.path)
    # Three arms against the anchor, then two, then one against each other; the matched baseline; twins at both places.
    assert set(sizes) == {3, 2, 1}


def test_without_a_certificate_the_twin_is_the_check(calm: Loaded) -> None:
    status, said = checked(calm)
    found = present(twin_check(calm))
    assert status == "fit"
    assert (found.verdicts, found.apart) == (["equivalent"] * 2, 0)
    assert 0 < present(found.largest.value) < 0.02
    words = plain(found.in_words())
    assert words.startswith("A/A control: 0 of 2 differ, 0 inconclusive, ≤ ")
    assert said == words
    html = page(calm)
    assert said in html
    assert said in terminal(calm)
    assert calm.comparisons[calm.comparisons.metric == "latency/forward"].verdict.notna().all()
    assert warnings(calm) == []
    assert 'class="span-12 warning"' not in html


def test_an_unequal_twin_is_said_before_all_times(tmp_path: Path) -> None:
    loaded = run(tmp_path, slower={"dense-twin": 1.1})
    status, said = checked(loaded)
    assert status == "doubtful"
    found = present(twin_check(loaded))
    assert (found.apart, len(found.verdicts)) == (2, 2)
    assert said == plain(found.in_words())
    assert said.startswith("A/A control: 2 of 2 differ, 0 inconclusive, ")
    (warning,) = map(plain, warnings(loaded))
    assert "differs in 2 of 2" in warning
    assert plain(found.largest) in warning
    assert terminal(loaded).startswith(f"⚠ {warning[:40]}")
    html = page(loaded)
    assert html.index("differs in 2 of 2") < html.index("At a glance")
    assert 'class="span-12 warning"' in html
    assert loaded.comparisons[loaded.comparisons.metric == "latency/forward"].verdict.notna().all()


def test_no_verdict_on_a_time_stands_beside_an_unchecked_machine(unchecked: Loaded) -> None:
    """Neither doctor nor a twin: ratios and intervals stay, verdicts do not; the page and the terminal begin with that."""
    pairs = pd.read_csv(unchecked.path / "comparisons.csv")
    timed, counted = (pairs[pairs.metric == metric] for metric in ("latency/forward", "flops/forward"))
    assert len(timed) > 10
    assert timed.verdict.isna().all()
    assert timed.reason.str.contains(UNCHECKED, regex=False).all()
    assert timed.ratio.notna().all()
    assert timed.ci_low.notna().all()
    assert counted.verdict.notna().all()
    status, said = checked(unchecked)
    assert status == "unknown"
    assert said == "no A/A control"
    assert terminal(unchecked).startswith(f"⚠ Times have no verdicts: {UNCHECKED.replace('`', '')}.")
    html = page(unchecked)
    assert html.index("Times have no verdicts") < html.index("At a glance")
    for word in ("▲ faster", "▼ slower"):
        assert word not in html


def test_disturbed_times_keep_their_label_on_an_unchecked_machine(tmp_path: Path) -> None:
    loaded = run(tmp_path, suite={"twin": False}, waits="mod[c0.125]")
    rows = loaded.comparisons[(loaded.comparisons.metric == "latency/forward")].set_index("arm")
    assert set(rows.loc["mod[c0.125]"].labels) == {Label.CONTAMINATED}
    assert rows.verdict.isna().all()


def test_a_run_without_times_needs_no_check(tmp_path: Path) -> None:
    loaded = run(tmp_path, suite={"metrics": ["flops/forward"]})
    status, said = checked(loaded)
    assert status == "unknown"
    assert said == "no A/A control"
    assert warnings(loaded) == []


def test_a_twin_that_failed_checks_nothing(tmp_path: Path) -> None:
    loaded = run(tmp_path, fails="dense-twin")
    assert not loaded.checked
    assert set(loaded.failed.arm) == {"dense-twin"}
    rows = loaded.comparisons[loaded.comparisons.metric == "latency/forward"]
    assert rows.verdict.isna().all()
    assert rows.reason.str.contains(SILENT, regex=False).all()
    assert warnings(loaded) == [f"Times have no verdicts: {SILENT.replace('`', '')}."]


def test_a_disturbed_twin_checks_nothing(tmp_path: Path) -> None:
    loaded = run(tmp_path, waits="dense-twin")
    assert set(loaded.twins.labels) == {Label.CONTAMINATED}
    assert loaded.comparisons[loaded.comparisons.metric == "latency/forward"].verdict.isna().all()
    status, said = checked(loaded)
    assert status == "unknown"
    assert "0 of 2 differ, 2 inconclusive" in said
    assert terminal(loaded).startswith(f"⚠ Times have no verdicts: {SILENT.replace('`', '')}.")
