"""The example of docs/pytest.md, on the real clock: how fast it is does not matter here, only that it runs and is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401  # an inner pytest forgets what it imported, which torch does not survive

from modbench.plugins.pytest import settings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "pytest.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_example_runs(suite: Any) -> None:
    (suite.pytester.path / "conftest.py").unlink()
    suite.write((ROOT / "examples" / "test_speed.py").read_text(encoding="utf-8"))
    names = ["*an_eighth_of_the_tokens_is_not_slower *", "*gather_and_scatter_stay_cheap *", "*pytest_benchmark?8? *"]
    arguments = ["--benchmark-json=out.json"]
    suite.shows("*modbench: above 1*", *names, arguments=arguments, rounds=6, benchmark=True, passed=4)


def test_the_page_names_every_option_and_key() -> None:
    from modbench.plugins.pytest import fixtures as pytest_plugin

    source = Path(str(pytest_plugin.__file__)).read_text(encoding="utf-8")
    declared = {*re.findall(r'"(--modbench-[\w-]+)"', source), *re.findall(r'addini\(\s*"(\w+)"', source)}
    assert len(declared) == 5
    assert all(name in PAGE for name in declared), declared
    assert all(f"{key}=" in PAGE for key in settings.KEYS)
