"""Matched baselines: for each user's model a dense one of equal FLOPs, parameters or time, which the answer names first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from present import of_type, present

from modbench import api, planted_runs
from modbench.commands.plan.forecast import as_text, forecast
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case
from modbench.harness.domain.user_model_cost import UserModelCost
from modbench.harness.execution.user_model_costs import UserModelCosts
from modbench.harness.planning.flops.closed_form import case_cost, closed_form
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.matched_baselines import QUANTITIES, solve
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.planted_runs import planted_run
from modbench.reports.blocks import Estimate, Sentence
from modbench.reports.questions import summary, user_models
from modbench.reports.tables.load import Loaded, load

SUITE: dict[str, Any] = {
    "name": "s",
    "metrics": ["flops/forward", "latency/forward"],
    "shape": {"d_model": 64},
    "grid": {"seq_len": [32, 64]},
    "variants": [{"model": "dense"}],
    "match": "flops",
}
# A learned router gives a block the best eighth of all tokens, on shapes alone; half of them where the host reads scores.
MODELS = """
import os
import torch
from torch import nn
with open("imported.txt", "a") as file:
    print(os.getpid(), file=file)
class Net(nn.Module):
    def __init__(self, config, host, dies):
        super().__init__()
        d, v = config.d_model, config.vocab_size
        self.embedding, self.router, self.mlp, self.head = nn.Embedding(v, d), nn.Linear(d, 1), nn.Linear(d, d), nn.Linear(d, v)
        self.host, self.dies = host, dies
    def forward(self, tokens_BT):
        if self.dies == "raises":
            raise RuntimeError("it cannot run")
        if self.dies == "exits":
            os._exit(7)
        x_BTD = self.embedding(tokens_BT)
        score_T = self.router(x_BTD)[0, :, 0]
        best = score_T.topk(len(score_T) // (2 if self.host else 8)).indices
        at_K = (torch.bincount(best) > 0).nonzero()[:, 0] if self.host else best
        return self.head(x_BTD.index_add(1, at_K, self.mlp(x_BTD[:, at_K])))
def build(config, host=False, dies="", width=1):
    return Net(config, host, dies)
"""
BUILD = "mine.py:build"
DENSE = closed_form("dense", ModelConfig.model_validate({"d_model": 64, "max_seq_len": 64}), 64, 1)
MATCH_OF_MOD = [{"model": "dense"}, {"model": "dense", "match": {"variant": "mod"}}, {"model": "mod"}]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODELS)
    return tmp_path


class Planted:
    """Costs of users' models by the value of their option `width`: a share of dense's FLOPs at 64 tokens, or a reason."""

    SHARES: ClassVar[dict[Any, Any]] = {
        1: 0.6,
        2: 0.4,
        3: "cannot be counted: it needs a GPU",
        4: 1.0,
        5: 0.603,
        6: 0.1,
        7: 0.1035,
        8: 1,
    }
    memory = False

    def counted(self, cases: Sequence[Case], *, operators: bool = False) -> list[UserModelCost | str]:  # noqa: ARG002  # of `Costs`
        return [self._of(case) for case in cases]

    def _of(self, case: Case) -> UserModelCost | str:
        width = dict(case.options).get("width", 1)
        share = self.SHARES[width]
        if isinstance(share, str):
            return share
        forward = share * DENSE.forward / 64 * case.grid_point.seq_len
        unknown = ("mylib.conv",) if width == 8 else ()  # a lower bound
        return UserModelCost(params=int(0.7 * DENSE.params), forward=forward, unknown=unknown)

    def seconds(self, case: Case) -> float:
        found = case_cost(case)
        return 2e-6 * case.grid_point.seq_len if found is None else found.forward / 1e11


COSTS: Any = Planted()


def planned(*models: str, changes: Mapping[str, Any] | None = None, select: str | None = None, **flags: Any) -> Plan:
    suite = parse_suite({**SUITE, **(changes or {})}, "s")
    suite = override(suite, Overrides(model=models, **flags))
    return make_plan(suite, device="cpu", costs=COSTS, select=select, text=Text("t", b"a" * 5000, b"b" * 5000, "x"))


def variants(made: Plan) -> list[str]:
    return [case.variant for case in made.comparisons[0].variants]


def matches(made: Plan) -> dict[str, str]:
    return {each.target: each.variant for each in made.matched_baselines}


# --- the solver


@given(
    layers=st.integers(2, 12),
    d=st.sampled_from([64, 128, 256, 512]),
    t=st.sampled_from([64, 256, 1024]),
    share=st.sampled_from([3.0, 40.0]) | st.floats(0.4, 1),
    quantity=st.sampled_from(["flops/forward", "flops/train_step", "params"]),
)
@example(4, 256, 512, 0.015, "flops/forward")
@example(4, 256, 512, 0.2, "flops/forward")
def test_a_solved_shape_costs_what_was_asked(layers: int, d: int, t: int, share: float, quantity: Any) -> None:
    """By d_ff and depth, then narrower and wider models; `d_ff` keeps to what anybody would choose."""
    base = ModelConfig.model_validate({"d_model": d, "n_layers": layers, "max_seq_len": t})
    name = {"flops/forward": "forward", "flops/train_step": "train_step"}.get(quantity, "params")

    def cost(config: ModelConfig) -> float:
        found: float = getattr(closed_form("dense", config, t, 1), name)
        return found

    found = solve(base, cost, share * cost(base), quantity)
    assert cost(found) == pytest.approx(share * cost(base), rel=QUANTITIES[quantity].tolerance)
    assert ModelConfig.model_validate(found.model_dump()) == found
    assert found.n_layers <= base.n_layers
    if 0.5 <= share <= 1:
        assert found.model_copy(update={"d_ff": base.d_ff, "n_layers": base.n_layers}) == base
    if share > 1:
        assert found.n_layers == base.n_layers
        assert found.d_ff <= 6 * found.d_model
    with pytest.raises(UsageError, match="no shape"):
        solve(base, cost, 1.0, quantity)


# --- what is planned


@pytest.mark.parametrize(
    ("match", "name", "wanted", "gaps"),
    [
        ("flops", "dense-f0.60", 0.6 * DENSE.forward, {32, 64}),
        ("params", "dense-p", 0.7 * DENSE.params, {32, 64}),
        ("time", "dense-s", 2e-6 * 64 * 1e11, {64}),  # a time is predicted where it is matched
    ],
)
def test_a_model_gets_a_dense_one_of_its_cost(match: str, name: str, wanted: float, gaps: set[int]) -> None:
    made = planned(BUILD, match=match)
    (matched,) = made.matched_baselines
    case = next(each for each in made.cases if each.matched and each.grid_point.seq_len == 64)
    assert variants(made) == ["dense", matched.variant, "mine:build"]
    assert matched.variant.startswith(name)
    assert (case.variant, matched.solved_at, set(matched.gaps)) == (matched.variant, 64, gaps)
    cost = present(case_cost(case))
    assert (cost.params if match == "params" else cost.forward) == pytest.approx(wanted, rel=0.02)
    if match == "flops":
        assert abs(matched.gaps[64]) <= 0.01 < abs(matched.gaps[32])  # attention grows faster than a planted cost
    assert Plan.model_validate_json(made.model_dump_json()) == made


def test_variants_share_a_matched_baseline_where_they_cost_the_same() -> None:
    """Within the solver's tolerance; a dense variant of the suite's that costs as much is one too."""
    made = planned(f"{BUILD}(width=[1,5,2,4])")
    own = {width: matches(made)[f"mine:build[width{width}]"] for width in (1, 5, 2, 4)}
    assert own[1] == own[5] != own[2]
    assert own[4] == "dense"
    assert sum(case.matched for case in made.comparisons[0].variants) == 2
    train = {"seq_len": [32, 64], "batch_size": [2, 1], "tokens": 1000}
    trained = planned(f"{BUILD}(width=4)", changes={"metrics": ["loss/val"], "train": train})
    assert matches(trained) == {"mine:build[width4]": "dense-f-mine:build-width4"}  # at 32 dense costs less than it
    near = planned(f"{BUILD}(width=[6,7])")  # 10 % and 10.35 %: two costs have two names
    assert len({*matches(near).values()}) == 2


@pytest.mark.parametrize(
    ("models", "flags", "wanted"),
    [
        # Alone, it is compared with its matched baseline; settings of one model with that of the first.
        ([BUILD], {"only": True}, ["dense-f-mine:build", "mine:build"]),
        ([BUILD], {"only": True, "match": "none"}, ["mine:build"]),
        ([f"{BUILD}(width=[3,1])"], {"only": True}, ["width3", "dense-f-mine:build-width1", "width1"]),
        # Two models that are named each are compared with the first of them.
        (
            [f"{BUILD}(width=2)", f"{BUILD}(width=1)"],
            {"only": True},
            ["width2", *(f"dense-f-mine:build-width{n}" for n in (2, 1)), "width1"],
        ),
        (
            ["mod", "dense"],
            {"only": True, "changes": {"variants": MATCH_OF_MOD}},
            ["mod[c0.125]", "dense-f0.58", "dense"],
        ),
        # What is selected keeps its matched baseline; a suite names its own.
        ([f"{BUILD}(width=[1,2])"], {"select": "width1"}, ["dense", "dense-f0.60", "width1"]),
        ([f"{BUILD}(width=[1,2])"], {"select": "width2 and T32"}, ["dense", "dense-f0.40", "width2"]),
    ],
)
def test_which_variants_are_compared(models: list[str], flags: dict[str, Any], wanted: list[str]) -> None:
    made = planned(*models, **flags)
    assert variants(made) == [f"mine:build[{name}]" if name.startswith("width") else name for name in wanted]
    lone = len(wanted) == 1  # a model alone is compared with nothing, so not with itself
    assert (made.comparisons[0].aa_control_case is None) == lone
    assert "T32" not in flags.get("select", "") or {each.grid_point.seq_len for each in made.cases} == {32}


def with_match(match: dict[str, Any]) -> dict[str, Any]:
    """Changes to a suite: dense, its match of another variant, and a model of two widths."""
    own = {"model": BUILD, "options": {"width": [1, 2]}}
    return {"variants": [{"model": "dense"}, {"model": "dense", "match": match}, own], "match": "none"}


def test_a_match_names_a_model_of_ones_own_with_its_options() -> None:
    of_two = {"mine:build[width2]": "dense-f0.40"}
    assert matches(planned(changes=with_match({"variant": BUILD, "options": {"width": 2}}))) == of_two
    named = with_match({"variant": f"{BUILD}(width=2)"})
    assert matches(planned(changes=named)) == of_two
    both = planned(changes=named | {"match": "flops"})  # what is matched is not matched again
    assert matches(both) == of_two | {"mine:build[width1]": "dense-f0.60"}
    assert len(both.matched_baselines) == 2


@pytest.mark.parametrize(
    ("models", "asked", "said"),
    [
        ([], {"changes": with_match({"variant": "mine.py:bild"})}, "bild"),
        ([], {"changes": with_match({"variant": f"{BUILD}(width=[1,2])"})}, "several values"),
        ([], {"changes": with_match({"variant": f"{BUILD}(width=3)"})}, "needs a GPU"),
        ([], {"changes": with_match({"variant": f"{BUILD}(width=8)"})}, "mylib.conv"),
        ([], {"match": "flops"}, "--match flops.*no model of yours"),
        ([], {"only": True}, "--only .*--model"),
    ],
)
def test_a_match_that_cannot_be_had_is_refused(models: list[str], asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        planned(*models, **asked)


@pytest.mark.parametrize(("width", "why"), [(3, "needs a GPU"), (8, "mylib.conv")])
def test_what_cannot_be_counted_has_no_match_unless_asked_for_and_says_why(width: int, why: str, here: Path) -> None:
    made = planned(f"{BUILD}(width={width})")
    assert variants(made) == ["dense", f"mine:build[width{width}]"]
    assert why in made.no_matches[f"mine:build[width{width}]"]
    (said,) = user_models.left_out(load(planted_run(here, made)))
    assert why in str(said.given["why"])
    (here / "s.toml").write_text('metrics = ["flops/forward"]\nvariants = [{ model = "dense" }]\n')
    asked = Overrides(model=(f"{BUILD}(width={width})",), device="cpu", match="flops")
    with pytest.raises(UsageError, match=f"--match flops: .*{why}"):
        api.make_plan("s.toml", asked, costs=COSTS)


@pytest.mark.slow
def test_models_are_counted_in_one_process_of_their_own(here: Path) -> None:
    """On shapes alone, or where the host reads values on this CPU; one that fails or ends the process does not end the others."""
    made = planned(f"{BUILD}(host=[false,true],dies=['','raises','exits'])", match="none")
    cases = [case for case in made.cases if case.is_user_model and case.grid_point.seq_len == 64]
    assert len(cases) == 6
    costs = UserModelCosts()
    d, t, vocabulary = 64, 64, 256
    for case, cost in zip(cases, costs.counted(cases), strict=True):
        host, dies = (dict(case.options)[name] for name in ("host", "dies"))
        if dies:
            assert {"raises": "RuntimeError: it cannot run", "exits": "exit code 7"}[str(dies)] in of_type(str, cost)
            continue
        found = of_type(UserModelCost, cost)
        assert found.computed == host
        assert found.forward == 2 * t * d * (1 + vocabulary) + 2 * d * d * (t // 2 if host else t // 8)
        assert found.params == d * vocabulary + (d + 1) * vocabulary + (d + 1) + (d * d + d)
    ran = set((here / "imported.txt").read_text().split())
    assert str(os.getpid()) not in ran
    assert len(ran) == 2  # the second model that ends its process is the last
    costs.counted(cases)
    assert set((here / "imported.txt").read_text().split()) == ran


# --- what is shown

SHORT = {"effort": "draft", "aa_control": False}


@pytest.fixture
def measured(here: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads a planted run of a plan, whose variants take these shares of dense's time."""

    def read(made: Plan, times: Mapping[str, float]) -> Loaded:
        for variant, share in times.items():
            monkeypatch.setitem(planted_runs.PLANTED, variant, share)
        return load(planted_run(here, made))

    return read


def test_the_answer_begins_with_the_matched_baseline(measured: Any) -> None:
    made = planned(BUILD, changes={"variants": MATCH_OF_MOD, **SHORT})
    loaded = measured(made, {"dense-f0.60": 0.6, "mine:build": 0.5})
    own = next(case for case in loaded.variants if case.is_user_model)
    assert user_models.first_variant(loaded) == own  # what the page shows first is about it too
    first, shape = (of_type(Sentence, each) for each in summary.answer(loaded))
    assert (first.given["variant"], shape.given["variant"]) == (own, own)
    assert first.given["base"] == "dense of equal FLOPs at T = 64"
    assert (first.given["won"], first.given["all"]) == (2, 2)
    assert not list(user_models.missed(loaded))  # its FLOPs were not measured here


@pytest.mark.parametrize(("theirs", "off"), [(0.5, False), (0.6, True)])
def test_a_predicted_time_is_held_against_the_measured_one(theirs: float, off: bool, measured: Any) -> None:
    made = planned(BUILD, match="time", changes=SHORT)
    said = user_models.missed(measured(made, {matches(made)["mine:build"]: theirs, "mine:build": 0.5}))
    found = [of_type(Estimate, each.given["ratio"]).value for each in said]
    assert found == [pytest.approx(theirs / 0.5, rel=0.04)] * off


def test_a_plan_says_what_matched_baselines_cost_in_time_and_counts_models_of_ones_own() -> None:
    models = f"{BUILD}(width=[1,5,3])"
    made = planned(models, changes={"effort": "draft"})
    found = forecast(made, COSTS)
    (match,) = found["matches"]
    assert match["targets"] == ["mine:build[width1]", "mine:build[width5]"]
    assert found["no_matches"] == made.no_matches
    rows = {row["case"]: row for row in found["cases"]}
    known, unknown = (rows[f"mine:build[width{n}-T64-B1-fp32-cpu1]"] for n in (1, 3))
    assert known["flops_forward"] == pytest.approx(0.6 * DENSE.forward)
    assert known["flops_share"] == pytest.approx(0.6, rel=0.01)
    assert (known["forward_s"], unknown["flops_forward"]) == (None, None)
    assert known["reason"]
    lines = " ".join(as_text(found).split())
    assert match["variant"] in lines
    assert "needs a GPU" in unknown["reason"]
    assert "needs a GPU" in lines
    without = forecast(planned(models, changes={"effort": "draft"}, match="none"), COSTS)
    assert match["predicted_s"] == pytest.approx(found["predicted_s"] - without["predicted_s"], rel=0.3)
