"""The folder of a comparison: what was asked, its finished blocks and its plan, so that the same command goes on."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from modbench.extend import (
    FINISHED,
    Frozen,
    UsageError,
    load_json,
    lock,
    masked_command,
    now,
    parse_stored,
    plain,
    run_layout,
    shown,
    unsealed,
    write_atomically,
    write_sealed,
)
from modbench.plugins.ab.compared import Asked
from modbench.plugins.ab.printed import Reads

# What was asked: the same request goes on in the same folder. Without this plug-in, `modbench report` names what it needs.
ASKED, PLUGIN = "ab.json", "ab"
# The plan of its analyses.
KEPT = "plan.json"


@contextlib.contextmanager
def held(name: str, out: str | None, sides: Sides, asked: Asked, request: Mapping[str, Any]) -> Iterator[Path]:
    """Hold the folder of a comparison: the one named, or `runs/ab-<name>-<date>-<n>`.

    One that holds the same request is continued: the one named, or without a name the latest that was not finished. One without
    a block is removed at the end, unless a side fails: its log says more.

    Raises:
        UsageError: if the folder that was named holds something else, cannot be made, or is in use.
    """
    checks = None if asked.fail_on is None else plain(asked.fail_on.written)
    known = Known(margin=asked.margin, fail_on=checks, blocks=asked.blocks)
    shared = {"plugin": PLUGIN, "sides": sides.model_dump(mode="json"), "asked": known.model_dump(mode="json")}
    path = _found(name, out, {**request, **shared})
    with lock.hold(path):
        try:
            yield path
        except BaseException as error:
            if not isinstance(error, UsageError):
                for log in path.glob("*.log"):
                    log.unlink()
                if not blocks(path):
                    shutil.rmtree(path)
            raise


def block(path: Path, number: int) -> Path:
    """The file or folder of a block, which has this name once it is finished."""
    return path / f"block{number}"


def blocks(path: Path) -> int:
    """How many blocks are finished."""
    return len([*path.glob("block[0-9]*")])


class Ended(Frozen):
    """How a comparison ended.

    Attributes:
        at: when.
        command: the command line.
        over: whether the time or the blocks were over, so that its last analysis is the last of all.
        each_s: seconds that a block took; None where none was made then.
        fixed_s: seconds before the first one.
    """

    at: str
    command: tuple[str, ...]
    over: bool
    each_s: float | None
    fixed_s: float


class Sides(Frozen):
    """What is known of the two sides of a comparison wherever its folder is read.

    Attributes:
        kind: what takes turns.
        words: both in words, the base first.
    """

    kind: Literal["commands", "revisions", "builds"]
    words: tuple[str, str]


class Known(Frozen):
    """What all blocks of one comparison share; a longer time may be given when it goes on.

    Attributes:
        margin: differences below this are of no practical interest.
        fail_on: the check of `--fail-on` as it is typed; None: none.
        blocks: how many; None: as many as the time holds.
    """

    margin: float
    fail_on: str | None
    blocks: int | None


def known(path: Path) -> tuple[Sides, Known]:
    """What the folder of a comparison says of its sides, and of what was asked."""
    file = path / ASKED
    stored = load_json(file)
    return parse_stored(Sides, stored.get("sides"), file), parse_stored(Known, stored.get("asked"), file)


def reads(path: Path) -> Reads:
    """What is read of each run."""
    file = path / ASKED
    return parse_stored(Reads, load_json(file).get("reads"), file)


def finish(path: Path, *, over: bool, each_s: float | None, fixed_s: float) -> None:
    """Note that a comparison is finished: the same command begins a new one."""
    command = tuple(masked_command(["modbench", *sys.argv[1:]]))
    made = Ended(at=now(), command=command, over=over, each_s=each_s, fixed_s=fixed_s)
    write_sealed(path / FINISHED, made.model_dump_json())


def ended(path: Path) -> Ended | None:
    """How a comparison ended, so that nothing more is measured; None where it did not."""
    file = path / FINISHED
    return parse_stored(Ended, unsealed(file), file) if file.exists() else None


def _found(name: str, out: str | None, request: Mapping[str, Any]) -> Path:
    if out is not None:
        path = Path(out)
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return _made(path, request)
        if _request_in(path) == request:
            return path
        raise UsageError(
            f"--out {shown(out)} holds other files, another comparison, or one of other code. Name a new folder, or omit --out."
        )
    known = sorted(Path(run_layout.RUNS).glob(f"ab-{name}-*"), key=lambda each: each.stat().st_mtime, reverse=True)
    same = (path for path in known if not (path / FINISHED).exists() and _request_in(path) == request)
    return next(same, None) or _made(run_layout.unused(f"ab-{name}"), request)


def _made(path: Path, request: Mapping[str, Any]) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / ASKED, json.dumps(request, indent=1))
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}.") from error
    return path


def _request_in(path: Path) -> object:
    """The request that a folder holds; None if it holds none."""
    with contextlib.suppress(OSError, UsageError):
        return load_json(path / ASKED)
    return None
