"""The routing panels, rendered from planted artifacts: they show the planted numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup
from panels_of import drawn, shown
from planted import ENVIRONMENT, left, planted_suite
from scipy import stats

from modbench.harness.core import files
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case
from modbench.harness.results import run_folder
from modbench.harness.results.workspace import Workspace
from modbench.reports.figures.style import new_figure
from modbench.reports.model import Estimate, Figure, Note, Sentence, Table, Value
from modbench.reports.page import render
from modbench.reports.panels import routing_knows
from modbench.reports.panels.routing import ROUTING_GATES, ROUTING_PROFIT, ROUTING_TEXT, ROUTING_WHO, titled
from modbench.reports.questions import routing as question
from modbench.reports.tables.load import Loaded, load
from modbench.reports.writers.number_format import plain

KNOWS = routing_knows.PANEL
PANELS = (ROUTING_TEXT, ROUTING_WHO, ROUTING_PROFIT, KNOWS, ROUTING_GATES)
N, WINDOWS, LAYERS = 4096, 16, (1, 3)
KINDS = ("word start", "continuation", "digit", "punctuation", "whitespace")
BINS = {
    "kind": KINDS,
    "position": ("0–31", "32–63"),
    **dict.fromkeys(("frequency", "difficulty", "loss", "entropy"), ("a quarter", "another")),
}
SUMMARY = {
    "participation": 0.125,
    "participation_causal": 0.131,
    "gap": 0.01 * math.log(2),
    "loss": 1.5,
    "loss_causal": 1.6,
    "overlap": 0.42,
    "overlap_expected": 0.07,
    "predictor_accuracy": 0.951,
    "predictor_base_rate": 0.875,
    "predictor_balanced_accuracy": 0.913,
    "predictor_precision": 0.777,
    "predictor_recall": 0.666,
    "predictor_f1": 0.72,
    "entropy_correlation": 0.11,
    "difficulty_correlation": -0.05,
    "expert_load_max": None,
}


def bin_row(label: str, n: int, share: float, loss: float) -> dict[str, Any]:
    return {
        "label": label,
        "n": n,
        "windows": WINDOWS,
        "passes": round(share * n * len(LAYERS)),
        "share": share,
        "share_se": 0.01,
        "loss": loss,
        "loss_causal": loss + 0.1,
    }


def routing(shares: dict[str, float] | None = None, loss: float = 1.5) -> dict[str, Any]:
    """What `describe` records of a routed model; by default the share of digits is 0.4, of all other kinds 0.1."""
    said = {"digit": 0.4, **(shares or {})}
    strata = {
        name: {"unit": "", "bins": [bin_row(label, N // len(labels), said.get(label, 0.1), loss) for label in labels]}
        for name, labels in BINS.items()
    }
    histogram = {"edges": [-1.0, 0.0, 1.0], "all": [3, 1], "passed": [0, 1]}
    return {
        "version": 1,
        "windows": WINDOWS,
        "seq_len": 256,
        "tokens": N,
        "layers": list(LAYERS),
        "strata": strata,
        "matrix": {
            "window": 0,
            "of": 256,
            "layers": list(LAYERS),
            "rows": ["0110", "0100"],
            "used": [0, 2, 1, 0],
            "pieces": ["<b>", "x", "\n", " y"],
            "kinds": [3, 0, 4, 0],
        },
        "words": {"at_least": 8, "words": 2, "deep": [{"word": "self", "share": 0.5, "n": 9}], "shallow": []},
        "weights": [
            {"layer": layer, "what": "weight", "mean": 0.5, "sd": 1.0, "positive": 0.25, **histogram}
            for layer in LAYERS
        ],
        "overlap": {"layers": list(LAYERS), "jaccard": [[1, 0.42], [0.42, 1]], "expected": [[1, 0.07], [0.07, 1]]},
        "predictor": None,
        "experts": None,
        "depth": None,
        "summary": {**SUMMARY, "loss": loss, "loss_causal": loss + 0.1},
    }


def flips(rho: float, half: float = 0.1) -> dict[str, Any]:
    row = {"rho": rho, "low": rho - half, "high": rho + half, "n": 64, "windows": 16, "reason": None}
    return {
        "reason": None,
        "correlation": {side: dict(row) for side in ("all", "passed", "skipped")},
        "worth": {"passed": {"effect": 0.001}, "skipped": {"effect": -0.002}, "all": {"effect": 0}},
        "flips": {
            "layer": [1, 3, 3, 3, 3],
            "score": [0.0, 1.0, 2.0, 3.0, -1.0],
            "effect": [0.0, 0.01, -0.001, 0.02, 0.0],
            "passed": [True, True, True, True, False],
        },
    }


def drift() -> dict[str, Any]:
    return {
        "steps": [0, 10, 20],
        "by_kind": {kind: [0.1, 0.1, 0.4 if kind == "digit" else 0.1] for kind in KINDS},
        "overlap_with_last": [0.1, 0.9, 1.0],
        "overlap_expected": [0.07] * 3,
    }


def dense(loss: float = 1.45) -> dict[str, Any]:
    made = routing(loss=loss)
    for stratum in made["strata"].values():
        for row in stratum["bins"]:
            row.pop("loss_causal")
    nothing = dict.fromkeys(("matrix", "words", "weights", "overlap"))
    return {**made, **nothing, "layers": [], "summary": {**dict.fromkeys(SUMMARY), "loss": loss}}


def run(folder: Path, seeds: tuple[int, ...] = (0,), **artifacts: Any) -> Loaded:
    """A stored run of dense, its rung, MoD learned and stochastic; `artifacts`: the artifact of every seed, by arm."""
    plan = planted_suite(
        "draft",
        metrics=["flops/forward", "loss/val"],
        grid={"seq_len": [128]},
        arms=[
            {"model": "dense"},
            {"model": "dense", "match": {"arm": "mod", "capacity": 0.125}},
            {"model": "mod", "capacity": 0.125},
            {"model": "mod", "capacity": 0.125, "router": "stochastic"},
        ],
        seeds=list(seeds),
    )
    path = left(folder, plan)
    for unit in plan.units:
        if unit.made_in == "train":
            (case,) = unit.comparison.arms
            key = "rung" if case.rung else case.model if case.config.router == "learned" else case.config.router
            artifact = artifacts.get(key)
            if artifact is not None:
                Workspace(path, unit.name).keep(artifact(unit.protocol.seed) if callable(artifact) else artifact)
    return load(str(path))


def rows_of(panel: Any, loaded: Loaded) -> dict[Value, list[Any]]:
    """Rows of a panel's table by their first cell."""
    (table,) = (block for block in panel.render(loaded) if isinstance(block, Table))
    return {first: rest for first, *rest in table.rows}


