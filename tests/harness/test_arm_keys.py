"""Keys of an arm, such as `capacity`, and a user's model: each reaches its build, or is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modbench as mb
from modbench.commands.cost import costs
from modbench.commands.train import training_run
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case
from modbench.harness.planning.arms import unsolved_arms
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.registry.user_models import way
from modbench.harness.subject.build import build_module

MODELS = """
from functools import partial
from torch import nn
class Net(nn.Linear):
    def __init__(self, config, share=0.5):
        super().__init__(2, 2)
        self.capacity, self.config = share, config
        self.got = (share, self.read())
        print(self.capacity)
    def read(self):
        return self.config.n_layers
class Child(Net):
    def __init__(self, config):
        super().__init__(config, 0.5)
def build(config, capacity=0.25, every=4, router="none"):
    net = Net(config, capacity)
    net.got = (capacity, every, router)
    return net
def plain(config, width=2): return Net(config)
def reads(config):
    own = config
    return Net(own, share=own.capacity)
def gets(config): return Net(config, getattr(config, "capacity", 1))
class Holds(nn.Linear):
    def __init__(self, shape):
        super().__init__(2, 2)
        self.shape = shape
    def forward(self, x): return x * self.shape.capacity
def holds(config): return Holds(config)
def any_of(config, **more):
    net = Net(config)
    net.got = more
    return net
def needs(config, *, capacity): return Net(config, capacity)
# What the source does not tell.
def dumps(config): return Net(config, **config.model_dump())
def hands(config): return unknown(config)
def counts(config): return Net(config, config.kept(8))
def inner(config):
    kept = {"config": config}
    return Net(config)
