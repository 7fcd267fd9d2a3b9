"""Titles of variants: from a suite's file or the command line, in all outputs and escaped in each; ids stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import succeeded
from planted_compare import compared_run
from planted_gate import gate_run
from pydantic import ValidationError

from modbench import api, keywords
from modbench.commands._flags import Flags
from modbench.harness.core import variant_titles
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import CaseFacts
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import Overrides
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.results.run_file import plan_of, stored_plan
from modbench.reports.html_report import render
from modbench.reports.questions.compare_axis import compare_by
from modbench.reports.tables.load import Loaded, load, load_all
from modbench.reports.tables.titles import titled
from modbench.reports.terminal import compare
from modbench.reports.wording import name

ODD = "Ours <b>&|*a* $x_1$ 50 %"
VARIANT = "mod[c0.25]"
SUITE = {"name": "s", "metrics": ["flops/forward"], "grid": {"seq_len": [16]}}


def planned(*variants: dict[str, Any], **more: Any) -> Plan:
    return make_plan(parse_suite(SUITE | {"variants": variants} | more, "s"), device="cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return compared_run(tmp_path_factory.mktemp("titled") / "run")


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("", "is empty"),
        (" \t", "not printed"),
        ("two\nlines", "not printed"),
        ("red\x1b[31m", "not printed"),
        ("turned \u202e", "not printed"),
        ("a" * 61, "61 characters"),
        (3, "takes text"),
    ],
)
def test_what_is_no_title_is_refused(title: object, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("61 characters", "too long")):
        variant_titles.checked(title)


@pytest.mark.parametrize(
    ("texts", "said"),
    [(["Ours"], "VARIANT=TEXT"), (["=Ours"], "VARIANT=TEXT"), (["a=", "b=B"], "empty"), (["a=A", "a=B"], "two")],
)
def test_what_is_no_variant_and_title_is_refused(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Flags(title=texts).overrides()


def test_a_variant_of_a_suite_has_a_title_and_keeps_its_id() -> None:
    variants: list[dict[str, Any]] = [
        {"model": "dense", "title": "  Our \u00e9  baseline "},
        {"model": "dense", "match": {"variant": "mod", "capacity": 0.25}, "title": "Equal cost"},
        {"model": "mod", "capacity": [0.25, 0.5], "every": 2, "title": "Router"},
        {"model": "moe"},
    ]
    made, plain = (
        planned(*variants),
        planned(*({k: v for k, v in variant.items() if k != "title"} for variant in variants)),
    )
    assert [name(case) for case in made.cases] == [
        "Our \u00e9 baseline",
        "Equal cost",
        "Router 0.25",
        "Router 0.5",
        "MoE",
    ]
    assert made.cases == plain.cases
    assert [case.id for case in made.cases] == [case.id for case in plain.cases]
    stored = plan_of(json.loads(json.dumps(stored_plan(made))), Path("run.json"))
    assert [case.title for case in stored.cases] == [case.title for case in made.cases]
    assert {case.title for job in stored.jobs for case in job.comparison.variants} == {
        case.title for case in made.cases
    }


def test_a_title_that_is_another_variants_is_refused() -> None:
    for variants in (
        [{"model": "dense", "title": "A"}, {"model": "moe", "title": "a"}],
        [{"model": "dense"}, {"model": "moe", "title": "Dense"}],
    ):
        with pytest.raises(UsageError, match="a title of its own"):
            planned(*variants)
    with pytest.raises(UsageError, match="title"):
        planned({"model": "dense", "title": "a" * 100})


@pytest.mark.plugin("sweeps")
def test_sizes_of_a_sweep_keep_theirs_behind_the_title() -> None:
    sweep = {"isoflop": {"train_flops": [1e12], "sizes": [{"d_model": 32}, {"d_model": 64}]}, "metrics": ["loss/val"]}
    made = planned({"model": "dense", "title": "Ours"}, **sweep, train={"seq_len": 16})
    assert {name(case).removesuffix(case.size).strip() for case in made.cases} == {"Ours"}
    assert len({name(case) for case in made.cases}) == 2


def test_the_command_line_titles_variants_of_any_run(run: Loaded) -> None:
    made = api.make_plan(
        "quick", Overrides(title={"MoD 0.125": "Ours", "dense": "Theirs"}, device="cpu"), only_plan=True
    )
    assert {case.variant: case.title for case in made.cases if case.title} == {"mod[c0.125]": "Ours", "dense": "Theirs"}
    assert {case.title for job in made.jobs for case in job.comparison.variants} >= {"Ours", "Theirs"}
    again = titled(run.run.plan, {VARIANT: "Ours"})
    assert again.cases == run.run.plan.cases
    for given, said in (
        ({"dens": "x"}, "'dense'"),
        ({VARIANT: "MoD 0.5"}, "of its own"),
        ({VARIANT: "dense"}, "of its own"),
    ):
        with pytest.raises(UsageError, match=said):
            titled(run.run.plan, given)


@pytest.mark.parametrize(
    ("variant", "select", "said"),
    [
        ("nosuch", None, "unknown"),
        ("mod", None, "any of"),
        ("dense", None, "of its own"),
        ("mod[c0.25]", "c0.125", "unknown"),
    ],
)
def test_a_title_of_no_variant_is_refused(variant: str, select: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        api.make_plan("quick", Overrides(title={variant: "MoD 0.25"}, device="cpu"), select, only_plan=True)


def test_new_columns_of_the_tables_are_what_variants_are_called(run: Loaded) -> None:
    made = load(run.path, title={VARIANT: ODD})
    assert dict(zip(made.cases.variant, made.cases.title, strict=True)) == {
        "dense": "dense",
        "mod[c0.125]": "MoD 0.125",
        VARIANT: ODD,
        "mod[c0.5]": "MoD 0.5",
        "moe": "MoE",
    }
    rows = made.pairs[made.pairs.variant == VARIANT]
    assert (set(rows.title), "dense" in set(rows.baseline_title)) == ({ODD}, True)
    facts = {"short": "a", "shipped": True, "own_router": False}
    assert CaseFacts.model_validate(facts).title == ""
    with pytest.raises(ValidationError, match="not printed"):  # of a stranger's folder
        CaseFacts.model_validate(facts | {"title": "red\x1b[31m"})


@pytest.mark.usefixtures("undrawn")
def test_a_title_is_in_every_output_and_escaped_in_each(run: Loaded, tmp_path: Path) -> None:
    made = load(run.path, title={VARIANT: ODD})
    render.views(made, ("html", "md", "csv", "json"), str(tmp_path))
    page, md = ((tmp_path / file).read_text() for file in ("report.html", "report.md"))
    assert "Ours &lt;b&gt;&amp;|*a* $x_1$" in page
    assert "Ours <b>" not in page
    assert r"Ours \<b\>&amp;\|\*a\* \$x_1\$" in md
    variants = json.loads((tmp_path / "report.json").read_text())["variants"]
    assert {each["variant"]: each["name"] for each in variants}[VARIANT] == ODD
    table = compare_by(made, "capacity", ODD)
    assert table.baseline == ODD
    assert ODD in compare.along_axis(made, table, 200)


def test_keywords_of_python_have_them_too() -> None:
    given = keywords.overrides({"title": {VARIANT: "a=b"}}, {})
    assert keywords.words(given) == ["--title", f"{VARIANT}=a=b"]
    assert variant_titles.listed([f"{VARIANT}=a=b"]) == given.title


@pytest.mark.parametrize(
    "words",
    [
        ("report", "--format", "csv"),
        pytest.param(
            ("figure", "map", "--format", "svg"), marks=[pytest.mark.plugin("map"), pytest.mark.plugin("paper")]
        ),
        ("compare", "--by", "capacity"),
        pytest.param(("recommend",), marks=pytest.mark.plugin("recommend")),
    ],
    ids=lambda words: words[0],
)
def test_commands_that_show_a_run_take_titles(
    run: Loaded, tmp_path: Path, modbench: Any, words: tuple[str, ...]
) -> None:
    command, *rest = words
    out = (
        []
        if command in {"compare", "recommend"}
        else ["--out", str(tmp_path / ("map.svg" if command == "figure" else "out"))]
    )
    succeeded(modbench(command, str(run.path), *rest, *out, "--title", f"{VARIANT}=Ours"))
    refused = modbench(command, str(run.path), *rest, *out, "--title", "mod[c0.24]=Ours")
    assert (refused.returncode, VARIANT in refused.stderr) == (2, True)
    assert not (run.path / "figures").exists()


def test_of_several_runs_each_takes_the_titles_of_its_variants(run: Loaded, tmp_path: Path, modbench: Any) -> None:
    fewer = gate_run(tmp_path / "fewer", suite={"variants": [{"model": "dense"}, {"model": "moe"}]})
    first, second = load_all([str(fewer.path), str(run.path)], {VARIANT: "Ours", "moe": "Theirs"})
    assert [{case.title for case in each.variants} - {""} for each in (first, second)] == [
        {"Theirs"},
        {"Ours", "Theirs"},
    ]
    done = modbench("compare", str(run.path), str(fewer.path), "--title", f"{VARIANT}=Ours", "--title", "moe=Theirs")
    assert (done.returncode, "Theirs" in done.stdout) == (0, True)
    refused = modbench("compare", str(run.path), str(fewer.path), "--title", "mod[c0.24]=Ours")
    assert (refused.returncode, VARIANT in refused.stderr) == (2, True)
