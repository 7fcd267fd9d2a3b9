"""Which versions of the user's files stand behind a number: `resume --trust` may measure with others than the run began with.

What ran in one process ran in one version. A number is labelled where another unit of the run ran another version of a file that
its own units ran, since tables and figures show the two side by side. Where one number, or the two of a comparison, come from two
versions of a file, there is no verdict. Two runs may differ in their code: that is what they are compared for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from modbench.harness.core import catalogue
from modbench.harness.results.records import Outcome, Record

# SHA-256 of all versions of a file, by the file's name.
Versions = Mapping[str, frozenset[str]]


def of_outcome(record: Record, outcome: Outcome) -> Versions:
    """What stands behind a value; nothing where none of the user's code has a part in it, or the record does not say."""
    return of_record(record) if outcome.status == "ok" and record.code and _is_own(record, outcome) else {}


def of_record(record: Record) -> Versions:
    """What a unit ran."""
    return {name: frozenset({sha256}) for name, sha256 in (record.code or {}).items()}


def _is_own(record: Record, outcome: Outcome) -> bool:
    """Whether a value depends on code of the user's: of its case, or of what measured it. Other arms only ran beside it."""
    case = next((each for each in record.unit.comparison.arms if each.id == outcome.case), None)
    metrics, protocol = catalogue.metrics(), record.unit.protocol
    used = {
        "passes": record.unit.made_in,
        "corpora": protocol.corpus,
        "tasks": case.task if case else None,
        "metrics": catalogue.file_of_metric(outcome.metric).name if outcome.metric in metrics else None,
    }
    return (
        case is None
        or case.facts.runs_user_code
        or any(
            name in (known := catalogue.entries(room)) and not known[name].shipped
            for room, name in used.items()
            if name
        )
    )


def joined(several: Iterable[Versions]) -> Versions:
    """All versions of each file."""
    found: dict[str, frozenset[str]] = {}
    for each in several:
        for name, versions in each.items():
            found[name] = found.get(name, frozenset()) | versions
    return found


def mixed(versions: Versions) -> list[str]:
    """Names of the files of which there are several versions."""
    return sorted(name for name, each in versions.items() if len(each) > 1)


def in_words(names: Sequence[str]) -> str:
    """Files by their names alone: `parts.py, mine.py`."""
    return ", ".join(PurePath(name).name for name in names)
