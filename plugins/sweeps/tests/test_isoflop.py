"""IsoFLOP sweeps: planted curves, pairs over seeds, the page, and plans that are refused."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_launcher import FakeLauncher
from present import present

from modbench.extend import planted_run
from modbench.harness.core import atomic_files
from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import NumericsError, Unmeasured, UsageError
from modbench.harness.core.train_plan import FLOPS_TOLERANCE, width_rule
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.execution.run_phase import Run, Slots
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.load_suite import load_suite, parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.results import run_folder
from modbench.harness.results.run_folder import RunFolder
from modbench.plugins.sweeps.isoflop import question as isoflop
from modbench.plugins.sweeps.isoflop.plan import budget_of, spent
from modbench.plugins.sweeps.rates.measurement import RatesNotes, search
from modbench.reports.blocks import Estimate
from modbench.reports.markup.number_format import plain
from modbench.reports.tables.load import Loaded, load

SIZES = [{"d_model": d, "n_layers": 2} for d in (32, 48, 64)]
LEARNED, NOISE = "mod[c0.125-learned]", "mod[c0.125-stochastic]"
TEXT = Text("t", b"some words " * 50_000, b"other words " * 500, "c0ffee")


def planned(select: str | None = None, settings: dict[str, Any] | None = None, **changes: Any) -> Plan:
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
    suite = override(parse_suite(data, "test"), Overrides(settings=settings or {}))
    return make_plan(suite, device="cpu", text=TEXT, select=select)


def sized(**changes: Any) -> dict[str, Any]:
    """A sweep with another table."""
    return {"isoflop": {"train_flops": [1e10], "sizes": SIZES} | changes}


# --- runs


def test_every_run_of_a_budget_costs_the_same_within_one_per_cent() -> None:
    """Skipping makes a step cheaper, so the same budget pays for more of them."""
    runs = [job for job in planned().jobs if job.made_in == "train"]
    assert len(runs) == 2 * 3 * 3 * 3  # budgets, sizes, variants, seeds
    steps: dict[str, dict[tuple[float, int], int]] = {}
    for job in runs:
        (case,) = job.comparison.variants
        run = present(job.protocol.train)
        assert abs(run.steps * present(case_cost(case)).train_step / spent(case) - 1) <= FLOPS_TOLERANCE
        assert run.lr == width_rule(case.config.d_model)
        steps.setdefault(case.family, {})[spent(case), case.config.d_model] = run.steps
    assert all(steps[LEARNED][each] > 1.2 * number for each, number in steps["dense"].items())


@pytest.mark.parametrize("budgets", [[1e10, 3e10], [3e10, 1e10]])
def test_rates_are_tried_once_for_each_variant_and_come_first(budgets: list[float]) -> None:
    """At the middle size and the smallest budget; without a check of rates the rule decides."""
    made = planned(**sized(train_flops=budgets))
    rates = {job.name: job for job in made.jobs if job.made_in == "rates"}
    tried = [(job.comparison.variants[0], job.protocol.rates) for job in rates.values()]
    assert [(case.config.d_model, budget_of(case), of) for case, of in tried] == [(48, 1e10, (0.5, 1.0, 2.0))] * 3
    for job in (job for job in made.jobs if job.made_in == "train"):
        source = rates[str(present(job.protocol.train).rate_from)]
        assert source.comparison.variants[0].family == job.comparison.variants[0].family
    ruled = planned(metrics=["loss/val"]).jobs
    assert "rates" not in {job.made_in for job in ruled}
    assert {job.protocol.train.rate_from for job in ruled if job.protocol.train} == {None}


@pytest.mark.parametrize(
    ("losses", "tried", "best"),
    [
        ({0.5: 2.0, 1.0: 1.0, 2.0: 3.0}, 3, 1.0),  # in the middle: three are enough
        ({0.5: 3.0, 1.0: 2.0, 2.0: 1.0, 4.0: 1.5}, 4, 2.0),  # at the edge: one more
        ({0.5: 3.0, 1.0: 2.0, 2.0: 1.5, 4.0: 1.2, 8.0: 1.1, 16.0: 1.0}, 6, 16.0),  # still at the edge: it stops
        ({0.5: 1.0, 0.25: 2.0}, 4, 0.5),  # others diverge
        ({}, 5, None),
    ],
)
def test_rates_are_tried_until_the_best_is_inside(losses: dict[float, float], tried: int, best: float | None) -> None:
    def loss(rate: float) -> float:
        if rate not in losses:
            raise NumericsError("diverged")
        return losses[rate]

    if best is None:
        with pytest.raises(Unmeasured, match=r"every rate .*0\.0625, 0\.125"):
            search(loss, (0.5, 1.0, 2.0))
        return
    found = search(loss, (0.5, 1.0, 2.0))
    assert (len(found.losses), found.best) == (tried, best)


class LastFirst(FakeLauncher):
    """Of the jobs that run, the one that began last ends first: the first rates that are tried end after all others."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self, job: Job, folder: RunFolder, timeout_s: float) -> Any:
        self.told.append(f"{job.name} began")
        return super().start(job, folder, timeout_s)

    def wait(self, handles: list[Any], timeout_s: float) -> list[Any]:  # noqa: ARG002  # as the real one
        handles[-1].record.write_text("{}")
        self.told.append(f"{handles[-1].job.name} ended")
        return handles[-1:]


