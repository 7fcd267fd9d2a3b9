"""The routing sections, rendered from planted artifacts: they show the planted numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted_sections import dense, flips, routing, run, with_experts
from scipy import stats
from sections_of import drawn, shown

from modbench.extend import ENVIRONMENT, planted_plan
from modbench.harness.core import atomic_files
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case
from modbench.harness.results import run_folder
from modbench.harness.results.workspace import Workspace
from modbench.plugins.routing import question
from modbench.plugins.routing.section import ROUTING_GATES, ROUTING_KNOWS, ROUTING_PROFIT, ROUTING_TEXT, ROUTING_WHO
from modbench.reports.blocks import Estimate, Table, Value
from modbench.reports.tables.load import Loaded, load

DIGIT = ("kind", "digit")
SECTIONS = (ROUTING_TEXT, ROUTING_WHO, ROUTING_PROFIT, ROUTING_KNOWS, ROUTING_GATES)


def rows_of(section: Any, loaded: Loaded) -> dict[Value, list[Any]]:
    """Rows of a section's table by their first cell."""
    (table,) = (block for block in section.render(loaded) if isinstance(block, Table))
    return {first: rest for first, *rest in table.rows}


def profits_of(loaded: Loaded) -> dict[tuple[str, str], Estimate]:
    """The differences of the variant that is shown, by variable and group."""
    return {
        (str(row.variable), str(row.bin)): Estimate.of(row.value, row.ci_low, row.ci_high)
        for figure in drawn(ROUTING_PROFIT, loaded)
        for row in figure.data[figure.data.variant == "mod[c0.125]"].itertuples()
    }


def caption_of(section: Any, loaded: Loaded) -> dict[str, Any]:
    """What the caption of a section's figure says, by name."""
    (figure,) = drawn(section, loaded)
    return dict(vars(figure.caption)["given"])


def is_near(found: Any, value: float, half: float | None = None, tolerance: float = 1e-9) -> bool:
    """Whether an estimate has this value, and this half interval or none."""
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(value, abs=tolerance)
    assert found.half == (None if half is None else pytest.approx(half, abs=tolerance))
    return True


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


def test_the_interval_of_a_share_is_wilsons_where_tokens_are_independent() -> None:
    hits, n = 37, 400
    share = hits / n
    found = question.share_interval(share, math.sqrt(share * (1 - share) / n), n, 10)
    wilson = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=1e-6)


def test_the_interval_of_a_share_counts_windows_where_they_say_more() -> None:
    narrow, wide = (question.share_interval(0.2, error, 400, 10) for error in (0.02, 0.06))
    assert wide.closed
    assert (wide.low or 0) < (narrow.low or 0) < 0.2 < (narrow.high or 1) < (wide.high or 1)
    never = question.share_interval(0.0, 0.0, 400, 10)
    wilson = stats.binomtest(0, 10).proportion_ci(method="wilson")
    assert (never.low, never.high) == pytest.approx((0, wilson.high), abs=1e-6)
    assert question.share_interval(0.2, 0.0, 400, 10).half is None  # the same in every window
    assert question.share_interval(0.2, None, 400, 1).half is None


@pytest.mark.slow
def test_profit_is_against_the_matched_and_without_the_future(tmp_path: Path) -> None:
    """Routed: 1.5 + 0.1 nats when routed causally; the matched baseline 1.55, the anchor 1.45."""
    loaded = run(tmp_path, mod={"routing": routing()}, matched={"routing": dense(1.55)}, dense={"routing": dense(1.45)})
    found, bits = profits_of(loaded), (1.6 - 1.55) / math.log(2)
    for of in (("kind", "all tokens"), DIGIT, ("position", "0–31")):
        assert is_near(found[of], bits)
    said = caption_of(ROUTING_PROFIT, loaded)
    assert (said["equal"], said["unit"], said["n"]) == ("equal FLOPs", "bits/byte", 1)
    without = run(tmp_path / "b", mod={"routing": routing()}, dense={"routing": dense(1.45)})
    assert is_near(profits_of(without)[DIGIT], (1.6 - 1.45) / math.log(2))
    assert caption_of(ROUTING_PROFIT, without)["equal"] == "same shape, more FLOPs"
    assert not shown(ROUTING_PROFIT, run(tmp_path / "c", mod={"routing": routing()}))


def sweep(tmp_path: Path, left: Callable[[Case, float], dict[str, Any]]) -> Loaded:
    """A sweep of dense, MoD and two integrated MoDE over three sizes, the last of them best; `left` makes what a case records."""
    sizes = [{"d_model": d, "n_layers": 4, "n_heads": 2} for d in (16, 32, 48)]
    plan = planted_plan(
        "draft",
        metrics=["flops/forward", "latency/train_step", "loss/val", "lr/best_over_rule"],
        shape={},
        grid={"seq_len": [64]},
        variants=[
            {"model": "dense"},
            {"model": "mod", "capacity": 0.125},
            {"model": "mode_integrated", "capacity": [0.125, 0.25]},
        ],
        train={"seq_len": 64, "batch_size": 1},
        isoflop={"train_flops": [1e10], "sizes": sizes, "max_epochs": 1e6},
    )
    folder = run_folder.create(str(tmp_path / "run"), "planted")
    folder.write_run(plan, ENVIRONMENT, ["modbench"], atomic_files.now())
    loss = {"d16-L4-H2": 1.4, "d32-L4-H2": 1.5, "d48-L4-H2": 1.2}
    for job in plan.jobs:
        if job.made_in == "train":
            (case,) = job.comparison.variants
            Workspace(folder.path, job.name).keep({"routing": left(case, loss[case.size])})
    return load(str(folder.path))


