"""IsoFLOP sweeps: planted curves, pairs over seeds, the page, and plans that are refused."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_launcher import FakeLauncher
from present import present
from sections_of import drawn

from modbench.extend import planted_run
from modbench.harness.core import atomic_files
from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError
from modbench.harness.core.train_plan import FLOPS_TOLERANCE, width_rule
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.domain.suite import Suite
from modbench.harness.execution.run_phase import Run, Slots
from modbench.harness.planning import plan
from modbench.harness.planning.comparisons import keys_of
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.load_suite import load_suite, parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan
from modbench.harness.results import run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.plugins.sweeps import section as sweeps
from modbench.plugins.sweeps.isoflop import question as isoflop
from modbench.plugins.sweeps.isoflop.plan import IsoflopPlan, budget_of, spent
from modbench.plugins.sweeps.rates.measurement import RatesNotes
from modbench.reports.blocks import Estimate
from modbench.reports.markup.number_format import plain
from modbench.reports.tables.load import Loaded, load

SIZES = [{"d_model": d, "n_layers": 2} for d in (32, 48, 64)]
TEXT = Text("t", b"some words " * 50_000, b"other words " * 500, "c0ffee")


def suite(**changes: Any) -> Suite:
    data = {
        "name": "sweep",
        "metrics": ["flops/forward", "loss/val", "loss/val_causal", "lr/best_over_rule"],
        "seeds": [0, 1, 2],
        "grid": {"seq_len": [64], "batch_size": [2]},
        "variants": [{"model": "dense"}, {"model": "mod", "capacity": 0.125, "router": ["learned", "stochastic"]}],
        "train": {"seq_len": 64, "batch_size": 2},
        "isoflop": {"train_flops": [1e10, 3e10], "sizes": SIZES},
        **changes,
    }
    return parse_suite(data, "test")


def planned(**changes: Any) -> Plan:
    return plan.make_plan(suite(**changes), device="cpu", text=TEXT)


def test_every_run_of_a_budget_costs_the_same_within_one_per_cent() -> None:
    made = planned()
    runs = [job for job in made.jobs if job.made_in == "train"]
    assert len(runs) == 2 * 3 * 3 * 3  # budgets, sizes, variants, seeds
    for job in runs:
        (case,) = job.comparison.variants
        cost, run = present(case_cost(case)), present(job.protocol.train)
        assert abs(run.steps * cost.train_step / spent(case) - 1) <= FLOPS_TOLERANCE
        assert run.lr == width_rule(case.config.d_model)
        # Skipping makes a step cheaper, so the same budget pays for more of them.
        dense = next(other for other in made.cases if other.model == "dense" and budget_of(other) == budget_of(case))
        if case.model == "mod" and case.config.d_model == dense.config.d_model:
            dense_cost = present(case_cost(dense))
            assert run.steps > spent(case) / dense_cost.train_step * 1.2


@pytest.mark.parametrize("budgets", [[1e10, 3e10], [3e10, 1e10]])
def test_rates_are_tried_once_for_each_variant_and_come_first(budgets: list[float]) -> None:
    made = planned(isoflop={"train_flops": budgets, "sizes": SIZES})
    rates = {job.name: job for job in made.jobs if job.made_in == "rates"}
    assert len(rates) == 3
    for job in rates.values():
        (case,) = job.comparison.variants
        assert case.config.d_model == 48  # the middle size
        assert budget_of(case) == 1e10  # the smallest budget
        assert job.protocol.rates == (0.5, 1.0, 2.0)
    for job in made.jobs:
        if job.made_in == "train":
            source = rates[str(present(job.protocol.train).rate_from)]
            assert source.comparison.variants[0].family == job.comparison.variants[0].family


def test_runs_wait_for_their_own_rates_alone(tmp_path: Path) -> None:
    """While one variant's rates are still being tried, runs of a variant that has its rate continue."""
    made = planned()
    jobs = [job for job in made.jobs if job.made_in in {"rates", "train"}]
    events: list[tuple[str, str]] = []

    class Slow(FakeLauncher):
        """Its units end in the order of their names, the rates of dense last."""

        def start(self, job: Job, folder: RunFolder, timeout_s: float) -> Any:
            events.append(("start", job.name))
            return super().start(job, folder, timeout_s)

        def wait(self, handles: list[Any], timeout_s: float) -> list[Any]:  # noqa: ARG002  # as the real one
            assert handles, "nothing runs while something waits"
            last = [handle for handle in handles if not handle.job.name.startswith("rates-dense")] or handles
            last[0].record.write_text("{}")
            return [last[0]]

        def end(self, handle: Any) -> None:
            events.append(("end", handle.job.name))

    folder = run_folder.create(str(tmp_path / "run"), "sweep")
    limits = {job.name: 1.0 for job in jobs}
    quiet = SimpleNamespace(started=lambda _: None, tick=lambda: None, ended=lambda _: None)
    Run(Slow(), folder, quiet).phase(Slots(tuple(jobs), 2), limits)
    assert len(events) == 2 * len(jobs)
    grid_point = {event: i for i, event in enumerate(events)}
    for job in jobs:
        if job.made_in == "train":
            assert grid_point["start", job.name] > grid_point["end", str(present(job.protocol.train).rate_from)]
    first_run = min(i for (what, name), i in grid_point.items() if what == "start" and name.startswith("train"))
    dense = next(job.name for job in jobs if job.name.startswith("rates-dense"))
    assert first_run < grid_point["end", dense]


