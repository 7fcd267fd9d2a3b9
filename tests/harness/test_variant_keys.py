"""Keys of a variant, such as `capacity`, and a user's model: each reaches its build, or is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs_here
import pytest

import modbench as mb
from modbench.commands.cost import costs
from modbench.harness.call.subject.build import build_module, noting
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case
from modbench.harness.execution import user_model_costs
from modbench.harness.execution.user_model_costs import UserModelCosts
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.registry import user_code

MODELS = """
import copy
from torch import nn
class Net(nn.Module):
    def __init__(self, config, share=0.5):
        super().__init__()
        self.embedding, self.head = nn.Embedding(config.vocab_size, 8), nn.Linear(8, config.vocab_size)
        self.share, self.config, self.got = share, config, None
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
def build(config, capacity=0.25, every=4, router="none"):
    net = Net(config, capacity)
    net.got = (capacity, every, router)
    return net
def plain(config, width=2): return Net(config)
def reads(config): return Net(config, config.capacity)
def gets(config): return Net(config, getattr(config, "capacity", 1))
def asks(config): return Net(config, config.kept(8))
def dumps(config): return Net(config, config.model_dump()["capacity"])
def copies(config): return Net(copy.deepcopy(config))
def needs(config, *, capacity): return Net(config, capacity)
def any_of(config, **more):
    net = Net(config)
    net.got = more
    return net
