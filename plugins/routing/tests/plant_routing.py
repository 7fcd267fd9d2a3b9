"""Plants the goldens of routers, for `tests/goldens/plant.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planted import FIT, Trouble, fake_record
from planted_gate import written
from planted_peaks import planted as planted_peaks
from planted_sections import dense, drift, flips, with_depth, with_experts
from planted_sections import routing as routed
from planted_sections import run as routing_run
from test_components import benchmark, file_of
from test_exchange_rates import METRICS as EXCHANGE
from test_exchange_rates import losses, step_flops
from test_exchange_rates import planned as planted_exchange

from modbench.harness.call.profiling.operators_of_a_call import of_shapes
from modbench.harness.domain.case import Case, Job
from modbench.harness.domain.notes import CountNotes, RooflineFinding
from modbench.harness.domain.records import Record
from modbench.harness.results import components


def routing(folder: Path) -> None:
    """Plant who passes, what it is worth, how routers settled, and what experts and depths do; the router knows."""
    learned = with_experts(routed())
    for i, row in enumerate(learned["strata"]["kind"]["bins"]):
        row["loss_causal"] += 0.01 * i
    routing_run(
        folder,
        dense={"routing": with_depth(dense())},
        matched={"routing": dense(1.55)},
        mod={"routing": learned, "flips": flips(0.5), "drift": drift()},
        stochastic={"routing": routed({"digit": 0.125, "whitespace": 0.125}), "flips": flips(0.02), "drift": drift()},
    )


def sections(folder: Path) -> None:
    """Plant operators and a machine of constant rates, compute-equivalent gains with intervals, and components beside the run."""
    made = planted_exchange(metrics=[*EXCHANGE, "memory/peak_allocated"], processes=4)
    flops = step_flops(made)
    trouble = Trouble(losses=losses(flops, **{"mod[c0.125]": 1.25, "mod[c0.5]": 1.6, "moe": 0.2}), run_noise=0.003)

    def record(job: Job) -> Record:
        found = fake_record(job, trouble)
        if job.made_in == "roofline":
            return found.model_copy(update={"findings": RooflineFinding(table=planted_peaks())})
        cases = {case.id: case for case in job.comparison.variants}
        outcomes = [
            each.model_copy(update={"notes": each.notes.model_copy(update=_operators(cases[each.case]))})
            if isinstance(each.notes, CountNotes)
            else each
            for each in found.outcomes
        ]
        return found.model_copy(update={"outcomes": tuple(outcomes)})

    run = written(folder / "run", made, record, {"certificate": FIT})
    components.keep(run.path, components.imported(file_of(folder, benchmark(), benchmark("other"))))


def _operators(case: Case) -> dict[str, Any]:
    return {f"{name}_operators": of_shapes(case, training=name == "train") for name in ("forward", "train")}
