"""The routing sections, rendered from planted artifacts: they show the planted numbers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from planted_sections import dense, flips, routing, run
from scipy import stats
from sections_of import drawn, shown

from modbench.extend import ENVIRONMENT, planted_plan
from modbench.harness.core import atomic_files
from modbench.harness.core.errors import UsageError
from modbench.harness.results import run_folder
from modbench.harness.results.workspace import Workspace
from modbench.plugins.routing import question
from modbench.plugins.routing.section import ROUTING_GATES, ROUTING_KNOWS, ROUTING_PROFIT, ROUTING_TEXT, ROUTING_WHO
from modbench.reports.blocks import Estimate, Table, Value
from modbench.reports.tables.load import Loaded, load

DIGIT = ("kind", "digit")
SECTIONS = (ROUTING_TEXT, ROUTING_WHO, ROUTING_PROFIT, ROUTING_KNOWS, ROUTING_GATES)
# Nats of a difference of losses in the unit that is shown.
BITS = 1 / math.log(2)


def rows_of(section: Any, loaded: Loaded) -> dict[Value, list[Any]]:
    """Rows of a section's table by their first cell."""
    (table,) = (block for block in section.render(loaded) if isinstance(block, Table))
    return {first: rest for first, *rest in table.rows}


def profits_of(loaded: Loaded) -> dict[tuple[str, str], Any]:
    """The differences of the variant that is shown, with half their intervals, by variable and group."""
    found = {}
    for figure in drawn(ROUTING_PROFIT, loaded):
        for row in figure.data[figure.data.variant == "mod[c0.125]"].itertuples():
            made = Estimate.of(row.value, row.ci_low, row.ci_high)
            found[str(row.variable), str(row.bin)] = (made.value, made.half)
    return found


def equal_in(loaded: Loaded) -> str:
    """What the caption of the profits says that both sides have in common."""
    (figure,) = drawn(ROUTING_PROFIT, loaded)
    return str(vars(figure.caption)["given"]["equal"])


def test_without_routing_there_are_no_sections(tmp_path: Path) -> None:
    for loaded in (run(tmp_path / "none"), run(tmp_path / "dense", dense={"routing": dense()})):
        assert not any(shown(section, loaded) for section in SECTIONS)


@pytest.mark.parametrize("harm", ['{"routing": ', '{"routing": 5}'])
def test_a_damaged_artifact_is_said_so(harm: str, tmp_path: Path) -> None:
    loaded = run(tmp_path, mod={"routing": routing()})
    (file,) = (loaded.path / "artifacts").iterdir()
    file.write_text(harm)
    with pytest.raises(UsageError, match=r"\.json: .*If you remove it"):
        shown(ROUTING_WHO, loaded)


# --- shares


@pytest.mark.parametrize(("hits", "n", "windows", "seen"), [(37, 400, 10, 400), (0, 400, 10, 10)])
def test_the_interval_of_a_share_is_wilsons(hits: int, n: int, windows: int, seen: int) -> None:
    """Where tokens are independent, of all tokens; of a share that is nowhere seen, of windows."""
    share = hits / n
    found = question.share_interval(share, math.sqrt(share * (1 - share) / n), n, windows)
    wilson = stats.binomtest(hits, seen).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=1e-6)


def test_the_interval_of_a_share_counts_windows_where_they_say_more() -> None:
    narrow, wide = (question.share_interval(0.2, error, 400, 10) for error in (0.02, 0.06))
    assert wide.closed
    assert (wide.low or 0) < (narrow.low or 0) < 0.2 < (narrow.high or 1) < (wide.high or 1)
    assert question.share_interval(0.2, 0.0, 400, 10).half is None  # the same in every window
    assert question.share_interval(0.2, None, 400, 1).half is None


# --- profit


@pytest.mark.slow
def test_profit_is_against_the_matched_and_without_the_future(tmp_path: Path) -> None:
    """Routed: 1.5 + 0.1 nats when routed causally; the matched baseline 1.55, the anchor 1.45."""
    loaded = run(tmp_path, mod={"routing": routing()}, matched={"routing": dense(1.55)}, dense={"routing": dense(1.45)})
    for of in (("kind", "all tokens"), DIGIT, ("position", "0–31")):
        assert profits_of(loaded)[of] == (pytest.approx(0.05 * BITS), None)
    assert equal_in(loaded) == "equal FLOPs"
    without = run(tmp_path / "b", mod={"routing": routing()}, dense={"routing": dense(1.45)})
    assert profits_of(without)[DIGIT] == (pytest.approx(0.15 * BITS), None)
    assert equal_in(without) == "same shape, more FLOPs"
    assert not shown(ROUTING_PROFIT, run(tmp_path / "c", mod={"routing": routing()}))