def fails(config): raise RuntimeError("not here")
renamed = plain
"""
SUITE = {"name": "s", "metrics": ["flops/forward"], "grid": {"seq_len": [16]}}


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(user_model_costs, "_in_processes", jobs_here.counted)
    user_code._MODULES.clear()
    path = tmp_path / "mine.py"
    path.write_text(MODELS)
    return path


def planned(*variants: dict[str, object], **flags: object) -> Plan:
    costs = UserModelCosts()
    suite = override(parse_suite(SUITE | {"variants": list(variants)}, "s"), Overrides(**flags), costs)  # type: ignore[arg-type]
    return make_plan(suite, device="cpu", costs=costs)


def built(case: Case) -> Any:
    return build_module(case, 0)


def made(**flags: object) -> list[Case]:
    return planned({"model": "dense"}, only=True, **flags).cases


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("reads", True),
        ("gets", True),
        ("asks", True),  # a method of the configuration reads it
        ("dumps", True),
        ("copies", True),
        ("Late", True),
        ("Trained", True),
        ("Losing", True),  # a method that is called later may read it
        ("fails", True),  # nobody can tell; its cells will say why
        ("plain", False),
        ("Net", False),
        ("renamed", False),
    ],
)
def test_a_list_that_reaches_nothing_is_refused_before_anything_is_measured(name: str, read: bool) -> None:
    """It would be one model under two names."""
    variant: dict[str, object] = {"model": f"mine.py:{name}", "capacity": [0.125, 0.25]}
    if read:
        assert [case.variant for case in planned(variant).cases] == [f"mine:{name}[c0.125]", f"mine:{name}[c0.25]"]
        return
    with pytest.raises(
        UsageError, match=rf"mine\.py:{name}': capacity = 0\.125 would change nothing: it reads no config\.capacity"
    ):
        planned(variant)


def test_a_noting_configuration_is_the_same_to_a_model() -> None:
    config = made(model=("mine.py:plain",))[0].config
    noted, read = noting(config)
    assert (noted.d_model, noted.n_heads) == (config.d_model, config.n_heads)
    assert read == {"d_model", "n_heads"}
    assert isinstance(noted, ModelConfig)
    assert noted.model_dump() == config.model_dump()
    assert read >= ModelConfig.model_fields.keys()


def test_a_key_reaches_the_option_of_its_name_from_flags_and_suites() -> None:
    one, other = made(model=("mine.py:build",), capacity=(0.125, 0.25), settings={"every": 3})
    assert [one.variant, other.variant] == ["mine:build[c0.125]", "mine:build[c0.25]"]
    assert [built(case).got for case in (one, other)] == [(0.125, 3, "none"), (0.25, 3, "none")]
    written = {"model": "mine.py:build", "capacity": [0.125, 0.25], "every": 3}
    assert planned(written).cases == [one, other]
    assert Case.model_validate_json(one.model_dump_json()) == one
    read = made(model=("mine.py:reads",), capacity=(0.125, 0.25))  # from the configuration
    assert [(built(case).share, bool(case.by_name)) for case in read] == [(0.125, False), (0.25, False)]
    assert built(made(model=("mine.py:needs",), capacity=(0.5,))[0]).share == 0.5
    assert built(made(model=("mine.py:any_of",), capacity=(0.5,))[0]).got == {"capacity": 0.5}


def test_what_is_not_set_keeps_the_default_of_the_build() -> None:
    """The configuration has a value for every key: only those that a variant sets are given."""
    (case,) = made(model=("mine.py:build",), settings={"router": "norm"})
    assert case.config.every != 4
    assert built(case).got == (0.25, 4, "norm")
    set_to_our_default = planned({"model": "mine.py:build"}, {"model": "mine.py:build", "every": case.config.every})
    assert [case.variant for case in set_to_our_default.cases] == [
        "mine:build",
        f"mine:build[every{case.config.every}]",
    ]


WHY = r"reads no config\.{}, and plain\(config, width=2\) has no option of that name\. Write plain\(config, {}=…\), or read"


@pytest.mark.parametrize(
    ("refused", "key"),
    [
        (lambda: made(model=("mine.py:plain",), capacity=(0.125, 0.25)), "capacity"),
        (lambda: made(model=("mine.py:plain",), settings={"n_experts": 8}), "n_experts"),
        (lambda: made(model=("mine.py:plain",), router=("norm",)), "router"),
        (lambda: planned({"model": "dense"}, {"model": "mine.py:plain", "every": [2, 3]}), "every"),
        (lambda: planned({"model": "dense"}, {"model": "mine.py:plain", "d_ff": 8}), "d_ff"),
        pytest.param(
            lambda: mb.run("quick", model="mine.py:plain", only=True, capacity=0.5),
            "capacity",
            marks=pytest.mark.plugin("python"),
        ),
        (lambda: costs.costs(costs.Request("mine.py:plain", capacity=(0.5,))), "capacity"),
        (lambda: costs.costs(costs.Request("mine.py:plain", settings={"every": 3})), "every"),
    ],
)
def test_a_key_that_reaches_nothing_is_refused(refused: Callable[[], object], key: str) -> None:
    with pytest.raises(UsageError, match=WHY.format(key, key)):
        refused()


@pytest.mark.plugin("huggingface")
def test_a_model_of_a_source_says_what_it_has() -> None:
    with pytest.raises(UsageError, match=r"'hf:llama': capacity = 0\.5 .*no capacity"):
        planned({"model": "dense"}, {"model": "hf:llama", "capacity": 0.5})


def test_a_key_and_an_option_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match=r"capacity = 0\.5 as an option"):
        planned({"model": "mine.py:build(capacity=0.5)", "capacity": 0.25})
    # A flag is for the variants that it reaches.
    variants = planned({"model": "mod"}, model=("mine.py:build(capacity=0.5)",), capacity=(0.125,)).cases
    assert [case.variant for case in variants] == ["mod[c0.125]", "mine:build[capacity0.5]"]


def test_a_flag_for_shipped_variants_leaves_a_model_that_does_not_read_it_as_it_is() -> None:
    variants = planned({"model": "dense"}, {"model": "mod"}, model=("mine.py:plain",), capacity=(0.125, 0.25)).cases
    assert [case.variant for case in variants] == ["dense", "mod[c0.125]", "mod[c0.25]", "mine:plain"]
    with_own = planned({"model": "mod"}, model=("mine.py:build",), capacity=(0.125,)).cases
    assert [case.variant for case in with_own] == ["mod[c0.125]", "mine:build[c0.125]"]
