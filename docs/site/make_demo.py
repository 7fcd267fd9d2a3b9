"""Packs a finished run of `map` or `quick` into the one that `modbench demo` shows.

Run it on a run of a machine that is otherwise idle, with a certificate (`modbench doctor`) if possible:

    modbench run map -o runs/for-demo && python docs/site/make_demo.py runs/for-demo

Names of hosts, the kernel's build, and losses by position that no figure shows are left out; a run with files of its own,
or with a path in it, is refused.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modbench.harness.core import masking
from modbench.harness.domain.records import Record
from modbench.harness.results.run_folder import read
from modbench.reports import demo

# Far below what a wheel may weigh, and enough for a run of `map`.
MOST_BYTES = 300_000
# Points of a training curve at most.
MOST_POINTS = 100
# Folders of files that a report is made from.
FOLDERS = ("jobs", "decisions")
PATHS = re.compile(r"(?<![\w.~])/(?:home|root|Users|tmp|work|mnt|data)/|[A-Z]:\\\\")


def packed(run: Path, own: frozenset[str] = frozenset(), *, ships: bool = True) -> bytes:
    """Return a run folder packed, without names of hosts.

    Args:
        run: the folder.
        own: files of users' models that it may use.
        ships: whether it is marked as a run that ships with modbench.

    Raises:
        ValueError: if the run is incomplete, has a layout or files that are not packed, or names a path or host.
    """
    stored = read(str(run))
    if stored.finished is None or stored.incomplete:
        raise ValueError(f"{run} is not finished: {stored.incomplete or 'it was interrupted'}")
    if used := {*stored.code, *(name for record in stored.records for name in record.code or {})} - own:
        raise ValueError(f"{run} uses files that do not ship: {', '.join(sorted(used))}")
    names = [
        "run.json",
        "finished.json",
        *(f"{each.parent.name}/{each.name}" for folder in FOLDERS for each in (run / folder).glob("*.json")),
    ]
    files = {name: json.loads((run / name).read_text(encoding="utf-8")) for name in names}
    head = files["run.json"]
    if head["layout"] != "together":
        raise ValueError(f"{run} has too many units to ship")
    head.pop("started_in", None)
    head["command"] = ["modbench", *_without_out(masking.masked_command(head["command"])[1:])]
    head["environment"] |= {"shipped": True} if ships else {}
    head["environment"]["system"] = "-".join(head["environment"]["system"].split("-")[:1])
    for name, content in files.items():
        if name.startswith("jobs/") and content["environment"] is not None:
            content["environment"]["host"] = None
    _thin(files, stored.records)
    host = platform.node()
    for name, content in files.items():
        text = json.dumps(content)
        if found := PATHS.search(text) or (len(host) > 3 and re.search(rf"\b{re.escape(host)}\b", text)):
            raise ValueError(
                f"{run / name} names a path or this host: …{text[max(0, found.start() - 40) : found.end() + 40]}…"
            )
    made = demo.pack(files)
    if len(made) > MOST_BYTES:
        raise ValueError(f"packed it has {len(made):,} bytes, over {MOST_BYTES:,}")
    return made


def _thin(files: dict[str, Any], records: Sequence[Record]) -> None:
    """Leave out training curves and losses by position but those of the first seed at the longest length, which figures show.

    These curves have every nth step, and these losses four decimals.
    """
    runs = {
        f"jobs/{job.name}.json": (-job.comparison.grid_point.seq_len, job.protocol.seed)
        for job in (record.job for record in records)
        if job.made_in == "train"
    }
    for name, run in runs.items():
        for notes in filter(None, (outcome["notes"] for outcome in files[name]["outcomes"])):
            if run > min(runs.values()):
                notes.update(dict.fromkeys({"by_position", "curve"} & {*notes}))
            elif curve := notes.get("curve"):
                every = -(-len(curve["step"]) // MOST_POINTS)
                notes["curve"] = {column: values[::-every][::-1] for column, values in curve.items()}
                notes["by_position"] = notes["by_position"] and [round(value, 4) for value in notes["by_position"]]


def _without_out(words: list[str]) -> list[str]:
    """A command without the folder that it wrote to."""
    kept, skip = [], False
    for word in words:
        if not skip and word not in {"-o", "--out"}:
            kept.append(word)
        skip = word in {"-o", "--out"}
    return kept


def main(run: str) -> None:
    """Pack a run and put it where `modbench demo` looks."""
    made, to = packed(Path(run)), demo.SHIPPED[read(run).plan.suite.name]
    to.write_bytes(made)
    print(f"{to}: {len(made):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
