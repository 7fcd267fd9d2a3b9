"""Suites, flags over suites, variants and their ids, and which of them are selected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from present import of_type, present

from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError
from modbench.harness.core.variant_titles import slug
from modbench.harness.domain.case import Case
from modbench.harness.domain.suite import Suite
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.load_suite import load_suite, parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.planning.select import compile_expression
from modbench.harness.planning.variants import unsolved_variants
from modbench.harness.registry import catalogue

TEXT = Text("t", b"a" * 5000, b"b" * 5000, "c0ffee")
DENSE = {"model": "dense"}
MOD = {"model": "mod"}


def planned(suite: str | Suite = "quick", select: str | None = None, device: Any = "cpu", **flags: Any) -> Plan:
    given = load_suite(suite) if isinstance(suite, str) else suite
    return make_plan(override(given, Overrides(**flags)), device=device, select=select, text=TEXT)


def suite_of(*variants: dict[str, Any], **more: Any) -> Suite:
    return parse_suite({"name": "s", "metrics": ["flops/forward"], "variants": [*variants], **more}, "s")


def first(made: Plan) -> list[Case]:
    return list(made.comparisons[0].variants)


# --- variants and their names


SWEPT = {"model": "mod", "capacity": [0.5, 0.25], "every": [1, 2], "router": "learned"}


@pytest.mark.parametrize(
    ("variants", "flags", "names"),
    [
        # What differs within a suite stands in the name; the same value twice is one case.
        ([DENSE, SWEPT], {}, ["dense", *(f"mod[c{c}-every{n}]" for c in (0.5, 0.25) for n in (1, 2))]),
        ([DENSE, MOD | {"capacity": [0.5, 0.5]}], {}, ["dense", "mod[c0.5]"]),
        ([DENSE, MOD | {"baseline": True}], {}, ["mod[c0.125]", "dense"]),
        # Models that are named keep the baseline, and add what is lacking.
        ([DENSE, MOD, {"model": "moe"}], {"model": ("moe",)}, ["dense", "moe"]),
        ([DENSE], {"model": ("mod",)}, ["dense", "mod[c0.125]"]),
        # Two files of one name are told apart by folder.
        ([DENSE], {"model": ("a/m.py:build", "b/m.py:build")}, ["dense", "m:build[a/m]", "m:build[b/m]"]),
    ],
)
def test_variants_of_a_suite_and_its_flags(
    variants: list[Any], flags: dict[str, Any], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.py").write_text("def build(config): ...\n")
    made = planned(suite_of(*variants), seq_len=(8, 8), batch_size=(1, 1), **flags)
    assert [case.variant for case in made.cases] == [case.variant for case in first(made)] == names
    assert len({job.name for job in made.jobs}) == len(made.jobs)


def test_file_names_get_a_hash_only_where_letters_were_lost() -> None:
    assert slug("train-mod[c0.5-T8-B1-fp32-cpu1]-seed0") == "train-mod_c0.5-T8-B1-fp32-cpu1_-seed0"
    assert len({slug(name) for name in ("é", "ü", "a b", "a_b")}) == 4
    assert len(slug("x" * 400)) < 170


def test_every_shipped_suite_is_good() -> None:
    for name in catalogue.entries("suites"):
        suite = of_type(Suite, load_suite(name))
        assert unsolved_variants(suite), name
        assert suite.about, name


# --- flags


@pytest.mark.parametrize(
    ("suite", "settings", "said"),
    [
        ("map", {"train.seq_len": [128, 0]}, r"train\.seq_len\.1: .* \(got 0\)"),
        ("combine", {"position": "learned"}, r"^model 'dense': mixer 'window' takes position"),
        ("quick", {"decode_grid.batch_size": 2}, "decodes on its grid"),
        ("quick", {"margin": 10**400}, "is no share above 0 and below 1"),
        (suite_of(MOD | {"capacity": 0.1}, MOD | {"capacity": 0.1 + 1e-12}), {}, r"both be called 'mod-c0\.1'"),
    ],
)
def test_what_a_suite_cannot_mean_is_refused(suite: str | Suite, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        planned(suite, settings=settings)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"decode_grid": {"batchsize": [1]}}, r"\[decode_grid\]: unknown key 'batchsize'"),
        ({"needs": ["nothing"]}, r"^s needs the plug-in 'nothing', which is absent\.$"),
    ],
)
def test_unread_keys_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        suite_of(DENSE, **keys)


def test_set_reaches_shape_routing_protocol_and_training() -> None:
    made = planned(settings={"d_model": 128, "every": 1, "rounds": 7, "train.lr": 0.001, "activation": "gelu"})
    dense, mod = (
        next(case.config for case in first(made) if case.model == name and not case.matched)
        for name in ("dense", "mod")
    )
    assert (dense.d_model, dense.d_ff, dense.every) == (128, 512, 2)  # dense does not read `every`
    assert mod.every == 1
    assert made.suite.protocol_size == (7, 7)
    assert present(made.suite.train).lr == 0.001


# --- what is measured


@pytest.mark.plugin("machine")
def test_a_search_for_what_fits_has_one_process_for_all() -> None:
    """What is free is one number."""
    made = planned(settings={"metrics": ["memory/largest_seq_len"]}, seq_len=(64,))
    (search,) = [job for job in made.jobs if job.made_in == "fit"]
    assert list(search.comparison.variants) == made.cases


def test_decode_metrics_may_have_a_grid_of_their_own_which_flags_reach_too() -> None:
    flagged = planned("gpu", device="cuda", batch_size=(2,), settings={"decode_grid.execution": "eager"})
    assert {(c.grid_point.batch_size, c.grid_point.graph) for c in flagged.comparisons} == {(2, False)}
    assert [len(c.metrics) for c in flagged.comparisons] == [6, 3]  # at one place both kinds are in one comparison
    grid = present(
        suite_of(DENSE, metrics=["latency/decode"], grid={"seq_len": [64]}, decode_grid={"batch_size": [4]}).decode_grid
    )
    assert (grid.seq_len, grid.batch_size) == ((64,), (4,))  # axes that it lacks are the grid's


# --- matched baselines of a suite; of users' models: test_matched_baselines.py


def test_matched_baselines_follow_the_variants_that_flags_change() -> None:
    """Of the capacities of a sweep, the least and the most."""
    made = planned(settings={"every": 1}, capacity=(0.25, 0.0625, 0.125), seq_len=(256, 1024))
    solved = [(each.target, each.solved_at) for each in made.matched_baselines]
    assert solved == [(f"mod[c{c}]", 256) for c in (0.0625, 0.25)]
    for each in made.matched_baselines:
        costs = {case.variant: present(case_cost(case)).forward for case in first(made)}
        assert costs[each.variant] / costs[each.target] - 1 == pytest.approx(each.gaps[256])
        assert abs(each.gaps[256]) <= 0.01
        assert set(each.gaps) == {256, 1024}


def test_at_several_training_lengths_a_matched_baseline_costs_as_much_at_each() -> None:
    """One variant of several shapes, named by its target; each training run has the shape of its length."""
    made = planned("map", seeds=(0,))
    trained = {c.grid_point.seq_len: c for c in made.comparisons if "loss/val" in c.metrics}
    sizes = {128: 8, 256: 4, 512: 2, 1024: 1}
    assert {length: c.grid_point.batch_size for length, c in trained.items()} == sizes
    assert [each.variant for each in made.matched_baselines] == [
        f"dense-f-mod-c{c}" for c in (0.0625, 0.125, 0.25, 0.5)
    ]
    for each in made.matched_baselines:
        assert each.everywhere
        assert each.gaps.keys() == trained.keys()
        assert max(map(abs, each.gaps.values())) <= 0.01
        shapes = {case.config for c in trained.values() for case in c.variants if case.variant == each.variant}
        assert len(shapes) > 1
        assert {case.config for case in first(made) if case.variant == each.variant} <= shapes
    runs = [job.protocol.train for job in made.jobs if job.protocol.train]
    assert {(run.seq_len, run.batch_size) for run in runs} == {*sizes.items()}


@pytest.mark.plugin("search")
@pytest.mark.parametrize(("search", "factors"), [({}, [1, 2]), ({"search": {}}, [1])])
def test_a_matched_may_cost_a_multiple_of_a_variant(search: dict[str, Any], factors: list[int]) -> None:
    """It extends the dense curve, so that it is no alternative to the variant: a search passes it over."""
    half = MOD | {"capacity": 0.5}
    match = [DENSE | {"match": {"variant": "mod", "capacity": 0.5, "factor": factor}} for factor in (1, 2)]
    grid = {"metrics": ["latency/forward"], "grid": {"seq_len": [64, 128]}, "shape": {"d_model": 64}}
    made = planned(suite_of(DENSE, half, *match, **grid, **search))
    of = {c.variant: present(case_cost(c)).forward for c in made.cases if c.grid_point.seq_len == 128}
    found = [of[case.variant] / of["mod[c0.5]"] for case in first(made) if case.matched]
    assert sorted(found) == pytest.approx(factors, rel=0.02)
    assert len(made.matched_baselines) == 1


# --- what is selected


def test_select_keeps_the_baseline() -> None:
    made = planned(select="mod and c0.5 and T256-B1")
    ids = [[case.id for case in comparison.variants] for comparison in made.comparisons]
    assert ids == [["dense[T256-B1-fp32-cpu1]", "mod[c0.5-T256-B1-fp32-cpu1]"]]
    assert {job.made_in for job in made.jobs} == {"count", "roofline", "time", "memory"}


@given(st.recursive(st.sampled_from(["a", "b", "c"]), lambda inner: st.one_of(
    st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda x: f"({x[0]}) {x[1]} ({x[2]})"),
    inner.map(lambda x: f"not ({x})"),
), max_leaves=6), st.sets(st.sampled_from(["a", "b", "c"])))  # fmt: skip
def test_k_agrees_with_python(expression: str, there: set[str]) -> None:
    truth = eval(expression, {"__builtins__": {}}, {name: name in there for name in "abc"})  # noqa: S307  # our own words
    assert compile_expression(expression)("".join(sorted(there))) == truth
