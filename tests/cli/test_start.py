"""Starting: `modbench init` writes a suite, `modbench demo` shows a report."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import webbrowser
from collections.abc import Callable
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it has no types
import make_demo
import pytest
import schemas
import yaml  # type: ignore[import-untyped]  # it has no types
from in_process import succeeded

from modbench.commands.init.suite_file import suite_schema
from modbench.harness.planning.load_suite import load_suite, read_suite
from modbench.harness.registry import catalogue
from modbench.reports import demo

Modbench = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[2]
SUITES = list(catalogue.entries("suites"))
SCHEMA = suite_schema()
CHECK = jsonschema.Draft202012Validator(SCHEMA)
MINE = "import torch\ndef build(config):\n    return torch.nn.Embedding(config.vocab_size, config.vocab_size)\n"


# --- the schema


@pytest.mark.plugin("sweeps")
@pytest.mark.plugin("routing")
@pytest.mark.plugin("machine")
@pytest.mark.plugin("search")
@pytest.mark.plugin("tasks")
def test_the_schemas_that_ship_are_those_of_the_classes() -> None:
    """Renew them with `python docs/site/schemas.py`."""
    for name, content in schemas.files().items():
        shipped = json.loads((schemas.FOLDER / name).read_text(encoding="utf-8"))
        assert shipped == json.loads(content), name
        CHECK.check_schema(shipped)


@pytest.mark.parametrize("name", SUITES)
def test_the_schema_accepts_every_shipped_suite(name: str) -> None:
    CHECK.validate(read_suite(name))


# --- init


def test_init_writes_a_suite_that_can_be_planned_beside_its_schema(tmp_path: Path, modbench: Modbench) -> None:
    schema, suite = tmp_path / "suite.schema.json", tmp_path / "suite.toml"
    schema.write_text(json.dumps({"title": SCHEMA["title"]}))  # of an older version
    assert "modbench run suite.toml" in succeeded(modbench("init", "suite.toml", cwd=tmp_path)).stdout
    assert len(json.loads(succeeded(modbench("plan", suite, "--json")).stdout)["cases"]) >= 8
    assert suite.read_text().splitlines()[0] == "#:schema ./suite.schema.json"  # where an editor looks
    assert json.loads(schema.read_text()) == SCHEMA


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_a_copy_measures_what_the_shipped_suite_does(name: str, tmp_path: Path, modbench: Modbench) -> None:
    succeeded(modbench("init", "copy.toml", "--from", name, cwd=tmp_path))
    copy = load_suite(str(tmp_path / "copy.toml"))
    assert copy == load_suite(name).model_copy(update={"name": "copy"})


def test_a_model_of_ones_own_is_compared(tmp_path: Path, modbench: Modbench) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    done = succeeded(modbench("init", "mine.toml", "--model", "mine.py:build,mod", "--json", cwd=tmp_path))
    assert json.loads(done.stdout) == {"suite": "mine.toml", "schema": "suite.schema.json"}
    models = [variant.model for variant in load_suite(str(tmp_path / "mine.toml")).variants]
    assert models == ["dense", f"{tmp_path / 'mine.py'}:build", "mod"]


def commands_of(begun: str) -> list[list[str]]:
    """The words of the commands that `init --json` names."""
    return [shlex.split(command)[1:] for command in json.loads(begun)["commands"].values()]


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here", "undrawn")
def test_the_start_of_a_model_writes_one_that_can_be_measured(tmp_path: Path, modbench: Modbench) -> None:
    done = succeeded(modbench("init", "mine.py", "--json", cwd=tmp_path))
    _, run = commands_of(done.stdout)
    small = ("--effort", "smoke", "--seeds", "0", "--seq-len", "32", "--set", "d_model=32", "--set", "train.seq_len=32")
    metrics = "metrics=flops/forward,latency/forward,loss/val,loss/val_causal"
    succeeded(modbench(*run, *small, "--set", metrics, "--device", "cpu", "--strict", "-o", "run", cwd=tmp_path))
    with (tmp_path / "run" / "cases.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} == {"ok"}
    assert not any("future" in row["labels"] for row in rows)  # what it skips depends on nothing that comes later
    counted = {row["model"]: float(row["value"]) for row in rows if row["metric"] == "flops/forward"}
    mine, dense = counted["mine.py:build"], counted["dense"]  # its matched baseline
    assert abs(mine / dense - 1) < 0.05


def test_the_start_of_a_repository_writes_the_workflow_of_the_page(tmp_path: Path, modbench: Modbench) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    file = ".github/workflows/modbench.yml"
    done = succeeded(modbench("init", file, "--model", "mine.py:build", "--json", cwd=tmp_path))
    shown = json.loads(done.stdout)
    assert (shown["written"], "OWNER" in shown["note"]) == (file, True)
    written = (tmp_path / file).read_text(encoding="utf-8")
    assert written in (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    succeeded(modbench("init", "b.yml", "--model", "mine.py:build", "--from", "decode", cwd=tmp_path))
    (step,) = yaml.safe_load((tmp_path / "b.yml").read_text())["jobs"]["modbench"]["steps"]
    assert step["with"] == {"model": "mine.py:build", "suite": "decode", "fail-on": "slower:5%"}


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured", "jobs_here")
@pytest.mark.plugin("huggingface")
def test_the_start_of_a_checkpoint_names_commands_that_work(tmp_path: Path, modbench: Modbench) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    from hf_folders import text, write_llama

    write_llama(tmp_path / "my llama", max_position_embeddings=2048)
    (tmp_path / "text.txt").write_text(text())
    done = succeeded(modbench("init", "hf:my llama", "--json", cwd=tmp_path))
    measure, convert, compare = commands_of(done.stdout)
    small = ("--corpus", "text.txt", "--seq-len", "32", "--val-tokens", "128")
    for command in (["plan", *measure[1:]], [*convert, *small], ["plan", *compare[1:]]):
        succeeded(modbench(*command, cwd=tmp_path))


# --- demo


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_demo_is_a_run_like_any_other_and_says_that_nothing_was_measured_here(
    tmp_path: Path, modbench: Modbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", None)
    done = succeeded(modbench("demo", "quick", "--no-open", "-o", "shown", cwd=tmp_path))
    assert "⚠ This run ships with modbench. " in done.stdout
    assert "not measured on this machine" in " ".join(done.stdout.split())
    assert "report   shown/report.html" in done.stdout
    page = (tmp_path / "shown" / "report.html").read_text(encoding="utf-8")
    assert re.search(r'role="alert">[^<]+ 20\d\d-\d\d-\d\d\)\.<', page)
    done = succeeded(modbench("report", "shown", "--format", "md", "-o", "out", "--json", cwd=tmp_path))
    assert json.loads(done.stdout)["missing_jobs"] == []
    again = modbench("demo", "--no-open", "-o", "shown", cwd=tmp_path)
    assert again.returncode == 2
    assert "already holds another run" in again.stderr


@pytest.mark.parametrize("packed", demo.SHIPPED.values(), ids=demo.SHIPPED)
def test_a_stored_run_is_small_and_names_no_host(packed: Path) -> None:
    data = packed.read_bytes()
    assert len(data) <= make_demo.MOST_BYTES
    files = demo.contents(data)
    assert files["run.json"]["environment"]["shipped"] is True
    assert files["run.json"].get("code", {}) == {}
    records = [content for name, content in files.items() if name.startswith("jobs/")]
    assert {(record["environment"] or {}).get("host") for record in records} == {None}
    assert not make_demo.PATHS.search(json.dumps(files))