def test_no_run_begins_before_its_rate_is_known(tmp_path: Path) -> None:
    jobs = tuple(job for job in planned().jobs if job.made_in in {"rates", "train"})
    launcher, folder = LastFirst(), run_folder.create(str(tmp_path / "run"), "sweep")
    quiet = SimpleNamespace(started=lambda _: None, tick=lambda: None, ended=lambda _: None)
    Run(launcher, folder, quiet).phase(Slots(jobs, 2), {job.name: 1.0 for job in jobs})
    for job in (job for job in jobs if job.made_in == "train"):
        rate = present(job.protocol.train).rate_from
        assert launcher.told.index(f"{job.name} began") > launcher.told.index(f"{rate} ended"), job.name


# --- plans


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (sized(train_flops=[1e14]), "times the 5.5e+05 of corpus 'stdlib'; at most 4 are allowed"),
        (sized(train_flops=[1.3e8]), "at most 1 % is allowed"),
        (sized(train_flops=[1e10, 1.0001e10]), "the same first three digits"),
        (sized(sizes=[{"width": 3}]), "a size is made of"),
        (sized(sizes=[SIZES[0], SIZES[0]]), "given twice"),
        (sized(rates=[1, 2]), "fewer than three"),
        ({"variants": [{"model": "dense"}, {"model": "mod", "capacity_warmup": 0.5}]}, "Set capacity_warmup=0"),
        ({"settings": {"train.steps": 5}}, "isoflop.train_flops set how long"),
        ({"select": "d32"}, "-k leaves out"),
    ],
)
def test_a_sweep_that_cannot_be_or_is_not_fair_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        planned(**changes)


@pytest.mark.plugin("routing")
@pytest.mark.parametrize("name", ["isoflop-cpu", "capacity-confirmed", "no-ops-loss"])
def test_sweeps_on_the_standard_library_fit_every_supported_python(name: str) -> None:
    """Python 3.12's has the least text to train on, 8.83 million bytes; 3.11's and 3.13's have 9.96 and 9.95."""
    least = Text("stdlib", b"a" * 8_800_000, b"b" * 700_000, "c0ffee")
    assert make_plan(load_suite(name), device="cpu", text=least).jobs


# --- what is found


def planted(folder: Path, *, near: bool = False, **changes: Any) -> Loaded:
    """Losses on a parabola over the width; by noise 0.1 nats more than dense, or all are `near` one another."""
    made = planned(**changes)
    above, bend = {"dense": 0.0, LEARNED: -0.03, NOISE: 0.0 if near else 0.1}, 0.0 if near else 2e-4
    losses = {case.id: 2.0 + above[case.family] + bend * (case.config.d_model - 48) ** 2 for case in made.cases}
    return load(planted_run(folder, made, losses=losses, run_noise=1e-4))


