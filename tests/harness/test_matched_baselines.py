"""Matched baselines: for each user's model a dense one of equal FLOPs, parameters or time, which the answer names first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from present import of_type, present

from modbench import api, planted_runs
from modbench.commands.plan.forecast import as_text, forecast
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case, MatchedBaseline
from modbench.harness.domain.user_model_cost import UserModelCost
from modbench.harness.execution import user_model_costs
from modbench.harness.execution.user_model_costs import UserModelCosts
from modbench.harness.planning.flops.closed_form import case_cost, closed_form
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.matched_baselines import QUANTITIES, solve
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.results.run_file import StoredRun
from modbench.planted_runs import planted_run
from modbench.progress_bar import progress_for
from modbench.reports import wording
from modbench.reports.blocks import Estimate, Sentence
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import summary, user_models
from modbench.reports.tables.load import load, matched_beside
from modbench.reports.tables.rerun_command import Again

SUITE: dict[str, Any] = {
    "name": "s",
    "metrics": ["flops/forward", "latency/forward"],
    "shape": {"d_model": 64},
    "grid": {"seq_len": [32, 64]},
    "variants": [{"model": "dense"}],
    "match": "flops",
}
# A block that a learned router feeds with the best eighth of all tokens, on shapes alone and where the host reads scores.
MODELS = """
import os
from pathlib import Path
import torch
from torch import nn
with open("imported.txt", "a") as file:
    print(os.getpid(), file=file)
class Net(nn.Module):
    def __init__(self, config, host, dies):
        super().__init__()
        d = config.d_model
        self.embedding, self.head = nn.Embedding(config.vocab_size, d), nn.Linear(d, config.vocab_size, bias=False)
        self.router, self.mlp, self.host, self.dies = nn.Linear(d, 1), nn.Linear(d, d), host, dies
    def forward(self, tokens_BT):
        x_BTD = self.embedding(tokens_BT)
        score_BT = self.router(x_BTD).squeeze(-1)
        if self.dies == "raises":
            raise RuntimeError("it cannot run")
        if self.dies == "exits":
            os._exit(7)
        if self.host:
            at_N = (score_BT[0] > score_BT[0].median()).nonzero().squeeze(-1)
            return self.head(x_BTD.index_add(1, at_N, self.mlp(x_BTD[:, at_N])))
        at_BKD = score_BT.topk(tokens_BT.shape[1] // 8, dim=1).indices[..., None].expand(-1, -1, x_BTD.shape[-1])
        return self.head(x_BTD.scatter_add(1, at_BKD, self.mlp(x_BTD.gather(1, at_BKD))))
def build(config, host=False, dies="", width=1):
    return Net(config, host, dies)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODELS)
    return tmp_path


@dataclass
class Planted:
    """Costs of users' models by the value of their option `width`: FLOPs for each token, parameters, seconds for each token."""

    flops: Mapping[int, float | str] = field(default_factory=dict)
    params: int = 0
    asked: list[Case] = field(default_factory=list)
    memory: bool = False

    def counted(self, cases: Sequence[Case], *, operators: bool = False) -> list[UserModelCost | str]:  # noqa: ARG002  # of `Costs`
        self.asked += cases
        return [self._of(case) for case in cases]

    def _of(self, case: Case) -> UserModelCost | str:
        known = self.flops[dict(case.options).get("width", 1)]  # type: ignore[index]  # a number
        return (
            known
            if isinstance(known, str)
            else UserModelCost(params=self.params, forward=known * case.grid_point.seq_len)
        )

    def seconds(self, case: Case) -> float:
        found = case_cost(case)
        return 2e-6 * case.grid_point.seq_len if found is None else found.forward / 1e11


def dense_at(seq_len: int, **shape: Any) -> float:
    config = ModelConfig.model_validate({"d_model": 64, "max_seq_len": 64, **shape})
    return closed_form("dense", config, seq_len, 1).forward


def planned(
    costs: Planted, *models: str, changes: Mapping[str, Any] | None = None, select: str | None = None, **flags: Any
) -> Plan:
    suite = parse_suite({**SUITE, **(changes or {})}, "s")
    return make_plan(override(suite, Overrides(model=models, **flags)), device="cpu", costs=costs, select=select)


def variants(made: Plan) -> list[str]:
    return [case.variant for case in made.comparisons[0].variants]


