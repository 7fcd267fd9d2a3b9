"""From promised to measured time: parts by closed form on a machine of constant rates, their sum, and where nothing is known."""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from planted_peaks import planted
from sections_of import drawn

from modbench.extend import planted_plan, planted_run
from modbench.harness.call.operators import of_shapes
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import CountNotes, TimeNotes
from modbench.harness.machine.roofline.table import Point, Table
from modbench.harness.machine.roofline.work import Listed, Work
from modbench.plugins.machine.waterfall import section as waterfall
from modbench.reports.tables.load import Loaded, load
from modbench.reports.tables.values import Tables

# Products of 100 rows with a width of 10, and attention of 100 multiply-adds.
DENSE = Listed(work=(Work(kind="product", size=(1, 100, 10, 10), calls=2), Work(kind="attention", size=(1, 10, 10, 1))))
# Half of that on fewer rows, and what routing adds.
ROUTED = Listed(
    work=(
        Work(kind="product", size=(1, 50, 10, 10), calls=2),
        Work(kind="attention", size=(1, 5, 10, 1)),
        Work(kind="product", size=(1, 100, 10, 1)),
        Work(kind="top_k", size=(500,)),
        Work(kind="sort", size=(100,)),
        Work(kind="index", size=(300,)),
        Work(kind="scatter", size=(400,)),
        Work(kind="pointwise", size=(200,)),
        Work(kind="view"),
    )
)
RATE = 1e9


def test_each_part_by_hand() -> None:
    """At constant rates products cost nothing for being small, and every operator of routing costs its bytes."""
    whole = 20_100 / RATE + 3e-6
    found = waterfall.parts_of(planted(RATE, RATE), ROUTED, DENSE, promised=0.5)
    assert tuple(found) == tuple(name for name in waterfall.ORDER if name != "optimizer")
    assert found["small products"] == pytest.approx(0, abs=1e-12)
    assert found["attention, mix of FLOPs"] == pytest.approx(0, abs=1e-12)  # both were halved, as promised
    moved = {"router": 1000, "top-k and sort": 600, "gather": 300, "scatter": 400, "norms, elementwise": 200}
    assert {name: found[name] for name in moved} == pytest.approx({name: n / RATE / whole for name, n in moved.items()})
    # Nine operators and a view, of which half of the baseline's three were promised.
    assert found["kernel launches"] == pytest.approx((9e-6 + 0.5e-6 - 1.5e-6) / whole)


def test_products_on_fewer_rows_are_a_part_where_they_are_slower() -> None:
    fast = planted(RATE, RATE)
    sizes = itertools.product((1, 100), (1, 1024), (1, 1024))
    slow = [Point(kind="product", size=each, seconds=math.prod(each) / RATE * (1 + (each[0] == 1))) for each in sizes]
    others = tuple(point for point in fast.points if point.kind != "product")
    table = Table.model_validate(fast.model_dump() | {"points": (*others, *slow)})
    found = waterfall.parts_of(table, ROUTED, DENSE, promised=0.5)
    rate = 2 ** -(1 - math.log(50) / math.log(100))  # between a rate of one half at 1 row and one at 100 rows
    whole = 20_100 / RATE + 3e-6
    assert found["small products"] == pytest.approx((10_000 / rate - 10_000) / RATE / whole)


def test_a_narrower_dense_model_has_no_router() -> None:
    """Its products are smaller than the baseline's, but not narrower than all of them."""
    dense = Listed(work=(Work(kind="product", size=(1, 8, 16, 64)), Work(kind="product", size=(1, 8, 64, 16))))
    narrow = Listed(work=(Work(kind="product", size=(1, 8, 16, 24)), Work(kind="product", size=(1, 8, 24, 16))))
    assert "router" not in waterfall.parts_of(planted(), narrow, dense, promised=0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    suite: dict[str, Any] = {"metrics": ["latency/forward", "latency/train_step"], "grid": {"seq_len": [64]}}
    suite |= {"variants": [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}], "train": None}
    return planted_run(tmp_path_factory.mktemp("waterfall"), planted_plan("draft", processes=3, rounds=4, **suite))


@functools.cache
def recorded(case: Case, *, training: bool) -> Listed:
    return of_shapes(case, training=training)


@pytest.fixture
def known(run: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """The planted run, its operators recorded and its machine's peaks measured."""
    own = Tables.counted

    def counted(self: Tables, case: Case) -> CountNotes:
        operators = {f"{name}_operators": recorded(case, training=name == "train") for name in ("forward", "train")}
        return own(self, case).model_copy(update=operators)

    loaded = load(run)
    monkeypatch.setattr(Tables, "counted", counted)
    loaded.tables.rooflines["fp32"] = planted()
    return loaded


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["latency/forward", "latency/train_step"])
def test_the_parts_lead_from_promised_to_measured(metric: str, known: Loaded) -> None:
    """Nothing is lost: promised, parts and the rest add up to the measured share; the sum on the way is predicted."""
    found: Any = waterfall.fall(known, "mod[c0.125]", metric, 64)
    row: Any = known.pair("mod[c0.125]", metric, 64)
    assert found.promised == 1 / row.theoretical
    assert found.measured == 1 / row.ratio
    gap = math.fsum([*found.parts.values(), found.unexplained])
    assert gap == pytest.approx(found.measured - found.promised, rel=1e-12)
    table, base = known.tables.rooflines["fp32"], known.variants[0]
    field = "forward_operators" if metric == "latency/forward" else "train_operators"
    mine, theirs = (table.seconds(getattr(known.tables.counted(side), field)) for side in (found.found.case, base))
    assert found.predicted_share == pytest.approx(mine / theirs, rel=1e-12)
    assert ("optimizer" in found.parts) == (metric == "latency/train_step")
    assert found.parts["router"] > 0


def test_on_a_gpu_the_wait_for_the_host_is_told_apart(run: Path) -> None:
    """Planted: the device of dense is busy all the time, that of MoD half of it; no peaks were measured."""
    loaded = load(run)
    for (case_id, metric), cell in loaded.tables.cells.items():
        if metric.startswith("latency/"):
            share = {"device_share": 0.5 if case_id.startswith("mod") else 1.0}
            noted = [(i, each, each.noted(TimeNotes).model_copy(update=share)) for i, each in cell.outcomes]
            cell.outcomes = [(i, each.model_copy(update={"notes": notes})) for i, each, notes in noted]
    found: Any = waterfall.fall(loaded, "mod[c0.125]", "latency/forward", 64)
    assert not found.predicted
    assert found.parts == {"kernel launches": pytest.approx(0.5 * found.measured)}
    whole = math.fsum([found.promised, *found.parts.values(), found.unexplained])
    assert whole == pytest.approx(found.measured, rel=1e-12)
    parts = ["dense", "FLOPs saved", "theoretical", "kernel launches", "on the device", "measured"]
    assert list(drawn(waterfall, loaded)[0].data.part) == parts