def figures_of(panel: Any, loaded: Loaded) -> dict[str, Figure]:
    return {each.name: each for each in drawn(panel, loaded)}


def given(figure: Figure) -> dict[str, Any]:
    """What the caption of a figure says, by name; of estimates the value."""
    assert isinstance(figure.caption, Sentence)
    return {
        name: each.value if isinstance(each, Estimate) else each.arm if isinstance(each, Case) else each
        for name, each in figure.caption.given.items()
    }


def notes_of(panel: Any, loaded: Loaded) -> dict[str, Any]:
    """What the notes of a panel say, by name."""
    said = [block.said for block in panel.render(loaded) if isinstance(block, Note)]
    return {name: value for each in said if isinstance(each, Sentence) for name, value in each.given.items()}


def seeds_of(panel: Any, loaded: Loaded) -> Any:
    """How many seeds its intervals rest on."""
    return notes_of(panel, loaded)["evidence"].given["seeds"]


def is_near(found: Any, value: float, half: float | None = None, tolerance: float = 1e-9) -> bool:
    """Whether an estimate has this value, and this half interval or none."""
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(value, abs=tolerance)
    assert found.half == (None if half is None else pytest.approx(half, abs=tolerance))
    return True


def test_without_routing_there_are_no_panels(tmp_path: Path) -> None:
    for loaded in (run(tmp_path / "none"), run(tmp_path / "dense", dense={"routing": dense()})):
        assert not any(shown(panel, loaded) for panel in PANELS)