def of(made: Plan, target: str) -> tuple[Case, MatchedBaseline]:
    """The dense variant that was matched to another, and how."""
    (matched,) = (each for each in made.matched_baselines if each.target == target)
    return next(case for case in made.cases if case.variant == matched.variant), matched


def test_a_model_gets_a_dense_one_of_its_flops_at_the_longest_length() -> None:
    costs = Planted({1: 0.6 * dense_at(64) / 64})
    made = planned(costs, "mine.py:build", changes={"train": {"seq_len": 32, "tokens": 1000}})
    match, matched = of(made, "mine:build")
    assert variants(made) == ["dense", match.variant, "mine:build"]
    assert (match.variant, matched.solved_at, matched.quantity) == ("dense-f0.60", 64, "flops/forward")
    assert match.matched
    cost = present(
        case_cost(next(case for case in made.cases if case.variant == match.variant and case.grid_point.seq_len == 64))
    )
    assert cost.forward == pytest.approx(0.6 * dense_at(64), rel=0.01)
    assert abs(matched.gaps[64]) <= 0.01 < abs(matched.gaps[32])  # attention grows faster than a planted cost
    assert {case.grid_point.seq_len for case in costs.asked} == {32, 64}
    assert Plan.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(("match", "letter"), [("params", "p"), ("time", "s")])
def test_parameters_and_predicted_times_are_matched_too(match: str, letter: str) -> None:
    dense = closed_form("dense", ModelConfig.model_validate({"d_model": 64, "max_seq_len": 64}), 64, 1)
    made = planned(Planted({1: 1e6}, params=int(0.7 * dense.params)), "mine.py:build", match=match)
    case, matched = of(made, "mine:build")
    assert case.variant.startswith(f"dense-{letter}")
    cost = present(
        case_cost(next(each for each in made.cases if each.variant == case.variant and each.grid_point.seq_len == 64))
    )
    wanted = 0.7 * dense.params if match == "params" else 2e-6 * 64 * 1e11
    assert (cost.params if match == "params" else cost.forward) == pytest.approx(wanted, rel=0.02)
    assert set(matched.gaps) == ({32, 64} if match == "params" else {64})  # a time is predicted where it is matched


def test_variants_of_the_same_cost_share_a_rival() -> None:
    """Within the solver's tolerance; a dense variant of the suite's that costs as much is one too."""
    full = dense_at(64) / 64
    costs = Planted({1: 0.6 * full, 2: 0.603 * full, 3: 0.4 * full, 4: full})
    made = planned(costs, "mine.py:build(width=[1,2,3,4])")
    shared, _ = of(made, "mine:build[width1]")
    assert of(made, "mine:build[width2]")[0] == shared
    assert of(made, "mine:build[width3]")[0].variant != shared.variant
    same, matched = of(made, "mine:build[width4]")
    assert (same.variant, same.matched) == ("dense", False)
    assert abs(matched.gaps[64]) <= 0.01
    assert sum(case.matched for case in made.comparisons[0].variants) == 2


def test_names_of_rivals_differ_where_their_costs_do() -> None:
    full = dense_at(64) / 64
    made = planned(Planted({1: 0.1 * full, 2: 0.1035 * full}), "mine.py:build(width=[1,2])")
    names = [case.variant for case in made.comparisons[0].variants if case.matched]
    assert len(set(names)) == 2


def test_a_model_alone_is_compared_with_its_rival() -> None:
    costs = Planted({1: 0.6 * dense_at(64) / 64})
    made = planned(costs, "mine.py:build", only=True)
    assert variants(made) == ["dense-f-mine:build", "mine:build"]
    assert present(made.comparisons[0].aa_control_case).variant == "dense-f-mine:build-aa_control"
    assert variants(planned(costs, "mine.py:build", only=True, match="none")) == ["mine:build"]
    assert not planned(costs, "mine.py:build", match="none").matched_baselines


