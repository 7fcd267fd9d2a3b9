"""Selects cases with `-k EXPR`, in pytest's grammar: names, `and`, `or`, `not`, parentheses; a name matches a part of the id."""

from __future__ import annotations

import re
from collections.abc import Callable

from modbench.harness.core.errors import UsageError

Matcher = Callable[[str], bool]


def compile_expression(expression: str) -> Matcher:
    """Compile an expression to a function that returns whether an id matches, ignoring case.

    Raises:
        UsageError: if the expression does not parse.
    """
    try:
        return _Parser(expression).whole()
    except RecursionError:
        raise UsageError("-k: the expression is nested too deeply.") from None


class _Parser:
    """Recursive-descent parser: `either` (or) binds loosest, then `both` (and), then `one` (a name, not, parentheses)."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.words = re.findall(r"\(|\)|[^\s()]+", expression)

    def whole(self) -> Matcher:
        matcher = self.either()
        if self.words:
            raise UsageError(f"-k {self.expression!r}: join names with 'and' or 'or' before {self.words[0]!r}.")
        return matcher

    def either(self) -> Matcher:
        left = self.both()
        while self._take("or"):
            left = _or(left, self.both())
        return left

    def both(self) -> Matcher:
        left = self.one()
        while self._take("and"):
            left = _and(left, self.one())
        return left

    def one(self) -> Matcher:
        if self._take("not"):
            inner = self.one()
            return lambda text: not inner(text)
        if self._take("("):
            inner = self.either()
            if not self._take(")"):
                raise UsageError(f"-k {self.expression!r}: a parenthesis is not closed.")
            return inner
        if not self.words or self.words[0] in {")", "and", "or"}:
            found = repr(self.words[0]) if self.words else "the end"
            raise UsageError(f"-k {self.expression!r}: expected a name, found {found}. Example: -k 'mod and not c0.5'.")
        name = self.words.pop(0).lower()
        return lambda text: name in text.lower()

    def _take(self, word: str) -> bool:
        if self.words[:1] == [word]:
            self.words.pop(0)
            return True
        return False


def _or(left: Matcher, right: Matcher) -> Matcher:
    return lambda text: left(text) or right(text)


def _and(left: Matcher, right: Matcher) -> Matcher:
    return lambda text: left(text) and right(text)
