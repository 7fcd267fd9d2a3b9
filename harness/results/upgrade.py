"""Reads files of earlier schemas: one function per schema converts their JSON to the next. Files of schema 1 are refused.

To change the schema: raise `SCHEMA`, describe the change in `records.py`, and add a function to `STEPS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modbench.harness.core.errors import UsageError
from modbench.harness.results.records import SCHEMA

ANSWERS = ("n", "correct", "correct_as_trained", "whole", "by_kind", "shortcuts", "depth_by_kind", "cpu_s")
FINDINGS = ("peak", "profile")
# What set the number of rounds in schema 4, and its launches and rounds by effort.
OF_ROUNDS = ("most_rounds", "pilot", "half_width")
EFFORTS_4 = {"smoke": (1, 3), "draft": (3, 20), "standard": (5, 30), "rigorous": (10, 60)}


def upgraded(body: dict[str, Any], file: object) -> dict[str, Any]:
    """Convert a file's JSON to the current schema.

    Args:
        body: content of `run.json` or of a unit's file.
        file: its path, for messages.

    Raises:
        UsageError: if its schema is not one that can be read.
    """
    version = body.get("schema_version")
    if not isinstance(version, int) or not min(STEPS) <= version <= SCHEMA:
        which = "newer" if isinstance(version, int) and version > SCHEMA else "older"
        raise UsageError(
            f"{file}: schema {version!r} cannot be read by this modbench, which reads {min(STEPS)} to {SCHEMA}. "
            f"Use the {which} modbench that wrote it, or measure again."
        )
    for earlier in range(version, SCHEMA):
        body = STEPS[earlier](body) | {"schema_version": earlier + 1}
    return body


def _from_2(body: dict[str, Any]) -> dict[str, Any]:
    """Convert schema 2 to 3: findings and the death of a process move out of the environment, notes become typed."""
    if "unit" not in body:  # run.json: there was one launcher
        return body | {"launcher": "local"}
    environment: dict[str, Any] = body.get("environment") or {}
    found = next((environment[name] for name in FINDINGS if environment.get(name) is not None), None)
    outcomes = [_outcome(outcome) for outcome in body.get("outcomes", ())]
    died = None
    if not environment:  # in schema 2 only a record written by the parent had no environment
        first = outcomes[0] if outcomes else {"kind": "crash", "reason": "the process left no record"}
        died = {"kind": first["kind"], "reason": first["reason"]}
    process = {name: value for name, value in environment.items() if name not in FINDINGS}
    return body | {"environment": process or None, "died": died, "outcomes": outcomes, "findings": found}


def _outcome(outcome: dict[str, Any]) -> dict[str, Any]:
    notes = dict(outcome.get("notes") or {})
    # Schema 2 wrote these keys for every count; their values were null where they did not apply.
    for name in ("operators", "claims", "modules", "explained", "uncounted", "parts"):
        if name in notes and notes[name] is None:
            del notes[name]
    notes.pop("escapes", None)  # they are among the operators
    if any(name in notes for name in ANSWERS):
        notes["answers"] = {name: notes.pop(name) for name in ANSWERS if name in notes}
    return outcome | {"notes": notes}


def _from_3(body: dict[str, Any]) -> dict[str, Any]:
    """Convert schema 3 to 4: nothing to change. The number rose so that an older modbench refuses what it would misread."""
    return body


def _from_4(body: dict[str, Any]) -> dict[str, Any]:
    """Convert schema 4 to 5: a pilot decided rounds, not launches. Other fields that schema 5 added have defaults."""
    if "unit" in body:
        outcomes = [
            outcome | {"notes": _without(outcome.get("notes") or {}, ("rounds",))} for outcome in body["outcomes"]
        ]
        return body | {"unit": _fixed(body["unit"]), "outcomes": outcomes}
    plan = body.get("plan")
    if not isinstance(plan, dict):  # damaged, as the reader will say
        return body
    suite = _without(plan["suite"], OF_ROUNDS)
    launches, rounds = EFFORTS_4[suite["effort"]]
    # What schema 5 takes from a preset, the run took from the preset of its time.
    suite |= {"launches": suite.get("launches") or launches, "rounds": suite.get("rounds") or rounds}
    return body | {"plan": plan | {"suite": suite, "units": [_fixed(unit) for unit in plan["units"]]}}


def _from_5(body: dict[str, Any]) -> dict[str, Any]:
    """Convert schema 5 to 6: all fields that schema 6 added have defaults."""
    return body


def _from_6(body: dict[str, Any]) -> dict[str, Any]:
    """Convert schema 6 to 7: nothing to change, no suite searched. An older modbench would call cells missing that are not."""
    return body


def _from_7(body: dict[str, Any]) -> dict[str, Any]:
    """Convert schema 7 to 8: nothing to change, no model had options. An older modbench would build one without them."""
    return body


def _from_8(body: dict[str, Any]) -> dict[str, Any]:
    """Convert schema 8 to 9: one no-op was the default, which is unsaid now. No sweep was confirmed."""
    return {key: _unsaid_no_ops(value) for key, value in body.items()}


def _from_9(body: dict[str, Any]) -> dict[str, Any]:
    """Convert schema 9 to 10: nothing to change, no record says what code ran. An older modbench would mix versions of it."""
    return body


def _unsaid_no_ops(value: Any) -> Any:  # noqa: ANN401  # JSON of any kind
    """Leave out the number of no-ops where it was the default: where experts choose, and in models that have none."""
    if isinstance(value, list):
        return [_unsaid_no_ops(each) for each in value]
    if not isinstance(value, dict):
        return value
    said = {key: _unsaid_no_ops(each) for key, each in value.items()}
    if said.get("n_no_ops") == 1 and said.get("choice") == "expert":
        said["n_no_ops"] = None
    return said


def _fixed(unit: dict[str, Any]) -> dict[str, Any]:
    """A unit whose rounds are fixed: those that it started from."""
    return unit | {"protocol": _without(unit["protocol"], OF_ROUNDS)}


def _without(body: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


# Schema to the function that converts it to the next.
STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    2: _from_2,
    3: _from_3,
    4: _from_4,
    5: _from_5,
    6: _from_6,
    7: _from_7,
    8: _from_8,
    9: _from_9,
}
