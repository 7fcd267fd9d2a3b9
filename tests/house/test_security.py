"""The security promises: each names tests that exist, and what is recorded of a machine is documented."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import fake_pynvml
from product import SOURCES

from modbench.harness.machine import environment, nvml
from modbench.harness.results import user_files
from modbench.harness.results.run_folder import create
from modbench.planted_runs import planted_plan

ROOT = Path(__file__).parents[2]
# Documented as a whole: the plan as data of the suite, a certificate as what `modbench doctor` prints.
WHOLE = {"plan", "code", "environment.packages", "environment.certificate"}


# Calls that may run code which comes with data, and the one file each of which may make them.
GUARDED = {
    "from_pretrained": "plugins/huggingface/model/loading.py",
    "from_config": "plugins/huggingface/model/loading.py",
    "get_class_from_dynamic_module": "",
    "pipeline": "",
    "load_dataset": "plugins/huggingface/corpus.py",
    "load_dataset_builder": "",
    "load_from_disk": "plugins/huggingface/corpus.py",
    "snapshot_download": "plugins/huggingface/model/spec.py",
    "hf_hub_download": "",
    "get_kernel": "",
}


def written(files: Iterable[Path], names: Iterable[str]) -> Iterator[tuple[Path, ast.Module]]:
    """Files in which one of the names is written, with their syntax trees: to read the trees of all takes many seconds."""
    some = re.compile(rf"\b({'|'.join(names)})\b")
    for file in files:
        if some.search(text := file.read_text(encoding="utf-8")):
            yield file, ast.parse(text)


def guarded(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Names of guarded calls in a syntax tree, also where `getattr` is given one; and the call, where it is one."""
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name, ctx=ast.Load()) | ast.Constant(value=str(name)) if (
                name in GUARDED
            ):
                yield name, calls.get(id(node), node)


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
    monkeypatch.setattr(user_files, "sources", lambda: (user_files.Origin(kind="folder", name="/bench"),))
    for at, (module, checkout) in enumerate([(None, environment.CHECKOUT), (fake_pynvml(), tmp_path)]):
        with monkeypatch.context() as patch:
            patch.setattr(environment, "CHECKOUT", checkout)
            if module is not None:
                patch.setitem(sys.modules, "pynvml", module)
                assert nvml.devices()["devices"]
            where = environment.collect() | {"machine": "m", "certificate": None}
        folder = create(str(tmp_path / f"run{at}"), "planted")
        folder.write_run(planted_plan("smoke"), where, ["modbench"], "now", options=["--time=1"])
        found |= set(keys(json.loads((folder.path / "run.json").read_text())))
    said = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8").partition("## What `run.json` records")[2]
    documented = {key for row in rows(said.partition("## Secrets")[0]) for key in re.findall(r"`([^`]+)`", row[0])}
    assert documented == found


@pytest.mark.slow
def test_every_promise_names_tests_that_exist() -> None:
    promises = [row for row in rows((ROOT / "SECURITY.md").read_text(encoding="utf-8")) if row != ["promise", "test"]]
    assert len(promises) >= 10
    named = {promise: set(re.findall(r"`(test_\w+)`", " ".join(tests))) for promise, *tests in promises}
    assert all(named.values()), named
    files = [*ROOT.glob("tests/*/test_*.py"), *ROOT.glob("plugins/*/tests/test_*.py")]
    known = {name for file in files for name in re.findall(r"(?m)^def (\w+)\(", file.read_text(encoding="utf-8"))}
    assert {promise: unknown for promise, names in named.items() if (unknown := names - known)} == {}


@pytest.mark.slow
def test_what_transformers_loads_goes_through_one_function_that_trusts_no_code() -> None:
    found = [(name, file, node) for file, tree in written(SOURCES, GUARDED) for name, node in guarded(tree)]
    assert {name for name, _, _ in found} >= {"from_pretrained", "from_config", "load_dataset", "snapshot_download"}
    for name, file, node in found:
        assert file == ROOT / GUARDED[name], (
            f"{file}:{getattr(node, 'lineno', '')} calls {name}: go through {GUARDED[name]}"
        )
        if name in {"from_pretrained", "from_config", "load_dataset"}:
            told = {word.arg: ast.unparse(word.value) for word in getattr(node, "keywords", ())}
            assert told.get("trust_remote_code") == "False", f"{file}: {name} without trust_remote_code=False"
            assert name != "from_pretrained" or told.get("local_files_only") == "True", f"{file}: {name} may download"


@pytest.mark.slow
def test_pickles_are_read_only_from_our_own_processes() -> None:
    """`torch.load` takes tensors alone, numpy no objects; what a process of one's own models sends is our own."""
    for file, tree in written(SOURCES, ("load", "loads")):
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {"load", "loads"}):
                continue  # to write every call out takes seconds
            called = ast.unparse(node.func)
            told = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert called != "torch.load" or told.get("weights_only") == "True", file
            assert called != "np.load" or told.get("allow_pickle") == "False", file
            assert called not in {"pickle.load", "pickle.loads"} or file.name == "timing_processes.py", file
