"""`--only`: the named models alone, the first one as the baseline; one model alone gets its numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.suite import Suite
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.figures.style import look, numbered
from modbench.reports.html_report import render
from modbench.reports.sections import numbers, tiles
from modbench.reports.tables.load import load
from modbench.reports.terminal import printed_run


def variants(suite: Suite, *models: str, **flags: object) -> list[str]:
    made = make_plan(override(suite, Overrides(model=models, only=True, **flags)), device="cpu")  # type: ignore[arg-type]
    return [case.variant for case in made.comparisons[0].variants]


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("def build(config): ...\n")
    return load_suite("quick").model_copy(update={"train": None, "metrics": ("latency/forward", "flops/forward")})


def test_only_the_named_models_run_and_the_first_is_the_anchor(suite: Suite) -> None:
    assert variants(suite, "a.py:build", "b.py:build") == ["a:build", "b:build"]
    assert variants(suite, "b.py:build", "a.py:build", "b.py:build") == ["b:build", "a:build"]
    assert variants(suite, "a.py:build", "moe") == ["a:build", "moe"]
    assert variants(suite, "a.py:build") == ["a:build"]


def test_matched_baselines_stay_where_their_model_and_their_target_are_named(suite: Suite) -> None:
    both = variants(suite, "mod", "dense")
    assert both[0] == "mod[c0.125]"
    assert "dense" in both
    assert sum(variant.startswith("dense-f") for variant in both) == 2
    assert not any("-f" in variant for variant in (*variants(suite, "mod"), *variants(suite, "dense", "a.py:build")))
    swept = variants(suite, "dense", "mod", capacity=(0.25,))
    assert (len(swept), swept[0], swept[-1]) == (3, "dense", "mod[c0.25]")
    assert swept[1].startswith("dense-f")


def test_an_anchor_of_ones_own_has_an_aa_control_and_a_lone_model_has_none(suite: Suite) -> None:
    draft = suite.model_copy(update={"effort": "draft"})
    for models, aa_controls in ((("a.py:build", "b.py:build"), {"a:build-aa"}), (("a.py:build",), set())):
        made = make_plan(override(draft, Overrides(model=models, only=True)), device="cpu")
        assert {aa_control.variant for each in made.comparisons if (aa_control := each.aa_control_case)} == aa_controls


def test_only_needs_a_model(suite: Suite) -> None:
    with pytest.raises(UsageError, match=r"--only .*--model"):
        override(suite, Overrides(only=True))


@pytest.mark.usefixtures("undrawn")
def test_a_lone_model_gets_its_numbers_and_is_told_why_there_is_no_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = Overrides(model=("dense",), only=True)
    suite = planted_plan("draft", metrics=["latency/forward", "flops/forward"], train=None).suite
    run = planted_run(tmp_path, make_plan(override(suite, flags), device="cpu"))
    render.write(run)
    loaded = load(run)
    said = printed_run.closing(loaded, run / "report.html", None)
    assert "dense was measured alone" in " ".join(said.split())
    assert "forward pass" in said
    assert re.search(r"^dense +\d", said, re.MULTILINE)
    page = (run / "report.html").read_text()
    assert "One model was measured" in page
    assert numbers.NUMBERS.title in page
    for absent in (numbers.TABLE.title, tiles.SECTION.title, "Which settings are worth considering?"):
        assert absent not in page
    assert loaded.comparisons.empty


def test_two_models_of_ones_own_look_different(suite: Suite) -> None:
    made = make_plan(override(suite, Overrides(model=("a.py:build", "b.py:build"), only=True)), device="cpu")
    one, other = made.comparisons[0].variants
    with numbered([one, other]):
        assert look(one).marker != look(other).marker
    assert look(one) == look(other)  # outside of a run nothing tells them apart
