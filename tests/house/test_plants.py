"""Faults that `benchmarks/plant_faults.py` plants: each can be planted still, and has a test. The script runs them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from plant_faults import FAULTS, ROOT, Fault


def test_every_fault_is_there() -> None:
    assert {each.number for each in FAULTS} == {*range(1, 31)}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.number))
def test_a_fault_applies_to_the_source_and_its_test_exists(fault: Fault) -> None:
    """Where its lines were changed, write them anew: so that what goes wrong is planted where it is mended now."""
    for plugin in {Path(change.file).parts[1] for change in fault.changes if change.file.startswith("plugins/")}:
        if not (ROOT / "plugins" / plugin).is_dir():
            pytest.skip(f"the plug-in {plugin} is absent")
    for change in fault.changes:
        made = change.made()
        assert made is not None, change
        ast.parse(made)
    file, _, name = fault.test.partition("::")
    tests = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    assert name.partition("[")[0] in {each.name for each in tests if isinstance(each, ast.FunctionDef)}
