"""The page of columns says what the code declares."""

from __future__ import annotations

import pytest
import tables


@pytest.mark.plugin("sweeps")
def test_the_page_of_columns_is_that_of_the_declarations() -> None:
    """Renew it with `python docs/site/tables.py`."""
    assert tables.PAGE.read_text(encoding="utf-8") == tables.page()


def test_columns_have_names_of_their_own_and_a_meaning() -> None:
    for name, _, columns in tables.declared():
        names = [each.name for each in columns]
        assert len(set(names)) == len(names), name
        assert all(each.meaning and not each.meaning.endswith(".") for each in columns), name
