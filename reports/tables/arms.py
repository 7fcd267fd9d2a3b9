"""Finds the arm that a user means: by its id, or by what the terminal and the page call it."""

from __future__ import annotations

from collections.abc import Iterable

from modbench.harness.core.case import Case
from modbench.harness.core.errors import UsageError, unknown
from modbench.reports.wording.arm_names import name, short


def arm_named(arms: Iterable[Case], text: str, kind: str = "arm") -> Case:
    """Return the arm that a text names.

    An arm answers to its id (`mod[c0.125]`), to its names on the page (`MoD 0.125`, `dense 56 %`) in any case of letters, and to
    a part of its id that no other arm has (`c0.125`, `f0.56`, `mod`).

    Args:
        arms: cases of all arms; several cases of one arm are one.
        text: what the user typed.
        kind: what it is called in a message.

    Raises:
        UsageError: if no arm, or more than one, has that name.
    """
    by_id = {case.arm: case for case in reversed(list(arms)) if not case.twin}
    if text in by_id:
        return by_id[text]
    asked = " ".join(text.split()).casefold()
    for names in (_whole, _parts):
        found = [case for case in by_id.values() if asked in names(case)]
        if len(found) == 1:
            return found[0]
        if found:
            said = ", ".join(sorted(case.arm for case in found))
            raise UsageError(f"{kind} {text!r} could be any of {said}. Name one of them.")
    raise unknown(kind, text, by_id)


def _whole(case: Case) -> set[str]:
    """What the arm is called, in small letters."""
    return {text.casefold() for text in (case.arm, name(case), short(case), short(case).replace(" %", "%"))}


def _parts(case: Case) -> set[str]:
    """Parts of its id, in small letters."""
    return {part.casefold() for part in (case.short_model, *case.arm_parts)}
