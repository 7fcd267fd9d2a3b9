"""The A/A control of the anchor: planned and timed, no contender, and a check of the machine before any verdict on a time."""

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
TIMED: dict[str, Any] = {"aa_control": True, "train": None, "metrics": ["latency/forward"]}
MOD = {"model": "mod", "capacity": [0.5, 0.25]}
FOUND = "A/A control: {} of 2 differ, {} inconclusive"
SILENCED = "Times have no verdicts"


def run(folder: Path, suite: dict[str, Any] | None = None, **more: Any) -> Loaded:
    """A planted run of a machine that was never checked; its CSV files are written."""
    suite = {**TIMED, "metrics": ["flops/forward", "latency/forward"], **(suite or {})}
    stored(folder, planted_plan("draft", **suite), certificate=None, **more)
    return load(folder / "run")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return run(tmp_path_factory.mktemp("calm"))


def test_an_aa_control_is_the_anchor_under_another_name() -> None:
    (comparison, *_) = planted_plan("draft", **TIMED, variants=[MOD, {"model": "dense"}]).comparisons
    aa_control = comparison.timed.variants[-1]
    assert aa_control.id == "mod-aa[c0.5-T64-B1-fp32-cpu1]"  # with what distinguishes the anchor
    assert aa_control.original == comparison.variants[0]
    assert comparison.timed.timed == comparison.timed  # one A/A control, not two


@pytest.mark.usefixtures("unmeasured")
def test_only_timed_jobs_hold_the_aa_control() -> None:
    """It is neither counted, weighed nor trained, and is none of the plan's cases."""
    made = planted_plan("draft", aa_control=True)
    aa_controls = {job.made_in: sum(case.aa_control for case in job.comparison.variants) for job in made.jobs}
    assert aa_controls == {"count": 0, "roofline": 0, "time": 1, "memory": 0, "train": 0}
    assert not any(case.aa_control for case in made.cases)
    assert "dense-aa[T64-B1-fp32-cpu1] and 1 more" in " ".join(as_text(forecast(made)).split())
    assert 0.05 < forecast(made)["aa_control_share"] < 0.3


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
    made = planted_plan(effort, **{**TIMED, **changes})
    assert not any(case.aa_control for job in made.jobs for case in job.comparison.variants)
    assert forecast(made)["aa_controls"] == []
    assert "aa_control" not in as_text(forecast(made))


def test_an_aa_control_is_neither_contender_nor_baseline(calm: Loaded) -> None:
    without = planted_plan("draft", **{**TIMED, "aa_control": False})
    assert [case.variant for case in calm.variants] == [*dict.fromkeys(case.variant for case in without.cases)]
    assert present(default_variant(calm)).variant == "mod[c0.125]"
    assert calm.run.plan.matched_baselines == without.matched_baselines
    assert not calm.comparisons.variant.str.contains("-aa").any()
    told, _, check = printed_run.closing(calm, Path("page"), None).partition("\nsure  ")
    assert "-aa" not in told
    assert "A/A control: 0 of 2 differ" in " ".join(check.split())
    assert not any("-aa" in finding.what for finding in gate.gate(calm, calm, 0.02).findings)
    with pytest.raises(Exception, match="dense-aa"):
        load(calm.path, "dense-aa")
    other = load(calm.path, "moe")  # it stays with the anchor
    assert set(other.aa_controls.baseline_variant) == {"dense"}
    assert machine_check(other) == machine_check(calm)


def test_an_aa_control_does_not_enlarge_the_family(calm: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holm over both would let a machine's check cost the variants their verdicts. Other metrics and places are no neighbours."""
    sizes, judge = list[int](), verdicts.together

    def counted(contrasts: Sequence[verdicts.Contrast]) -> list[verdicts.Contrast]:
        sizes.append(len(contrasts))
        return judge(contrasts)

    monkeypatch.setattr(claims, "together", counted)
    load(calm.path)
    # Three variants against the anchor, then two, then one against each other; the matched baseline; A/A controls at both places.
    assert set(sizes) == {3, 2, 1}


@pytest.mark.parametrize(
    ("more", "status", "said", "warning", "why"),
    [
        ({}, "fit", FOUND.format(0, 0) + ", ≤ ", "", ""),
        ({"slower": {"dense-aa": 1.1}}, "inconclusive", FOUND.format(2, 0) + ", ", "differs in 2 of 2", ""),
        ({"waits": "dense-aa"}, "unknown", FOUND.format(0, 2), SILENCED, SILENT),
        ({"fails": "dense-aa"}, "unknown", "", SILENCED, SILENT),
        ({"suite": {"aa_control": False}}, "unknown", "no A/A control", SILENCED, UNCHECKED),
        ({"suite": {"metrics": ["flops/forward"]}}, "unknown", "no A/A control", "", ""),  # without times
    ],
    ids=["calm", "unequal", "noisy", "failed", "unchecked", "without times"],
)
def test_what_the_control_found_is_said_before_all_times(
    more: dict[str, Any], status: str, said: str, warning: str, why: str, tmp_path: Path
) -> None:
    """A control that says nothing checks nothing: ratios and intervals stay, verdicts on times do not."""
    loaded = run(tmp_path, **more)
    found, words = machine_check(loaded)
    assert (found, plain(words).startswith(said)) == (status, True)
    check = aa_control_check(loaded)
    assert check is None or said == "" or plain(words) == plain(check.in_words())
    pairs = pd.read_csv(loaded.path / "comparisons.csv").query("variant != 'dense-aa'")
    timed, counted = (pairs[pairs.metric == metric] for metric in ("latency/forward", "flops/forward"))
    assert counted.verdict.notna().all()
    assert timed.ratio.notna().all()
    assert timed.ci_low.notna().all()
    assert timed.verdict.isna().all() if why else timed.verdict.notna().all()
    assert timed.reason.str.contains(why, regex=False).all() if why else True
    told = plain(" ".join(map(plain, warnings(loaded))))
    assert (warning in told and why.replace("`", "") in told) if warning else not told
    html, terminal = render.html(loaded), " ".join(printed_run.closing(loaded, Path("page"), None).split())
    assert ('class="span-12 warning"' in html) == terminal.startswith("⚠ ") == bool(warning)
    assert html.find(warning) < html.index("At a glance")
    assert not (why and any(word in html for word in ("▲ faster", "▼ slower")))


def test_noisy_times_keep_their_label_on_an_unchecked_machine(tmp_path: Path) -> None:
    loaded = run(tmp_path, {"aa_control": False}, waits="mod[c0.125]")
    rows = loaded.comparisons[(loaded.comparisons.metric == "latency/forward")].set_index("variant")
    assert set(rows.loc["mod[c0.125]"].labels) == {Label.NOISY}
    assert rows.verdict.isna().all()
