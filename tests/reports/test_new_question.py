"""A question of one's own is a function, a table of columns and a section: its answer stands in every output."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import goldens
import pandas as pd
import pytest
from fresh_catalogue import forget
from in_process import succeeded
from own_plugin import write

from modbench.reports import demo

pytestmark = pytest.mark.plugin("example")

GOLDEN = Path(__file__).parent / "golden" / "new_question.txt"
EXAMPLE = Path(__file__).parents[2] / "plugins" / "example" / "section.py"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stored run, and a folder with the example's question, about its parameters."""
    demo.unpack(tmp_path / "run", goldens.HERE / "gate" / "new.json.xz")
    source = EXAMPLE.read_text().replace("weights/routers", "latency/forward").replace('kind="count"', 'unit="s"')
    write(tmp_path / "bench", {"sections/router_weights.py": source})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_one_file_answers_a_question_in_every_output(here: Path, modbench: Any) -> None:
    done = modbench("report", "run", "--plugin", "bench", "--format", "csv,html,md,json", "-o", "views", "-v", cwd=here)
    forget()
    assert done.returncode == 0, done.stderr
    views = here / "views"
    table = pd.read_csv(views / "router_weights.csv")
    assert list(table) == ["case_id", "variant", "value"]
    stored = json.loads((views / "report.json").read_text())["tables"]["router_weights"]
    assert stored == table.to_dict("records")
    assert len(stored) == 16
    assert "How many weights" in (views / "report.html").read_text()
    _, _, answered = (views / "report.md").read_text().partition("### Weights of routers")
    _, _, printed = done.stdout.partition("\nvariant ")
    told = f"{answered.partition('###')[0].strip()}\n\nvariant {printed.partition(chr(10) * 2)[0]}\n"
    assert told == GOLDEN.read_text(encoding="utf-8")


def test_without_the_file_nothing_is_left_of_it(here: Path, modbench: Any) -> None:
    shutil.rmtree(here / "bench")
    succeeded(modbench("report", "run", "--format", "csv,md", "-o", "views", cwd=here))
    assert not (here / "views" / "router_weights.csv").exists()
    assert "eights of routers" not in (here / "views" / "report.md").read_text()