@pytest.mark.slow
def test_every_figure_of_a_panel_can_be_had_alone(tmp_path: Path) -> None:
    """As many as the page shows, each under a name of its own, with the numbers that are drawn; ids of the page differ."""
    expert = {**routing(), "experts": [{"layer": 1, "tokens": N, "load": [0.7, 0.3], "none": 0.25}]}
    expert["summary"] |= {"expert_load_max": 1.4}
    loaded = run(
        tmp_path,
        dense={"routing": dense()},
        mod={"routing": expert, "flips": flips(0.3), "drift": drift()},
        stochastic={"routing": routing(), "flips": flips(0.0), "drift": drift()},
        rung={"routing": dense()},
    )
    page = render.html(loaded)
    assert not re.search(r"#010[2-6]\d\d|#020[3-5]\d\d", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert not re.search(r"\bnan\b", page, flags=re.IGNORECASE)
    names = []
    for panel in PANELS:
        assert str(Markup.escape(panel.title)) in page
        drawings = drawn(panel, loaded)
        assert len(drawings) == shown(panel, loaded).count("<figure")
        assert not any(drawing.data.empty for drawing in drawings)
        assert all(len(plain(drawing.caption)) <= 240 for drawing in drawings)  # two lines
        names += [drawing.name for drawing in drawings]
    assert len(set(names)) == len(names) > 10
    who = next(drawing for drawing in drawn(ROUTING_WHO, loaded) if drawing.name == "who-kind")
    assert list(who.data[who.data["bin"] == "digit"].value) == [0.4, 0.4]


@pytest.mark.parametrize("harm", ['{"routing": ', "", "null", "[1]", '{"routing": 5}'])
def test_a_damaged_artifact_is_said_so(harm: str, tmp_path: Path) -> None:
    loaded = run(tmp_path, mod={"routing": routing()})
    (file,) = (loaded.path / "artifacts").iterdir()
    file.write_text(harm)
    with pytest.raises(UsageError, match=r"damaged \(.*If you remove it"):
        shown(ROUTING_WHO, loaded)


# --- intervals


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


# --- who


def test_who_passes_in_numbers(tmp_path: Path) -> None:
    loaded = run(
        tmp_path, mod={"routing": routing()}, stochastic={"routing": routing({"digit": 0.125, "whitespace": 0.125})}
    )
    tokens, learned, stochastic = rows_of(ROUTING_WHO, loaded)["kind of token: digit"]
    assert tokens == N // 5
    assert learned == question.share_interval(0.4, 0.01, N // 5 * 2, WINDOWS)
    assert stochastic.value == 0.125
    found = figures_of(ROUTING_WHO, loaded)
    assert len(found) == 6
    assert given(found["who-kind"]) == {
        "arm": "mod[c0.125]",
        "most": "digit",
        "high": 0.4,
        "least": "word start",
        "low": 0.1,
    }
    assert seeds_of(ROUTING_WHO, loaded) == 1


# --- profit


@pytest.mark.slow
def test_profit_is_against_the_rung_and_without_the_future(tmp_path: Path) -> None:
    """Routed: 1.5 + 0.1 nats when routed causally; the rung 1.55, the anchor 1.45."""
    loaded = run(tmp_path, mod={"routing": routing()}, rung={"routing": dense(1.55)}, dense={"routing": dense(1.45)})
    rows, bits = rows_of(ROUTING_PROFIT, loaded), (1.6 - 1.55) / math.log(2)
    for start in ("kind of token: all tokens", "kind of token: digit", "position in the window: 0–31"):
        assert is_near(rows[start][1], bits)
    assert rows["kind of token: digit"][0].value == pytest.approx(0.2, abs=0.001)
    assert notes_of(ROUTING_PROFIT, loaded)["equal"] == "equal FLOPs"
    assert seeds_of(ROUTING_PROFIT, loaded) == 1
    without = run(tmp_path / "b", mod={"routing": routing()}, dense={"routing": dense(1.45)})
    assert is_near(rows_of(ROUTING_PROFIT, without)["kind of token: digit"][1], (1.6 - 1.45) / math.log(2))
    assert notes_of(ROUTING_PROFIT, without)["equal"] == "same shape, more FLOPs"
    assert not shown(ROUTING_PROFIT, run(tmp_path / "c", mod={"routing": routing()}))


def sweep(tmp_path: Path, left: Callable[[Case, float], dict[str, Any]]) -> Loaded:
    """A sweep of dense, MoD and two integrated MoDE over three sizes, the last of them best; `left` makes what a case records."""
    sizes = [{"d_model": d, "n_layers": 4, "n_heads": 2} for d in (16, 32, 48)]
    plan = planted_suite(
        "draft",
        metrics=["flops/forward", "latency/train_step", "loss/val", "lr/best"],
        shape={},
        grid={"seq_len": [64]},
        arms=[
            {"model": "dense"},
            {"model": "mod", "capacity": 0.125},
            {"model": "mode_integrated", "capacity": [0.125, 0.25]},
        ],
        train={"seq_len": 64, "batch_size": 1},
        isoflop={"budgets": [1e10], "sizes": sizes, "max_epochs": 1e6},
    )
    folder = run_folder.create(str(tmp_path / "run"), "planted")
    folder.write_run(plan, ENVIRONMENT, ["modbench"], files.now())
    loss = {"d16-L4-H2": 1.4, "d32-L4-H2": 1.5, "d48-L4-H2": 1.2}
    for unit in plan.units:
        if unit.made_in == "train":
            (case,) = unit.comparison.arms
            Workspace(folder.path, unit.name).keep({"routing": left(case, loss[case.size])})
    return load(str(folder.path))


def test_of_a_sweep_the_best_size_is_held_against_dense_of_that_size(tmp_path: Path) -> None:
    """The anchor of the timing pass has another size and no budget."""

    def left(case: Case, loss: float) -> dict[str, Any]:
        return dense(loss + 0.05) if case.model == "dense" else routing(loss=loss)

    loaded = sweep(tmp_path, left)
    made: Any = question.profit(loaded)
    assert (made.dense.case.arm, made.equal) == ("dense[d48-L4-H2]", "same shape and training FLOPs")
    assert made.arms[0].case.arm == "mod[c0.125-d48-L4-H2]"
    beside = [arm.case.arm for arm in question.shown(question.arms_of(loaded))[1:]]
    assert beside == ["mode_integrated[c0.125-d48-L4-H2]"]  # two of these would look alike


def test_of_a_sweep_experts_are_shown_at_the_best_size(tmp_path: Path) -> None:
    def left(case: Case, loss: float) -> dict[str, Any]:
        made = dense(loss) if case.model == "dense" else routing(loss=loss)
        made["experts"] = [{"layer": 1, "tokens": N, "load": [0.7, 0.3], "none": 0.25}] if case.model != "dense" else []
        made["summary"]["expert_load_max"] = 1.4
        return made

    found = drawn(ROUTING_GATES, sweep(tmp_path, left))
    variants = ("mod[c0.125", "mode_integrated[c0.125", "mode_integrated[c0.25")
    assert [each.name for each in found] == [f"experts-{variant}-d48-L4-H2]" for variant in variants]


def test_a_long_title_takes_a_second_line() -> None:
    _, (axis,) = new_figure(3.4, 2.0)
    long = "MoDE integrated 0.5 token top-2 identity $^{$ d48-L4-H3: load by expert"
    titled(axis, long, most=46)
    first, second = axis.get_title(loc="left").split("\n")
    assert f"{first} {second}" == long
    assert len(first) <= 46


def test_profit_over_seeds_is_paired(tmp_path: Path) -> None:
    """Seeds that are hard for both cancel: differences 0.05, 0.06, 0.07 nats."""
    level = {0: 1.0, 1: 2.0, 2: 3.0}
    loaded = run(
        tmp_path,
        (0, 1, 2),
        mod=lambda seed: {"routing": routing(loss=level[seed] - 0.1 + 0.05 + 0.01 * seed)},
        rung=lambda seed: {"routing": dense(level[seed])},
    )
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert is_near(rows_of(ROUTING_PROFIT, loaded)["kind of token: digit"][1], 0.06 / math.log(2), half / math.log(2))


def test_profit_without_a_causal_router_says_that_it_looked_ahead(tmp_path: Path) -> None:
    ahead = routing()
    ahead["summary"]["loss_causal"] = None
    loaded = run(tmp_path, mod={"routing": ahead}, rung={"routing": dense(1.45)})
    assert is_near(rows_of(ROUTING_PROFIT, loaded)["kind of token: digit"][1], 0.05 / math.log(2))
    assert [case.arm for case in notes_of(ROUTING_PROFIT, loaded)["arms"].cases] == ["mod[c0.125]"]
    causal = run(tmp_path / "b", mod={"routing": routing()}, rung={"routing": dense(1.45)})
    assert "arms" not in notes_of(ROUTING_PROFIT, causal)


def test_bins_of_another_text_are_not_compared(tmp_path: Path) -> None:
    other = dense()
    other["strata"]["kind"]["bins"][2]["n"] += 1
    loaded = run(tmp_path, mod={"routing": routing()}, rung={"routing": other})
    rows = rows_of(ROUTING_PROFIT, loaded)
    assert "kind of token: digit" not in rows
    assert "kind of token: whitespace" in rows
    assert len(drawn(ROUTING_PROFIT, loaded)) == 4
    for row in other["strata"]["position"]["bins"]:
        row["label"] += "!"
    assert len(drawn(ROUTING_PROFIT, run(tmp_path / "b", mod={"routing": routing()}, rung={"routing": other}))) == 3


# --- text


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
    said = given(figures_of(ROUTING_TEXT, loaded)["matrix-mod[c0.125]"])
    assert (said["tokens"], [each.given["tokens"] for each in said["parts"].values]) == (4, [2, 1, 1])
    assert "<code>self</code> 50 %" in html
    assert "MoD 0.125 stochastic" in html


# --- knows


def test_a_gate_that_knows_is_said_to_know(tmp_path: Path) -> None:
    loaded = run(
        tmp_path,
        mod={"routing": routing(), "flips": flips(0.5), "drift": drift()},
        stochastic={"routing": routing(), "flips": flips(0.02)},
    )
    found: Any = question.verdict(question.shown(question.arms_of(loaded)))
    assert found.verdict == "above the control"
    assert found.against.config.router == "stochastic"
    figures, rows = figures_of(KNOWS, loaded), rows_of(KNOWS, loaded)
    assert len(figures) == 6
    said = given(figures["knows-flips"])
    assert (said["value"], said["n"], said["best"]) == (0.5, 64, 0.02)
    learned, stochastic = rows["score ~ worth"]
    assert (learned.low, learned.value, learned.high) == (0.4, 0.5, 0.6)
    assert (stochastic.low, stochastic.value, stochastic.high) == (-0.08, 0.02, pytest.approx(0.12))
    for start, value in (
        ("worth of a pass that was made", 256),  # 0.001 nats x 256 tokens, in thousandths
        ("… that was not made", -512),
        ("what that costs, bits per token", 0.01),
        ("predicted correctly", 0.951),
        ("… by the majority answer", 0.875),
        ("overlap of blocks", 0.42),
    ):
        assert is_near(rows[start][0], value)
    said = given(figures["knows-scatter"])
    assert (said["decisions"], said["block"], said["harmful"], said["passes"]) == (4, 3, 1, 3)
    assert given(figures["knows-kinds"]) == {"kind": "digit", "start": 0.1, "end": 0.4}
    said = given(figures["knows-settling"])
    assert (said["step"], said["steps"], said["before"]) == (10, 20, 0.9)
    assert "had settled" in said["settled"]


@pytest.mark.parametrize(
    ("rho", "verdict"),
    [(0.05, "undecided"), (-0.4, "wrong"), (0.35, "not above the control"), (0.45, "above the control")],
)
def test_other_gates_are_not(tmp_path: Path, rho: float, verdict: str) -> None:
    control = {"routing": routing(), "flips": flips(0.3)}
    loaded = run(tmp_path, mod={"routing": routing(), "flips": flips(rho)}, stochastic=control)
    found: Any = question.verdict(question.shown(question.arms_of(loaded)))
    assert found.verdict == verdict
    caption: Any = figures_of(KNOWS, loaded)["knows-flips"].caption
    assert routing_knows.VERDICTS[verdict] in caption.words


def test_without_an_interval_or_a_control_nothing_is_held_against_a_control(tmp_path: Path) -> None:
    loaded = run(tmp_path / "a", mod={"routing": routing(), "flips": flips(0.5)})
    found: Any = question.verdict(question.shown(question.arms_of(loaded)))
    assert (found.verdict, found.against) == ("no control", None)
    bare = flips(0.5)
    for row in bare["correlation"].values():
        row.update(low=None, high=None)
    loaded = run(tmp_path / "b", mod={"routing": routing(), "flips": bare})
    found = question.verdict(question.shown(question.arms_of(loaded)))
    assert (found.verdict, found.typical.value) == (None, 0.5)


def test_what_was_not_found_out_is_empty(tmp_path: Path) -> None:
    bare = routing()
    bare["summary"] = {**bare["summary"], "gap": None, "predictor_f1": None}
    lost = {"reason": "no router", "correlation": None, "flips": None, "worth": None}
    rows = rows_of(KNOWS, run(tmp_path, mod={"routing": bare, "flips": lost}))
    missing = {title for title, cells in rows.items() if cells == [None]}
    assert missing == {
        *("score ~ worth", "worth of a pass that was made", "… that was not made"),
        *("what that costs, bits per token", "… F1"),
    }


# --- gates


def test_experts_and_depths_are_read_out(tmp_path: Path) -> None:
    expert = routing()
    expert["experts"] = [{"layer": 1, "tokens": N, "load": [0.7, 0.3], "none": 0.25}]
    expert["summary"]["expert_load_max"] = 1.4
    gate = dense()
    quarters = [{"label": "easiest", "depth": 2.0}, {"label": "hardest", "depth": 3.5}]
    gate["depth"] = {
        "blocks": 4,
        "depth": 2.5,
        "by_length": [
            {"length": t, "n": 64, "depth": 2.5, "depth_se": 0.1, "by_difficulty": quarters} for t in (8, 16)
        ],
    }
    found = figures_of(ROUTING_GATES, run(tmp_path, mod={"routing": expert}, dense={"routing": gate}))
    said = given(found["experts-mod[c0.125]"])
    assert (said["experts"], said["load"]) == (2, 1.4)
    (none,) = said["none"].values
    assert (none.given["share"].value, none.given["block"]) == (0.25, 1)
    said = given(found["depth-dense"])
    assert (said["length"], said["easiest"], said["hardest"], said["mean"], said["blocks"]) == (16, 2.0, 3.5, 2.5, 4)
