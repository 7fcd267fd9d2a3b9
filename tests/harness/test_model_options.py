"""Options of a user's model: typed, checked by the model's own signature without running it, swept, and part of every case."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modbench.commands._flags import Flags, listed
from modbench.harness.call.subject.build import build_module
from modbench.harness.core import model_specs
from modbench.harness.core.errors import UsageError
from modbench.harness.core.model_specs import parse_single, parse_spec
from modbench.harness.domain.case import Case
from modbench.harness.planning.load_suite import load_suite, parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan
from modbench.harness.registry.user_models import check_user_model
from modbench.harness.results.run_file import plan_of, stored_plan

MODELS = """
from functools import partial
from elsewhere import imported
from torch import nn
class Net(nn.Linear):
    def __init__(self, config, threshold=0.5, mode="soft", layers=(0,)):
        super().__init__(2, 2)
        self.got = (threshold, mode, layers)
class Child(Net): ...
def build(config, threshold: float = 0.5, mode="soft"): return Net(config, threshold, mode)
def anything(config, **more): ...
def needs(config, *, width): ...
def none(): ...
async def late(config): ...
@partial(partial)
def decorated(): ...
hard = partial(build, mode="hard")
small = lambda config, a=1: None
other = build
unknown = imported(1)
if imported:
    def maybe(): ...
