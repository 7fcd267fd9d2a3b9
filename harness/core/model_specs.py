"""How a model is named: by a catalogue name, or as a user's own with the options of its build in parentheses. No look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modbench.harness.core import options
from modbench.harness.core.errors import UsageError


def is_user_model(spec: str) -> bool:
    """Whether a model is named as `FILE.py:build`, `package.module:build` or `PREFIX:WHAT` instead of by a catalogue name."""
    return ":" in spec or spec.endswith(".py")


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Part a model's name from the options in the parentheses behind it. Pure: nothing is looked up.

    `mine.py:build(threshold=[0.5, 0.7], mode=hard)` is `mine.py:build` and `{"threshold": [0.5, 0.7], "mode": "hard"}`. The name
    may be anything in front of the parentheses. A list holds values of which each is tried; any other value is one.

    Args:
        text: as typed behind `--model`, or written as an arm's `model`.

    Returns:
        The name, and the options by name; none for a name without parentheses.

    Raises:
        UsageError: if the parentheses or quotes do not match, or what is inside is not NAME=VALUE.
    """
    spec, inside = options.in_parentheses(text.strip())
    if inside is None:
        behind = spec.rpartition(":")[2]
        if "(" in behind or ")" in behind:
            raise UsageError(
                f"model {text!r}: a parenthesis or a quote is not closed. Write FILE.py:build(threshold=0.7,mode=hard)."
            )
        return spec, {}
    return spec, options.parse(inside, f"model {spec!r}")


def parse_single(text: str, more: Mapping[str, list[options.Value]] | None = None) -> tuple[str, options.Pairs]:
    """Part a model from its options, where each has one value; options as a case keeps them.

    Args:
        text: as typed.
        more: values of `--option`.

    Raises:
        UsageError: for a list, an option that is given twice, options of a catalogue model, or what `parse_spec` refuses.
    """
    model, typed = parse_spec(text)
    given = together(model, typed, more or {})
    if given and not is_user_model(model):
        raise UsageError(f"model {model!r} is one of modbench's own: it takes --capacity and --set, not options.")
    tried = options.checked(given, f"model {model!r}")
    for name, values in tried.items():
        if len(values) > 1:
            raise UsageError(f"option {name} = {list(values)}: give one value; `modbench run` and `plan` take lists.")
    return model, tuple((name, values[0]) for name, values in sorted(tried.items()))


def together(model: str, typed: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The options behind a model's name, and those that are given beside it.

    Raises:
        UsageError: for an option in both.
    """
    for name in typed:
        if name in more:
            raise UsageError(f"model {model!r}: option {name!r} is given twice: behind the name and beside it.")
    return {**more, **typed}


def beside(spec: str, folder: Path) -> str:
    """A model that a file in `folder` names: a file that is not in the current folder is looked for in that one."""
    where, colon, attribute = spec.rpartition(":")
    if not where.endswith(".py") or Path(where).is_file() or not (folder / where).is_file():
        return spec
    return f"{folder / where}{colon}{attribute}"
