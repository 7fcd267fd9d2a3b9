"""Memory as the operating system sees it: the high-water mark of RSS in a training step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.extend import ONE_STEP, SOME_BYTES, Metric

if TYPE_CHECKING:
    from modbench.extend import Subject


def _rss(subject: Subject) -> float:
    from modbench.plugins.machine.rss.measurement import high_water

    return high_water(subject)


METRICS: tuple[Metric[Subject, float], ...] = (
    Metric(
        key="memory/rss_peak",
        unit="B",
        better="lower",
        measured_by="rss",
        workload="train_step",
        statistic="peak",
        no_interval=ONE_STEP,
        about="Peak as the operating system sees it: RSS high-water mark of a training step in a fresh interpreter",
        measure=_rss,
        range=SOME_BYTES,
    ),
)