@pytest.mark.parametrize(("near", "holds_0"), [(False, [False, False] * 2), (True, [False, True] * 2)])
def test_the_planted_differences_are_found_and_an_interval_holds_0_where_none_was_planted(
    tmp_path: Path, near: bool, holds_0: list[bool]
) -> None:
    """At the planted distance every pair is decided; a control that equals dense is not."""
    budgets = isoflop.by_budget(planted(tmp_path, near=near))
    found: list[Any] = [each.difference for each in budgets if each.difference is not None]
    assert [each.low <= 0 <= each.high for each in found] == holds_0
    assert near or [each.value for each in found] == pytest.approx([-0.03, 0.1] * 2, abs=1e-3)


def test_step_times_are_over_the_best_dense_size_whichever_that_is() -> None:
    """Each pair is in the table once; against a size that is not the anchor it is mirrored."""
    rows = [
        SimpleNamespace(status="ok", variant="a", baseline_variant="best", ratio=2.0, ci_low=1.6, ci_high=2.5),
        SimpleNamespace(status="ok", variant="best", baseline_variant="b", ratio=4.0, ci_low=3.0, ci_high=5.0),
    ]

    def between(_metric: str, *variants: str) -> list[Any]:
        return [row for row in rows if {row.variant, row.baseline_variant} == {*variants}]

    def share(variant: str) -> Estimate | None:
        loaded: Any = SimpleNamespace(between=between)
        points: list[Any] = [SimpleNamespace(case=SimpleNamespace(variant=each)) for each in (variant, "best")]
        return isoflop.step_share(loaded, *points)

    assert share("a") == Estimate(0.5, 0.4, 0.625, "ratio")
    assert share("b") == Estimate(4.0, 3.0, 5.0, "ratio")
    assert share("best") == Estimate(1.0, kind="ratio")
    assert share("c") is None


def test_a_size_without_every_seed_is_left_out_and_said(tmp_path: Path) -> None:
    run = planted(tmp_path).path
    for file in (run / "jobs").glob("train-dense_d32*seed1*"):
        file.unlink()
    loaded = load(run)
    rows: Any = isoflop.TABLE.frame(loaded).query("metric == 'loss/val'").groupby("variant").first()
    dense, learned = rows.loc["dense"], rows.loc[LEARNED]
    assert [part.split()[0] for part in dense.reason.split("; ")] == ["d32-L2", "2"]  # the size, and two are too few
    lacks = [math.isnan(each) for each in (dense.optimum_loss, learned.optimum_difference, learned.optimum_loss)]
    assert lacks == [True, True, False]
    said = present(isoflop.in_place(loaded)).tables[0].notes
    assert any("dense d32-L2" in plain(each) for each in said)


@pytest.mark.parametrize("at_edge", [False, True])
def test_a_best_rate_at_the_edge_of_those_tried_is_a_doubt(tmp_path: Path, at_edge: bool) -> None:
    run = planted(tmp_path).path
    tried = RatesNotes(seed=0, rule=4e-3, rates=[0.5, 1.0, 2.0], losses=[2.2, 2.0, None], at_edge=at_edge)
    known: dict[str, Any] = {"metric": "lr/best_over_rule", "unit": "ratio", "status": "ok", "notes": tried}
    for job in (job for job in planned().jobs if job.made_in == "rates"):
        outcome = Outcome(case=job.comparison.variants[0].id, samples={"value": [1.0]}, **known)
        RunFolder(run).write_record(Record(job=job, started=atomic_files.now(), wall_s=1.0, outcomes=(outcome,)))
    said = [plain(each.given["variants"]) for each in isoflop.doubts(load(run))]
    assert said == ["dense, MoD 0.125 learned and MoD 0.125 stochastic"] * at_edge