@staticmethod
def decorated(config): ...
found = partial(unknown, 1) if 0 else plain
"""
SUITE = {"name": "s", "metrics": ["flops/forward"], "grid": {"seq_len": [16]}}


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(MODELS)
    return path


def planned(*arms: dict[str, object], **flags: object) -> Plan:
    suite = parse_suite(SUITE | {"arms": list(arms)}, "s")
    return make_plan(override(suite, Overrides(**flags)), device="cpu")  # type: ignore[arg-type]


def built(case: Case) -> Any:
    return build_module(case, 0)


def made(**flags: object) -> list[Case]:
    return planned({"model": "dense"}, only=True, **flags).cases


@pytest.mark.parametrize(
    ("name", "by_name", "refused"),
    [
        ("build", True, False),
        ("needs", True, False),
        ("any_of", True, False),
        ("plain", False, True),
        ("Net", False, True),
        ("Child", False, True),
        ("reads", False, False),
        ("gets", False, False),
        ("holds", False, False),
        *((name, False, False) for name in ("dumps", "hands", "counts", "inner", "decorated", "found", "absent")),
    ],
)
def test_how_a_key_reaches_a_model_is_read_from_its_source(name: str, by_name: bool, refused: bool) -> None:
    for spec in (f"mine.py:{name}", f"mine:{name}"):
        found = way(spec, {}, "capacity")
        assert (found.by_name, bool(found.why_not)) == (by_name, refused), spec


@pytest.mark.parametrize(
    "source",
    [
        "def build(config):\n    global kept\n    kept = config\ndef other(): return kept.capacity",
        "from parts import Base\nclass build(Base):\n    def __init__(self, config): self.config = config",
        "def build(config):\n    class Inner:\n        shape = config\n        def of(self): return self.shape.capacity",
        "def build(config): return [config]",
        "def build(*config): return config[0].capacity",
    ],
)
def test_a_key_that_may_reach_something_is_not_refused(file: Path, source: str) -> None:
    file.write_text(source)
    assert not way("mine.py:build", {}, "capacity").why_not


def test_a_key_reaches_the_option_of_its_name_from_flags_and_suites() -> None:
    one, other = made(model=("mine.py:build",), capacity=(0.125, 0.25), settings={"every": 3})
    assert [one.arm, other.arm] == ["mine:build[c0.125]", "mine:build[c0.25]"]
    assert [built(case).got for case in (one, other)] == [(0.125, 3, "none"), (0.25, 3, "none")]
    written = {"model": "mine.py:build", "capacity": [0.125, 0.25], "every": 3}
    assert planned(written).cases == [one, other]
    assert Case.model_validate_json(one.model_dump_json()) == one
    assert built(made(model=("mine.py:needs",), capacity=(0.5,))[0]).got[0] == 0.5
    assert built(made(model=("mine.py:any_of",), capacity=(0.5,))[0]).got == {"capacity": 0.5}


def test_what_is_not_set_keeps_the_default_of_the_build() -> None:
    """The configuration has a value for every key: only those that an arm sets are given."""
    (case,) = made(model=("mine.py:build",), settings={"router": "norm"})
    assert case.config.every != 4
    assert built(case).got == (0.25, 4, "norm")
    set_to_our_default = planned({"model": "mine.py:build"}, {"model": "mine.py:build", "every": case.config.every})
    assert [case.arm for case in set_to_our_default.cases] == ["mine:build", f"mine:build[every{case.config.every}]"]


def test_a_key_is_read_from_the_configuration_as_before() -> None:
    cases = made(model=("mine.py:reads",), capacity=(0.125, 0.25))
    assert [built(case).capacity for case in cases] == [0.125, 0.25]
    assert all(not case.by_name for case in cases)


WHY = r"reads no config\.{}, and plain\(config, width=2\) has no option of that name\. Write plain\(config, {}=…\), or read"


@pytest.mark.parametrize(
    ("refused", "key"),
    [
        (lambda: made(model=("mine.py:plain",), capacity=(0.125, 0.25)), "capacity"),
        (lambda: made(model=("mine.py:plain",), settings={"n_experts": 8}), "n_experts"),
        (lambda: made(model=("mine.py:plain",), router=("norm",)), "router"),
        (lambda: planned({"model": "dense"}, {"model": "mine.py:plain", "every": [2, 3]}), "every"),
        (lambda: planned({"model": "dense"}, {"model": "mine.py:plain", "d_ff": 8}), "d_ff"),
        (lambda: unsolved_arms(parse_suite(SUITE | {"arms": [{"model": "mine.py:plain", "every": 3}]}, "s")), "every"),
        (lambda: mb.plan("quick", model="mine.py:plain", only=True, capacity=0.5), "capacity"),
        (lambda: mb.run("quick", model="mine.py:plain", only=True, capacity=0.5), "capacity"),
        (lambda: training_run.make_plan("mine.py:plain", Overrides(capacity=(0.5,))), "capacity"),
        (lambda: costs.costs(costs.Request("mine.py:plain", capacity=(0.5,))), "capacity"),
        (lambda: costs.costs(costs.Request("mine.py:plain", settings={"every": 3})), "every"),
    ],
)
def test_a_key_that_reaches_nothing_is_refused(refused: Callable[[], object], key: str) -> None:
    with pytest.raises(UsageError, match=WHY.format(key, key)):
        refused()


def test_a_model_of_a_source_says_what_it_has() -> None:
    with pytest.raises(UsageError, match=r"'hf:llama': capacity = 0\.5 .*no capacity"):
        planned({"model": "dense"}, {"model": "hf:llama", "capacity": 0.5})


def test_a_key_and_an_option_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match=r"capacity = 0\.5 as an option"):
        planned({"model": "mine.py:build(capacity=0.5)", "capacity": 0.25})
    # A flag is for the arms that it reaches.
    arms = planned({"model": "mod"}, model=("mine.py:build(capacity=0.5)",), capacity=(0.125,)).cases
    assert [case.arm for case in arms] == ["mod[c0.125]", "mine:build[capacity0.5]"]


def test_a_flag_for_shipped_arms_leaves_a_model_that_does_not_read_it_as_it_is() -> None:
    arms = planned({"model": "dense"}, {"model": "mod"}, model=("mine.py:plain",), capacity=(0.125, 0.25)).cases
    assert [case.arm for case in arms] == ["dense", "mod[c0.125]", "mod[c0.25]", "mine:plain"]
    with_own = planned({"model": "mod"}, model=("mine.py:build",), capacity=(0.125,)).cases
    assert [case.arm for case in with_own] == ["mod[c0.125]", "mine:build[c0.125]"]
