"""What `--help` prints: commands by group, and nothing cut at 80 columns."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main

from modbench.cli import app
from modbench.commands._app import GROUPS
from modbench.harness.core.plain_text import WIDTH

GROUP: Any = typer.main.get_command(app)
# Of commands with commands of their own, such as `ab`: both names.
PARTS = [(name, part) for name, each in GROUP.commands.items() for part in getattr(each, "commands", ())]
# Lines that an option's text may take: what needs more is explained above the options, or on a page.
MOST_LINES = 3


def test_the_help_has_one_line_for_each_command_in_the_order_of_the_groups(modbench: Any) -> None:
    printed = modbench("--help").stdout
    lines = printed.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "…" not in printed
    found = [re.match(r"((?:\w+ )*) *(\w+)  +[A-Z].*\.$", line) for line in lines if not line.lstrip().startswith("-")]
    shown = [(each[1].strip(), each[2]) for each in found if each]
    wanted = [("" if at else group, name) for group, names in GROUPS.items() for at, name in enumerate(names)]
    assert shown == wanted
    assert printed.index("init ") < printed.index("--version")


@pytest.mark.slow
@pytest.mark.parametrize("words", [*((each,) for each in GROUP.commands), *PARTS], ids=" ".join)
def test_no_help_is_cut_and_an_option_is_explained_in_a_few_lines(words: tuple[str, ...], modbench: Any) -> None:
    command = GROUP.commands[words[0]]
    command = command.commands[words[1]] if len(words) > 1 else command
    for param in command.params:
        assert param.help, param.name
    printed = modbench(*words, "--help").stdout
    assert max(map(len, printed.splitlines())) <= WIDTH
    assert "…" not in printed
    options = printed.partition("\nOptions:\n")[2].partition("\nCommands:\n")[0]
    for entry in re.split(r"^  (?=-)", options, flags=re.MULTILINE)[1:]:
        name, *text = re.split(r"\n {4,}|  +", entry.strip())
        assert 1 <= len(text) <= MOST_LINES, name