def test_settings_of_one_model_are_compared_with_the_rival_of_the_first() -> None:
    """As with one setting; two models that are named each are compared with the first of them."""
    full = dense_at(64) / 64
    costs, model = Planted({1: 0.6 * full, 2: 0.4 * full, 3: "cannot be counted: it needs a GPU"}), "mine.py:build"
    matches_of = {n: f"dense-f-mine:build-width{n}" for n in (1, 2)}
    own = {n: f"mine:build[width{n}]" for n in (1, 2, 3)}
    made = planned(costs, f"{model}(width=[2,1])", only=True)
    assert variants(made) == [matches_of[2], matches_of[1], own[2], own[1]]
    assert [
        each.variant for each in planned(costs, model, only=True, option={"width": [2, 1]}).comparisons[0].variants
    ] == variants(made)
    alike = Planted({1: 0.6 * full, 2: 0.6 * full})
    assert variants(planned(alike, f"{model}(width=[1,2])", only=True)) == [matches_of[1], own[1], own[2]]
    assert variants(planned(costs, f"{model}(width=[3,1])", only=True)) == [own[3], matches_of[1], own[1]]
    apart = planned(costs, f"{model}(width=2)", f"{model}(width=1)", only=True)
    assert variants(apart)[0] == own[2]


def test_a_matched_is_named_by_a_share_only_of_a_variant_in_the_run() -> None:
    """`dense, 60 % of the FLOPs` says of which: of dense beside it. Elsewhere it is named by what it costs as much as."""
    full = dense_at(64) / 64
    costs, model = Planted({1: 0.6 * full, 2: 0.4 * full}), "mine.py:build(width=[1,2])"
    names = {wording.name(case) for case in planned(costs, model).comparisons[0].variants if case.matched}
    assert names == {"dense, 60 % of the FLOPs", "dense, 40 % of the FLOPs"}
    alone = [case for case in planned(costs, model, only=True).comparisons[0].variants if case.matched]
    assert [wording.name(case) for case in alone] == [f"dense, FLOPs of mine:build width{n}" for n in (1, 2)]
    given = [{"model": "mod"}, {"model": "dense", "match": {"variant": "mod", "factor": 2.0}}]
    (matched,) = (case for case in planned(costs, changes={"variants": given}).comparisons[0].variants if case.matched)
    assert wording.name(matched) == "dense, FLOPs of MoD 0.125 x2"
    chosen = planned(costs, model, only=True).cases
    assert (
        wording.variant_named(chosen, "width2", "variant").variant == "mine:build[width2]"
    )  # what it is named by is no name of it
    assert wording.variant_named(chosen, "dense for mine:build width2", "variant") == alone[1]


def test_a_selected_model_keeps_its_rival_as_with_only() -> None:
    full = dense_at(64) / 64
    costs, model = Planted({1: 0.6 * full, 2: 0.4 * full}), "mine.py:build(width=[1,2])"
    assert variants(planned(costs, model, select="width1")) == ["dense", "dense-f0.60", "mine:build[width1]"]
    assert variants(planned(costs, model, select="mine")) == variants(planned(costs, model))
    at_32 = planned(costs, model, select="width2 and T32")
    assert [each.variant for each in at_32.cases] == ["dense", "dense-f0.40", "mine:build[width2]"]
    assert {each.grid_point.seq_len for each in at_32.cases} == {32}
    assert variants(planned(costs, model, select="width1", match="none")) == ["dense", "mine:build[width1]"]
    match = [{"model": "dense"}, {"model": "dense", "match": {"variant": "mod"}}, {"model": "mod"}]
    assert variants(planned(costs, changes={"variants": match}, select="mod")) == [
        "dense",
        "mod[c0.125]",
    ]  # a suite names its own


def test_what_measures_a_model_again_leaves_its_rival_out_unless_that_is_wanted(tmp_path: Path) -> None:
    full = dense_at(64) / 64
    costs = Planted({1: 0.6 * full, 2: 0.4 * full})

    def words(made: Plan, *names: str) -> str:
        run = StoredRun(tmp_path, made, {}, ["modbench", "run", "s"], "", "local", [], [])
        return Again(run).command([case for case in made.cases if case.variant in names])

    several = planned(costs, "mine.py:build(width=[1,2])")
    assert words(several, "mine:build[width1]").endswith(" --match none")
    for names in (("mine:build[width1]", "dense-f0.60"), ("dense-f0.60",), ("moe",)):
        assert "--match" not in words(several, *names)
    alone = planned(costs, "mine.py:build", only=True)  # here it is the baseline
    assert "--match" not in words(alone, "mine:build")


