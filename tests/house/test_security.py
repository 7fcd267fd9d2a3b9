"""The security promises: each names tests that exist, and what is recorded of a machine is documented."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import fake_pynvml
from planted import planted_suite

from modbench.harness.machine import environment, nvml
from modbench.harness.results import origins, own_files
from modbench.harness.results.run_folder import create

ROOT = Path(__file__).parents[2]
# Documented as a whole: the plan as data of the suite, a certificate as what `modbench doctor` prints.
WHOLE = {"plan", "environment.packages", "environment.certificate"}


def rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def keys(data: Any, above: str = "") -> Iterator[str]:
    if above in WHOLE or not isinstance(data, dict | list):
        yield above
    elif isinstance(data, list):
        for each in data:
            yield from keys(each, f"{above}[]") if isinstance(each, dict) else (above,)
    else:
        for key, value in data.items():
            yield from keys(value, f"{above}.{key}".strip("."))


def test_every_key_of_run_json_is_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a GPU, with and without a checkout."""
    found = set[str]()
    own = own_files.OwnFile(kind="model", name="m.py:build", path="/m.py", size=1, sha256="0")
    monkeypatch.setattr(own_files, "of", lambda *_: (own,))
    monkeypatch.setattr(origins, "now", lambda: (origins.Origin(kind="folder", name="/bench"),))
    for at, (module, checkout) in enumerate([(None, environment.CHECKOUT), (fake_pynvml(), tmp_path)]):
        with monkeypatch.context() as patch:
            patch.setattr(environment, "CHECKOUT", checkout)
            if module is not None:
                patch.setitem(sys.modules, "pynvml", module)
                assert nvml.devices()["devices"]
            where = environment.collect() | {"machine": "m", "certificate": None}
        folder = create(str(tmp_path / f"run{at}"), "planted")
        folder.write_run(planted_suite("smoke"), where, ["modbench"], "now", options=["--time=1"])
        found |= set(keys(json.loads((folder.path / "run.json").read_text())))
    said = (ROOT / "docs" / "run_folder.md").read_text(encoding="utf-8").partition("## What `run.json` records")[2]
    documented = {row[0].strip("`") for row in rows(said.partition("## Secrets")[0])} - {"key"}
    assert documented == found


def test_every_promise_names_tests_that_exist() -> None:
    known = {
        node.name
        for file in (ROOT / "tests").glob("*/test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    promises = [row for row in rows((ROOT / "SECURITY.md").read_text(encoding="utf-8")) if row != ["promise", "test"]]
    assert len(promises) >= 10
    for promise, *tests in promises:
        names = re.findall(r"`(test_\w+)`", " ".join(tests))
        assert names, promise
        assert set(names) <= known, promise
