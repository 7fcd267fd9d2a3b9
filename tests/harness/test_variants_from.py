"""`--variants-from RUN`: the variants of a run with the lowest held-out loss, planned into another suite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted_gate import written
from present import present

from modbench import api, keywords
from modbench.commands._flags import Flags
from modbench.harness.core.errors import UsageError
from modbench.harness.planning.overrides import Overrides
from modbench.harness.planning.plan import Plan
from modbench.harness.results.run_file import plan_of, stored_plan
from modbench.planted_runs import PlantedTrouble, planted_plan, planted_record
from modbench.reports.markup.number_format import plain
from modbench.reports.tables.best_variants import best_variants, sentence
from modbench.reports.tables.load import load
from modbench.reports.terminal.printed_run import opening

pytestmark = pytest.mark.plugin("tasks")

MOD = {"model": "mod", "capacity": [0.125, 0.5], "every": 1, "first_routed": 0}
LOSSES = {"dense": 1.0, "mod[c0.125]": 2.5, "mod[c0.5]": 2.25, "mode_staged": 2.0, "mode_integrated[c0.25]": 1.5}


def run(folder: Path, *variants: dict[str, Any], leave_out: str = "", **suite: Any) -> Path:
    """A run of dense and these variants with the losses above."""
    changes = {
        "metrics": ["loss/val", "loss/val_causal"],
        "seeds": [0, 1, 2],
        "variants": [{"model": "dense"}, *variants],
    }
    made = planted_plan("draft", **changes, **suite)
    calm = PlantedTrouble(losses=LOSSES)
    return written(folder, made, lambda unit: planted_record(unit, calm), {}, leave_out).path


def planned(folder: Path, suite: str = "tasks-confirm", **flags: Any) -> Plan:
    return api.make_plan(suite, Overrides(variants_from=str(folder), device="cpu", **flags), only_plan=True)


def variants(plan: Plan) -> dict[str, tuple[Any, ...]]:
    """Capacity and routed blocks by variant."""
    return {case.variant: (case.config.capacity, case.config.every, case.config.first_routed) for case in plan.cases}


def test_the_best_variant_routes_as_it_did_and_lends_its_capacity_to_mode(tmp_path: Path) -> None:
    plan = planned(run(tmp_path / "run", MOD))
    assert variants(plan) == {"dense": (None, 2, 1), "mod[c0.5]": (0.5, 1, 0), "mode_integrated[c0.5]": (0.5, 1, 0)}
    taken = present(plan.variants_from)
    mod, mode = taken.variants
    assert (mod.variant, mod.among, mod.seeds, mode.variant, mode.loss) == ("mod[c0.5]", 2, 3, "", None)
    losses = load(tmp_path / "run").cases.query("variant == 'mod[c0.5]' and metric == 'loss/val_causal'")
    assert (mod.loss, taken.seq_len) == (losses.value.item(), losses.seq_len.item())
    assert (taken.metric, taken.smoke) == ("loss/val_causal", False)
    stored = plan_of(json.loads(json.dumps(stored_plan(plan))), Path("run.json"))
    assert stored.variants_from == taken
    assert sentence(taken).given["length"] == taken.seq_len
    assert plain(sentence(taken)) in " ".join(opening(plan).split())


WITH_MODE = [MOD, {"model": "mode_staged"}, {"model": "mode_integrated", "capacity": 0.25}]


@pytest.mark.parametrize(
    ("given", "suite", "flags", "taken"),
    [
        (
            WITH_MODE,
            "tasks-confirm",
            {},
            ["mod[c0.5]", "mode_integrated[c0.25]"],
        ),  # of a run with MoDE its best is taken
        ([MOD], "quick", {"seq_len": (64,)}, ["mod[c0.5]", "mode_integrated[c0.5]"]),
        ([MOD], "tasks-confirm", {"model": ("mod", "moe")}, ["mod[c0.5]", "moe"]),
    ],
)
def test_it_goes_with_any_suite_and_the_other_flags(
    given: list[dict[str, Any]], suite: str, flags: dict[str, Any], taken: list[str], tmp_path: Path
) -> None:
    assert list(variants(planned(run(tmp_path / "run", *given), suite, **flags))) == ["dense", *taken]


@pytest.mark.parametrize(("key", "value"), [("mixer", "window"), ("router", "own.py:Mine")])
def test_variants_that_differ_in_more_than_routing_are_left_out(tmp_path: Path, key: str, value: str) -> None:
    """And routers that are a user's file: the run may be a stranger's."""
    loaded = load(run(tmp_path / "run", MOD))
    best = next(case for case in loaded.cases_by_id.values() if case.variant == "mod[c0.5]")
    other = best.config.model_copy(update={key: value})
    loaded.cases_by_id[best.id] = best.model_copy(update={"config": other})
    assert [each.variant for each in best_variants(loaded).variants] == ["mod[c0.125]", ""]


SWEEP = {"train_flops": [1e12], "sizes": [{"d_model": 32}, {"d_model": 64}], "max_epochs": 100_000}


@pytest.mark.parametrize(
    ("mod", "changes", "flags", "said"),
    [
        # Flags that would change its variants.
        (MOD, {}, {"capacity": (0.5,)}, "leave out --capacity"),
        (MOD, {}, {"router": ("norm",)}, "leave out --router"),
        (MOD, {}, {"settings": {"every": 1, "d_model": 32}}, "leave out --set every"),
        # Runs without a best variant.
        ({"model": "mode_staged"}, {}, {}, "no MoD variant"),
        (MOD | {"mixer": "window"}, {}, {}, "mixer"),
        (MOD, {"leave_out": "train-mod_c0.5"}, {}, "modbench resume"),
        pytest.param(MOD, {"isoflop": SWEEP}, {}, "sweep over sizes", marks=pytest.mark.plugin("sweeps")),
    ],
)
def test_what_names_no_variants_is_refused(
    mod: dict[str, Any], changes: dict[str, Any], flags: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = run(tmp_path / "run", mod, **changes)
    with pytest.raises(UsageError, match=said):
        planned(folder, **flags)
    with pytest.raises(UsageError, match=r"Did you mean .*run'"):
        planned(tmp_path / "rum")


def test_python_names_it_too(tmp_path: Path) -> None:
    given = keywords.overrides({"variants_from": tmp_path}, {})
    assert keywords.words(given) == ["--variants-from", str(tmp_path)]
    assert Flags(variants_from=str(tmp_path)).overrides() == given
