"""The routing panels, rendered from planted artifacts: they show the planted numbers."""

from __future__ import annotations

import copy
import html as html_module
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup
from panels_of import drawn, shown
from planted import ENVIRONMENT, planted_suite, stored
from scipy import stats

from modbench.harness.core import files
from modbench.harness.core.case import Case
from modbench.harness.core.errors import UsageError
from modbench.harness.results import run_folder
from modbench.harness.results.workspace import Workspace
from modbench.reports.figures.style import new_figure
from modbench.reports.page import render
from modbench.reports.panels import (
    _routing,
    _routing_parts,
    routing_gates,
    routing_knows,
    routing_profit,
    routing_text,
    routing_who,
)
from modbench.reports.tables.load import Loaded, load

PANELS = (routing_text, routing_who, routing_profit, routing_knows, routing_gates)
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
    stored(folder, plan)
    path = folder / "run"
    for unit in plan.units:
        if unit.made_in == "train":
            (case,) = unit.comparison.arms
            key = "rung" if case.rung else case.model if case.config.router == "learned" else case.config.router
            left = artifacts.get(key)
            if left is not None:
                Workspace(path, unit.name).keep(left(unit.protocol.seed) if callable(left) else left)
    return load(str(path))


def row_of(html: str, start: str) -> list[str]:
    """Cells of the table row that starts with this cell."""
    for line in re.findall(r"<tr>(.*?)</tr>", html):
        cells = [html_module.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)]
        if cells and cells[0] == start:
            return cells[1:]
    raise AssertionError(start)


def test_no_artifacts_no_panels(tmp_path: Path) -> None:
    loaded = run(tmp_path)
    assert not any(shown(panel, loaded) for panel in PANELS)


def test_every_figure_of_a_panel_can_be_had_alone(tmp_path: Path) -> None:
    """As many as the page shows, each under a name of its own, with the numbers that are drawn."""
    artifact = {"routing": routing(), "flips": flips(0.3), "drift": drift()}
    loaded = run(tmp_path, dense={"routing": dense()}, mod=artifact, stochastic={"routing": routing()})
    names = []
    for panel in PANELS:
        drawings = drawn(panel, loaded)
        assert len(drawings) == shown(panel, loaded).count("<figure")
        assert not any(drawing.data.empty for drawing in drawings)
        names += [drawing.name for drawing in drawings]
    assert len(set(names)) == len(names) > 10
    who = next(drawing for drawing in drawn(routing_who, loaded) if drawing.name == "who-kind")
    assert list(who.data[who.data["bin"] == "digit"].value) == [0.4, 0.4]


@pytest.mark.parametrize("harm", ['{"routing": ', "", "null", "[1]", '{"routing": 5}'])
def test_a_damaged_artifact_is_said_so(harm: str, tmp_path: Path) -> None:
    loaded = run(tmp_path, mod={"routing": routing()})
    (file,) = (loaded.path / "artifacts").iterdir()
    file.write_text(harm)
    with pytest.raises(UsageError, match=r"damaged \(.*If you remove it"):
        shown(routing_who, loaded)


def test_a_dense_run_has_no_routing_to_show(tmp_path: Path) -> None:
    loaded = run(tmp_path, dense={"routing": dense()})
    assert not any(shown(panel, loaded) for panel in PANELS)


# --- intervals


def test_the_interval_of_a_share_is_wilsons_where_tokens_are_independent() -> None:
    hits, n = 37, 400
    share = hits / n
    found = _routing.share_interval(share, math.sqrt(share * (1 - share) / n), n, 10)
    wilson = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert found == pytest.approx((wilson.low, wilson.high), abs=1e-6)


def test_the_interval_of_a_share_counts_windows_where_they_say_more() -> None:
    narrow, wide = (_routing.share_interval(0.2, error, 400, 10) for error in (0.02, 0.06))
    assert narrow is not None
    assert wide is not None
    assert wide[0] < narrow[0] < 0.2 < narrow[1] < wide[1]
    never = _routing.share_interval(0.0, 0.0, 400, 10)
    wilson = stats.binomtest(0, 10).proportion_ci(method="wilson")
    assert never == pytest.approx((0, wilson.high), abs=1e-6)
    assert _routing.share_interval(0.2, 0.0, 400, 10) is None  # the same in every window
    assert _routing.share_interval(0.2, None, 400, 1) is None


# --- who


