"""Loggers of long training runs: what they get, after a kill too; and that training is the same with them, whatever they do."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from present import present
from small_runs import small_plan

from modbench.harness.core.loggers import Logger, Opening
from modbench.harness.core.train_plan import OF_THE_LOGGER, TrainPlan, TrainRun
from modbench.harness.domain.case import Job
from modbench.harness.domain.notes import TrainNotes
from modbench.harness.domain.records import Record
from modbench.harness.execution import worker
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results import workspace
from modbench.harness.results.workspace import Workspace
from modbench.harness.training import trainer as training
from modbench.harness.training.logger_feed import FOLDER, LoggerFeed

STEPS = 25


class Kept:
    """A logger that keeps what it gets, until a step at which it fails."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.opened: list[Opening] = []
        self.closed, self.fails_at = 0, math.inf

    def open(self, where: Opening) -> Kept:
        self.opened.append(where)
        return self

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if step >= self.fails_at:
            raise ConnectionError("no such host")
        self.rows.append((step, dict(values)))

    def flush(self) -> None:
        """Nothing is queued."""

    def close(self) -> None:
        self.closed += 1

    @property
    def steps(self) -> list[int]:
        return [step for step, _ in self.rows]


@pytest.fixture
def rewinds() -> bool:
    """Whether the logger hides what it got of later steps when it starts behind a checkpoint."""
    return False


