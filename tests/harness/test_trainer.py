"""The training engine: the same losses whatever is interrupted, cut up or shared out; budgets; rates; where time goes."""

from __future__ import annotations

import functools
import itertools
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import case_of
from hypothesis import given
from hypothesis import strategies as st
from present import present
from torch.nn import functional as F

from modbench.harness.call.subject.subject import Subject
from modbench.harness.core import atomic_files
from modbench.harness.core.contracts import UNASKED, Text
from modbench.harness.core.errors import NumericsError, UsageError
from modbench.harness.core.train_plan import BUDGETS, TrainPlan, TrainRun, learning_rate, width_rule
from modbench.harness.domain.case import Case
from modbench.harness.planning.text.tokens import encode
from modbench.harness.registry import catalogue, user_code
from modbench.harness.results import workspace
from modbench.harness.training import checkpoint
from modbench.harness.training.batches import Batch, Windows
from modbench.harness.training.trainer import Progress, Trainer

RUN = TrainRun(seq_len=16, batch_size=4, steps=12, lr=5e-3, val_tokens=64, checkpoint_s=0)
TEXT = Text(
    "t", b"".join(b"%d sheep jump over %d fences. " % (i, i) for i in range(300)), b"two goats look on. " * 20, "x"
)


def case(model: str = "mod", **changes: Any) -> Case:
    options = {"d_model": 32, "n_layers": 2, "max_seq_len": 16, **catalogue.model_options(model), **changes}
    return case_of(model, options, batch_size=4)


def trainer(made: Case | None = None, run: TrainRun = RUN, seed: int = 0, **named: Any) -> Trainer:
    subject = Subject(made or case(), seed)
    windows = Windows(encode(TEXT, "bytes", 256), run, seed)
    return Trainer(subject, windows, run, **named)


class KilledError(Exception):
    """Stands for whatever ends a process."""


