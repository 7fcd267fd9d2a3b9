"""Ratios of bench scripts over several launches."""

from __future__ import annotations

import sys
from pathlib import Path

import launches
import pytest

SCRIPT = """
import json, sys
from pathlib import Path
count = Path(__file__).with_suffix(".count")
number = int(count.read_text()) if count.exists() else 0
count.write_text(str(number + 1))
value = (1.0, 1.1, 1.21)[number]
rows = [{"what": "dense", "against": "llama", "value": value}, {"what": "mod", "against": "llama", "value": number or None}]
Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps({"rows": rows}))
"""


def test_a_ratio_is_the_geometric_mean_of_launches_with_its_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bench.py").write_text(SCRIPT)
    monkeypatch.setattr(sys, "argv", ["launches.py", "3", str(tmp_path / "bench.py"), "--only", "x"])
    launches.main()
    dense, mod = capsys.readouterr().out.splitlines()[2:]
    # log 1.1 = 0.0953: the interval of three launches is 1.1 to the power 1 - 4.303 / sqrt(3) and 1 + 4.303 / sqrt(3).
    assert dense == "| dense | llama | 1.10 | 0.87–1.39 | 1.00–1.21 | 3 |"
    assert mod == "| mod | llama | – | – | – | 2 of 3 |"
