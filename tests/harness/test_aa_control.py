"""The A/A control of the anchor: planned and timed, in both CSV files, the page and the terminal, and never a contender."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted import stored
from present import present

from modbench.commands.plan.forecast import as_text, forecast
from modbench.harness.core.labels import Label
from modbench.harness.stats import verdicts
from modbench.planted_runs import planted_plan
from modbench.reports.html_report import render
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.gate import gate
from modbench.reports.questions.machine_check import aa_control_check, machine_check, warnings
from modbench.reports.tables import claims
from modbench.reports.tables.claims import SILENT, UNCHECKED
from modbench.reports.tables.load import Loaded, default_variant, load
from modbench.reports.terminal import printed_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

AA_CONTROL = "dense-aa[T64-B1-fp32-cpu1]"


def run(folder: Path, **more: Any) -> Loaded:
    """A planted run of a machine that was never checked; its CSV files are written."""
    suite = {
        "aa_control": True,
        "train": None,
        "metrics": ["flops/forward", "latency/forward"],
        **more.pop("suite", {}),
    }
    stored(folder, planted_plan(more.pop("effort", "draft"), **suite), **{"certificate": None, **more})
    return load(folder / "run")


def terminal(loaded: Loaded) -> str:
    return " ".join(printed_run.closing(loaded, loaded.path / "report.html", None).split())


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
    return run(tmp_path_factory.mktemp("unchecked"), suite={"aa_control": False})


def test_an_aa_control_is_the_anchor_under_another_name() -> None:
    for comparison in planted_plan("draft", aa_control=True, train=None, metrics=["latency/forward"]).comparisons:
        anchor, aa_control = comparison.variants[0], comparison.timed.variants[-1]
        assert (aa_control.model, aa_control.config, aa_control.grid_point) == (
            anchor.model,
            anchor.config,
            anchor.grid_point,
        )
        assert (aa_control.variant, aa_control.id) == ("dense-aa", anchor.id.replace("dense[", "dense-aa["))
        assert aa_control.aa_control
        assert not anchor.aa_control
        assert aa_control.original == anchor
        assert comparison.timed.timed == comparison.timed  # one A/A control, not two
        ids = [case.id for case in comparison.timed.variants]
        assert len(ids) == len(set(ids))


def test_the_name_of_an_aa_control_keeps_what_distinguishes_the_anchor() -> None:
    variants = [{"model": "mod", "capacity": [0.5, 0.25]}, {"model": "dense"}]
    (first, *_) = planted_plan(
        "draft", aa_control=True, train=None, metrics=["latency/forward"], variants=variants
    ).comparisons
    aa_control = first.timed.variants[-1]
    assert (aa_control.variant, aa_control.id) == ("mod-aa[c0.5]", "mod-aa[c0.5-T64-B1-fp32-cpu1]")


@pytest.mark.usefixtures("unmeasured")
def test_only_timed_jobs_hold_the_aa_control() -> None:
    """It is neither counted, weighed nor trained, and is none of the plan's cases."""
    made = planted_plan("draft", aa_control=True)
    aa_controls = {job.made_in: sum(case.aa_control for case in job.comparison.variants) for job in made.jobs}
    assert aa_controls == {"count": 0, "roofline": 0, "time": 1, "memory": 0, "train": 0}
    assert not any(case.aa_control for case in made.cases)
    said = " ".join(as_text(forecast(made)).split())
    assert f"{AA_CONTROL} and 1 more" in said
    share = forecast(made)["aa_control_share"]
    assert 0.05 < share < 0.3


@pytest.mark.parametrize(
    ("effort", "changes"),
    [
        ("smoke", {}),  # claims nothing
        ("draft", {"aa_control": False}),
        ("draft", {"metrics": ["flops/forward", "memory/peak_allocated"]}),  # no times
        ("draft", {"variants": [{"model": "dense"}]}),  # nothing is compared
    ],
)
def test_where_there_is_no_claim_on_times_there_is_no_aa_control(effort: str, changes: dict[str, Any]) -> None:
    made = planted_plan(effort, **{"aa_control": True, "train": None, "metrics": ["latency/forward"], **changes})
    assert not any(case.aa_control for job in made.jobs for case in job.comparison.variants)
    assert forecast(made)["aa_controls"] == []
    assert "aa_control" not in as_text(forecast(made))