raise RuntimeError("nothing of this file may run")
"""
SUITE = {"name": "s", "metrics": ["flops/forward"], "grid": {"seq_len": [16]}}
DENSE = {"model": "dense"}


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODELS)
    return tmp_path / "mine.py"


def planned(*models: str, variants: tuple[dict[str, Any], ...] = (DENSE,), **flags: Any) -> Any:
    suite = parse_suite(SUITE | {"variants": list(variants)}, "s")
    return make_plan(override(suite, Overrides(model=models, **flags)), device="cpu")


def names(made: Any) -> list[str]:
    return [case.variant for case in made.cases]


# --- how they are written


@pytest.mark.parametrize(
    ("text", "model", "expected"),
    [
        ("mine.py:build", "mine.py:build", {}),
        ("a (1)/m.py:build( x = (1, 2) )", "a (1)/m.py:build", {"x": (1, 2)}),
        ("m:b(x=[0.5, soft],y=[[1,2]])", "m:b", {"x": [0.5, "soft"], "y": [[1, 2]]}),
        ("m:b(d='x, y)',e=1e-3,f=.5)", "m:b", {"d": "x, y)", "e": 1e-3, "f": 0.5}),
        ("m:b(day=2020-01-01,it=it's,path=a/b.pt)", "m:b", {"day": "2020-01-01", "it": "it's", "path": "a/b.pt"}),
        ("C:\\m.py:build(x=1)", "C:\\m.py:build", {"x": 1}),
    ],
)
def test_a_model_is_parted_from_its_options(text: str, model: str, expected: dict[str, object]) -> None:
    found = parse_spec(text)
    assert found == (model, expected)
    assert [type(value) for value in found[1].values()] == [type(value) for value in expected.values()]


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in {"if", "in", "is", "as", "or"}
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=50)
@given(st.dictionaries(NAMES, st.none() | st.booleans() | NUMBERS | st.text(max_size=9), max_size=4))
def test_what_python_writes_is_read_back(given: dict[str, object]) -> None:
    text = ",".join(f"{name}={value!r}" for name, value in given.items())
    assert parse_spec(f"m:build({text})") == ("m:build", given)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["threshold=0.5,0.7", "mode=hard"], {"threshold": [0.5, 0.7], "mode": ["hard"]}),
        (["a=true, None ,'x,y',1e-3"], {"a": [True, None, "x,y", 1e-3]}),
    ],
)
def test_values_behind_the_flag_need_no_brackets(texts: list[str], expected: dict[str, object]) -> None:
    assert Flags(option=texts).overrides().option == expected
    assert model_specs.listed([model_specs.written(*each) for each in model_specs.listed(texts).items()]) == expected


def test_commas_in_brackets_and_quotes_do_not_split_a_flags_list() -> None:
    given = ["a.py:build(x=1,y=[2,3]),b.py:build", "c.py:build(z='1,2')"]
    assert listed("--model", given, str) == ("a.py:build(x=1,y=[2,3])", "b.py:build", "c.py:build(z='1,2')")
    assert listed("--seq-len", ["16, 32", "64"], int) == (16, 32, 64)


def test_a_label_is_short_needs_no_quotes_and_differs_where_values_do() -> None:
    plain = {0.7: "x0.7", 3: "x3", 1e20: "x1e20", True: "x_true", None: "x_none", (0, 2): "x_0_2"}
    assert {value: model_specs.label("x", value) for value in plain} == plain
    labels = {model_specs.label("x", text) for text in ("a" * 40, "a" * 41, "a/b", "a b", "a(b")}
    assert len(labels) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,40}", label) for label in labels)
    assert model_specs.label("k1", 2) != model_specs.label("k", 12)


# --- what is refused


def of_suite(**variant: Any) -> Callable[[], object]:
    return partial(planned, variants=({"model": "mine.py:build"} | variant,))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (partial(parse_spec, "m:b(x=1"), "not closed"),
        (partial(parse_spec, "m:b(x)"), "'x' is no option"),
        (partial(parse_spec, "m:b(x=1,x=2)"), "'x' is given twice"),
        (partial(model_specs.listed, ["threshold"]), "NAME=VALUE"),
        (partial(model_specs.listed, ["a=1,b=2"]), "--option a=… --option b=2"),
        (partial(model_specs.listed, ["a=nan"]), "finite"),
        (of_suite(options={"threshold": []}), "threshold = [] leaves no variant"),
        (of_suite(options={"threshold": {"a": 1}}), "numbers, texts, booleans"),
        (of_suite(model="mine.py:build(threshold=1)", options={"threshold": 2}), "'threshold' is given twice"),
        (of_suite(model="mod", options={"capacity": 0.5}), "write 'capacity' as"),
        (partial(parse_single, "mine.py:build", {"threshold": [1, 2]}), "one value"),
    ],
)
def test_what_is_no_option_is_refused(asked: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as found:
        asked()
    assert not str(found.value).endswith("..")


@pytest.mark.parametrize(
    ("spec", "given", "said"),
    [
        (
            "build",
            {"treshold": 0.7},
            ["no option 'treshold'", "build(config, threshold=0.5, mode='soft')", "Did you mean"],
        ),
        ("biuld", {}, ["mine.py defines no 'biuld'", "Did you mean 'build'?"]),
        ("needs", {}, ["missing a required argument: 'width'", "needs(config, *, width)"]),
        ("none", {}, ["too many positional arguments", "called as none(config, …)"]),
        ("late", {}, ["'late' is", "async"]),
        ("Net", {"self": 1}, ["no option 'self'", "Net(config, threshold=0.5"]),
    ],
)
def test_a_call_that_would_fail_is_refused(spec: str, given: dict[str, object], said: list[str]) -> None:
    with pytest.raises(UsageError) as found:
        check_user_model(f"mine.py:{spec}", given)
    assert all(words in str(found.value) for words in said), found.value


@pytest.mark.parametrize(
    ("models", "option", "said"),
    [
        (["mine.py:build", "mine.py:needs"], "treshold", ["mine.py:build", "mine.py:needs", "'threshold'?"]),
        (["mime.py:build"], "threshold", ["no file 'mime.py'", "'mine.py'?"]),
        ([], "capacity", ["--option capacity", "--model FILE.py:build", "--capacity"]),
    ],
)
def test_an_option_that_no_model_takes_is_refused(models: list[str], option: str, said: list[str]) -> None:
    with pytest.raises(UsageError) as found:
        planned(*models, option={option: [1]})
    assert all(words in str(found.value) for words in said), found.value


UNSEEN = ("Child", "hard", "small", "other", "unknown", "imported", "maybe", "decorated")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("build", {"threshold": 1, "mode": "x"}),
        ("anything", {"whatever": 1}),
        ("needs", {"width": 1}),
        *((name, {"x": 1}) for name in UNSEEN),  # not told by the source: taken to be right
    ],
)
def test_a_call_that_works_or_is_not_known_is_accepted(file: Path, name: str, given: dict[str, object]) -> None:
    check_user_model(f"mine.py:{name}", given)
    check_user_model(f"{file.stem}:{name}", given)


# --- what they do


def test_options_are_swept_and_named() -> None:
    made = planned("mine.py:build(threshold=[0.5,0.7],mode=hard)", only=True)
    assert names(made) == [f"mine:build[mode_hard-threshold{value}]" for value in (0.5, 0.7)]
    assert dict(made.cases[1].options) == {"mode": "hard", "threshold": 0.7}
    assert planned("mine.py:build(mode=hard,threshold=[0.5,0.7])", only=True).cases == made.cases  # in any order
    single = parse_single("mine.py:build(mode=hard)", {"threshold": [0.7]})[1]
    assert single == (("mode", "hard"), ("threshold", 0.7))
    table = {"model": "mine.py:build", "options": {"mode": "hard", "threshold": [0.5, 0.7]}}
    assert planned(variants=(table,)).cases == made.cases


@pytest.mark.parametrize(
    ("models", "option", "wanted"),
    [
        (
            ["mine.py:build", "mine.py:needs(width=2)"],
            {"threshold": [0.5, 0.7]},
            ["mine:build[threshold0.5]", "mine:build[threshold0.7]", "mine:needs[width2]"],
        ),
        (["mine.py:anything"], {"x": [1, 2]}, ["mine:anything[x1]", "mine:anything[x2]"]),
    ],
)
def test_an_option_is_set_where_a_model_takes_it(models: list[str], option: dict[str, Any], wanted: list[str]) -> None:
    assert names(planned(*models, option=option)) == ["dense", *wanted]
    own = {"model": "mine.py:build(mode=hard)", "options": {"threshold": [0.1, 0.2]}}
    assert names(planned(variants=(own,), option={"threshold": [0.5]})) == ["mine:build[mode_hard-threshold0.5]"]


def test_options_are_kept_through_json_and_reach_the_users_build_by_name(file: Path) -> None:
    made = planned("mine.py:Net(threshold=0.7,layers=(0,2),mode=None)", only=True)
    (case,) = made.cases
    assert Case.model_validate_json(case.model_dump_json()) == case
    assert json.loads(case.config_diff())["options"] == {"layers": [0, 2], "mode": None, "threshold": 0.7}
    assert plan_of(json.loads(json.dumps(stored_plan(made))), file) == made
    assert hash(case) != hash(case.model_copy(update={"options": ()}))
    file.write_text(MODELS.replace("from elsewhere import imported", "imported = print").partition("raise")[0])
    assert build_module(case, 0).got == (0.7, None, (0, 2))


def test_a_suite_may_name_a_file_beside_itself(file: Path) -> None:
    folder = file.parent / "suites"
    folder.mkdir()
    variants = '[{ model = "near.py:build(threshold=1)" }, { model = "mine.py:build" }]'
    (folder / "s.toml").write_text(f'metrics = ["flops/forward"]\nvariants = {variants}')
    (folder / "near.py").write_text(MODELS)
    (folder / "mine.py").write_text("")  # the one in the current folder comes first
    found = [(variant.model, variant.options) for variant in load_suite("suites/s.toml").variants]
    assert found == [("suites/near.py:build", {"threshold": [1]}), ("mine.py:build", {})]
