"""pytest-benchmark's own JSON, pytest-benchmark.json: raw times of every case, for `pytest-benchmark compare`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from modbench.harness.core.contracts import AnyMetric
from modbench.harness.core.printable import masked
from modbench.harness.domain.case import Case
from modbench.reports.format import Format
from modbench.reports.model import known_text
from modbench.reports.tables.load import Loaded, Row

NAME = "pytest-benchmark.json"
# The version of pytest-benchmark whose storage this is.
VERSION = "5.1.0"
NOTE = (
    "Samples of several launches lie together here, so that these statistics and outliers say nothing about how sure a "
    "difference is. Verdicts come from modbench: it compares arms within a launch and takes intervals over launches."
)


def exported(loaded: Loaded) -> dict[str, Any]:
    """Return the run in pytest-benchmark's storage format: a benchmark for each case and metric of wall times."""
    run = loaded.run
    return {
        "machine_info": _machine(loaded),
        "commit_info": {
            "id": run.environment["git"]["commit"] or "unversioned",
            "time": None,
            "author_time": None,
            "dirty": bool(run.environment["git"].get("dirty")),
            "project": "modbench",
            "branch": "(unknown)",
        },
        "benchmarks": list(_benchmarks(loaded)),
        "datetime": run.started,
        "version": VERSION,
    }


def _machine(loaded: Loaded) -> dict[str, Any]:
    where = loaded.run.environment
    return {
        "node": where.get("machine") or "unknown",
        "processor": where["cpu"],
        "machine": "",
        "system": where["system"].partition("-")[0],
        "release": where["system"],
        "python_implementation": "CPython",
        "python_implementation_version": where["python"],
        "python_version": where["python"],
        "cpu": {"brand_raw": where["cpu"], "count": where["cores"]},
    }


def _benchmarks(loaded: Loaded) -> Iterator[dict[str, Any]]:
    tables = loaded.tables
    verdicts = {(row.case_id, row.metric): row for row in loaded.comparisons.itertuples(index=False)}
    timed = (each for each in tables.asked() if not each[1].source and tables.made_in(each[1]).times)
    made = (_benchmark(loaded, case, metric, verdicts.get((case.id, metric.key))) for _, metric, case in timed)
    yield from (each for each in made if each is not None)


def _benchmark(loaded: Loaded, case: Case, metric: AnyMetric, pair: Row | None) -> dict[str, Any] | None:
    """Return one benchmark, or None if the case has no times."""
    good = loaded.tables.cell(case.id, metric.key).good()
    data = [seconds for outcome in good.values() for seconds in outcome.samples["wall_s"]]
    trouble = loaded.tables.trouble(case, metric)
    if not data or trouble is not None:
        return None
    workload = metric.key.removeprefix("latency/")
    calls = statistics.median(n for outcome in good.values() for n in outcome.samples["calls"])
    ratio = None if pair is None or pair.status != "ok" else float(pair.ratio)
    return {
        "group": f"{workload} {case.place.label}",
        "name": f"{case.id} {workload}",
        "fullname": f"modbench/{loaded.suite.name}::{case.id} {workload}",
        "params": {"arm": case.arm, "seq_len": case.place.seq_len, "batch_size": case.place.batch_size},
        "param": case.id,
        "extra_info": {
            "note": NOTE,
            "metric": metric.key,
            "unit": metric.unit,
            "launches": {str(launch): len(outcome.samples["wall_s"]) for launch, outcome in good.items()},
            "baseline": None if pair is None else pair.baseline_arm,
            "modbench_ratio": ratio,
            "modbench_verdict": None if pair is None else known_text(pair.verdict),
        },
        "options": {
            "disable_gc": False,
            "timer": "perf_counter",
            "min_rounds": loaded.suite.protocol_size[1],
            "max_time": 0.0,
            "min_time": 0.0,
            "warmup": True,
        },
        "stats": {**statistics_of(data), "data": data, "iterations": int(calls)},
    }


def statistics_of(data: Sequence[float]) -> dict[str, Any]:
    """Return what pytest-benchmark stores of the samples, in s; quartiles are the medians of the halves."""
    ordered, n = sorted(data), len(data)
    q1, q3 = (_quartile(ordered, share) for share in (0.25, 0.75))
    mean, middle, between = statistics.fmean(data), statistics.median(ordered), q3 - q1
    spread = statistics.stdev(data) if n > 1 else 0.0
    low, high = q1 - 1.5 * between, q3 + 1.5 * between
    far = sum(value < mean - spread or value > mean + spread for value in data)
    outside = sum(value < low or value > high for value in data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": spread,
        "rounds": n,
        "median": middle,
        "iqr": between,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outside,
        "stddev_outliers": far,
        "outliers": f"{far};{outside}",
        "ld15iqr": next(value for value in ordered if value >= low),
        "hd15iqr": next(value for value in reversed(ordered) if value <= high),
        "ops": n / sum(data) if sum(data) else 0.0,
        "total": sum(data),
    }


def _quartile(ordered: Sequence[float], share: float) -> float:
    """Return a quartile as pytest-benchmark has it, the median of a half: between two samples in proportion (Hazen)."""
    at = max(0.0, len(ordered) * share - 0.5)
    low, part = int(at), at % 1
    return (1 - part) * ordered[low] + part * ordered[min(low + 1, len(ordered) - 1)]


FORMAT = Format(lambda loaded: {NAME: masked(json.dumps(exported(loaded), indent=1, allow_nan=False)) + "\n"})