def test_profit_over_seeds_is_paired(tmp_path: Path) -> None:
    """Seeds that are hard for both cancel: differences 0.05, 0.06, 0.07 nats."""
    loaded = run(
        tmp_path,
        (0, 1, 2),
        mod=lambda seed: {"routing": routing(loss=1 + seed - 0.1 + 0.05 + 0.01 * seed)},
        matched=lambda seed: {"routing": dense(1 + seed)},
    )
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert profits_of(loaded)[DIGIT] == pytest.approx((0.06 * BITS, half * BITS), abs=1e-9)


def test_bins_of_another_text_are_not_compared(tmp_path: Path) -> None:
    other = dense()
    other["strata"]["kind"]["bins"][2]["n"] += 1
    for row in other["strata"]["position"]["bins"]:
        row["label"] += "!"
    found = profits_of(run(tmp_path, mod={"routing": routing()}, matched={"routing": other}))
    assert DIGIT not in found
    assert ("kind", "whitespace") in found
    assert {variable for variable, _ in found} == {"kind", "frequency", "difficulty"}


@pytest.mark.plugin("sweeps")
def test_of_a_sweep_the_best_size_is_shown_against_dense_of_that_size(tmp_path: Path) -> None:
    """The anchor of the timing pass has another size and no budget."""
    sizes = [{"d_model": d, "n_layers": 4, "n_heads": 2} for d in (16, 32, 48)]
    plan = planted_plan(
        "draft",
        metrics=["flops/forward", "latency/train_step", "loss/val", "lr/best_over_rule"],
        shape={},
        grid={"seq_len": [64]},
        variants=[{"model": "dense"}, {"model": "mod", "capacity": 0.125}],
        train={"seq_len": 64, "batch_size": 1},
        isoflop={"train_flops": [1e10], "sizes": sizes, "max_epochs": 1e6},
    )
    folder = run_folder.create(str(tmp_path / "run"), "planted")
    folder.write_run(plan, ENVIRONMENT, ["modbench"], atomic_files.now())
    loss = {"d16-L4-H2": 1.4, "d32-L4-H2": 1.5, "d48-L4-H2": 1.2}
    for job in plan.jobs:
        if job.made_in == "train":
            (case,) = job.comparison.variants
            at = loss[case.size]
            left = dense(at + 0.05) if case.model == "dense" else routing(loss=at)
            Workspace(folder.path, job.name).keep({"routing": left})
    loaded = load(str(folder.path))
    made: Any = question.profit(loaded)
    assert (made.dense.case.variant, made.equal) == ("dense[d48-L4-H2]", "same shape and training FLOPs")
    assert made.groups["kind"][0][0].case.variant == "mod[c0.125-d48-L4-H2]"


# --- the text, and what a score knows


def test_the_text_is_escaped_and_coloured_by_depth(tmp_path: Path) -> None:
    html = shown(ROUTING_TEXT, run(tmp_path, mod={"routing": routing()}, stochastic={"routing": routing()}))
    passage = html[html.index('class="passage"') :].partition("</div>")[0]
    spans = re.findall(
        r'<span(?: style="[^"]*?(\d+)%,transparent[^"]*")? title="(\d of \d)">(.*?)</span>', passage, flags=re.DOTALL
    )
    assert spans == [
        ("", "0 of 2", "&lt;b&gt;"),
        ("46", "2 of 2", "x"),
        ("23", "1 of 2", "¶\n"),
        ("", "0 of 2", " y"),
    ]


@pytest.mark.parametrize(
    ("rho", "control", "known"),
    [(0.05, 0.3, "no"), (0.35, 0.3, "inconclusive"), (0.45, 0.3, "yes"), (0.05, None, "inconclusive")],
)
def test_a_score_knows_only_beyond_its_best_control(
    tmp_path: Path, rho: float, control: float | None, known: str
) -> None:
    """Without a control it is compared with 0."""
    beside: dict[str, Any] = {} if control is None else {"stochastic": {"routing": routing(), "flips": flips(control)}}
    loaded = run(tmp_path, mod={"routing": routing(), "flips": flips(rho)}, **beside)
    assert rows_of(ROUTING_KNOWS, loaded)["… above 0 and all controls"][0] == known


def test_a_score_without_an_interval_is_compared_with_nothing(tmp_path: Path) -> None:
    bare = flips(0.5)
    for row in bare["correlation"].values():
        row.update(low=None, high=None)
    variants = question.shown(question.variants_of(run(tmp_path, mod={"routing": routing(), "flips": bare})))
    assert (question.knows(variants), question.score(variants[0])) == (None, Estimate(0.5, kind="difference"))
