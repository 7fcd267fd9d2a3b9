"""Options after the `?` of a corpus name: `data.jsonl?column=story`, `hf:NAME?split=train&megabytes=10`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from modbench.harness.core.errors import UsageError, unknown


def split(corpus: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """Split a corpus name into its path and its options. A `?` in the name of an existing file does not begin options.

    Raises:
        UsageError: if an option is unknown, empty or given twice.
    """
    if "?" not in corpus or Path(corpus).exists():
        return corpus, {}
    where, _, query = corpus.rpartition("?")
    options: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in known:
            raise unknown(f"option of corpus {where!r}:", name, known)
        if not value or name in options:
            raise UsageError(f"corpus {where!r}: option {name!r} needs one value, as in ?{name}=VALUE.")
        options[name] = value
    return where, options


def column(names: Collection[str], texts: Collection[str], asked: str | None, where: str) -> str:
    """The column that holds the text: the one asked for, else `text`, else `content`, else the only column of strings.

    Args:
        names: all columns.
        texts: columns that hold strings.
        asked: the user's `?column=`.
        where: name of the table in errors.

    Raises:
        UsageError: if the column does not exist, or several hold strings.
    """
    if asked is not None:
        if asked not in names:
            raise unknown(f"column of {where}:", asked, map(str, names))
        return asked
    for name in ("text", "content"):
        if name in names:
            return name
    if len(texts) == 1:
        return next(iter(texts))
    shown = ", ".join(repr(name)[:40] for name in list(texts or names)[:8])
    of = "fields of text" if texts else "no field of text, only"
    raise UsageError(
        f"{where} has neither a field 'text' nor 'content'; it has {of} {shown or 'nothing'}. "
        "Say which one to read: add '?column=NAME' to the corpus."
    )
