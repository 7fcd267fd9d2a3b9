"""TensorBoard, trackio and Weights & Biases: what is written where, and what is refused where one is not installed."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from modbench.harness.core.errors import UsageError
from modbench.harness.core.loggers import Logger, Opening
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.registry import catalogue
from modbench.harness.training.logger_feed import LoggerFeed


def test_what_is_not_installed_is_refused_without_importing_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in sorted(catalogue.entries("loggers")):
        logger: Logger = catalogue.load("loggers", name)
        assert logger.package not in sys.modules or name == "tensorboard"
        assert logger.extra == name
        monkeypatch.setitem(sys.modules, logger.package, types.ModuleType(logger.package))
        logger.check(name)
        monkeypatch.setitem(sys.modules, logger.package, None)
        with pytest.raises(UsageError, match=rf"'{logger.package}'.*pip install '\.\[{name}\]'"):
            logger.check(name)


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_trackers_stay_below_the_run_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Any]] = []
    fake: Any = types.ModuleType(name)
    fake.init = lambda **settings: calls.append(("init", settings))
    fake.log = lambda values, step: calls.append(("log", (step, values)))
    fake.finish = lambda: calls.append(("finish", None))
    monkeypatch.setitem(sys.modules, name, fake)
    for variable in ("WANDB_MODE", "TRACKIO_DIR"):
        monkeypatch.delenv(variable, raising=False)
    logger: Logger = catalogue.load("loggers", name)
    writer = logger.open(Opening(tmp_path, "train-mod", {"d_model": 16}, 1))
    writer.write(5, {"loss/train": 2.0})
    writer.flush()
    writer.close()
    (first, settings), *rest = calls
    assert first == "init"
    wanted = {"project": "modbench", "name": "train-mod", "resume": "allow", "config": {"d_model": 16}}
    assert settings.items() >= wanted.items()
    assert rest == [("log", (5, {"loss/train": 2.0})), ("finish", None)]
    if name == "wandb":
        assert settings["mode"] == "offline"  # nothing is sent unless the user's environment says so
        assert settings["dir"] == str(tmp_path)
        monkeypatch.setenv("WANDB_MODE", "online")
        logger.open(Opening(tmp_path, "train-mod", {}, 1))
        assert (calls[-1][1]["mode"], calls[-1][1]["id"]) == ("online", settings["id"])
    else:
        assert os.environ["TRACKIO_DIR"] == str(tmp_path / "trackio")
        monkeypatch.delenv("TRACKIO_DIR")


@pytest.mark.slow
def test_tensorboard_shows_every_step_once_after_a_kill(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = TrainRun(steps=40, lr=1e-3, seq_len=4, batch_size=1, log_every=5)

    def curve(steps: int) -> dict[str, list[float]]:
        return {"loss": [float(i) for i in range(steps)], "tokens": [4.0 * (i + 1) for i in range(steps)]}

    killed = LoggerFeed("tensorboard", run, tmp_path, "job", {})
    killed.look(curve(33), {}, 0)  # not closed
    again = LoggerFeed("tensorboard", run, tmp_path, "job", {})
    again.look(curve(26), {}, 24)
    again.look(curve(40), {"looks_step": [20, 38, 40], "looks_loss": [2.5, 2.0, 1.5]}, 24)
    again.end({"bpb/val": 2.0})
    seen: Any = EventAccumulator(str(tmp_path / "tensorboard" / "job"))
    seen.Reload()
    assert set(seen.Tags()["scalars"]) == {"loss/train", "loss/val", "lr", "tokens", "bpb/val"}
    assert [event.step for event in seen.Scalars("loss/train")] == [1, 5, 10, 15, 20, 25, 30, 35, 40]
    assert [event.value for event in seen.Scalars("loss/train")][-1] == 39
    assert [(event.step, event.value) for event in seen.Scalars("bpb/val")] == [(40, 2.0)]
