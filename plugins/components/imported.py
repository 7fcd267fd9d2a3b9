"""Times of single components beside a run: pytest-benchmark's JSON, imported into the run folder's `components/`.

A component has no plan, no processes and no baseline: it was timed alone, in one process. It can therefore not be a case of the
run, whose shape and protocol it would have to claim; its samples are kept as they are, and no verdict is given.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from modbench.extend import (
    DamagedError,
    Frozen,
    UsageError,
    load_json,
    masked,
    near_path,
    parse_stored,
    slug,
    unsealed,
    write_sealed,
)

# Folder of a run that takes imported files.
FOLDER = "components"
SCHEMA = 1
# Benchmarks and samples of a file, files of a run: far more than anybody measures.
MOST_BENCHMARKS, MOST_SAMPLES, MOST_FILES = 10_000, 1_000_000, 100

Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
Word = Annotated[str, Field(max_length=1000)]


class Component(Frozen):
    """One benchmark.

    Attributes:
        name: its name.
        group: the benchmarks that it is shown with; empty: none.
        rounds: number of samples.
        iterations: calls in each sample; times are per call.
        min_s: shortest sample.
        q1_s: lower quartile.
        median_s: median.
        q3_s: upper quartile.
        mean_s: mean.
        samples_s: every sample; empty where pytest-benchmark kept none.
        flops: FLOPs of one call, where the benchmark says so (`extra_info`).
        bytes: bytes that one call reads and writes, where it says so.
    """

    name: Word
    group: Word = ""
    rounds: Annotated[int, Field(ge=1)]
    iterations: Annotated[int, Field(ge=1)]
    min_s: Seconds
    q1_s: Seconds
    median_s: Seconds
    q3_s: Seconds
    mean_s: Seconds
    samples_s: tuple[Seconds, ...] = Field((), max_length=MOST_SAMPLES)
    flops: Amount | None = None
    bytes: Amount | None = None


class Components(Frozen):
    """One imported file.

    Attributes:
        schema_version: version of this format.
        source: name of the file that was imported.
        sha256: its hash.
        version: of pytest-benchmark.
        measured: when, as the file says.
        cpu: the processor, as the file says; empty: it does not say.
        node: the host, as the file says.
        python: version of Python.
        components: the benchmarks.
    """

    schema_version: int = SCHEMA
    source: Word
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    version: Word = ""
    measured: Word = ""
    cpu: Word = ""
    node: Word = ""
    python: Word = ""
    components: tuple[Component, ...] = Field(max_length=MOST_BENCHMARKS)

    @field_validator("schema_version")
    @classmethod
    def _known(cls, version: int) -> int:
        if version != SCHEMA:
            raise ValueError(f"schema {version} of components; this version reads {SCHEMA}")
        return version


def read_times(file: Path) -> Components:
    """Read a JSON file that pytest-benchmark wrote.

    Raises:
        UsageError: if it is none, or a number in it cannot be a time.
    """
    if not file.is_file():
        near = near_path(file, lambda each: each.suffix == ".json")
        raise UsageError(
            f"{str(file)!r} is no file.{near} Name a JSON file of pytest-benchmark (--benchmark-json FILE)."
        )
    content = file.read_bytes()
    body = load_json(file, content)
    benchmarks = body.get("benchmarks")
    if not isinstance(benchmarks, list) or not benchmarks:
        raise UsageError(
            f"{str(file)!r} holds no benchmarks of pytest-benchmark. `pytest --benchmark-json FILE` writes such a file."
        )
    if any("modbench_ratio" in _table(_table(each).get("extra_info")) for each in benchmarks):
        raise UsageError(
            f"{str(file)!r} is an export of a modbench run: its processes would be taken for one. Report or gate "
            "that run instead."
        )
    machine = _table(body.get("machine_info"))
    told = {
        "source": file.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "version": body.get("version") or "",
        "measured": body.get("datetime") or "",
        "cpu": _table(machine.get("cpu")).get("brand_raw") or machine.get("processor") or "",
        "node": machine.get("node") or "",
        "python": machine.get("python_version") or "",
        "components": [_component(_table(each), file, at) for at, each in enumerate(benchmarks)],
    }
    return parse_stored(Components, told, file)


def _component(given: dict[str, Any], file: Path, at: int) -> dict[str, Any]:
    stats, more = _table(given.get("stats")), _table(given.get("extra_info"))
    lacking = [key for key in ("min", "q1", "median", "q3", "mean", "rounds") if key not in stats]
    if lacking:
        raise DamagedError(file, f"damaged at benchmarks.{at}.stats: {', '.join(lacking)} missing")
    return {
        "name": given.get("fullname") or given.get("name") or "",
        "group": given.get("group") or "",
        "rounds": stats["rounds"],
        "iterations": stats.get("iterations", 1),
        **{f"{key}_s": stats[key] for key in ("min", "q1", "median", "q3", "mean")},
        "samples_s": stats.get("data") or (),
        "flops": more.get("flops"),
        "bytes": more.get("bytes"),
    }


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def keep(run: Path, components: Components) -> Path:
    """Keep an imported file in a run folder, in place of an earlier one of the same name, and return its path.

    Raises:
        UsageError: if the run folder holds too many.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{slug(Path(components.source).stem) or 'components'}.json"
    if not path.exists() and len(list(folder.glob("*.json"))) >= MOST_FILES:
        raise UsageError(f"{folder} holds {MOST_FILES} files already. Remove some.")
    write_sealed(path, masked(components.model_dump_json(indent=1)))
    return path


def kept(run: Path) -> list[Components]:
    """Return what was imported into a run folder, by name of file.

    Raises:
        DamagedError: if a file there is damaged; the message names it.
    """
    files = sorted((run / FOLDER).glob("*.json"))[:MOST_FILES] if (run / FOLDER).is_dir() else []
    return [parse_stored(Components, unsealed(file), file) for file in files]
