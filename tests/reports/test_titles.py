"""Titles of variants: from a suite's file or the command line, in all outputs and escaped in each; ids stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted_compare import compared_run
from pydantic import ValidationError

from modbench import api, keywords
from modbench.harness.core import variant_titles
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import CaseFacts
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import Overrides
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.results.run_file import plan_of, stored_plan
from modbench.reports.html_report import render
from modbench.reports.questions.compare_axis import compare_by
from modbench.reports.tables.load import Loaded, load
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
        ("two\nlines", "not printed"),
        ("turned \u202e", "not printed"),
        ("a" * 61, "too long"),
        (3, "takes text"),
    ],
)
def test_what_is_no_title_is_refused(title: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        variant_titles.checked(title)
    with pytest.raises(ValidationError):  # of a stranger's folder
        CaseFacts.model_validate({"short": "a", "shipped": True, "own_router": False, "title": title or "\n"})


def test_a_variant_of_a_suite_has_a_title_and_keeps_its_id() -> None:
    variants: list[dict[str, Any]] = [
        {"model": "dense", "title": "  Our \u00e9  baseline "},
        {"model": "dense", "match": {"variant": "mod", "capacity": 0.25}, "title": "Equal cost"},
        {"model": "mod", "capacity": [0.25, 0.5], "every": 2, "title": "Router"},
        {"model": "moe"},
    ]
    made = planned(*variants)
    plain = planned(*({key: value for key, value in each.items() if key != "title"} for each in variants))
    names = ["Our \u00e9 baseline", "Equal cost", "Router 0.25", "Router 0.5", "MoE"]
    assert [name(case) for case in made.cases] == names
    assert made.cases == plain.cases
    assert [case.id for case in made.cases] == [case.id for case in plain.cases]
    stored = plan_of(json.loads(json.dumps(stored_plan(made))), Path("run.json"))
    timed = {case.title for job in stored.jobs for case in job.comparison.variants}
    assert [name(case) for case in stored.cases] == names
    assert timed == {case.title for case in made.cases}


@pytest.mark.slow
def test_the_command_line_titles_variants_of_any_suite() -> None:
    titles = Overrides(title={"MoD 0.125": "Ours", "dense": "Theirs"}, device="cpu")
    made = api.make_plan("quick", titles, only_plan=True)
    assert {case.variant: case.title for case in made.cases if case.title} == {"mod[c0.125]": "Ours", "dense": "Theirs"}
    assert {case.title for job in made.jobs for case in job.comparison.variants} >= {"Ours", "Theirs"}
    assert keywords.words(keywords.overrides({"title": {VARIANT: "a=b"}}, {})) == ["--title", f"{VARIANT}=a=b"]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_title_is_in_every_output_and_escaped_in_each(run: Loaded, tmp_path: Path) -> None:
    made = load(run.path, title={VARIANT: ODD})
    render.views(made, ("html", "md", "csv", "json"), str(tmp_path))
    page, md = ((tmp_path / file).read_text() for file in ("report.html", "report.md"))
    assert ("Ours &lt;b&gt;&amp;|*a* $x_1$" in page, "Ours <b>" in page) == (True, False)
    assert r"Ours \<b\>&amp;\|\*a\* \$x_1\$" in md
    variants = json.loads((tmp_path / "report.json").read_text())["variants"]
    assert {each["variant"]: each["name"] for each in variants}[VARIANT] == ODD
    assert (
        set(made.pairs[made.pairs.variant == VARIANT].title)
        == set(made.cases[made.cases.variant == VARIANT].title)
        == {ODD}
    )
    table = compare_by(made, "capacity", ODD)
    with pytest.raises(UsageError, match="of its own"):
        load(run.path, title={VARIANT: "MoD 0.5"})
    assert (table.baseline, ODD in compare.along_axis(made, table, 200)) == (ODD, True)