@pytest.mark.slow
def test_who_passes_in_numbers(tmp_path: Path) -> None:
    loaded = run(
        tmp_path, mod={"routing": routing()}, stochastic={"routing": routing({"digit": 0.125, "whitespace": 0.125})}
    )
    html = shown(routing_who, loaded)
    ends = _routing.share_interval(0.4, 0.01, N // 5 * 2, WINDOWS)
    assert ends is not None
    cells = row_of(html, "kind of token: digit")
    assert cells[:2] == [f"{N // 5:,}", f"40.0 % [{100 * ends[0]:.1f}–{100 * ends[1]:.1f}]"]
    assert cells[2].startswith("12.5 %")
    assert "MoD 0.125: most of digit (40.0%), least of word start (10.0%)." in html
    assert "1 seed" in html
    assert html.count("<svg") == 6


def test_three_seeds_give_an_interval_over_seeds(tmp_path: Path) -> None:
    values = {0: 0.3, 1: 0.4, 2: 0.5}
    loaded = run(tmp_path, (0, 1, 2), mod=lambda seed: {"routing": routing({"digit": values[seed]})})
    html = shown(routing_who, loaded)
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert row_of(html, "kind of token: digit")[1] == f"40.0 % [{100 * (0.4 - half):.1f}–{100 * (0.4 + half):.1f}]"
    assert "3 seeds" in html


# --- profit


@pytest.mark.slow
def test_profit_is_against_the_rung_and_without_the_future(tmp_path: Path) -> None:
    """Routed: 1.5 + 0.1 nats when routed causally; the rung 1.55, the anchor 1.45."""
    loaded = run(tmp_path, mod={"routing": routing()}, rung={"routing": dense(1.55)}, dense={"routing": dense(1.45)})
    html = shown(routing_profit, loaded)
    bits = f"{(1.6 - 1.55) / math.log(2):+.3f}"
    for start in ("kind of token: all tokens", "kind of token: digit", "position in the window: 0–31"):
        assert row_of(html, start)[1] == bits
    assert "equal FLOPs" in html
    assert "1 seed: an illustration without intervals" in html
    without = run(tmp_path / "b", mod={"routing": routing()}, dense={"routing": dense(1.45)})
    html = shown(routing_profit, without)
    assert row_of(html, "kind of token: digit")[1] == f"{(1.6 - 1.45) / math.log(2):+.3f}"
    assert "same shape, more FLOPs" in html
    assert not shown(routing_profit, run(tmp_path / "c", mod={"routing": routing()}))


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
    html = shown(routing_profit, loaded)
    assert "Held-out loss minus that of dense d48-L4-H2 (same shape and training FLOPs)" in html
    assert "MoD 0.125 d48-L4-H2: best on" in html
    focus = _routing.focus_of(arms := _routing.arms_of(loaded))
    assert focus is not None
    beside = [arm.case.arm for arm in _routing.controls_of(arms, focus)]
    assert beside == ["mode_integrated[c0.125-d48-L4-H2]"]  # two of these would look alike


def test_of_a_sweep_experts_are_shown_at_the_best_size(tmp_path: Path) -> None:
    def left(case: Case, loss: float) -> dict[str, Any]:
        made = dense(loss) if case.model == "dense" else routing(loss=loss)
        made["experts"] = [{"layer": 1, "tokens": N, "load": [0.7, 0.3], "none": 0.25}] if case.model != "dense" else []
        made["summary"]["expert_load_max"] = 1.4
        return made

    found = routing_gates.render(sweep(tmp_path, left))
    variants = ("mod[c0.125", "mode_integrated[c0.125", "mode_integrated[c0.25")
    assert [each.name for each in found] == [f"experts-{variant}-d48-L4-H2]" for variant in variants]


def test_a_long_title_takes_a_second_line() -> None:
    _, (axis,) = new_figure(3.4, 2.0)
    long = "MoDE integrated 0.5 token top-2 identity $^{$ d48-L4-H3: load by expert"
    _routing_parts.titled(axis, long, most=46)
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
    html = shown(routing_profit, loaded)
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    ends = [f"{(0.06 + side * half) / math.log(2):+.3f}" for side in (-1, 1)]
    assert row_of(html, "kind of token: digit")[1] == f"{0.06 / math.log(2):+.3f} [{ends[0]}, {ends[1]}]"


def test_profit_without_a_causal_router_says_that_it_looked_ahead(tmp_path: Path) -> None:
    ahead = routing()
    ahead["summary"]["loss_causal"] = None
    html = shown(routing_profit, run(tmp_path, mod={"routing": ahead}, rung={"routing": dense(1.45)}))
    assert row_of(html, "kind of token: digit")[1] == f"{0.05 / math.log(2):+.3f}"
    assert "sees later tokens" in html


def test_bins_of_another_text_are_not_compared(tmp_path: Path) -> None:
    other = dense()
    other["strata"]["kind"]["bins"][2]["n"] += 1
    html = shown(routing_profit, run(tmp_path, mod={"routing": routing()}, rung={"routing": other}))
    with pytest.raises(AssertionError, match="digit"):
        row_of(html, "kind of token: digit")
    assert row_of(html, "kind of token: whitespace")
    assert html.count("<svg") == 4
    for row in other["strata"]["position"]["bins"]:
        row["label"] += "!"
    html = shown(routing_profit, run(tmp_path / "b", mod={"routing": routing()}, rung={"routing": other}))
    assert html.count("<svg") == 3


# --- text


def test_the_text_is_escaped_and_coloured_by_depth(tmp_path: Path) -> None:
    loaded = run(tmp_path, mod={"routing": routing()}, stochastic={"routing": routing()})
    html = shown(routing_text, loaded)
    passage = html[html.index('class="passage"') :]
    passage = passage[: passage.index("</div>")]
    spans = re.findall(r'<span( style="[^"]*")? title="(\d of \d)">(.*?)</span>', passage, flags=re.DOTALL)
    assert [(said, text) for _, said, text in spans] == [
        ("0 of 2", "&lt;b&gt;"),
        ("2 of 2", "x"),
        ("1 of 2", "↵\n"),
        ("0 of 2", " y"),
    ]
    shades = [re.search(r"(\d+)%,transparent", style) for style, _, _ in spans]
    assert [int(shade[1]) if shade else 0 for shade in shades] == [0, 46, 23, 0]
    assert "Of 4 tokens, by routed blocks: 2 used none, 1 used 1, 1 used all 2." in html
    assert "<code>self</code> 50%" in html
    assert "MoD 0.125 stochastic" in html


# --- knows


def test_a_gate_that_knows_is_said_to_know(tmp_path: Path) -> None:
    loaded = run(
        tmp_path,
        mod={"routing": routing(), "flips": flips(0.5), "drift": drift()},
        stochastic={"routing": routing(), "flips": flips(0.02)},
    )
    html = shown(routing_knows, loaded)
    assert "MoD 0.125: +0.50 over 64 reversed decisions. It knows: MoD 0.125 stochastic has +0.02." in html
    assert row_of(html, "score ~ worth") == ["+0.500 [+0.400, +0.600]", "+0.020 [-0.080, +0.120]"]
    assert row_of(html, "worth of a pass that was made")[0] == "+256"  # 0.001 nats x 256 tokens, in thousandths
    assert row_of(html, "… that was not made")[0] == "-512"
    assert row_of(html, "what that costs, bits per token")[0] == "+0.010"
    assert row_of(html, "predicted correctly")[0] == "95.1 %"
    assert row_of(html, "… by the majority answer")[0] == "87.5 %"
    assert row_of(html, "overlap of blocks")[0] == "0.420"
    assert "4 decisions of block 3" in html
    assert "1 of 3 passes did harm" in html
    assert "Largest change: digit, from 10.0% to 40.0%." in html
    assert "At step 10 of 20 it was 0.90: the router has settled." in html
    assert html.count("<svg") == 6


@pytest.mark.parametrize(
    ("rho", "said"),
    [
        (0.05, "Undecided."),
        (-0.4, "It prefers the wrong tokens."),
        (0.35, "It is not clearly above a control: MoD 0.125 stochastic has +0.30."),
    ],
)
def test_other_gates_are_not(tmp_path: Path, rho: float, said: str) -> None:
    control = {"routing": routing(), "flips": flips(0.3)}
    assert said in shown(
        routing_knows, run(tmp_path, mod={"routing": routing(), "flips": flips(rho)}, stochastic=control)
    )


def test_what_was_not_found_out_is_a_dash(tmp_path: Path) -> None:
    bare = routing()
    bare["summary"] = {**bare["summary"], "gap": None, "predictor_f1": None}
    lost = {"reason": "no router", "correlation": None, "flips": None, "worth": None}
    html = shown(routing_knows, run(tmp_path, mod={"routing": bare, "flips": lost}))
    assert [row_of(html, start) for start in ("score ~ worth", "… F1", "what that costs, bits per token")] == [
        ["–"]
    ] * 3
    assert row_of(html, "worth of a pass that was made") == ["–"]


def test_correlations_of_three_seeds_are_averaged(tmp_path: Path) -> None:
    html = shown(
        routing_knows,
        run(tmp_path, (0, 1, 2), mod=lambda seed: {"routing": routing(), "flips": flips(0.3 + 0.1 * seed)}),
    )
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert row_of(html, "score ~ worth") == [f"+0.400 [{0.4 - half:+.3f}, {0.4 + half:+.3f}]"]


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
    html = shown(routing_gates, run(tmp_path, mod={"routing": expert}, dense={"routing": gate}))
    assert "The busiest of 2 experts takes 1.40 times its even share." in html
    assert "25% in block 1" in html
    assert "At 16 tokens 2.00 and 3.50 blocks; windows as scored get 2.50 of 4." in html


# --- the page


@pytest.mark.slow
def test_the_page_holds_all_panels_with_ids_of_their_own(tmp_path: Path) -> None:
    expert = copy.deepcopy(routing())
    expert["experts"] = [{"layer": 1, "tokens": N, "load": [0.7, 0.3], "none": 0.25}]
    expert["summary"]["expert_load_max"] = 1.4
    loaded = run(
        tmp_path,
        mod={"routing": expert, "flips": flips(0.5), "drift": drift()},
        stochastic={"routing": routing(), "flips": flips(0.0), "drift": drift()},
        rung={"routing": dense()},
    )
    page = render.html(loaded)
    for panel in PANELS:
        assert str(Markup.escape(panel.PANEL.title)) in page
    assert not re.search(r"#010[2-6]\d\d|#020[3-5]\d\d", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert not re.search(r"\bnan\b", page, flags=re.IGNORECASE)
