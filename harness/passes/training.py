"""Training pass: a metric's `measure` is given `Trained` and returns a loss. One case and one seed per unit."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from modbench.harness import busy, catalogue
from modbench.harness.case import Case, Protocol, TrainPlan, UnitOfWork
from modbench.harness.contracts import Metric, Text
from modbench.harness.errors import NumericsError, Unmeasured
from modbench.harness.evidence import NOT_AUTOREGRESSIVE
from modbench.harness.passes import attempt, measured, missing
from modbench.harness.records import Gap, Outcome

WARM_UP_SHARE = 0.1
CLIP_NORM = 1.0

if TYPE_CHECKING:
    from modbench.harness.causality import Causality
    from modbench.harness.subject import Subject


@dataclass(frozen=True)
class Trained:
    """What a training run leaves.

    Attributes:
        val_loss: held-out loss in nats per token.
        tokens_per_byte: 1 for byte tokens.
        val_loss_causal: the same with routers that decide without the future; None where the model has none.
        causal_reason: why it is None.
        sees_future: whether top-k routing looked ahead, as the model's own file declares; None of a user's model.
        causality: what the guard found when later tokens were changed, on the trained weights.
        curve: `step`, `tokens`, `loss` (nats per token of each step's batch, before its update), `wall_s` since the start.
    """

    val_loss: float
    tokens_per_byte: float
    val_loss_causal: float | None
    causal_reason: str
    sees_future: bool | None
    causality: Causality
    curve: dict[str, list[float]]


def run(unit: UnitOfWork, metrics: list[Metric]) -> Iterator[Outcome]:
    """Train once, then let every metric read the result."""
    (case,) = unit.comparison.arms
    with busy.busy():
        trained = attempt(partial(train, case, unit.protocol))
    for metric in metrics:
        value = trained if isinstance(trained, Gap) else attempt(partial(metric.measure, trained))
        if isinstance(value, Gap):
            yield missing(case, metric, value)
        else:
            assert isinstance(trained, Trained)
            yield measured(case, metric, {"value": [float(value)]}, _notes(unit.protocol, trained))


def _notes(protocol: Protocol, trained: Trained) -> dict[str, Any]:
    return {
        "seed": protocol.seed,
        "corpus": protocol.corpus_path or protocol.corpus,
        "corpus_sha256": protocol.corpus_sha256,
        "sees_future": bool(trained.sees_future or trained.causality.reads_future),
        "causality": asdict(trained.causality),
        "curve": trained.curve,
    }


def train(case: Case, protocol: Protocol) -> Trained:
    """AdamW with linear warm-up and cosine to zero over exactly the run (paper: cosine over 1x the steps), clipped at 1.

    Raises:
        Unmeasured: if the case cannot be trained by design.
        NumericsError: as soon as a loss is not finite.
        ValueError: if the corpus is not the one that the plan names.
    """
    import torch

    from modbench.harness.subject import Subject

    if case.config.bidirectional:
        raise Unmeasured("a bidirectional model has no next token to predict: it takes tasks, not a corpus")
    if case.config.vocab_size < 256:
        raise Unmeasured(f"vocab_size {case.config.vocab_size} cannot hold the 256 byte tokens of the corpus")
    if case.place.dtype == "fp16":
        raise Unmeasured("fp16 training needs loss scaling, which is not built; train in bf16 or fp32")
    text: Text = catalogue.load("corpora", protocol.corpus).read(protocol.corpus_path)
    if text.sha256 != protocol.corpus_sha256:
        raise ValueError(f"corpus changed since the plan: {text.sha256[:12]} is not {protocol.corpus_sha256[:12]}")
    subject = Subject(case, protocol.seed, dtype=torch.float32)  # weights stay fp32; bf16 is autocast
    device = case.place.device
    autocast = torch.autocast(device, torch.bfloat16, enabled=case.place.dtype == "bf16")
    plan = protocol.train
    windows = Windows(text, plan, protocol.seed)
    subject.check(windows.train(0)[0].to(device))
    curve: dict[str, list[float]] = {"step": [], "tokens": [], "loss": [], "wall_s": []}
    start = time.perf_counter()
    for step in range(plan.steps):
        for group in subject.optimizer.param_groups:
            group["lr"] = learning_rate(step, plan)
        inputs_BT, targets_BT = (side.to(device) for side in windows.train(step))
        if not case.own:
            subject.module.set_progress(step / plan.steps)  # type: ignore[operator]  # every catalogue model has it
        with autocast:
            loss, auxiliary = subject.loss(inputs_BT, targets_BT)
        subject.optimizer.zero_grad(set_to_none=True)
        (loss + auxiliary).backward()
        torch.nn.utils.clip_grad_norm_(subject.module.parameters(), CLIP_NORM)
        subject.optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise NumericsError(f"training loss {value} at step {step} of {plan.steps}")
        row = (step, (step + 1) * plan.seq_len * plan.batch_size, value, time.perf_counter() - start)
        for name, number in zip(curve, row, strict=True):
            curve[name].append(number)
    with autocast:
        return _evaluate(subject, windows, curve)


def _evaluate(subject: Subject, windows: Windows, curve: dict[str, list[float]]) -> Trained:
    """Held-out loss as trained, and without the future."""
    from modbench.harness.causality import guard

    case, module = subject.case, subject.module
    module.eval()
    val_loss = _held_out(subject, windows, causal=False)
    inputs_BT, _ = next(windows.val())
    found = guard(module, inputs_BT.to(case.place.device), 256, subject.seed)
    if case.own:
        reason = f"{NOT_AUTOREGRESSIVE}: logits moved when later tokens were changed, and another way to route is not known here"
        if found.reads_future is None:
            reason = f"whether it reads the future could not be tested: {found.reason}"
        return Trained(val_loss, 1.0, val_loss if found.reads_future is False else None, reason, None, found, curve)
    module.set_progress(1.0)  # type: ignore[operator]  # as above
    model = catalogue.load("models", case.model)
    sees_future = model.sees_future(case.config)
    if not {"router", "choice"} & model.options.keys():  # nothing here is routed one way in training, another at decode
        return Trained(val_loss, 1.0, val_loss, "", sees_future, found, curve)
    if "router" in model.options and case.config.router == "learned" and case.config.causal == "none":
        return Trained(val_loss, 1.0, None, "causal = 'none': no causal router", sees_future, found, curve)
    # Thresholds come from training text, never from what is held out.
    module.calibrate(windows.train(windows.plan.steps)[0].to(case.place.device))  # type: ignore[operator]  # as above
    causal = _held_out(subject, windows, causal=True)
    return Trained(val_loss, 1.0, causal, "", sees_future, found, curve)


def _held_out(subject: Subject, windows: Windows, *, causal: bool) -> float:
    """Mean held-out loss in nats per token.

    Raises:
        NumericsError: if it is not finite.
    """
    import torch

    device, losses = subject.case.place.device, []
    with torch.no_grad():
        for inputs_BT, targets_BT in windows.val():
            loss, _ = subject.loss(inputs_BT.to(device), targets_BT.to(device), causal=causal)
            losses.append(loss.item())
    mean = sum(losses) / len(losses)
    if not math.isfinite(mean):
        raise NumericsError(f"held-out loss {mean} after training")
    return mean


def learning_rate(step: int, plan: TrainPlan) -> float:
    """Linear warm-up over a tenth of the steps, then cosine to zero at the end."""
    warm_up = max(1, round(WARM_UP_SHARE * plan.steps))
    if step < warm_up:
        return plan.lr * (step + 1) / warm_up
    progress = (step - warm_up + 1) / (plan.steps - warm_up + 1)
    return plan.lr * 0.5 * (1 + math.cos(math.pi * progress))


class Windows:
    """Batches of byte windows: random ones to train on, drawn from the seed alone, and evenly spaced held-out ones."""

    def __init__(self, text: Text, plan: TrainPlan, seed: int) -> None:
        import numpy as np

        self.plan, self.seed = plan, seed
        self._train = np.frombuffer(text.train, dtype=np.uint8)
        self._val = np.frombuffer(text.val, dtype=np.uint8)

    def train(self, step: int) -> tuple[Any, Any]:
        """Inputs and targets [B, T] of a step; the same for every arm."""
        import numpy as np

        rng = np.random.default_rng((self.seed, step))
        starts = rng.integers(0, len(self._train) - self.plan.seq_len, self.plan.batch_size)
        return self._cut(self._train, starts)

    def val(self) -> Iterator[tuple[Any, Any]]:
        """Held-out batches, never of more tokens than the text has."""
        import numpy as np

        seq_len = self.plan.seq_len
        number = max(1, min(self.plan.val_tokens, len(self._val) - 1) // seq_len)
        starts = np.linspace(0, len(self._val) - seq_len - 1, number).astype(np.int64)
        for start in starts:
            yield self._cut(self._val, [start])

    def _cut(self, data: Any, starts: Any) -> tuple[Any, Any]:  # noqa: ANN401  # numpy arrays; naming them would load numpy
        import numpy as np
        import torch

        rows = np.stack([data[start : start + self.plan.seq_len + 1] for start in starts]).astype(np.int64)
        tokens = torch.from_numpy(rows)
        # Copies: a model that writes into its input must not write into the targets.
        return tokens[:, :-1].clone(), tokens[:, 1:].clone()