def test_a_match_names_a_model_of_ones_own_with_its_options() -> None:
    full = dense_at(64) / 64
    match = {"variant": "mine.py:build", "options": {"width": 2}}
    given: list[dict[str, Any]] = [
        {"model": "dense"},
        {"model": "dense", "match": match},
        {"model": "mine.py:build", "options": {"width": [1, 2]}},
    ]
    costs = Planted({1: 0.6 * full, 2: 0.4 * full})
    made = planned(costs, changes={"variants": given, "match": "none"})
    assert of(made, "mine:build[width2]")[0].variant == "dense-f0.40"
    assert len(made.matched_baselines) == 1
    both = planned(costs, changes={"variants": given, "match": "flops"})  # what is matched already is not matched again
    assert sorted(matched.variant for matched in both.matched_baselines) == ["dense-f0.40", "dense-f0.60"]
    given[1]["match"] = {"variant": "mine.py:build(width=2)"}
    assert planned(costs, changes={"variants": given, "match": "none"}).matched_baselines == made.matched_baselines
    assert (
        variants(planned(costs, "mine.py:build", changes={"variants": given, "match": "none"}, only=True))[0]
        == "mine:build[width1]"
    )
    for wrong, error in (
        ({"variant": "mine.py:bild"}, "bild"),
        ({"variant": "mine.py:build(width=[1,2])"}, "several values"),
    ):
        given[1]["match"] = wrong
        with pytest.raises(UsageError, match=error):
            planned(costs, changes={"variants": given, "match": "none"})


def test_what_cannot_be_counted_has_no_rival_and_says_why() -> None:
    costs = Planted({1: "cannot be counted: it needs a GPU"})
    made = planned(costs, "mine.py:build")
    assert variants(made) == ["dense", "mine:build"]
    assert "needs a GPU" in made.no_matches["mine:build"]
    match = [{"model": "dense"}, {"model": "dense", "match": {"variant": "mine.py:build"}}]
    with pytest.raises(UsageError, match="needs a GPU"):
        planned(costs, changes={"variants": match})


def test_a_lower_bound_of_flops_is_matched_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = UserModelCost(params=1000, forward=1e6, unknown=("mylib.conv",))
    monkeypatch.setattr(Planted, "_of", lambda *_: bound)
    assert "mylib.conv" in planned(Planted(), "mine.py:build").no_matches["mine:build"]


def test_a_flag_that_says_nothing_or_nothing_known_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--match flops.*no model of yours"):
        planned(Planted(), match="flops")
    with pytest.raises(UsageError, match="flops"):
        Overrides(match="flop")


def test_shapes_are_solved_far_below_and_above_the_suites() -> None:
    """By narrower and wider models, where no MLP and no depth suffices; `d_ff` keeps to what anybody would choose."""
    base = ModelConfig.model_validate({"d_model": 256, "n_layers": 4, "max_seq_len": 512})

    def forward(config: ModelConfig) -> float:
        return closed_form("dense", config, 512, 1).forward

    for share in (0.015, 0.05, 0.2, 3.0, 40.0):
        found = solve(base, forward, share * forward(base))
        assert forward(found) == pytest.approx(share * forward(base), rel=QUANTITIES["flops/forward"].tolerance)
        assert ModelConfig.model_validate(found.model_dump()) == found
        if share > 1:
            assert found.n_layers == base.n_layers
            assert found.d_ff <= 6 * found.d_model
    with pytest.raises(UsageError, match="no shape"):
        solve(base, forward, 1.0)


# --- counted in a process


def case_of(made: Plan, variant: str) -> Case:
    return next(case for case in made.cases if case.variant == variant and case.grid_point.seq_len == 64)


