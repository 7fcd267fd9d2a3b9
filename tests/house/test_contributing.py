"""What a newcomer meets first: ten lines on a first change, hooks that check what tox does, forms for issues."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

ROOT = Path(__file__).parents[2]


def test_hooks_install_what_tox_does() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    assert [need for hook in local["hooks"] for need in hook["additional_dependencies"] if need not in tox] == []


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda each: each.stem
)
def test_a_form_asks_for_the_command_and_the_machine(form: Path) -> None:
    read = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= {*read}
    required = {each["id"] for each in read["body"] if each.get("validations", {}).get("required")}
    assert required >= {"command", "machine"}