def test_an_aa_control_is_no_contender(calm: Loaded, unchecked: Loaded) -> None:
    assert [case.variant for case in calm.variants] == [case.variant for case in unchecked.variants]
    assert default_variant(calm) == default_variant(unchecked)
    assert len(calm.comparisons) == len(unchecked.comparisons)
    assert not calm.comparisons.variant.str.contains("aa_control").any()
    assert calm.run.plan.matched_baselines == unchecked.run.plan.matched_baselines
    told, _, check = printed_run.closing(calm, Path("page"), None).partition("\nsure  ")
    assert "than dense" in told
    assert "aa_control" not in told
    assert "A/A control: 0 of 2 differ" in " ".join(check.split())
    assert not any("aa_control" in finding.what for finding in gate.gate(calm, calm, 0.02).findings)


def test_an_aa_control_is_no_baseline_and_stays_with_the_anchor(calm: Loaded) -> None:
    with pytest.raises(Exception, match="dense-aa"):
        load(calm.path, "dense-aa")
    other = load(calm.path, "moe")
    assert set(other.aa_controls.baseline_variant) == {"dense"}
    assert machine_check(other) == machine_check(calm)


def test_an_aa_control_does_not_enlarge_the_family(calm: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holm over variants and A/A controls together would let a machine's check cost the variants their verdicts."""
    sizes, judge = list[int](), verdicts.together

    def counted(contrasts: Sequence[verdicts.Contrast]) -> list[verdicts.Contrast]:
        sizes.append(len(contrasts))
        return judge(contrasts)

    monkeypatch.setattr(claims, "together", counted)
    load(calm.path)
    # Three variants against the anchor, then two, then one against each other; the matched baseline; A/A controls at both places.
    assert set(sizes) == {3, 2, 1}


def test_without_a_certificate_the_aa_control_is_the_check(calm: Loaded) -> None:
    status, said = checked(calm)
    found = present(aa_control_check(calm))
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


def test_an_unequal_aa_control_is_said_before_all_times(tmp_path: Path) -> None:
    loaded = run(tmp_path, slower={"dense-aa": 1.1})
    status, said = checked(loaded)
    assert status == "inconclusive"
    found = present(aa_control_check(loaded))
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
    """Neither doctor nor an A/A control: ratios and intervals stay, verdicts do not; the page and the terminal begin with
    that.
    """
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


def test_noisy_times_keep_their_label_on_an_unchecked_machine(tmp_path: Path) -> None:
    loaded = run(tmp_path, suite={"aa_control": False}, waits="mod[c0.125]")
    rows = loaded.comparisons[(loaded.comparisons.metric == "latency/forward")].set_index("variant")
    assert set(rows.loc["mod[c0.125]"].labels) == {Label.NOISY}
    assert rows.verdict.isna().all()


def test_a_run_without_times_needs_no_check(tmp_path: Path) -> None:
    loaded = run(tmp_path, suite={"metrics": ["flops/forward"]})
    status, said = checked(loaded)
    assert status == "unknown"
    assert said == "no A/A control"
    assert warnings(loaded) == []


def test_an_aa_control_that_failed_checks_nothing(tmp_path: Path) -> None:
    loaded = run(tmp_path, fails="dense-aa")
    assert not loaded.checked
    assert set(loaded.failed.variant) == {"dense-aa"}
    rows = loaded.comparisons[loaded.comparisons.metric == "latency/forward"]
    assert rows.verdict.isna().all()
    assert rows.reason.str.contains(SILENT, regex=False).all()
    assert warnings(loaded) == [f"Times have no verdicts: {SILENT.replace('`', '')}."]


def test_a_noisy_aa_control_checks_nothing(tmp_path: Path) -> None:
    loaded = run(tmp_path, waits="dense-aa")
    assert set(loaded.aa_controls.labels) == {Label.NOISY}
    assert loaded.comparisons[loaded.comparisons.metric == "latency/forward"].verdict.isna().all()
    status, said = checked(loaded)
    assert status == "unknown"
    assert "0 of 2 differ, 2 inconclusive" in said
    assert terminal(loaded).startswith(f"⚠ Times have no verdicts: {SILENT.replace('`', '')}.")