@pytest.mark.slow
def test_models_are_counted_in_one_process_of_their_own(here: Path) -> None:
    """On shapes alone, or where the host reads values on this CPU; one that fails or ends the process does not end the others."""
    options = "(host=[false,true],dies=['','raises','exits'])"
    made = planned(Planted({1: 1e6}), f"mine.py:build{options}", match="none")
    parts = {"": "dies_-", "raises": "dies_raises-", "exits": "dies_exits-"}
    names = [case.variant for case in made.comparisons[0].variants if case.is_user_model]
    assert len(names) == len(parts) * 2
    costs = UserModelCosts()
    found = dict(zip(names, costs.counted([case_of(made, name) for name in names]), strict=True))
    d, t, vocabulary = 64, 64, 256
    plain = 2 * t * d * (1 + vocabulary)
    for name, cost in found.items():
        if "raises" in name:
            assert isinstance(cost, str)
            assert "RuntimeError: it cannot run" in cost
        elif "exits" in name:
            assert isinstance(cost, str)
            assert "exit code 7" in cost
        else:
            assert isinstance(cost, UserModelCost)
            host = "host_true" in name
            assert cost.computed == host
            assert cost.forward == plain + 2 * d * d * (t // 2 if host else t // 8)
            assert cost.params == 2 * d * vocabulary + (d + 1) + (d * d + d)
    ran = set((here / "imported.txt").read_text().split())
    assert str(os.getpid()) not in ran
    assert len(ran) == 2  # the second model that ends its process is the last
    costs.counted([case_of(made, name) for name in names])
    assert set((here / "imported.txt").read_text().split()) == ran


@pytest.mark.slow
def test_an_explicit_rival_that_cannot_be_had_is_refused_and_a_default_one_is_left_out(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a model which raises is found to cannot run: the test above."""
    monkeypatch.setattr(
        user_model_costs, "_in_processes", lambda cases, **_: ["RuntimeError: it cannot run"] * len(cases)
    )
    (here / "s.toml").write_text(
        'metrics = ["flops/forward"]\nmatch = "flops"\n[grid]\nseq_len = [16]\n[[variants]]\nmodel = "dense"\n'
    )
    flags = {"model": ("mine.py:build(dies=raises)",), "device": "cpu"}
    made = api.make_plan("s.toml", Overrides(**flags))  # type: ignore[arg-type]
    assert "it cannot run" in made.no_matches["mine:build[dies_raises]"]
    with pytest.raises(UsageError, match=r"--match params: .*it cannot run"):
        api.make_plan("s.toml", Overrides(**flags, match="params"))  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_forecast_counts_all_its_places_at_once() -> None:
    """Each further call would start a process, which imports torch."""
    train = {"seq_len": 32, "batch_size": 3, "tokens": 1000}
    changes = {
        "train": train,
        "metrics": ["latency/forward", "loss/val"],
        "grid": {"seq_len": [64], "batch_size": [1, 2]},
    }
    for memory, grid_points in ((False, {(32, 1), (64, 1)}), (True, {(32, 1), (64, 1), (64, 2), (32, 3)})):
        costs = Planted({1: 0.6 * dense_at(64) / 64}, memory=memory)
        made = planned(costs, "mine.py:build", changes=changes)
        assert {(case.grid_point.seq_len, case.grid_point.batch_size) for case in costs.asked} == grid_points
        assert not memory or {case.grid_point for case in made.cases} <= {case.grid_point for case in costs.asked}


@pytest.mark.usefixtures("undrawn")
def test_a_resumed_run_counts_nothing_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "s.toml").write_text(
        'metrics = ["flops/forward"]\neffort = "smoke"\nmatch = "flops"\n[shape]\nd_model = 32\nn_layers = 1\n'
        '[grid]\nseq_len = [16]\n[[variants]]\nmodel = "dense"\n'
    )
    d, t, vocabulary = 32, 16, 256  # as in the test of the counting above: that one starts a process
    counted_as = UserModelCost(
        params=2 * d * vocabulary + (d + 1) + (d * d + d),
        forward=2 * t * d * (1 + vocabulary) + 2 * d * d * (t // 8),
    )
    monkeypatch.setattr(user_model_costs, "_in_processes", lambda cases, **_: [counted_as] * len(cases))
    made, folder, *_ = api.prepare("s.toml", Overrides(model=("mine.py:build",), device="cpu"), out=str(here / "run"))
    assert made.matched_baselines
    folder.write_run(made, planted_runs.ENVIRONMENT, ["modbench", "run", "s.toml"], "2026-01-01T00:00:00+00:00")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("counted again")

    monkeypatch.setattr(user_model_costs, "_in_processes", never)
    finished = api.resume(str(folder.path), partial(progress_for, quiet=True), allow_changed=True)
    assert finished.loaded.run.plan == made
    counted = finished.loaded.cases.set_index("variant").value
    match, _ = of(made, "mine:build")
    assert counted[match.variant] == pytest.approx(counted["mine:build"], rel=0.01)


# --- shown


def test_the_answer_begins_with_the_rival(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = dense_at(64) / 64
    made = planned(
        Planted({1: 0.6 * full}),
        "mine.py:build",
        changes={
            "variants": [{"model": "dense"}, {"model": "dense", "match": {"variant": "mod"}}, {"model": "mod"}],
            "effort": "draft",
            "aa_control": False,
        },
    )
    monkeypatch.setitem(planted_runs.PLANTED, "dense-f0.60", 0.6)
    monkeypatch.setitem(planted_runs.PLANTED, "mine:build", 0.5)
    loaded = load(planted_run(here, made))
    own = next(case for case in loaded.variants if case.is_user_model)
    assert matched_beside(loaded, own) is not None
    assert user_models.first_variant(loaded) == own  # what the page shows first is about it too
    first, shape = (of_type(Sentence, each) for each in summary.answer(loaded))
    assert (first.given["variant"], shape.given["variant"]) == (own, own)
    assert first.given["base"] == "dense of equal FLOPs"
    assert (first.given["won"], first.given["all"]) == (2, 2)
    assert not list(user_models.missed(loaded))  # its FLOPs were not measured here


def test_settings_without_a_dense_variant_are_held_against_dense_of_the_cost_of_one(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = dense_at(64) / 64
    costs = Planted({1: 0.6 * full, 2: 0.4 * full})
    made = planned(costs, "mine.py:build(width=[1,2])", only=True, changes={"effort": "draft", "aa_control": False})
    for n, (own, match) in {1: (0.5, 0.6), 2: (0.5, 0.4)}.items():
        monkeypatch.setitem(planted_runs.PLANTED, f"mine:build[width{n}]", own)
        monkeypatch.setitem(planted_runs.PLANTED, f"dense-f-mine:build-width{n}", match)
    loaded = load(planted_run(here, made))
    assert plain(summary.asked(loaded)) == (
        "mine:build width1 and mine:build width2 against dense, FLOPs of mine:build width1 and 1 matched baseline: "
        "forward pass at 32 and 64 tokens."
    )
    said = of_type(Sentence, summary.answer(loaded)[0])
    # A matched baseline costs as much as one setting: it is no baseline of all.
    assert (plain(said.given["variant"]), said.given["won"]) == ("mine:build width1", 2)


def test_a_predicted_time_is_held_against_the_measured_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = planned(Planted({1: 1e6}), "mine.py:build", match="time", changes={"effort": "draft", "aa_control": False})
    match, _ = of(made, "mine:build")
    for theirs, off in ((0.5, False), (0.6, True)):
        monkeypatch.setitem(planted_runs.PLANTED, match.variant, theirs)
        monkeypatch.setitem(planted_runs.PLANTED, "mine:build", 0.5)
        (here / str(theirs)).mkdir()
        loaded = load(planted_run(here / str(theirs), made))
        found = [of_type(Estimate, said.given["ratio"]).value for said in user_models.missed(loaded)]
        assert found == [pytest.approx(theirs / 0.5, rel=0.04)] * off


def test_a_model_without_a_rival_is_named_among_the_doubts(here: Path) -> None:
    made = planned(Planted({1: "cannot be counted: it needs a GPU"}), "mine.py:build")
    (said,) = user_models.left_out(load(planted_run(here, made)))
    assert "needs a GPU" in str(said.given["why"])


def test_a_plan_says_what_rivals_cost_in_time_and_counts_models_of_ones_own() -> None:
    full = dense_at(64) / 64
    costs = Planted({1: 0.6 * full, 2: 0.603 * full, 3: "cannot be counted: it needs a GPU"})
    made = planned(costs, "mine.py:build(width=[1,2,3])", changes={"effort": "draft"})
    found = forecast(made, costs)
    (match,) = found["matches"]
    assert match["targets"] == ["mine:build[width1]", "mine:build[width2]"]
    assert 0 < match["predicted_s"] < found["predicted_s"]
    assert found["no_matches"] == made.no_matches
    rows = {row["case"]: row for row in found["cases"]}
    known, unknown = rows["mine:build[width1-T64-B1-fp32-cpu1]"], rows["mine:build[width3-T64-B1-fp32-cpu1]"]
    assert known["flops_forward"] == pytest.approx(0.6 * full * 64)
    assert known["flops_share"] == pytest.approx(0.6, rel=0.01)
    assert known["forward_s"] is None
    assert known["reason"]
    assert unknown["flops_forward"] is None
    assert "needs a GPU" in unknown["reason"]
    lines = " ".join(as_text(found).split())
    assert match["variant"] in lines
    assert "needs a GPU" in lines
    without = planned(costs, "mine.py:build(width=[1,2,3])", changes={"effort": "draft"}, match="none")
    less = found["predicted_s"] - forecast(without, costs)["predicted_s"]
    assert match["predicted_s"] == pytest.approx(less, rel=0.3)
