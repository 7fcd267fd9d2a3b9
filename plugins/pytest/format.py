"""pytest-benchmark's own JSON, pytest-benchmark.json: raw times of every case, for `pytest-benchmark compare`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from modbench.extend import AnyMetric, Case, Format, Loaded, masked, value

NAME = "pytest-benchmark.json"
# The version of pytest-benchmark whose storage this is.
VERSION = "5.1.0"
NOTE = (
    "Samples of several processes lie together here, so that these statistics and outliers say nothing about how sure a "
    "difference is. Verdicts come from modbench: it compares variants within a process and takes intervals over processes."
)


def exported(loaded: Loaded) -> dict[str, Any]:
    """Return the run in pytest-benchmark's storage format: a benchmark for each case and metric of wall times."""
    where = loaded.run.environment
    return {
        "machine_info": {
            "node": where.get("machine") or "unknown",
            "processor": where["cpu"],
            "machine": "",
            "system": where["system"].partition("-")[0],
            "release": where["system"],
            "python_implementation": "CPython",
            "python_implementation_version": where["python"],
            "python_version": where["python"],
            "cpu": {"brand_raw": where["cpu"], "count": where["cores"]},
        },
        "commit_info": {
            "id": where["git"]["commit"] or "unversioned",
            "time": None,
            "author_time": None,
            "dirty": bool(where["git"].get("dirty")),
            "project": "modbench",
            "branch": "(unknown)",
        },
        "benchmarks": list(_benchmarks(loaded)),
        "datetime": loaded.run.started,
        "version": VERSION,
    }


def _benchmarks(loaded: Loaded) -> Iterator[dict[str, Any]]:
    """Yield a benchmark for each case that has times."""
    tables = loaded.tables
    for _, metric, case in tables.asked():
        if not metric.source and tables.made_in(metric).times and tables.value(case, metric).trouble is None:
            samples = tables.samples_of(case, metric.key)
            if any(each["wall_s"] for each in samples.values()):
                yield _benchmark(loaded, case, metric, samples)


def _benchmark(
    loaded: Loaded, case: Case, metric: AnyMetric, samples: Mapping[int, Mapping[str, list[float]]]
) -> dict[str, Any]:
    data = [seconds for each in samples.values() for seconds in each["wall_s"]]
    calls = statistics.median(n for each in samples.values() for n in each["calls"])
    workload = metric.key.removeprefix("latency/")
    pair = loaded.pair(case.variant, metric.key, case.grid_point)
    columns = {"baseline": "baseline_variant", "modbench_ratio": "ratio", "modbench_verdict": "verdict"}
    verdict = {name: value(getattr(pair, column, None)) for name, column in columns.items()}
    processes = {str(process): len(each["wall_s"]) for process, each in samples.items()}
    return {
        "group": f"{workload} {case.grid_point.label}",
        "name": f"{case.id} {workload}",
        "fullname": f"modbench/{loaded.suite.name}::{case.id} {workload}",
        "params": {
            "variant": case.variant,
            "seq_len": case.grid_point.seq_len,
            "batch_size": case.grid_point.batch_size,
        },
        "param": case.id,
        "extra_info": {"note": NOTE, "metric": metric.key, "unit": metric.unit, "processes": processes, **verdict},
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
    """Return what pytest-benchmark stores of the samples, in s; its quartiles are the medians of the halves (Hazen)."""
    ordered, n = sorted(data), len(data)
    q1, middle, q3 = (float(each) for each in np.quantile(data, (0.25, 0.5, 0.75), method="hazen"))
    mean, spread = statistics.fmean(data), statistics.stdev(data) if n > 1 else 0.0
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    far = sum(abs(each - mean) > spread for each in data)
    outside = sum(not low <= each <= high for each in data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": spread,
        "rounds": n,
        "median": middle,
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outside,
        "stddev_outliers": far,
        "outliers": f"{far};{outside}",
        "ld15iqr": next(each for each in ordered if each >= low),
        "hd15iqr": next(each for each in reversed(ordered) if each <= high),
        "ops": n / sum(data) if sum(data) else 0.0,
        "total": sum(data),
    }


FORMAT = Format(lambda loaded: {NAME: masked(json.dumps(exported(loaded), indent=1, allow_nan=False)) + "\n"})
