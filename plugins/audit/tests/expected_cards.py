"""Expected cards: the verdict of each property exactly, the number that shows it within rounding of other machines."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from modbench.plugins.audit.report import AuditReport, Finding

FOLDER = Path(__file__).parent / "cards"
# A number may differ by this share, and by so much in its unit where it is small.
SHARE, LEAST = 0.05, 1e-3


def check_card(card: AuditReport, name: str) -> None:
    """Compare a card with the stored one; with MODBENCH_GOLDEN=write store it.

    Args:
        card: what the probes found.
        name: of the file in `plugins/audit/tests/cards`.
    """
    file, found = FOLDER / f"{name}.json", summary(card)
    if os.environ.get("MODBENCH_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    wanted = json.loads(file.read_text(encoding="utf-8"))
    assert {key: each["verdict"] for key, each in found.items()} == {
        key: each["verdict"] for key, each in wanted.items()
    }
    for key, each in wanted.items():
        number = found[key].get("number")
        if each.get("number") is None:
            assert number is None, key
        else:
            assert number == pytest.approx(each["number"], rel=SHARE, abs=LEAST), key


def summary(card: AuditReport) -> dict[str, dict[str, Any]]:
    """What is kept of a card: of each property its verdict, and the number that shows it."""
    return {name: {"verdict": found.verdict} | _number(found) for name, found in card.findings.items()}


def _number(found: Finding) -> dict[str, Any]:
    return {} if found.value is None else {"number": float(f"{found.value:.4g}")}


def card(**findings: Any) -> AuditReport:
    """A card with these findings."""
    titles = {name: name.replace("_", " ") for name in findings}
    return AuditReport(
        target="mine",
        of=None,
        params=1,
        seq_len=8,
        batch_size=2,
        dtype="fp32",
        findings=findings,
        titles=titles,
        wall_s=1.0,
    )
