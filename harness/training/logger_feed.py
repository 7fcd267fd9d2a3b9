"""Sends a training run's numbers to a logger, every few steps and without a step twice. If it fails, training goes on.

What is sent is read from the curve that the trainer keeps anyway, about once a second, between steps and outside the time that
counts as training: the run is the same to the bit with a logger and without. How far it has come is kept in
`loggers/JOB.json`; a resumed run first sends what is in its checkpoint's curve and was not sent.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from modbench.harness.core.atomic_files import write_atomically
from modbench.harness.core.errors import in_short
from modbench.harness.core.loggers import Logger, Opening, Writer
from modbench.harness.core.train_plan import TrainRun, learning_rate
from modbench.harness.machine.process import exit_codes
from modbench.harness.machine.process.graceful_stop import end_if_lost
from modbench.harness.registry import catalogue

T = TypeVar("T")
FOLDER = "loggers"


class LoggerFeed:
    """The log of one training run; without a logger it does nothing.

    Args:
        name: the logger's name; None: no logger.
        run: the training run.
        folder: the run folder.
        job: the job's name.
        config: settings of model and training, for the logger.
    """

    def __init__(self, name: str | None, run: TrainRun, folder: Path, job: str, config: Mapping[str, Any]) -> None:
        self.name, self.run, self.folder, self.job, self.config = name, run, folder, job, config
        self.logger: Logger | None = None
        self.writer: Writer | None = None
        self.sent = 0
        # What looks found after the last step: the run's metrics, which follow, have the same keys.
        self.final: dict[str, float] = {}
        if name is not None:
            self.logger = self._attempt(lambda: catalogue.load("loggers", name))

    @property
    def _state(self) -> Path:
        return self.folder / FOLDER / f"{self.job}.json"

    def look(self, curve: Mapping[str, Sequence[float]], carried: Mapping[str, Sequence[Any]], resumed_at: int) -> None:
        """Send what is new: every `log_every` steps, the last step, and held-out losses where they were measured.

        Args:
            curve: the trainer's, one value per step; losses that were not read yet are NaN.
            carried: what looks collect (`looks_step`, `looks_loss`, `drift_steps`, `drift_chosen`).
            resumed_at: steps that were made before the run was last resumed.
        """
        if self.logger is None:
            return
        events = self._events(curve, carried)
        self._attempt(lambda: self._send(events, resumed_at))

    def end(self, values: Mapping[str, float]) -> None:
        """Send the run's metrics at its last step, and close the logger."""
        if self.logger is None:
            return
        finite = self.final | {key: value for key, value in values.items() if math.isfinite(value)}
        if self.writer is not None and finite:
            self._attempt(lambda: self._write({self.run.steps: finite}))
        self.close()
        with contextlib.suppress(OSError):  # the folder stays: another job may be about to write into it
            self._state.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the logger; a resumed run may open it again."""
        writer, self.writer = self.writer, None
        if writer is not None:
            self._attempt(writer.close)
        self.logger = None

    def _events(
        self, curve: Mapping[str, Sequence[float]], carried: Mapping[str, Sequence[Any]]
    ) -> dict[int, dict[str, float]]:
        """Values by step, counted in steps made."""
        found: dict[int, dict[str, float]] = {}
        for at in range(self.sent, len(curve["loss"])):
            made, loss = at + 1, curve["loss"][at]
            if math.isnan(loss):
                break
            if made % self.run.log_every == 0 or made in {1, self.run.steps}:
                rate = learning_rate(at, self.run.steps, self.run.lr)
                found[made] = {"loss/train": loss, "lr": rate, "tokens": curve["tokens"][at]}
        for steps, values, key in (("looks_step", "looks_loss", "loss/val"), ("drift_steps", "drift_chosen", None)):
            for made, value in zip(carried.get(steps, ()), carried.get(values, ()), strict=False):
                if self.sent < made <= len(curve["loss"]):
                    there = self.final if made == self.run.steps else found.setdefault(made, {})
                    if key is not None:
                        there[key] = float(value)
                    elif value.numel():
                        there["router/participation"] = float(value.float().mean())
        return {step: values for step, values in sorted(found.items()) if values}

    def _send(self, events: Mapping[int, Mapping[str, float]], resumed_at: int) -> None:
        if self.writer is None:
            assert self.logger is not None
            known = _sent(self._state) if resumed_at else 0
            # A logger that hides old steps starts again after the checkpoint; another keeps what it has.
            self.sent = min(known, resumed_at) if self.logger.rewinds else known
            where = Opening(self.folder, self.job, self.config, self.sent + 1)
            self.writer = self.logger.open(where)
        self._write({step: values for step, values in events.items() if step > self.sent})

    def _write(self, events: Mapping[int, Mapping[str, float]]) -> None:
        assert self.writer is not None
        if not events:
            return
        last = max(events)
        if self.logger is not None and not self.logger.rewinds:
            self._keep(last)  # before: a step that is lost with its process is better than one that is there twice
        for step, values in events.items():
            self.writer.write(step, values)
        self.writer.flush()
        self._keep(last)

    def _keep(self, last: int) -> None:
        self._state.parent.mkdir(exist_ok=True)
        write_atomically(self._state, json.dumps({"sent": last}), sync=False)
        self.sent = max(self.sent, last)

    def _attempt(self, action: Callable[[], T]) -> T | None:
        """Run the action; if it raises, say so once in the job's log and go on without the logger."""
        try:
            return action()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a foreign package may raise anything
            end_if_lost(error)
            self.logger = self.writer = None
            exit_codes.remark(
                f"warning: the logger {self.name!r} failed and gets nothing more; training goes on: "
                f"{type(error).__name__}: {in_short(error)}"
            )
            return None


def _sent(state: Path) -> int:
    """The last step that an earlier attempt sent; 0 if that is not known."""
    try:
        return max(0, int(json.loads(state.read_bytes())["sent"]))
    except (OSError, ValueError, KeyError, TypeError):
        return 0