def killed(after: int, keep: Path, made: Case | None = None) -> None:
    """Train with checkpoints until so many steps are told, and end there."""

    def kill(told: Progress) -> None:
        if told.step >= after:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modbench.harness.training.trainer.PROGRESS_S", 0)
        with pytest.raises(KilledError):
            trainer(made, keep=keep, fingerprint="f", on_progress=kill).train()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "options", "after"),
    [
        ("mod", {}, 1),
        ("mod", {"router": "stochastic"}, 6),  # draws from torch's generator
        ("depth_predictor", {}, 5),
        # A controller of no-ops moves in every step.
        *(("mode_integrated", {"choice": "token", "capacity": 0.5, "balance": by}, 2) for by in ("bias", "threshold")),
        *(
            pytest.param(model, {}, after, marks=pytest.mark.proof)
            for model, after in (("mod", 11), ("dense", 5), ("mode_staged", 5))
        ),
    ],
)
def test_killed_and_resumed_is_the_same_run(model: str, options: dict[str, Any], after: int, tmp_path: Path) -> None:
    made, keep = case(model, **options), tmp_path / "checkpoints" / "run.pt"
    whole = trainer(made)
    whole.train()
    killed(after, keep, made)
    torch.manual_seed(99)  # as in a process of its own
    second = trainer(made, keep=keep, fingerprint="f")
    second.train()
    assert second.resumed_at == after
    assert second.curve["loss"] == whole.curve["loss"]
    assert second.curve["step"] == list(range(12))
    state, wanted = second.subject.module.state_dict(), whole.subject.module.state_dict()
    assert all(torch.equal(state[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(
    ("fingerprint", "harm"),
    [
        ("other", lambda content: content),
        ("f", lambda content: content[:-40]),
        # A bit of a tensor: torch itself would read it as 502.
        ("f", lambda content: content.replace(np.float32(500).tobytes(), np.float32(502).tobytes(), 1)),
    ],
)
def test_another_runs_checkpoint_is_not_taken(fingerprint: str, harm: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Nor one that holds code: tests/cli/test_strangers.py."""
    keep = tmp_path / "run.pt"
    body = {"format": checkpoint.FORMAT, "fingerprint": "f", "weights": torch.full((8,), 500.0)}
    checkpoint.save(keep, body, sealed=True)
    assert checkpoint.load(keep, "f") is not None
    keep.write_bytes(harm(keep.read_bytes()))
    assert checkpoint.load(keep, fingerprint) is None


@functools.cache
def stopped() -> tuple[bytes, list[float]]:
    """The checkpoint of a run that was killed after six steps, and the losses of one that was not: made once for all harms."""
    with tempfile.TemporaryDirectory() as folder:
        keep = Path(folder) / "run.pt"
        killed(6, keep)
        kept = keep.read_bytes()
    whole = trainer()
    whole.train()
    return kept, whole.curve["loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "resumed_at"),
    [
        (lambda body: body.pop("generators"), 0),
        (lambda body: body["curve"]["loss"].__setitem__(0, float("nan")), 0),
        (lambda body: body.update(step=11), 0),
        (lambda _: None, 6),  # without harm it is taken
    ],
)
def test_a_contradictory_checkpoint_is_not_taken(
    harm: Callable[[Any], object], resumed_at: int, tmp_path: Path
) -> None:
    keep = tmp_path / "run.pt"
    kept, losses = stopped()
    keep.write_bytes(kept)
    body = present(checkpoint.load(keep, "f"))
    harm(body)
    checkpoint.save(keep, body, sealed=True)
    made = trainer(keep=keep, fingerprint="f")
    made.train()
    assert made.resumed_at == resumed_at
    assert made.curve["loss"] == losses


def test_a_checkpoint_of_another_version_of_a_file_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One training run in two versions would be neither."""
    monkeypatch.setattr(user_code, "_RAN", {"/parts.py": "a"})
    stopped = trainer(keep=tmp_path / "run.pt")
    stopped.step = 5
    stopped._save()
    for version, taken in (("a", True), ("b", False)):
        user_code._RAN["/parts.py"] = version
        assert (checkpoint.load(tmp_path / "run.pt", stopped.fingerprint) is not None) is taken, version


def test_what_a_kill_left_of_a_checkpoint_is_taken_away(tmp_path: Path) -> None:
    """Killed while it wrote, no handler ran. What another run trains stays."""
    ended, trains = workspace.Workspace(tmp_path, "a"), workspace.Workspace(tmp_path, "b")
    folder = ended.checkpoint.parent
    folder.mkdir()
    atomic_files.unfinished(ended.checkpoint).write_bytes(b"half of")
    ended.tidy()
    trains.checkpoint.write_bytes(b"")
    workspace.remove_empty(tmp_path)
    assert list(folder.iterdir()) == [trains.checkpoint]


def test_a_batch_in_pieces_is_the_batch() -> None:
    """Rows of a task ask different numbers of questions: the gradient is that of the mean over all questions."""
    tokens_BT = torch.randint(256, (4, 16), generator=torch.Generator().manual_seed(1))
    targets_BT = tokens_BT.roll(-1, 1)
    targets_BT[0, 3:] = UNASKED
    targets_BT[2, 1:] = UNASKED

    class Given:
        def train(self, step: int) -> Batch:  # noqa: ARG002  # as every source of batches
            return Batch(tokens_BT, targets_BT)

        def val(self) -> Iterator[Batch]:
            raise AssertionError("nothing is held out")

    losses = []
    for accumulate in (1, 2, 4):
        run = RUN.model_copy(update={"steps": 3, "accumulate": accumulate})
        made = Trainer(Subject(case("dense"), 0), Given(), run)
        made.train()
        losses.append(made.curve["loss"])
    logits_BTV = Subject(case("dense"), 0).module(tokens_BT)
    wanted = F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=UNASKED)
    assert [each[0] for each in losses] == pytest.approx([wanted.item()] * 3, rel=1e-5)
    for each in losses[1:]:  # what follows from the gradients
        assert each == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][2] < losses[0][0] - 0.1


def test_the_loop_is_adamw_by_hand_and_accounts_for_its_time() -> None:
    """Against torch's own optimizer driven by a loop that shares no code with the engine."""
    told: list[Progress] = []
    looks: list[int] = []
    run = RUN.model_copy(update={"looks": 3})
    made, later = (trainer(case("dense"), run, on_progress=told.append, look=looks.append) for _ in range(2))
    later.losses_at_once = 5
    for each in (made, later):
        each.train()
    assert later.curve["loss"] == made.curve["loss"]
    assert looks == [4, 8, 12] * 2
    assert (told[-1].step, told[-1].steps, told[-1].left_s) == (12, 12, 0)
    parts = made.spent
    assert all(parts.seconds[name] > 0 for name in ("forward", "backward", "optimizer"))
    assert 0 < parts.outside < parts.whole
    assert sum(parts.seconds.values()) + parts.outside == pytest.approx(parts.whole)
    module = Subject(case("dense"), 0).module
    windows = Windows(encode(TEXT, "bytes", 256), RUN, 0)
    optimizer = torch.optim.AdamW(module.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    losses = []
    for step in range(12):
        batch = windows.train(step)
        warm_up, peak = 1, 5e-3
        done = (step - warm_up + 1) / (12 - warm_up + 1)
        optimizer.param_groups[0]["lr"] = peak if step < warm_up else peak * 0.5 * (1 + math.cos(math.pi * done))
        loss = F.cross_entropy(module(batch.tokens_BT).flatten(0, 1), batch.targets_BT.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert made.curve["loss"] == pytest.approx(losses, rel=1e-4)


def test_variants_of_a_seed_start_alike_and_see_the_same_text() -> None:
    dense, mod = trainer(case("dense")), trainer(case("mod"))
    mine, theirs = (dict(each.subject.module.named_parameters()) for each in (dense, mod))
    assert len(mine) > 10
    assert all(torch.equal(weight, theirs[name]) for name, weight in mine.items())
    assert all(torch.equal(dense.batches.train(i).tokens_BT, mod.batches.train(i).tokens_BT) for i in range(5))


@pytest.mark.parametrize(("at_once", "ends"), [(1, 8), (5, 10)])
def test_a_loss_that_is_not_finite_says_where(at_once: int, ends: int) -> None:
    """The step is named where losses are asked for later too, as on a GPU, where asking waits for the device."""
    made = trainer(case("dense"))
    made.losses_at_once = at_once

    class Poisoned(Windows):
        def train(self, step: int) -> Batch:
            if step == 7:
                next(made.subject.module.parameters()).data.fill_(math.nan)
            return super().train(step)

    made.batches = Poisoned(encode(TEXT, "bytes", 256), RUN, 0)
    with pytest.raises(NumericsError, match=r"nan at step 7 .*0\.005"):
        made.train()
    assert made.step == ends


@given(st.integers(1, 3000), st.floats(1e-5, 1))
def test_rates_rise_then_fall_to_nearly_zero(steps: int, peak: float) -> None:
    rates = [learning_rate(step, steps, peak) for step in range(steps)]
    top = rates.index(max(rates))
    assert max(rates) <= peak * (1 + 1e-12)
    assert all(a <= b for a, b in itertools.pairwise(rates[: top + 1]))
    assert all(a >= b for a, b in itertools.pairwise(rates[top:]))
    assert rates[-1] >= 0


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        ({"steps": 7}, {"steps": 7}),
        ({"tokens": 640}, {"steps": 10}),
        ({"flops": 3.1e9}, {"steps": 31}),
        ({}, {"steps": 3125, "lr": 4e-3}),
        ({"seq_len": (16,), "batch_size": (4,)}, {"seq_len": 16, "batch_size": 4, "tokens_per_step": 64}),
    ],
)
def test_a_plan_of_training_has_steps_and_a_rate(plan: dict[str, Any], wanted: dict[str, Any]) -> None:
    run = TrainPlan(**{"seq_len": 16, "batch_size": 4} | plan).resolved(64, 1e8)
    assert {name: getattr(run, name) for name in wanted} == pytest.approx(wanted)
    assert width_rule(256) == pytest.approx(width_rule(64) / 2)  # it falls with the root of the width
    assert set(BUDGETS) == {"steps", "tokens", "flops"}
    assert TrainPlan(seq_len=(16, 64), batch_size=(4, 1)).grid_points == ((16, 4), (64, 1))


@pytest.mark.parametrize(
    ("plan", "flops", "said"),
    [
        ({"steps": 3, "flops": 1e9}, 1e8, "steps and flops"),
        ({"flops": 1e9}, None, "needs a closed form"),
        ({"flops": 1e3}, 1e8, "less than one step"),
        ({"batch_size": 6, "accumulate": 4}, 1e8, "does not divide"),
        *(({"seq_len": (16, 64), "batch_size": b}, 1e8, r"batch_size = \[\d+, \d\]") for b in (4, (4, 2), (3, 1), ())),
        ({"seq_len": (16, 64), "batch_size": (4, 1), "accumulate": 2}, 1e8, "does not divide batch_size 1"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(plan: dict[str, Any], flops: float | None, said: str) -> None:
    with pytest.raises((ValueError, UsageError), match=said):
        TrainPlan(**plan).resolved(64, flops)


@pytest.mark.slow
def test_two_ranks_that_shard_train_as_one(tmp_path: Path) -> None:
    """FSDP on two gloo processes, without torchrun and the command. DDP with both: plugins/slurm/tests/test_cluster.py."""
    file, script = tmp_path / "two.pt", Path(__file__).with_name("sharing_ranks.py")
    done = subprocess.run([sys.executable, script, "mod", "fsdp", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    two, one = torch.load(file, weights_only=True), trainer(case("mod"))
    one.train()
    assert two["loss"] == pytest.approx(one.curve["loss"], rel=2e-3)
    assert two["loss"][0] == pytest.approx(one.curve["loss"][0], rel=1e-5)
    torch.testing.assert_close(two["weights"], dict(one.subject.module.state_dict()), atol=6e-3, rtol=0)
