"""Suites, flags over suites, variants and their ids."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fresh_catalogue import forget
from hypothesis import given
from hypothesis import strategies as st
from present import of_type, present

from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError
from modbench.harness.core.variant_titles import slug
from modbench.harness.domain.case import Case
from modbench.harness.domain.suite import EFFORTS, Suite
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.load_suite import load_suite, parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.planning.select import compile_expression
from modbench.harness.planning.variants import unsolved_variants
from modbench.harness.registry import catalogue, plugin_manifests

TEXT = Text("t", b"a" * 5000, b"b" * 5000, "c0ffee")


def planned(select: str | None = None, **flags: Any) -> Plan:
    return make_plan(override(load_suite("quick"), Overrides(**flags)), device="cpu", select=select, text=TEXT)


def first(made: Plan) -> list[Case]:
    return list(made.comparisons[0].variants)


@pytest.mark.plugin("machine")
def test_a_search_for_what_fits_has_one_process_for_all() -> None:
    """What is free is one number."""
    made = planned(settings={"metrics": ["memory/largest_seq_len"]}, seq_len=(64,))
    cases = {case.id for case in made.cases}
    (search,) = [job for job in made.jobs if job.made_in == "fit"]
    assert {case.id for case in search.comparison.variants} == cases


def suite_of(*variants: dict[str, Any], **more: Any) -> Suite:
    return parse_suite({"name": "s", "metrics": ["flops/forward"], "variants": [*variants], **more}, "s")


DENSE = {"model": "dense"}


@pytest.mark.parametrize(
    ("variants", "flags", "names"),
    [
        # What differs within a suite stands in the name.
        (
            [DENSE, {"model": "mod", "capacity": [0.5, 0.25], "every": [1, 2], "router": "learned"}, {"model": "moe"}],
            {},
            ["dense", *(f"mod[c{c}-every{n}]" for c in (0.5, 0.25) for n in (1, 2)), "moe"],
        ),
        ([DENSE, {"model": "mod", "baseline": True}], {}, ["mod[c0.125]", "dense"]),
        # Models that are named keep the baseline, and add what is lacking.
        ([DENSE, {"model": "mod"}, {"model": "moe"}], {"model": ("moe",)}, ["dense", "moe"]),
        ([DENSE], {"model": ("mod",)}, ["dense", "mod[c0.125]"]),
        # The same value twice is one case.
        (
            [DENSE, {"model": "mod", "capacity": [0.5, 0.5]}],
            {},
            ["dense", "mod[c0.5]"],
        ),
    ],
)
def test_variants_of_a_suite_and_its_flags(variants: list[Any], flags: dict[str, Any], names: list[str]) -> None:
    given = Overrides(seq_len=(8, 8), batch_size=(1, 1), **flags)
    made = make_plan(override(suite_of(*variants), given), device="cpu")
    assert [case.variant for case in first(made)] == names
    assert [case.variant for case in made.cases] == names
    assert len({job.name for job in made.jobs}) == len(made.jobs)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param(
            lambda: override(
                load_suite("isoflop-cpu"), Overrides(settings={"train.seq_len": [64, 128], "train.batch_size": [2, 1]})
            ),
            "one each",
            marks=[pytest.mark.plugin("sweeps"), pytest.mark.plugin("routing")],
        ),
        (
            lambda: override(load_suite("map"), Overrides(settings={"train.seq_len": [128, 0]})),
            r"train\.seq_len\.1: .* \(got 0\)",
        ),
        (
            lambda: override(load_suite("map"), Overrides(settings={"train.seq_len": ["a", "b"]})),
            r"train\.seq_len\.0: 'a' is not a whole number",
        ),
        (
            lambda: make_plan(
                override(load_suite("combine"), Overrides(settings={"position": "learned"})), device="cpu", text=TEXT
            ),
            r"^model 'dense': mixer 'window' takes position",
        ),
        (
            lambda: make_plan(suite_of(*({"model": "mod", "capacity": c} for c in (0.1, 0.1 + 1e-12))), device="cpu"),
            r"both be called 'mod-c0\.1'",
        ),
        (
            lambda: override(load_suite("quick"), Overrides(settings={"decode_grid.batch_size": 2})),
            "decodes on its grid",
        ),
        (
            lambda: suite_of(DENSE, decode_grid={"batchsize": [1]}),
            r"\[decode_grid\]: unknown key 'batchsize'",
        ),
    ],
)
def test_what_a_suite_cannot_mean_is_refused(asked: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        asked()


def test_processes_of_one_comparison_lie_apart() -> None:
    """Those of other lengths lie between them."""
    made = planned()
    names = [job.name for job in made.jobs if job.made_in == "time"]
    assert len(names) == 3 * 2 * made.suite.protocol_size[0]  # lengths x workloads x processes
    one, two = (names.index(f"time-forward-T128-B1-fp32-cpu1-process{process}") for process in (0, 1))
    assert two - one == 3


def test_matched_baselines_follow_the_variants_that_flags_change() -> None:
    """Of the capacities of a sweep, the least and the most."""
    made = planned(settings={"every": 1}, capacity=(0.25, 0.0625, 0.125), seq_len=(256, 1024))
    assert [(each.target, each.solved_at) for each in made.matched_baselines] == [
        (f"mod[c{c}]", 256) for c in (0.0625, 0.25)
    ]
    for each in made.matched_baselines:
        costs = [case_cost(next(c for c in first(made) if c.variant == name)) for name in (each.variant, each.target)]
        ours, theirs = (present(cost).forward for cost in costs)
        assert ours / theirs - 1 == pytest.approx(each.gaps[256])
        assert abs(each.gaps[256]) <= 0.01
        assert set(each.gaps) == {256, 1024}


def test_at_several_training_lengths_a_matched_baseline_costs_as_much_at_each() -> None:
    """One variant of several shapes, named by its target; each training run has the shape of its length."""
    made = make_plan(override(load_suite("map"), Overrides(seeds=(0,))), device="cpu", text=TEXT)
    trained = {c.grid_point.seq_len: c for c in made.comparisons if "loss/val" in c.metrics}
    assert {length: c.grid_point.batch_size for length, c in trained.items()} == {128: 8, 256: 4, 512: 2, 1024: 1}
    assert [each.variant for each in made.matched_baselines] == [
        f"dense-f-mod-c{c}" for c in (0.0625, 0.125, 0.25, 0.5)
    ]
    for each in made.matched_baselines:
        assert each.everywhere
        assert set(each.gaps) == set(trained)
        assert max(map(abs, each.gaps.values())) <= 0.01
        shapes = {case.config for c in trained.values() for case in c.variants if case.variant == each.variant}
        assert len(shapes) > 1
        assert {case.config for case in first(made) if case.variant == each.variant} <= shapes
    runs = [job.protocol.train for job in made.jobs if job.protocol.train]
    assert {(run.seq_len, run.batch_size) for run in runs} == {(128, 8), (256, 4), (512, 2), (1024, 1)}


@pytest.mark.plugin("search")
def test_a_matched_may_cost_a_multiple_of_a_variant() -> None:
    """It extends the dense curve, so that it is no alternative to the variant: a search passes it over."""
    match = [{"model": "dense", "match": {"variant": "mod", "capacity": 0.5, "factor": factor}} for factor in (1, 2)]
    shape: dict[str, Any] = {"metrics": ["latency/forward"], "grid": {"seq_len": [64, 128]}, "shape": {"d_model": 64}}
    tables: list[tuple[dict[str, Any], list[int]]] = [({}, [1, 2]), ({"search": {}}, [1])]
    for search, factors in tables:
        made = make_plan(suite_of(DENSE, {"model": "mod", "capacity": 0.5}, *match, **shape, **search), device="cpu")
        of = {c.variant: present(case_cost(c)).forward for c in made.cases if c.grid_point.seq_len == 128}
        found = [of[case.variant] / of["mod[c0.5]"] for case in first(made) if case.matched]
        assert sorted(found) == pytest.approx(factors, rel=0.02)
        assert len(made.matched_baselines) == 1


@pytest.mark.parametrize(("effort", "size"), EFFORTS.items())
def test_grid_crosses_four_capacities_with_four_lengths_at_every_effort(effort: str, size: tuple[int, int]) -> None:
    made = make_plan(override(load_suite("grid"), Overrides(effort=effort)), device="cpu", text=TEXT)
    mapped = {(case.config.capacity, case.grid_point.seq_len) for case in made.cases if case.model == "mod"}
    capacities, lengths = ({point[axis] for point in mapped} for axis in (0, 1))
    assert min(len(capacities), len(lengths)) >= 4
    assert mapped == set(itertools.product(capacities, lengths))
    timed = [job for job in made.jobs if job.made_in == "time"]
    assert len({job.process for job in timed if not job.rule}) == size[0]
    assert len({job.process for job in timed}) == made.suite.processes_limit


def test_smoke_trains_a_handful_of_steps() -> None:
    suite = override(load_suite("quick"), Overrides(effort="smoke"))
    assert present(suite.train).steps == 4
    assert not suite.claims
    seeds = {
        flags: override(load_suite("map"), Overrides(effort="smoke", seeds=flags)).seeds for flags in ((), (4, 7, 9))
    }
    assert seeds == {(): (0, 1), (4, 7, 9): (4, 7, 9)}


def test_set_reaches_shape_routing_protocol_and_training() -> None:
    made = planned(settings={"d_model": 128, "every": 1, "rounds": 7, "train.lr": 0.001, "activation": "gelu"})
    by_model = {case.model: case.config for case in first(made) if not case.matched}
    assert by_model["dense"].d_model == 128
    assert by_model["dense"].d_ff == 512
    assert by_model["mod"].every == 1
    assert by_model["dense"].every == 2  # dense does not read it
    assert made.suite.protocol_size == (7, 7)
    assert present(made.suite.train).lr == 0.001


@pytest.mark.parametrize("mixers", [["window"], ["attention", "window"]])
def test_set_reaches_what_every_variant_says_itself(mixers: list[str]) -> None:
    made = override(load_suite("combine"), Overrides(settings={"mixer": mixers if len(mixers) > 1 else mixers[0]}))
    variants = make_plan(made, device="cpu", text=TEXT).comparisons[0].variants
    assert {(case.model, case.config.mixer) for case in variants} == {(m, x) for m in ("dense", "mod") for x in mixers}


def test_two_files_of_one_name_are_told_apart_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.py").write_text("def build(config): ...\n")
    made = planned(model=("a/m.py:build", "b/m.py:build"))
    assert [case.variant for case in first(made)][-2:] == ["m:build[a/m]", "m:build[b/m]"]


@pytest.mark.plugin("sweeps")
def test_at_several_training_lengths_matched_baselines_of_variants_that_only_the_match_names_have_names() -> None:
    """The suite exchange has a matched baseline for MoD in every block, which is no variant of it."""
    lists = {"train.seq_len": [64, 128], "train.batch_size": [16, 8]}
    made = make_plan(override(load_suite("exchange"), Overrides(settings=lists)), device="cpu", text=TEXT)
    assert {case.variant for case in first(made) if case.matched} == {
        "dense-t-mod-c0.125",
        "dense-t-mod-c0.125-every1",
        "dense-t-mod-c0.5",
        "dense-t-dense-x1.4",
    }


def test_select_keeps_the_anchor() -> None:
    made = planned(select="mod and c0.5 and T256-B1")
    assert [[case.id for case in comparison.variants] for comparison in made.comparisons] == [
        ["dense[T256-B1-fp32-cpu1]", "mod[c0.5-T256-B1-fp32-cpu1]"]
    ]
    assert {job.made_in for job in made.jobs} == {"count", "roofline", "time", "memory"}


@pytest.mark.parametrize(
    ("expression", "matching"),
    [
        ("mod", {"mod[c0.5]", "mode_staged"}),
        ("MOD and not staged", {"mod[c0.5]"}),
        ("dense or moe", {"dense", "moe"}),
        ("mod[c0.5]", {"mod[c0.5]"}),
    ],
)
def test_k_speaks_pytests_grammar(expression: str, matching: set[str]) -> None:
    matches = compile_expression(expression)
    assert {name for name in ("dense", "moe", "mod[c0.5]", "mode_staged") if matches(name)} == matching


@given(st.recursive(st.sampled_from(["a", "b", "c"]), lambda inner: st.one_of(
    st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda x: f"({x[0]}) {x[1]} ({x[2]})"),
    inner.map(lambda x: f"not ({x})"),
), max_leaves=6), st.sets(st.sampled_from(["a", "b", "c"])))  # fmt: skip
def test_k_agrees_with_python(expression: str, there: set[str]) -> None:
    truth = eval(expression, {"__builtins__": {}}, {name: name in there for name in "abc"})  # noqa: S307  # our own words
    assert compile_expression(expression)("".join(sorted(there))) == truth


def test_file_names_get_a_hash_only_where_letters_were_lost() -> None:
    assert slug("train-mod[c0.5-T8-B1-fp32-cpu1]-seed0") == "train-mod_c0.5-T8-B1-fp32-cpu1_-seed0"
    assert slug("é") != slug("ü")
    assert slug("a b") != slug("a_b")
    assert len(slug("x" * 400)) < 170


def test_a_suite_that_lacks_a_plug_in_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = {"name": "s", "metrics": ["loss/confirmed"], "variants": [{"model": "dense"}]}
    with pytest.raises(UsageError, match=r"^s needs the plug-in 'nothing', which is absent\.$"):
        parse_suite({**suite, "needs": ["nothing"]}, "s")
    monkeypatch.setattr(plugin_manifests, "every", tuple)
    forget()
    try:
        with pytest.raises(UsageError, match=r"^s needs the plug-in 'sweeps', which is absent\.$"):
            parse_suite({**suite, "confirm": {}, "needs": ["sweeps"]}, "s")
        with pytest.raises(UsageError, match="s: unknown key 'confirm'"):
            parse_suite({**suite, "confirm": {}}, "s")
    finally:
        monkeypatch.undo()
        forget()


def test_every_shipped_suite_is_good() -> None:
    for name in catalogue.entries("suites"):
        suite = of_type(Suite, load_suite(name))
        assert unsolved_variants(suite)
        assert suite.about


def test_options_read_without_importing_are_the_models_own() -> None:
    for name in catalogue.entries("models"):
        assert catalogue.model_options(name) == catalogue.load("models", name).options


@pytest.mark.plugin("tasks")
def test_files_named_for_a_task_make_it_one_of_the_metrics() -> None:
    """Who names files wants them read; a list of metrics may be written with commas."""
    named = override(
        load_suite("tasks"), Overrides(settings={"metrics": "task/copy,task/recall", "tasks.paths.nli_pairs": "a"})
    )
    assert named.metrics == ("task/copy", "task/recall", "task/nli_pairs")
    twice = override(
        load_suite("tasks"), Overrides(settings={"metrics": "task/nli_pairs", "tasks.paths.nli_pairs": "a"})
    )
    assert twice.metrics == ("task/nli_pairs",)


def test_decode_metrics_may_have_a_grid_of_their_own() -> None:
    made = make_plan(load_suite("gpu"), device="cuda")
    asked = {
        (c.grid_point.seq_len, c.grid_point.batch_size, c.grid_point.graph): set(c.metrics) for c in made.comparisons
    }
    reading = {"flops/forward", "latency/prefill", "tokens_per_s/prefill"}
    assert asked == {(t, 1, False): reading for t in (2048, 8192)} | {
        (2048, b, True): {"latency/decode", "tokens_per_s/decode", "memory/kv_cache"} for b in (1, 16, 128)
    }
    # A dense model at equal cost, and room for the steps after the longest context.
    assert [case.variant for case in made.cases][1] == "dense-f0.57"
    assert {case.config.max_seq_len for case in made.cases} == {8192}


def test_prompts_alone_are_read_into_a_cache_with_room_for_what_follows() -> None:
    table = {"name": "p", "metrics": ["latency/prefill"], "grid": {"seq_len": [32]}, "variants": [{"model": "dense"}]}
    for shape, positions in (({}, 32 + 64), ({"max_seq_len": 32}, 32)):
        made = make_plan(parse_suite(table | {"shape": shape}, "p"), device="cpu")
        assert {case.config.max_seq_len for case in made.cases} == {positions}


def test_flags_reach_both_grids() -> None:
    flags = Overrides(batch_size=(2,), settings={"decode_grid.execution": "eager"})
    made = make_plan(override(load_suite("gpu"), flags), device="cuda")
    assert {c.grid_point.batch_size for c in made.comparisons} == {2}
    assert not any(c.grid_point.graph for c in made.comparisons)
    # At one place both kinds are measured in one comparison.
    assert [len(c.metrics) for c in made.comparisons] == [6, 3]


def test_axes_that_the_decode_grid_lacks_are_the_grids() -> None:
    grid = {"seq_len": [64], "dtype": ["bf16"]}
    suite = {"name": "s", "metrics": ["latency/decode"], "variants": [{"model": "dense"}], "grid": grid}
    made = parse_suite(suite | {"decode_grid": {"batch_size": [1, 4]}}, "s.toml")
    assert made.decode_grid is not None
    assert (made.decode_grid.seq_len, made.decode_grid.dtype, made.decode_grid.batch_size) == ((64,), ("bf16",), (1, 4))