@pytest.mark.plugin("sweeps")
def test_of_a_sweep_the_best_size_is_held_against_dense_of_that_size(tmp_path: Path) -> None:
    """The anchor of the timing pass has another size and no budget."""

    def left(case: Case, loss: float) -> dict[str, Any]:
        return dense(loss + 0.05) if case.model == "dense" else routing(loss=loss)

    loaded = sweep(tmp_path, left)
    made: Any = question.profit(loaded)
    assert (made.dense.case.variant, made.equal) == ("dense[d48-L4-H2]", "same shape and training FLOPs")
    assert made.groups["kind"][0][0].case.variant == "mod[c0.125-d48-L4-H2]"
    beside = [variant.case.variant for variant in question.shown(question.variants_of(loaded))[1:]]
    assert beside == ["mode_integrated[c0.125-d48-L4-H2]"]  # two of these would look alike


@pytest.mark.plugin("sweeps")
def test_of_a_sweep_experts_are_shown_at_the_best_size(tmp_path: Path) -> None:
    def left(case: Case, loss: float) -> dict[str, Any]:
        return dense(loss) if case.model == "dense" else with_experts(routing(loss=loss))

    found: Any = rows_of(ROUTING_GATES, sweep(tmp_path, left))
    variants = ("mod[c0.125", "mode_integrated[c0.125", "mode_integrated[c0.25")
    assert [each.variant for each in found] == [f"{variant}-d48-L4-H2]" for variant in variants]
    assert all([each.value for each in row] == [1.4, 0.25] for row in found.values())


def test_profit_over_seeds_is_paired(tmp_path: Path) -> None:
    """Seeds that are hard for both cancel: differences 0.05, 0.06, 0.07 nats."""
    level = {0: 1.0, 1: 2.0, 2: 3.0}
    loaded = run(
        tmp_path,
        (0, 1, 2),
        mod=lambda seed: {"routing": routing(loss=level[seed] - 0.1 + 0.05 + 0.01 * seed)},
        matched=lambda seed: {"routing": dense(level[seed])},
    )
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert is_near(profits_of(loaded)[DIGIT], 0.06 / math.log(2), half / math.log(2))


def test_bins_of_another_text_are_not_compared(tmp_path: Path) -> None:
    other = dense()
    other["strata"]["kind"]["bins"][2]["n"] += 1
    loaded = run(tmp_path, mod={"routing": routing()}, matched={"routing": other})
    assert DIGIT not in profits_of(loaded)
    assert ("kind", "whitespace") in profits_of(loaded)
    for row in other["strata"]["position"]["bins"]:
        row["label"] += "!"
    found = profits_of(run(tmp_path / "b", mod={"routing": routing()}, matched={"routing": other}))
    assert {variable for variable, _ in found} == {"kind", "frequency", "difficulty"}


def test_the_text_is_escaped_and_coloured_by_depth(tmp_path: Path) -> None:
    loaded = run(tmp_path, mod={"routing": routing()}, stochastic={"routing": routing()})
    html = shown(ROUTING_TEXT, loaded)
    passage = html[html.index('class="passage"') :]
    passage = passage[: passage.index("</div>")]
    spans = re.findall(r'<span( style="[^"]*")? title="(\d of \d)">(.*?)</span>', passage, flags=re.DOTALL)
    assert [(said, text) for _, said, text in spans] == [
        ("0 of 2", "&lt;b&gt;"),
        ("2 of 2", "x"),
        ("1 of 2", "¶\n"),
        ("0 of 2", " y"),
    ]
    shades = [re.search(r"(\d+)%,transparent", style) for style, _, _ in spans]
    assert [int(shade[1]) if shade else 0 for shade in shades] == [0, 46, 23, 0]


@pytest.mark.parametrize(("rho", "known"), [(0.05, "no"), (0.35, "inconclusive"), (0.45, "yes")])
def test_a_score_knows_only_beyond_its_best_control(tmp_path: Path, rho: float, known: str) -> None:
    control = {"routing": routing(), "flips": flips(0.3)}
    loaded = run(tmp_path, mod={"routing": routing(), "flips": flips(rho)}, stochastic=control)
    assert rows_of(ROUTING_KNOWS, loaded)["… above 0 and all controls"] == [known, None]


def test_without_a_control_a_score_is_compared_with_0_and_without_an_interval_with_nothing(tmp_path: Path) -> None:
    loaded = run(tmp_path / "a", mod={"routing": routing(), "flips": flips(0.05)})
    assert question.knows(question.shown(question.variants_of(loaded))) == "inconclusive"
    bare = flips(0.5)
    for row in bare["correlation"].values():
        row.update(low=None, high=None)
    loaded = run(tmp_path / "b", mod={"routing": routing(), "flips": bare})
    shown_ = question.shown(question.variants_of(loaded))
    assert (question.knows(shown_), question.score(shown_[0])) == (None, Estimate(0.5, kind="difference"))


def test_what_was_not_found_out_is_empty(tmp_path: Path) -> None:
    bare = routing()
    bare["summary"] = {**bare["summary"], "gap": None, "predictor_f1": None}
    lost = {"reason": "no router", "correlation": None, "flips": None, "worth": None}
    rows = rows_of(ROUTING_KNOWS, run(tmp_path, mod={"routing": bare, "flips": lost}))
    missing = {title for title, cells in rows.items() if cells == [None]}
    assert missing == {
        *("score ~ worth", "… above 0 and all controls", "worth of a pass that was made", "… that was not made"),
        *("what that costs in loss", "… F1", "overlap, start ~ end of training"),
    }