@pytest.fixture
def kept(rewinds: bool, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """The logger for which every name stands."""
    load, made = catalogue.load, Kept()
    logger = Logger(package="json", extra="none", open=made.open, rewinds=rewinds)
    monkeypatch.setattr(catalogue, "load", lambda room, name: logger if room == "loggers" else load(room, name))
    # Told after every step, so that whatever a logger could disturb, it would.
    monkeypatch.setattr(training, "PROGRESS_S", 0.0)
    return made


def plan_of(**changes: Any) -> Plan:
    shape = {"d_model": 16, "n_layers": 2, "n_heads": 1}
    train = {"seq_len": 16, "batch_size": 2, "steps": STEPS, "val_tokens": 64, "looks": 2, **changes}
    return small_plan(["loss/val"], "mod", effort="draft", shape=shape, train=train, grid={"seq_len": [512]})


def trained(run: Path, plan: Plan) -> Record:
    job: Job = next(job for job in plan.jobs if job.made_in == "train")
    for folder in ("logs", "jobs"):
        (run / folder).mkdir(parents=True, exist_ok=True)
    with workspace.at(Workspace(run, job.name)):
        return worker.make_record(job)


def curve(record: Record) -> list[float]:
    (outcome,) = record.outcomes
    assert outcome.status == "ok", outcome.reason
    found = present(outcome.noted(TrainNotes).curve)
    return [loss for loss in found.loss if loss is not None]


def log_of(run: Path, **changes: Any) -> LoggerFeed:
    settings: dict[str, Any] = {"steps": 40, "lr": 1e-3, "seq_len": 4, "batch_size": 1, **changes}
    return LoggerFeed("kept", TrainRun(**settings), run, "job", {})


def some(steps: int, known: int | None = None) -> dict[str, list[float]]:
    losses = [float(i) if known is None or i < known else math.nan for i in range(steps)]
    return {"loss": losses, "tokens": [4.0 * (i + 1) for i in range(steps)]}


@pytest.mark.slow
@pytest.mark.plugin("routing")
def test_a_run_is_the_same_to_the_bit_with_a_logger(tmp_path: Path, kept: Kept) -> None:
    without = trained(tmp_path / "without", plan_of())
    sent = trained(tmp_path / "with", plan_of(log_to="kept", log_every=2, watch=True))
    assert curve(sent) == curve(without)
    assert without.outcomes[0].samples == sent.outcomes[0].samples
    assert kept.steps == sorted(kept.steps)
    logged = {step: values for step, values in kept.rows if "loss/train" in values}
    assert sorted(logged) == [1, *range(2, STEPS, 2), STEPS]
    assert {step: values["loss/train"] for step, values in logged.items()} == {
        step: curve(sent)[step - 1] for step in logged
    }
    assert all(set(values) >= {"lr", "tokens"} for values in logged.values())
    assert logged[4]["tokens"] == 4 * 2 * 16
    looks = present(sent.outcomes[0].noted(TrainNotes).looks)
    assert (looks.step[0], looks.loss[0]) in [(step, values.get("loss/val")) for step, values in kept.rows]
    assert any(0 < values["router/participation"] < 1 for _, values in kept.rows if "router/participation" in values)
    # At the last step the look gives way to the metric, which is measured on more text.
    assert kept.steps[-2:] == [STEPS, STEPS]
    assert kept.rows[-1][1]["loss/val"] == sent.outcomes[0].samples["value"][0]
    assert sum("loss/val" in values for step, values in kept.rows if step == STEPS) == 1
    assert kept.closed == 1
    assert not list((tmp_path / "with" / FOLDER).iterdir())
    (where,) = kept.opened
    assert (where.config["model"], where.config["d_model"]) == ("mod", 16)
    assert not OF_THE_LOGGER & where.config.keys()


@pytest.mark.slow
@pytest.mark.parametrize("fails_at", [1, 10])
def test_a_failing_logger_ends_no_run(
    fails_at: int, tmp_path: Path, kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.fails_at = fails_at
    sent = trained(tmp_path / "with", plan_of(log_to="kept", log_every=2))
    assert curve(sent) == curve(trained(tmp_path / "without", plan_of()))
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert re.search("'kept' failed .*ConnectionError", said)
    assert all(step < fails_at for step in kept.steps)


@pytest.mark.parametrize(
    ("rewinds", "before", "after", "sent"),
    [
        pytest.param(False, 33, [(26, 24), (40, 24)], [35, 40], id="no step twice"),
        pytest.param(True, 33, [(26, 24), (40, 24)], [25, 30, 35, 40], id="again from the checkpoint, if it rewinds"),
        pytest.param(False, 12, [(26, 24)], [15, 20, 25], id="what was not sent is sent from the checkpoint"),
        pytest.param(False, 30, [(10, 0)], [1, 5, 10], id="a run that starts again forgets what was sent"),
    ],
)
def test_a_resumed_run_sends_every_step_once(
    before: int, after: list[tuple[int, int]], sent: list[int], tmp_path: Path, kept: Kept
) -> None:
    """After a kill: rows of the steps so far and the step of the checkpoint."""
    log_of(tmp_path, log_every=5).look(some(before), {}, 0)
    assert kept.steps == [1, *range(5, before + 1, 5)]
    kept.rows.clear()
    log = log_of(tmp_path, log_every=5)
    for steps, checkpoint in after:
        log.look(some(steps), {"looks_step": [8, 20], "looks_loss": [3.0, 2.0]} if checkpoint else {}, checkpoint)
    assert kept.steps == sent
    assert [values["loss/val"] for step, values in kept.rows if step == 20] == [2.0] * (20 in sent)
    assert kept.opened[-1].first <= sent[0]


def test_losses_that_were_not_read_yet_wait_and_what_is_not_finite_is_not_sent(tmp_path: Path, kept: Kept) -> None:
    log = log_of(tmp_path, log_every=5)
    log.look(some(20, known=8), {}, 0)
    assert kept.steps == [1, 5]
    log.look(some(40), {}, 0)
    assert kept.steps == [1, *range(5, 41, 5)]
    log.end({"loss/val": 2.0, "loss/gap": math.nan})
    assert kept.rows[-1] == (40, {"loss/val": 2.0})


def test_a_logger_changes_neither_checkpoints_nor_comparisons() -> None:
    plain, sent = (TrainPlan.model_validate({"steps": 5, **more}) for more in ({}, {"log_to": "wandb", "log_every": 3}))
    assert sent != plain
    assert sent.measured == plain.measured == plain
    settings = catalogue.passes()["train"].settings
    (with_logger, without) = (settings(plan_of(**more).suite, plan_of().cases[0]) for more in ({"log_every": 3}, {}))
    assert with_logger == without
