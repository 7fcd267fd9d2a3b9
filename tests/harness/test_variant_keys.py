"""Keys of a variant, such as `capacity`, and a user's model: each reaches its build, or is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs_here
import pytest

import modbench as mb
from modbench.commands.cost import costs
from modbench.harness.call.subject.build import build_module
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case
from modbench.harness.execution import user_model_costs
from modbench.harness.execution.user_model_costs import UserModelCosts
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan

MODELS = """
import copy
from torch import nn
class Net(nn.Module):
    def __init__(self, config, *got):
        super().__init__()
        self.embedding, self.head = nn.Embedding(config.vocab_size, 8), nn.Linear(8, config.vocab_size)
        self.config, self.got = config, got
    def forward(self, tokens):
        return self.head(self.embedding(tokens)) * self.config.n_layers
class Late(Net):
    def forward(self, tokens):
        return super().forward(tokens) * self.config.capacity
class Trained(Net):
    def forward(self, tokens):
        return super().forward(tokens) * (self.config.capacity if self.training else 1)
class Losing(Net):
    def aux_loss(self):
        return self.config.capacity * self.head.weight.sum()
def build(config, capacity=0.25, every=4, router="none"): return Net(config, capacity, every, router)
def plain(config, width=2): return Net(config)
def reads(config): return Net(config, config.capacity)
def gets(config): return Net(config, getattr(config, "capacity", 1))
def asks(config): return Net(config, config.kept(8))
def dumps(config): return Net(config, config.model_dump()["capacity"])
def copies(config): return Net(copy.deepcopy(config))
def needs(config, *, capacity): return Net(config, capacity)
def any_of(config, **more): return Net(config, more)
def fails(config): raise RuntimeError("not here")
renamed = plain
"""
SUITE = {"name": "s", "metrics": ["flops/forward"], "grid": {"seq_len": [16]}}
DENSE, MOD = {"model": "dense"}, {"model": "mod"}


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(user_model_costs, "_in_processes", jobs_here.counted)
    (tmp_path / "mine.py").write_text(MODELS)


def planned(*variants: dict[str, Any], **flags: Any) -> list[Case]:
    counts = UserModelCosts()
    suite = override(parse_suite(SUITE | {"variants": list(variants)}, "s"), Overrides(**flags), counts)
    return make_plan(suite, device="cpu", costs=counts).cases


def own(name: str, **flags: Any) -> list[Case]:
    """Cases of a model of the file alone."""
    return planned(DENSE, model=(f"mine.py:{name}",), only=True, **flags)


def got(case: Case) -> Any:
    """What its build was given or read."""
    return build_module(case, 0).got


@pytest.mark.parametrize(
    ("name", "read"),
    [
        *((name, True) for name in ("reads", "gets", "asks", "dumps", "copies", "Late", "Trained")),
        ("Losing", True),  # a method that is called later may read it
        ("fails", True),  # nobody can tell; its cells will say why
        *((name, False) for name in ("plain", "renamed", "Net")),
    ],
)
def test_a_list_that_reaches_nothing_is_refused_before_anything_is_measured(name: str, read: bool) -> None:
    """It would be one model under two names."""
    variant = {"model": f"mine.py:{name}", "capacity": [0.125, 0.25]}
    if read:
        assert [case.variant for case in planned(variant)] == [f"mine:{name}[c0.125]", f"mine:{name}[c0.25]"]
        return
    said = rf"mine\.py:{name}': capacity = 0\.125 would change nothing: it reads no config\.capacity"
    with pytest.raises(UsageError, match=said):
        planned(variant)


def test_a_key_reaches_the_option_of_its_name_from_flags_and_suites() -> None:
    """The configuration has a value for every key: only those that a variant sets are given."""
    cases = own("build", capacity=(0.125, 0.5), settings={"every": 3})
    assert {case.variant: got(case) for case in cases} == {
        "mine:build[c0.125]": (0.125, 3, "none"),
        "mine:build[c0.5]": (0.5, 3, "none"),
    }
    assert planned({"model": "mine.py:build", "capacity": [0.125, 0.5], "every": 3}) == cases
    assert Case.model_validate_json(cases[0].model_dump_json()) == cases[0]
    (case,) = own("build", settings={"router": "norm"})
    assert (got(case), case.config.every) == ((0.25, 4, "norm"), 2)
    to_our_default = planned({"model": "mine.py:build"}, {"model": "mine.py:build", "every": 2})
    assert [case.variant for case in to_our_default] == ["mine:build", "mine:build[every2]"]


@pytest.mark.parametrize(("name", "wanted"), [("reads", 0.5), ("needs", 0.5), ("any_of", {"capacity": 0.5})])
def test_a_key_reaches_whatever_takes_or_reads_it(name: str, wanted: object) -> None:
    (case,) = own(name, capacity=(0.5,))
    assert got(case) == (wanted,)
    assert bool(case.by_name) == (name != "reads")  # from the configuration


@pytest.mark.parametrize(
    ("refused", "key"),
    [
        (lambda: own("plain", capacity=(0.125, 0.25)), "capacity"),
        (lambda: own("plain", settings={"n_experts": 8}), "n_experts"),
        (lambda: planned(DENSE, {"model": "mine.py:plain", "every": [2, 3]}), "every"),
        pytest.param(
            lambda: mb.run("quick", model="mine.py:plain", only=True, capacity=0.5),
            "capacity",
            marks=pytest.mark.plugin("python"),
        ),
        (lambda: costs.costs(costs.Request("mine.py:plain", capacity=(0.5,))), "capacity"),
    ],
)
def test_a_key_that_reaches_nothing_is_refused(refused: Callable[[], object], key: str) -> None:
    option = rf"plain\(config, width=2\) has no option of that name\. Write plain\(config, {key}=…\), or read"
    with pytest.raises(UsageError, match=rf"reads no config\.{key}, and {option}"):
        refused()


@pytest.mark.parametrize(
    ("model", "variant"),
    [
        ("plain", "mine:plain"),  # does not read it
        ("build(capacity=0.5)", "mine:build[capacity0.5]"),  # has it as an option
        ("build", "mine:build[c0.125]"),
    ],
)
def test_a_flag_is_for_the_variants_that_it_reaches(model: str, variant: str) -> None:
    cases = planned(DENSE, MOD, model=(f"mine.py:{model}",), capacity=(0.125,))
    assert [case.variant for case in cases] == ["dense", "mod[c0.125]", variant]
