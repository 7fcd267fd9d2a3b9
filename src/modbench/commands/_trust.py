"""Asks whether a resumed run may use files that this user did not begin it with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from modbench.harness.core.printable import escaped

if TYPE_CHECKING:
    from modbench.harness.results.trust import Strange


def word_on(*, trust: bool) -> Callable[[Sequence[Strange]], bool]:
    """Return a function that lists the files and takes the consent: `--trust`, or an answer on a terminal.

    A file that changed is never asked about: only `--trust` mixes two versions.
    """

    def word(found: Sequence[Strange]) -> bool:
        print("to resume this run, these files are run or read:", file=sys.stderr)
        for each in found:
            print(f"  {escaped(each.in_words(), lines=False)}", file=sys.stderr)
        if trust or any(each.changed for each in found):
            return trust
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        print("Do you trust them? [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    return word
