"""Titles of variants: what tables, figures and reports call a variant, in a user's words; and short names for ids and files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from modbench.harness.core.errors import UsageError, shown
from modbench.harness.core.plain_text import is_printable

# A longer one fits in no table.
MOST_LETTERS = 60


def checked(text: object, of: str = "title") -> str:
    """Return a title with single spaces between its words; `of` begins the message.

    Raises:
        UsageError: if it is no text, is empty or too long, or holds characters that are not printed.
    """
    if not isinstance(text, str):
        raise UsageError(f"{of} takes text; got {shown(text)}.")
    if not is_printable(text):
        raise UsageError(
            f"{of} {shown(text)} holds a line break or another character that is not printed: leave it out."
        )
    title = " ".join(text.split())
    if not title:
        raise UsageError(f"{of} is empty: write what tables and figures shall call the variant.")
    if len(title) > MOST_LETTERS:
        raise UsageError(f"{of} {shown(title)} is too long: at most {MOST_LETTERS} characters fit in a table.")
    return title


def of(given: Mapping[str, object], name: str) -> dict[str, str]:
    """Check titles by variant; `name` begins the message.

    Raises:
        UsageError: if it is no such table, or a title is refused.
    """
    if not isinstance(given, Mapping):
        raise UsageError(f"{name} takes a dict, such as {{'mod[c0.125]': 'Ours'}}; got {shown(given)}.")
    return {str(variant): checked(text, f"{name} {variant}:") for variant, text in given.items()}


def listed(texts: Iterable[str], of: str = "--title") -> dict[str, str]:
    """Parse what stands behind `--title`, each `VARIANT=TEXT`: titles by variant, as named by the user.

    Raises:
        UsageError: if a text is not VARIANT=TEXT, a variant is named twice, or a title is refused.
    """
    found: dict[str, str] = {}
    for text in texts:
        variant, equals, title = text.partition("=")
        if not equals or not variant.strip():
            raise UsageError(f"{of} {shown(text)} is not VARIANT=TEXT. Write {of} 'mod[c0.125]=Ours', for example.")
        if variant.strip() in found:
            raise UsageError(f"{of}: {shown(variant.strip())} is given two titles.")
        found[variant.strip()] = checked(title, f"{of} {variant.strip()}:")
    return found


def short_name(model: str) -> str:
    """A catalogue name unchanged; of a user's model the file without its folder: `mine:build`, `hf:SmolLM2-135M`."""
    if ".py:" in model:
        where, _, attribute = model.rpartition(":")
        return f"{PurePath(where).name.removesuffix('.py')}:{attribute}"
    prefix, colon, what = model.partition(":")
    path = PurePath(what)
    return f"{prefix}{colon}{path.stem if path.suffix in {'.json', '.gguf'} else path.name}"


def slug(text: str) -> str:
    """`text` as a file name that needs no quoting, with a hash only if characters were lost or it was too long."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_")
    if re.fullmatch(r"[A-Za-z0-9._:\[\]-]*", text) and len(plain) <= 150:
        return plain
    import hashlib  # which few commands need

    return f"{plain[:150]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
