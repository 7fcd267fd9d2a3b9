"""Shared flags: what a command offers, and what it receives."""

from __future__ import annotations

import inspect

from modbench.commands._flags import Flags, JsonFlag, SuiteName, with_flags


def test_a_command_offers_the_named_flags_and_receives_one_object() -> None:
    received: list[tuple[str, Flags, bool]] = []

    @with_flags("settings", "capacity")
    def command(suite: SuiteName, *, flags: Flags, as_json: JsonFlag = False) -> None:
        received.append((suite, flags, as_json))

    parameters = inspect.signature(command).parameters
    assert list(parameters) == ["suite", "settings", "capacity", "as_json"]
    assert parameters["capacity"].default is None
    command(suite="quick", settings=None, capacity=["0.5"], as_json=True)
    assert received == [("quick", Flags(capacity=["0.5"]), True)]


def test_values_come_as_comma_lists_or_repeated_flags() -> None:
    flags = Flags(capacity=["0.125, 0.5", "1"], seeds=["0,1"], settings=["d_model=64"], compile=True).overrides()
    assert flags.capacity == (0.125, 0.5, 1.0)
    assert flags.seeds == (0, 1)
    assert flags.settings == {"d_model": 64}
    assert flags.compile
    assert flags.model == ()