def test_a_sweep_without_a_check_of_rates_keeps_the_rule() -> None:
    made = planned(metrics=["loss/val"])
    assert not [job for job in made.jobs if job.made_in == "rates"]
    assert all(job.protocol.train.rate_from is None for job in made.jobs if job.protocol.train)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"isoflop": {"train_flops": [1e14], "sizes": SIZES}},
            "times the 5.5e.05 of corpus 'stdlib'; at most 4 are allowed",
        ),
        ({"isoflop": {"train_flops": [1.3e8], "sizes": SIZES}}, "at most 1 % is allowed"),
        ({"isoflop": {"train_flops": [1e5], "sizes": SIZES}}, "less than one step"),
    ],
)
def test_a_budget_that_makes_no_fair_sweep_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        planned(**changes)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"train_flops": [1e10], "sizes": [{"width": 3}]}, "a size is made of"),
        ({"train_flops": [1e10], "sizes": [SIZES[0], SIZES[0]]}, "given twice"),
        ({"train_flops": [1e10], "sizes": SIZES, "rates": [1, 2]}, "fewer than three"),
        ({"train_flops": [], "sizes": SIZES}, "train_flops"),
        ({"train_flops": [1e10, 1.0001e10], "sizes": SIZES}, "the same first three digits"),
        ({"train_flops": [1e10], "sizes": [{}]}, "a size is empty"),
        ({"train_flops": [1e10], "sizes": SIZES, "rates": [1, 2, 1e9]}, "less than or equal to 100"),
    ],
)
def test_a_sweep_that_cannot_be_is_said_in_words(table: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        suite(isoflop=table)


def test_more_epochs_are_allowed_where_they_are_named() -> None:
    asked = override(
        suite(), Overrides(settings={"isoflop.train_flops": [1000000000000.0], "isoflop.max_epochs": 1000})
    )
    assert plan.make_plan(asked, device="cpu", text=TEXT).jobs


@pytest.mark.plugin("routing")
@pytest.mark.parametrize("name", ["isoflop-cpu", "capacity-confirmed", "no-ops-loss"])
@pytest.mark.plugin("routing")
def test_sweeps_on_the_standard_library_fit_every_supported_python(name: str) -> None:
    """Python 3.12's has the least text to train on, 8.83 million bytes; 3.11's and 3.13's have 9.96 and 9.95."""
    least = Text("stdlib", b"a" * 8_800_000, b"b" * 700_000, "c0ffee")
    assert plan.make_plan(load_suite(name), device="cpu", text=least).jobs


@pytest.mark.parametrize("name", ["isoflop-cpu", "isoflop-gpu", "isoflop-paper"])
@pytest.mark.plugin("routing")
def test_shipped_sweeps_plan(name: str) -> None:
    made = load_suite(name)
    assert "lr/best_over_rule" in keys_of(made).trained
    assert len(IsoflopPlan.settled(made).sizes) >= 3
    assert len(made.seeds) >= (2 if "confirm" in made.tables else 3)


def planted(folder: Path, *, near: bool = False) -> Loaded:
    """Losses on a parabola over the width; by noise 0.1 nats more than dense, or all are `near` one another."""
    made = planned()
    above = {"dense": 0.0, "mod[c0.125-learned]": -0.03, "mod[c0.125-stochastic]": 0.0 if near else 0.1}
    bend = 0.0 if near else 2e-4
    losses = {
        case.id: 2.0 + above[case.family] + bend * (case.config.d_model - 48) ** 2
        for case in made.cases
        if budget_of(case)
    }
    return load(planted_run(folder, made, losses=losses, run_noise=1e-4))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return planted(tmp_path_factory.mktemp("swept"))


def test_step_times_are_over_the_best_dense_size_whichever_that_is() -> None:
    """Each pair is in the table once; against a size that is not the anchor it is mirrored."""
    rows = [
        SimpleNamespace(status="ok", variant="a", baseline_variant="best", ratio=2.0, ci_low=1.6, ci_high=2.5),
        SimpleNamespace(status="ok", variant="best", baseline_variant="b", ratio=4.0, ci_low=3.0, ci_high=5.0),
    ]

    def between(_metric: str, *variants: str) -> list[Any]:
        return [row for row in rows if {row.variant, row.baseline_variant} == {*variants}]

    loaded: Any = SimpleNamespace(between=between)

    def point(variant: str) -> Any:
        return SimpleNamespace(case=SimpleNamespace(variant=variant))

    assert isoflop.step_share(loaded, point("a"), point("best")) == Estimate(0.5, 0.4, 0.625, "ratio")
    assert isoflop.step_share(loaded, point("b"), point("best")) == Estimate(4.0, 3.0, 5.0, "ratio")
    assert isoflop.step_share(loaded, point("best"), point("best")) == Estimate(1.0, kind="ratio")
    assert isoflop.step_share(loaded, point("c"), point("best")) is None


def test_a_size_without_every_seed_is_left_out_and_said(tmp_path: Path) -> None:
    run = planted(tmp_path).path
    for file in (run / "jobs").glob("train-dense_d32*seed1*"):
        file.unlink()
    rows = isoflop.TABLE.frame(load(run))
    dense = rows[(rows.variant == "dense") & (rows.metric == "loss/val")].iloc[0]
    assert [part.split()[0] for part in dense.reason.split("; ")] == ["d32-L2", "2"]  # the size, and two are too few
    assert math.isnan(dense.optimum_loss)
    learned = rows[(rows.variant == "mod[c0.125-learned]") & (rows.metric == "loss/val")].iloc[0]
    assert math.isnan(learned.optimum_difference)
    assert not math.isnan(learned.optimum_loss)


def test_a_smoke_run_makes_a_few_steps_and_no_claims() -> None:
    made = plan.make_plan(override(suite(), Overrides(effort="smoke")), device="cpu", text=TEXT)
    assert {job.protocol.train.steps for job in made.jobs if job.protocol.train} == {4}


def test_the_planted_differences_are_found_and_an_interval_holds_0_where_none_was_planted(
    swept: Loaded, tmp_path: Path
) -> None:
    """At the planted distance every pair is decided; a control that equals dense is not."""

    def holds_0(loaded: Loaded) -> list[bool]:
        rows: Any = [each.difference for each in isoflop.by_budget(loaded) if each.difference is not None]
        return [found.low <= 0 <= found.high for found in rows]

    differences = [each.difference.value for each in isoflop.by_budget(swept) if each.difference is not None]
    assert differences == pytest.approx([-0.03, 0.1] * 2, abs=1e-3)
    assert not any(holds_0(swept))
    assert holds_0(planted(tmp_path, near=True)) == [False, True] * 2


def test_a_prediction_is_made_for_fast_cards() -> None:
    assert plan.assumed_speed("cuda", 1e12) == 40 * plan.assumed_speed("cuda", 1e9)
    assert plan.assumed_speed("cpu", 1e12) == plan.assumed_speed("cpu", 1e9)
    made = plan.make_plan(suite(), device="cpu", text=TEXT).model_copy(update={"device": "cuda"})
    (job, *_) = (job for job in made.jobs if job.made_in == "train")
    large = job.model_copy(update={"flops": 1e17})
    assert plan.predicted_seconds(made, large, 1) == pytest.approx(1e17 / 2e14, rel=0.01)


def test_curves_that_look_alike_differ_in_line(swept: Loaded) -> None:
    for drawing in drawn(sweeps.ISOFLOP, swept):
        lines = [line for line in drawing.figure.axes[0].lines if str(line.get_label()).startswith(" ")]
        assert [line.get_linestyle() for line in lines] == ["-", "-", ":"]
    dense, learned, *_ = isoflop.by_budget(swept)
    assert sweeps._lines([learned, dense, learned]) == ["-", "-", "--"]
    assert len(set(sweeps._lines([learned] * 4))) == 4  # the variants of no-ops-loss that are integrated MoDE


@pytest.mark.parametrize("at_edge", [False, True])
def test_a_best_rate_at_the_edge_of_those_tried_is_a_doubt(tmp_path: Path, at_edge: bool) -> None:
    run = planted(tmp_path).path
    tried = RatesNotes(seed=0, rule=4e-3, rates=[0.5, 1.0, 2.0], losses=[2.2, 2.0, None], at_edge=at_edge)
    for job in (job for job in planned().jobs if job.made_in == "rates"):
        known: dict[str, Any] = {
            "metric": "lr/best_over_rule",
            "unit": "ratio",
            "status": "ok",
            "samples": {"value": [1.0]},
        }
        outcome = Outcome(case=job.comparison.variants[0].id, notes=tried, **known)
        RunFolder(run).write_record(Record(job=job, started=atomic_files.now(), wall_s=1.0, outcomes=(outcome,)))
    said = [plain(each.given["variants"]) for each in isoflop.doubts(load(run))]
    assert said == ["dense, MoD 0.125 learned and MoD 0.125 stochastic"] * at_edge
